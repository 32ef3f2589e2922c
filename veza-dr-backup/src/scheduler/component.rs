//! What the scheduler is told of one component.

use std::{fmt::Debug, sync::Arc, time::Duration};

use async_trait::async_trait;
use veza_dr_core::{BackupTarget, ComponentName, Cx, Error, Result};

use crate::{BackupOptions, Repository, RetentionPolicy, Timetable};

/// Opens what a backup needs, anew for each: passwords are read again, stores that were away are tried again.
#[async_trait]
pub trait PrepareBackup: Debug + Send + Sync + 'static {
    /// The source and the stores, without reading any data.
    ///
    /// # Errors
    /// When nothing can be backed up: the source's settings cannot be read, or no store can be opened. A store that
    /// cannot be opened while others can is told in [`Prepared::unavailable`].
    async fn prepare(&self, cx: &Cx) -> Result<Prepared>;

    /// The stores alone, to look at what they hold.
    ///
    /// # Errors
    /// When none can be opened.
    async fn stores(&self, cx: &Cx) -> Result<Vec<Repository>> {
        Ok(self.prepare(cx).await?.repositories)
    }
}

/// What a backup needs, opened.
#[derive(Debug)]
pub struct Prepared {
    /// What is read.
    pub target: Arc<dyn BackupTarget>,
    /// Where it goes.
    pub repositories: Vec<Repository>,
    /// Stores that it should go to as well and that could not be opened, by name.
    pub unavailable: Vec<(String, Error)>,
}

/// How patiently a run that failed is tried again: never past the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunRetries {
    /// How many times in all.
    pub attempts: u32,
    /// The first pause; each later one doubles.
    pub first: Duration,
    /// No pause is longer.
    pub max: Duration,
}

impl Default for RunRetries {
    /// Five attempts, pauses from one minute to fifteen.
    fn default() -> Self {
        Self { attempts: 5, first: Duration::from_secs(60), max: Duration::from_secs(900) }
    }
}

impl RunRetries {
    /// This many attempts in all, at least one.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// Pauses from `first` to `max`.
    #[must_use]
    pub fn with_pauses(mut self, first: Duration, max: Duration) -> Self {
        (self.first, self.max) = (first, max);
        self
    }

    /// The pause after the attempt with this number, counted from 1.
    pub(super) fn pause(&self, attempt: u32) -> Duration {
        self.first.saturating_mul(1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX)).min(self.max)
    }
}

/// One component, as the scheduler keeps it protected.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ScheduledComponent {
    /// Its name.
    pub name: ComponentName,
    /// Opens its source and stores.
    pub source: Arc<dyn PrepareBackup>,
    /// When it is backed up; `None`: only when asked.
    pub timetable: Option<Timetable>,
    /// How: compression, hooks. Its clock is the scheduler's.
    pub options: BackupOptions,
    /// What is deleted after each backup, in each store that has it; `None`: nothing.
    pub retention: Option<RetentionPolicy>,
    /// What happens when a backup fails.
    pub retries: RunRetries,
}

impl ScheduledComponent {
    /// Backed up by this timetable, with default options.
    #[must_use]
    pub fn new(name: ComponentName, source: Arc<dyn PrepareBackup>, timetable: Option<Timetable>) -> Self {
        let (options, retries) = (BackupOptions::default(), RunRetries::default());
        Self { name, source, timetable, options, retention: None, retries }
    }

    /// With old backups deleted by this policy.
    #[must_use]
    pub fn with_retention(mut self, policy: RetentionPolicy) -> Self {
        self.retention = Some(policy);
        self
    }

    /// With these options.
    #[must_use]
    pub fn with_options(mut self, options: BackupOptions) -> Self {
        self.options = options;
        self
    }

    /// With these retries.
    #[must_use]
    pub fn with_retries(mut self, retries: RunRetries) -> Self {
        self.retries = retries;
        self
    }
}
