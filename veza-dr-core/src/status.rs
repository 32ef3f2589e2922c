//! How well each component is protected right now: data, for pages, metrics and scripts.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{BackupId, ComponentName, Rpo, Verdict};

/// One complete backup, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSummary {
    /// Its identity.
    pub id: BackupId,
    /// The instant that it shows: what its age is counted from.
    pub shows: DateTime<Utc>,
    /// When its last object was stored.
    pub finished_at: DateTime<Utc>,
    /// From start to last object.
    pub took: Duration,
    /// Plain bytes.
    pub bytes: u64,
    /// Bytes it added to the store.
    pub stored_bytes: u64,
}

/// The last time something was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it ended.
    pub at: DateTime<Utc>,
    /// How long it took, where that was recorded.
    pub took: Option<Duration>,
    /// Why it failed; `None`: it did not.
    pub error: Option<String>,
}

/// The last proof of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofSummary {
    /// Which backup was proven.
    pub backup: BackupId,
    /// `objects`, `structure` or `restore`.
    pub level: String,
    /// What it found.
    pub verdict: Verdict,
    /// When.
    pub at: DateTime<Utc>,
}

/// A component's backups in one store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// The store's name.
    pub store: String,
    /// Why the store could not be asked; everything else is then unknown, not empty.
    pub unknown: Option<String>,
    /// Whether its newest backup is as young as the schedule demands; absent when there is no schedule, or when it
    /// cannot be told.
    pub on_schedule: Option<bool>,
    /// The newest complete backup.
    pub last_success: Option<BackupSummary>,
    /// The last attempt that this daemon, or its record, knows of.
    pub last_attempt: Option<Attempt>,
    /// The newest proof of any level.
    pub last_proof: Option<ProofSummary>,
    /// The newest restore that was compared and found equal.
    pub last_proven_restore: Option<ProofSummary>,
    /// Complete backups.
    pub backups: u64,
    /// Stored bytes of all of them, each object counted once.
    pub stored_bytes: u64,
}

/// How well a component is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protection {
    /// Every store has a backup young enough, and nothing failed since.
    Good,
    /// Some store lacks one, something failed, or nothing was ever proven.
    Weak,
    /// No store has a backup young enough for the recovery point objective.
    Broken,
    /// It cannot be told.
    Unknown,
}

/// One component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentStatus {
    /// Its name.
    pub component: ComponentName,
    /// Its engine.
    pub engine: String,
    /// The verdict.
    pub protection: Protection,
    /// Why the verdict is not better, one line each.
    pub reasons: Vec<String>,
    /// The strictest recovery point objective of the scenarios that need it.
    pub rpo: Option<Rpo>,
    /// Whether every store's newest backup is as young as the schedule demands; absent as in [`StoreStatus`].
    pub on_schedule: Option<bool>,
    /// The longest time between two scheduled runs.
    pub expected_interval: Option<Duration>,
    /// When it is backed up next.
    pub next_run: Option<DateTime<Utc>>,
    /// A backup is being made right now.
    pub running: bool,
    /// Each store that it goes to.
    pub stores: Vec<StoreStatus>,
}

/// All components at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// When it was looked at.
    pub at: DateTime<Utc>,
    /// Each component, by name.
    pub components: Vec<ComponentStatus>,
}

impl ComponentStatus {
    /// The newest complete backup of any store.
    #[must_use]
    pub fn newest(&self) -> Option<&BackupSummary> {
        self.stores.iter().filter_map(|s| s.last_success.as_ref()).max_by_key(|b| b.shows)
    }
}

impl Status {
    /// The worst verdict of all components; an unknown one counts as worst, and no component at all as broken.
    #[must_use]
    pub fn protection(&self) -> Protection {
        self.components.iter().map(|c| c.protection).max().unwrap_or(Protection::Broken)
    }

    /// The components and stores whose newest backup is older than the schedule demands, or that cannot be told, each
    /// as one line. Empty: the schedule is being met.
    #[must_use]
    pub fn behind_schedule(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for component in self.components.iter().filter(|c| c.expected_interval.is_some()) {
            for store in &component.stores {
                let name = format!("{} in {}", component.component, store.store);
                match (&store.unknown, store.on_schedule) {
                    (Some(why), _) => lines.push(format!("{name}: unknown, {why}")),
                    (None, Some(true)) => {}
                    (None, _) => match &store.last_success {
                        Some(last) => lines.push(format!("{name}: the newest backup shows {}", last.shows)),
                        None => lines.push(format!("{name}: no backup")),
                    },
                }
            }
        }
        lines
    }
}
