//! What happens to a component's protection, as it is told to people and machines.

use std::{
    fmt::{self, Debug},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{BackupId, ComponentName, Cx, Result};

/// What was, or is, being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// A backup.
    Backup,
    /// Retention applied.
    Prune,
    /// A backup proven.
    Verify,
    /// Stopped containers started again, hooks run.
    Quiesce,
    /// A recovery rehearsed.
    Drill,
    /// A runbook run in earnest.
    Failover,
    /// A condition of the configuration came true, or can no longer be judged.
    Alert,
    /// People called about an outage or a recovery.
    Escalation,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backup => "backup",
            Self::Prune => "prune",
            Self::Verify => "verify",
            Self::Quiesce => "quiesce",
            Self::Drill => "drill",
            Self::Failover => "failover",
            Self::Alert => "alert",
            Self::Escalation => "escalation",
        })
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// It begins.
    Started,
    /// It is done, in full.
    Succeeded,
    /// It failed and will be tried again.
    Retrying,
    /// It failed for good, or in part.
    Failed,
    /// Its time passed without it: the daemon was down, or the one before still ran.
    Missed,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Started => "started",
            Self::Succeeded => "succeeded",
            Self::Retrying => "retrying",
            Self::Failed => "failed",
            Self::Missed => "missed",
        })
    }
}

/// How much somebody has to care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Severity {
    /// All is well.
    Info,
    /// Worth a look some day: it goes on by itself.
    Low,
    /// Worth a look today.
    Medium,
    /// Worth a look now: something is not protected as it should be.
    High,
    /// Wake somebody: something is broken right now.
    Critical,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// When, by the clock of whoever tells it.
    pub at: DateTime<Utc>,
    /// What is being done.
    pub action: Action,
    /// How far it is.
    pub phase: Phase,
    /// To which component; absent when it concerns all.
    pub component: Option<ComponentName>,
    /// In which store, when it concerns one.
    pub store: Option<String>,
    /// The backup made, proven or deleted.
    pub backup: Option<BackupId>,
    /// One line for people: what happened and, on failure, why. Never holds a secret.
    pub text: String,
    /// What to do about it.
    pub help: Option<String>,
    /// How long it took.
    pub took: Option<Duration>,
    /// Bytes that it added to the stores.
    pub bytes: Option<u64>,
    /// The message's own name: one that was perhaps delivered is delivered again under the same.
    #[serde(default)]
    pub id: Option<String>,
    /// Which of several of its kind it is about: an alert, a level of escalation.
    #[serde(default)]
    pub name: Option<String>,
    /// How much somebody has to care, where it does not follow from the action and the phase.
    #[serde(default)]
    pub told_severity: Option<Severity>,
}

impl Event {
    /// An event with nothing but what every event has.
    #[must_use]
    pub fn new(at: DateTime<Utc>, action: Action, phase: Phase, text: impl Into<String>) -> Self {
        Self {
            at,
            action,
            phase,
            component: None,
            store: None,
            backup: None,
            text: text.into(),
            help: None,
            took: None,
            bytes: None,
            id: None,
            name: None,
            told_severity: None,
        }
    }

    /// About this component.
    #[must_use]
    pub fn about(mut self, component: ComponentName) -> Self {
        self.component = Some(component);
        self
    }

    /// About this store.
    #[must_use]
    pub fn in_store(mut self, store: impl Into<String>) -> Self {
        self.store = Some(store.into());
        self
    }

    /// About this backup.
    #[must_use]
    pub fn with_backup(mut self, backup: BackupId) -> Self {
        self.backup = Some(backup);
        self
    }

    /// Took this long.
    #[must_use]
    pub fn with_took(mut self, took: Duration) -> Self {
        self.took = Some(took);
        self
    }

    /// Added so many bytes to the stores.
    #[must_use]
    pub fn with_bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Under this name of its own.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// About this one of its kind.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// As bad as this, whatever its action and phase say.
    #[must_use]
    pub fn with_severity(mut self, severity: Severity) -> Self {
        self.told_severity = Some(severity);
        self
    }

    /// How much somebody has to care. Services that were stopped for a backup and could not be started again are down
    /// right now; whatever else fails leaves what was there before.
    ///
    /// ```
    /// use veza_dr_core::{Action, Event, Phase, Severity};
    /// let at = chrono::Utc::now();
    /// assert_eq!(Event::new(at, Action::Backup, Phase::Failed, "no space").severity(), Severity::High);
    /// assert_eq!(Event::new(at, Action::Quiesce, Phase::Failed, "redis is down").severity(), Severity::Critical);
    /// ```
    #[must_use]
    pub fn severity(&self) -> Severity {
        if let Some(told) = self.told_severity {
            return told;
        }
        match (self.phase, self.action) {
            // Sites are being switched: nobody should learn of it afterwards.
            (Phase::Started | Phase::Succeeded, Action::Failover) => Severity::High,
            (Phase::Started | Phase::Succeeded, _) => Severity::Info,
            (Phase::Retrying, _) => Severity::Low,
            (Phase::Missed, _) => Severity::Medium,
            (Phase::Failed, Action::Quiesce) => Severity::Critical,
            (Phase::Failed, _) => Severity::High,
        }
    }
}

/// Tells every sink, in order. One that fails does not keep the others from being told.
#[derive(Debug, Clone, Default)]
pub struct Sinks(pub Vec<Arc<dyn EventSink>>);

#[async_trait]
impl EventSink for Sinks {
    async fn tell(&self, cx: &Cx, event: &Event) -> Result<()> {
        let mut first = Ok(());
        for sink in &self.0 {
            let told = sink.tell(cx, event).await;
            if first.is_ok() {
                first = told;
            }
        }
        first
    }
}

/// Is told of events: writes a log, counts metrics, sends messages.
#[async_trait]
pub trait EventSink: Debug + Send + Sync + 'static {
    /// Takes one event.
    ///
    /// # Errors
    /// When it could not be delivered. The work that the event is about goes on regardless.
    async fn tell(&self, cx: &Cx, event: &Event) -> Result<()>;
}
