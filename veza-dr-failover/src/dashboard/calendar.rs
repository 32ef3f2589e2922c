//! What happened on each day of the last year, kept so that it outlives the log of events.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use veza_dr_core::{Action, Cx, Error, ErrorKind, Event, EventSink, Phase, Result};

/// Days before this many are let go.
const KEPT: i64 = 400;

/// What happened on one day, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Day {
    /// Backups that succeeded.
    pub backups: u32,
    /// Backups that failed or were missed.
    pub backups_failed: u32,
    /// Proofs of backups that succeeded.
    pub proofs: u32,
    /// Proofs that failed.
    pub proofs_failed: u32,
}

impl Day {
    fn add(&mut self, action: Action, phase: Phase) -> bool {
        let counter = match (action, phase) {
            (Action::Backup, Phase::Succeeded) => &mut self.backups,
            (Action::Backup, Phase::Failed | Phase::Missed) => &mut self.backups_failed,
            (Action::Verify, Phase::Succeeded) => &mut self.proofs,
            (Action::Verify, Phase::Failed) => &mut self.proofs_failed,
            _ => return false,
        };
        *counter = counter.saturating_add(1);
        true
    }

    fn total(&self) -> u32 {
        self.backups.saturating_add(self.backups_failed).saturating_add(self.proofs).saturating_add(self.proofs_failed)
    }
}

/// Counts what a daemon tells, by day. A sink of its events.
#[derive(Debug)]
pub struct Calendar {
    path: PathBuf,
    days: Mutex<BTreeMap<NaiveDate, Day>>,
}

impl Calendar {
    /// The calendar kept in this folder, with what the log of events there knows beyond it.
    ///
    /// ```
    /// let dir = tempfile::tempdir().unwrap();
    /// assert!(veza_dr_failover::dashboard::Calendar::open(dir.path()).unwrap().days().is_empty());
    /// ```
    ///
    /// # Errors
    /// `Denied` or `Unavailable` when what is there cannot be read. A damaged calendar is made anew from the log.
    pub fn open(state_dir: &Path) -> Result<Self> {
        let path = state_dir.join("calendar.json");
        let mut days: BTreeMap<NaiveDate, Day> = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|e| {
                tracing::warn!(error = %e, "{} is damaged and made anew from the log of events", path.display());
                BTreeMap::new()
            }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(e) => return Err(cannot("read", &path, e)),
        };
        for (date, told) in logged(state_dir)? {
            let known = days.entry(date).or_default();
            // The log may have lost the beginning of a day, the calendar its end.
            if told.total() > known.total() {
                *known = told;
            }
        }
        Ok(Self { path, days: Mutex::new(days) })
    }

    /// What is known, by day. A day that is not here: nothing is known of it.
    #[must_use]
    pub fn days(&self) -> BTreeMap<NaiveDate, Day> {
        self.days.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, at: DateTime<Utc>, action: Action, phase: Phase) -> Result<()> {
        let mut days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        if !days.entry(at.date_naive()).or_default().add(action, phase) {
            days.retain(|_, day| *day != Day::default());
            return Ok(());
        }
        let oldest = at.date_naive() - TimeDelta::days(KEPT);
        days.retain(|date, _| *date > oldest);
        let text = serde_json::to_vec(&*days).unwrap_or_default();
        let half = self.path.with_extension("json.half");
        // Whole or not at all; what a crash of the machine loses is in the log of events.
        let written = File::create(&half).and_then(|mut f| f.write_all(&text));
        written.and_then(|()| std::fs::rename(&half, &self.path)).map_err(|e| cannot("written", &self.path, e))
    }
}

#[async_trait]
impl EventSink for Calendar {
    /// # Errors
    /// `Full`, `Denied` or `Unavailable` when it could not be written; it is counted all the same.
    async fn tell(&self, _: &Cx, event: &Event) -> Result<()> {
        self.count(event.at, event.action, event.phase)
    }
}

/// What the log of events tells, by day.
fn logged(state_dir: &Path) -> Result<BTreeMap<NaiveDate, Day>> {
    let mut days: BTreeMap<NaiveDate, Day> = BTreeMap::new();
    for name in ["events.jsonl.old", "events.jsonl"] {
        let path = state_dir.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(cannot("read", &path, e)),
        };
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(|e| cannot("read", &path, e))?;
            // A line that was cut by a crash is no event.
            let Ok(value) = serde_json::from_slice::<Value>(&line) else { continue };
            if value["kind"] != "event" {
                continue;
            }
            let parsed = (
                value["at"].as_str().and_then(|at| at.parse::<DateTime<Utc>>().ok()),
                serde_json::from_value::<Action>(value["action"].clone()),
                serde_json::from_value::<Phase>(value["phase"].clone()),
            );
            if let (Some(at), Ok(action), Ok(phase)) = parsed {
                days.entry(at.date_naive()).or_default().add(action, phase);
            }
        }
    }
    days.retain(|_, day| *day != Day::default());
    Ok(days)
}

fn cannot(what: &str, path: &Path, e: std::io::Error) -> Error {
    let kind = match e.kind() {
        std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        std::io::ErrorKind::StorageFull => ErrorKind::Full,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{} cannot be {what}", path.display())).with_source(e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::EventLog;

    #[tokio::test]
    async fn days_outlive_the_log_and_the_log_mends_what_the_calendar_lost() {
        let dir = tempfile::tempdir().unwrap();
        let log = EventLog::open(&dir.path().join("events.jsonl")).unwrap();
        let calendar = Calendar::open(dir.path()).unwrap();
        let now: DateTime<Utc> = "2026-11-27T10:00:00Z".parse().unwrap();
        let cx = Cx::background();
        for (days, action, phase) in [
            (500, Action::Backup, Phase::Succeeded),
            (1, Action::Backup, Phase::Succeeded),
            (1, Action::Backup, Phase::Started),
            (1, Action::Backup, Phase::Retrying),
            (1, Action::Verify, Phase::Failed),
            (0, Action::Prune, Phase::Failed),
            (0, Action::Backup, Phase::Missed),
        ] {
            let event = Event::new(now - TimeDelta::days(days), action, phase, "x");
            calendar.tell(&cx, &event).await.unwrap();
            log.tell(&cx, &event).await.unwrap();
        }
        let yesterday = Day { backups: 1, proofs_failed: 1, ..Day::default() };
        let today = Day { backups_failed: 1, ..Day::default() };
        let expected =
            BTreeMap::from([("2026-11-26".parse().unwrap(), yesterday), ("2026-11-27".parse().unwrap(), today)]);
        assert_eq!(calendar.days(), expected);
        let again = Calendar::open(dir.path()).unwrap().days();
        assert_eq!(
            again
                .range(NaiveDate::from_ymd_opt(2026, 1, 1).unwrap()..)
                .map(|(k, v)| (*k, *v))
                .collect::<BTreeMap<_, _>>(),
            expected
        );
        std::fs::remove_file(dir.path().join("events.jsonl")).unwrap();
        assert_eq!(Calendar::open(dir.path()).unwrap().days(), expected, "the log is gone");
        std::fs::write(dir.path().join("calendar.json"), "{").unwrap();
        assert!(Calendar::open(dir.path()).unwrap().days().is_empty());
    }
}
