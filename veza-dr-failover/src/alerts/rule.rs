//! One alert of the configuration.

use std::time::Duration;

use veza_dr_core::Severity;

use super::Expression;

/// What follows when a condition cannot be told because something was not measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnMissing {
    /// That is told, as a state of its own.
    #[default]
    Tell,
    /// The alert fires.
    Fire,
    /// Nothing; somebody decided so.
    Ignore,
}

/// When to raise one alarm.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AlertRule {
    /// Its name.
    pub name: String,
    /// What must hold.
    pub condition: Expression,
    /// How bad it is.
    pub severity: Severity,
    /// How long it must hold before the alarm is raised.
    pub hold: Duration,
    /// What follows when it cannot be told.
    pub on_missing: OnMissing,
    /// The channels that are told; all whose severity fits where it is `None`.
    pub channels: Option<Vec<String>>,
    /// What to do about it.
    pub help: Option<String>,
}

impl AlertRule {
    /// As soon as this holds.
    #[must_use]
    pub fn new(name: impl Into<String>, condition: Expression, severity: Severity) -> Self {
        let (hold, on_missing) = (Duration::ZERO, OnMissing::default());
        Self { name: name.into(), condition, severity, hold, on_missing, channels: None, help: None }
    }

    /// Once it has held for so long.
    #[must_use]
    pub fn held_for(mut self, hold: Duration) -> Self {
        self.hold = hold;
        self
    }

    /// What follows when it cannot be told.
    #[must_use]
    pub fn on_missing(mut self, on_missing: OnMissing) -> Self {
        self.on_missing = on_missing;
        self
    }

    /// Tells these channels.
    #[must_use]
    pub fn to_channels(mut self, channels: Vec<String>) -> Self {
        self.channels = Some(channels);
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
