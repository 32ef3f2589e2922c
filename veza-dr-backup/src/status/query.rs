//! What the reader of a status must be told: the stores know neither schedule nor objective.

use std::time::Duration;

use chrono::{DateTime, Utc};
use veza_dr_core::{ComponentName, Error, Rpo};

use crate::Repository;

/// One component whose status is wanted.
#[derive(Debug)]
#[non_exhaustive]
pub struct ComponentQuery {
    /// Its name.
    pub component: ComponentName,
    /// Its engine, as the configuration has it.
    pub engine: String,
    /// Where its backups lie.
    pub repositories: Vec<Repository>,
    /// Stores it should go to that could not even be opened, and why.
    pub unopened: Vec<(String, Error)>,
    /// The strictest recovery point objective of the scenarios that need it.
    pub rpo: Option<Rpo>,
    /// The longest time between two scheduled runs; `None` without a schedule.
    pub expected_interval: Option<Duration>,
    /// How much later than that a backup may be before it is late: the time that a run takes, jitter, a retry.
    pub grace: Duration,
    /// When it is backed up next.
    pub next_run: Option<DateTime<Utc>>,
    /// Since when somebody keeps the schedule: a component without any backup is late only when its interval has
    /// passed since then. `None`: at once.
    pub since: Option<DateTime<Utc>>,
    /// A backup is being made right now, as the caller knows; leases in the stores are looked at besides.
    pub running: bool,
}

impl ComponentQuery {
    /// A component without stores, schedule or objective, and ten minutes of grace.
    #[must_use]
    pub fn new(component: ComponentName, engine: impl Into<String>) -> Self {
        Self {
            component,
            engine: engine.into(),
            repositories: Vec::new(),
            unopened: Vec::new(),
            rpo: None,
            expected_interval: None,
            grace: Duration::from_secs(600),
            next_run: None,
            since: None,
            running: false,
        }
    }

    /// Its backups lie here too.
    #[must_use]
    pub fn in_repository(mut self, repository: Repository) -> Self {
        self.repositories.push(repository);
        self
    }

    /// With this objective.
    #[must_use]
    pub fn with_rpo(mut self, rpo: Rpo) -> Self {
        self.rpo = Some(rpo);
        self
    }

    /// Backed up at least this often, and this much later at most.
    #[must_use]
    pub fn every(mut self, interval: Duration, grace: Duration) -> Self {
        (self.expected_interval, self.grace) = (Some(interval), grace);
        self
    }
}
