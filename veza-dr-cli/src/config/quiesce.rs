//! `quiesce:` what rests while a component is read.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Span, Text};

/// What is stopped, paused or run before a component is read, and put back right after.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct QuiesceSettings {
    /// One after another; put back in reverse order.
    #[schemars(length(min = 1))]
    pub steps: Vec<QuiesceStep>,
    /// What it means when a step fails: the backup fails (`fail`, by default), or goes on (`continue`).
    #[serde(default)]
    pub on_error: Option<OnErrorName>,
    /// Where Docker listens: `unix:///run/docker.sock`; DOCKER_HOST or the usual places where it is left out.
    #[serde(default)]
    pub docker_host: Option<Text>,
}

/// What a failing step means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnErrorName {
    /// The backup fails; what was stopped is put back.
    Fail,
    /// The backup goes on with what could be stopped.
    Continue,
}

/// One thing to put to rest.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum QuiesceStep {
    /// Stops running containers, and starts them again.
    Stop(ContainerSettings),
    /// Pauses running containers, and unpauses them.
    Pause(ContainerSettings),
    /// Runs a command before and one after.
    Command(CommandSettings),
}

/// Which containers: those for which all that is given holds.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ContainerSettings {
    /// The container's name.
    #[serde(default)]
    pub name: Option<Text>,
    /// The Compose service.
    #[serde(default)]
    pub service: Option<Text>,
    /// The Compose project.
    #[serde(default)]
    pub project: Option<Text>,
    /// A label: `key` or `key=value`.
    #[serde(default)]
    pub label: Option<Text>,
    /// How long they may take to stop before they are killed; 60s by default.
    #[serde(default)]
    pub timeout: Option<Span>,
}

/// Commands: lists of program and arguments, no shell.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CommandSettings {
    /// Before the read.
    #[serde(default)]
    pub before: Vec<Text>,
    /// After it, also when the backup failed, and again after a crash: it must be safe to repeat.
    #[serde(default)]
    pub after: Vec<Text>,
    /// How long each may take before it is killed and counts as failed; 60s by default.
    #[serde(default)]
    pub timeout: Option<Span>,
}
