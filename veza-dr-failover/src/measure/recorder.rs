//! Makes the record of each run that has ended: once, on this host first, then in the store.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use veza_dr_core::{Cx, Error, ErrorKind, Result};

use super::{AvailabilityLog, ClockPoints, DataLoss, RecoveryHistory, RecoveryKind, RecoveryRecord};
use crate::{
    files::cannot,
    runbook::{Journals, Plan, RunReport, RunStatus, read_journal},
};

/// What recovery is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Objectives {
    /// How long it may take.
    pub rto: Duration,
    /// How much recent data may be lost, as time.
    pub rpo: Duration,
}

impl Objectives {
    /// These two.
    #[must_use]
    pub fn new(rto: Duration, rpo: Duration) -> Self {
        Self { rto, rpo }
    }
}

/// A run as its journal tells it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Run {
    /// It can go on.
    Live(Box<(RunReport, Plan)>),
    /// It has ended.
    Ended(Box<RecoveryRecord>),
}

/// Measures the runs of this host. A record is made when its run is first seen to have ended, kept beside the journal,
/// and made again, as a revision, when the journal says more afterwards: a rollback, a loss that was counted.
#[derive(Debug)]
pub struct Recorder {
    journals: Journals,
    host: String,
    objectives: BTreeMap<String, Objectives>,
    probes: Option<PathBuf>,
    known: Mutex<BTreeMap<String, (Mark, Run)>>,
}

/// Tells whether a journal grew.
type Mark = (u64, Option<SystemTime>);

impl Recorder {
    /// Of the runs whose journals these are, on this host.
    #[must_use]
    pub fn new(journals: Journals, host: impl Into<String>) -> Self {
        Self { journals, host: host.into(), objectives: BTreeMap::new(), probes: None, known: Mutex::default() }
    }

    /// Recoveries of this scenario are held to this.
    #[must_use]
    pub fn with_objectives(mut self, scenario: impl Into<String>, objectives: Objectives) -> Self {
        self.objectives.insert(scenario.into(), objectives);
        self
    }

    /// How available the service was is in this folder of an [`AvailabilityLog`].
    #[must_use]
    pub fn with_probes(mut self, folder: impl Into<PathBuf>) -> Self {
        self.probes = Some(folder.into());
        self
    }

    /// What a scenario's recovery is held to.
    #[must_use]
    pub fn objectives(&self, scenario: Option<&str>) -> Option<Objectives> {
        self.objectives.get(scenario?).copied()
    }

    /// The shortest recovery time objective of all.
    #[must_use]
    pub fn strictest_rto(&self) -> Option<Duration> {
        self.objectives.values().map(|o| o.rto).min()
    }

    /// The names of all runs, the oldest first.
    ///
    /// # Errors
    /// When the journals cannot be listed.
    pub fn runs(&self) -> Result<Vec<String>> {
        self.journals.runs()
    }

    /// How a run stands. `points` are what others know of its clock points: when the outage was seen, and detected.
    ///
    /// # Errors
    /// `Corrupt` when its journal is damaged; when the record of one that has ended cannot be kept on this host.
    pub fn read(&self, run: &str, points: ClockPoints) -> Result<Run> {
        let mark = std::fs::metadata(self.journals.path(run)).map(|m| (m.len(), m.modified().ok())).unwrap_or_default();
        if let Some((known, run)) = self.known().get(run).filter(|(known, _)| *known == mark) {
            let _ = known;
            return Ok(run.clone());
        }
        let (report, plan) = self.journals.read(run)?;
        let read = match report.status {
            RunStatus::Completed | RunStatus::CompletedWithSkips | RunStatus::RolledBack | RunStatus::Abandoned => {
                Run::Ended(Box::new(self.record(&report, &plan, points)?))
            }
            _ => Run::Live(Box::new((report, plan))),
        };
        self.known().insert(run.to_owned(), (mark, read.clone()));
        Ok(read)
    }

    /// Stores the records that the history does not have yet, and gives back how many it did not.
    ///
    /// # Errors
    /// Those of the history; the records stay here and are stored the next time.
    pub async fn publish(&self, cx: &Cx, history: &RecoveryHistory, points: &ClockPointsOf<'_>) -> Result<usize> {
        let stored = history.list(cx).await?;
        let mut new = 0;
        for run in self.runs()? {
            let record = match self.read(&run, points(&run)) {
                Ok(Run::Ended(record)) => record,
                Ok(Run::Live(_)) => continue,
                // Killed before its first line: nothing was done.
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => {
                    tracing::warn!(%run, error = %e.chain(), "a run cannot be measured");
                    continue;
                }
            };
            if !stored.contains(&record.id) {
                history.publish(cx, &record).await?;
                new += 1;
            }
        }
        Ok(new)
    }

    fn record(&self, report: &RunReport, plan: &Plan, points: ClockPoints) -> Result<RecoveryRecord> {
        let path = self.journals.folder().join(format!("{}.record.json", report.run));
        let kept = read(&path)?;
        let mut record = RecoveryRecord::of_run(report, RecoveryKind::Recovery, self.host.clone());
        record = record.with_points(points);
        if let Some(kept) = &kept {
            // Who reads it again may not know what probes saw.
            record = record.with_points(kept.points);
        }
        let entries = read_journal(&self.journals.path(&report.run))?;
        let lost = DataLoss::of_run(report, &entries, plan, record.points.t0);
        record = record.with_data_loss(lost);
        if let Some(o) = self.objectives(record.scenario.as_deref()) {
            record = record.with_objectives(o.rto, o.rpo);
        }
        if let Some(kept) = kept {
            if kept.status == record.status && kept.data_loss == record.data_loss {
                return Ok(kept);
            }
            // What was measured then stays; only what the journal says has changed.
            record = record.with_availability(kept.availability.clone());
            (record.rto_seconds, record.rpo_seconds) = (kept.rto_seconds, kept.rpo_seconds);
            record = record.revised(kept.revision + 1);
        } else if let (Some(folder), Some(from)) = (&self.probes, record.points.t0.or(Some(record.began))) {
            let seen = AvailabilityLog::read(folder, from, record.ended)?;
            record = record.with_availability((seen.counted() + seen.unknown > 0).then_some(seen));
        }
        write(&path, &record)?;
        Ok(record)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (Mark, Run)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What others know of the clock points of a run.
pub type ClockPointsOf<'a> = dyn Fn(&str) -> ClockPoints + Send + Sync + 'a;

fn read(path: &Path) -> Result<Option<RecoveryRecord>> {
    let body = match std::fs::read(path) {
        Ok(body) => body,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(cannot("read", path, e)),
    };
    serde_json::from_slice(&body).map(Some).map_err(|e| {
        Error::new(ErrorKind::Corrupt, format!("{} is no record of a recovery", path.display()))
            .with_source(e)
            .with_help("remove it: it is made again from the journal")
    })
}

/// Whole or not at all.
fn write(path: &Path, record: &RecoveryRecord) -> Result<()> {
    let body = serde_json::to_vec_pretty(record)
        .map_err(|e| Error::new(ErrorKind::Unexpected, "the record as JSON").with_source(e))?;
    let beside = path.with_extension("new");
    let written =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&beside).and_then(|mut file| {
            file.write_all(&body)?;
            file.sync_all()?;
            std::fs::rename(&beside, path)?;
            File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
        });
    written.map_err(|e| cannot("written", path, e))
}
