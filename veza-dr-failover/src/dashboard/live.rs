//! The run that is under way, by its journal, and when it will probably be done.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use veza_dr_core::{Error, ErrorKind, Result};

use crate::runbook::{Journals, Plan, Prediction, Record, RunReport, StepStatus, of_journals, read_journal};

/// When a run will probably be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Eta {
    /// By what earlier runs took.
    At {
        /// As likely earlier as later.
        p50: DateTime<Utc>,
        /// Hardly later.
        p95: DateTime<Utc>,
        /// How many runs the least known step is known from.
        samples: usize,
    },
    /// Unknown: so many steps that are still to be done were never seen to succeed.
    Unknown {
        /// How many.
        steps: usize,
    },
    /// It does not go on by itself.
    Rests,
}

/// A run with its plan and what is known of its steps.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LiveRun {
    /// The run.
    pub run: RunReport,
    /// Its plan.
    pub plan: Plan,
    /// How long its steps took in earlier runs.
    pub known: BTreeMap<String, Prediction>,
}

impl LiveRun {
    /// Reads a run from its journal.
    ///
    /// # Errors
    /// `NotFound` without it, `Corrupt` when it is damaged.
    pub fn read(state_dir: &Path, run: &str) -> Result<Self> {
        let folder = state_dir.join("failover");
        let path = journal(&folder, run)?;
        let entries = read_journal(&path)?;
        let Some(Record::Started { plan, .. }) = entries.first().map(|e| &e.record) else {
            return Err(Error::new(ErrorKind::NotFound, format!("run {run} never began")));
        };
        let journals = runs(state_dir)?.into_iter().map(|run| folder.join(format!("{run}.journal")));
        let known = of_journals(journals, &plan.name);
        Ok(Self { run: RunReport::from_journal(&path)?, plan: (**plan).clone(), known })
    }

    /// When it will probably be done: the longest way through what is left, as steps that do not need each other run at
    /// the same time.
    #[must_use]
    pub fn eta(&self, now: DateTime<Utc>) -> Eta {
        use crate::runbook::RunStatus;
        // A journal alone cannot tell a run that is under way from one that was cut off: the page says how old it is.
        if self.run.status != RunStatus::Interrupted {
            return Eta::Rests;
        }
        let open = |id: &str| {
            let step = self.run.steps.iter().find(|s| s.id == id)?;
            (!matches!(step.status, StepStatus::Done | StepStatus::Skipped)).then_some(step)
        };
        let unseen =
            self.plan.steps.iter().filter(|s| open(&s.id).is_some() && !self.known.contains_key(&s.id)).count();
        if unseen > 0 {
            return Eta::Unknown { steps: unseen };
        }
        let way = |took: fn(&Prediction) -> Duration| {
            let mut done: BTreeMap<&str, DateTime<Utc>> = BTreeMap::new();
            // Steps may stand in any order: go round until nothing new is known.
            for _ in 0..self.plan.steps.len() {
                for step in &self.plan.steps {
                    let Some(state) = open(&step.id) else {
                        done.insert(&step.id, now);
                        continue;
                    };
                    let needs: Option<Vec<_>> = step.needs.iter().map(|n| done.get(n.as_str()).copied()).collect();
                    let (Some(needs), Some(known)) = (needs, self.known.get(&step.id)) else { continue };
                    let begins = match state.status {
                        StepStatus::Started => state.began.unwrap_or(now),
                        _ => needs.into_iter().max().unwrap_or(now).max(now),
                    };
                    let ends = begins + TimeDelta::from_std(took(known)).unwrap_or(TimeDelta::MAX);
                    done.insert(&step.id, ends.max(now));
                }
            }
            done.values().max().copied().unwrap_or(now)
        };
        let samples = self.plan.steps.iter().filter(|s| open(&s.id).is_some());
        let samples = samples.filter_map(|s| Some(self.known.get(&s.id)?.samples)).min().unwrap_or_default();
        Eta::At { p50: way(|p| p.p50), p95: way(|p| p.p95), samples }
    }
}

/// The file of a run's journal; a name that climbs is nobody's run.
fn journal(folder: &Path, run: &str) -> Result<PathBuf> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if run.is_empty() || !run.chars().all(good) {
        return Err(Error::new(ErrorKind::NotFound, "there is no such run"));
    }
    Ok(folder.join(format!("{run}.journal")))
}

/// The names of all runs on this machine, the oldest first.
pub(super) fn runs(state_dir: &Path) -> Result<Vec<String>> {
    Journals::new(state_dir).runs()
}

impl LiveRun {
    /// Whether it has not ended.
    pub(super) fn is_open(&self) -> bool {
        use crate::runbook::RunStatus::{Abandoned, Completed, CompletedWithSkips, RolledBack};
        !matches!(self.run.status, Completed | CompletedWithSkips | RolledBack | Abandoned)
    }
}
