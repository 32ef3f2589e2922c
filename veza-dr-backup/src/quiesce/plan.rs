//! What is put to rest for a component, as data.

use std::time::Duration;

/// How long a container or command may take, unless said otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that rests while one component is read, in the order in which it is stopped.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct QuiescePlan {
    /// One after another; put back in reverse order.
    pub steps: Vec<Step>,
    /// What a failure before the read means.
    pub on_error: OnError,
    /// Where Docker listens: `unix:///run/docker.sock`, `tcp://host:2375`; the usual places where it is `None`.
    pub docker_host: Option<String>,
}

impl QuiescePlan {
    /// These steps; a failure fails the backup.
    #[must_use]
    pub fn new(steps: Vec<Step>) -> Self {
        Self { steps, ..Self::default() }
    }

    /// What a failure before the read means.
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// Where Docker listens.
    #[must_use]
    pub fn with_docker_host(mut self, host: impl Into<String>) -> Self {
        self.docker_host = Some(host.into());
        self
    }
}

/// What a failure before the read means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnError {
    /// The backup fails; what was stopped is put back.
    #[default]
    Fail,
    /// The backup goes on with what could be stopped.
    Continue,
}

/// One thing to put to rest.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Step {
    /// Containers are stopped, and started again.
    Stop {
        /// Which.
        which: ContainerSelection,
        /// How long they may take to end before they are killed.
        timeout: Duration,
    },
    /// Containers are frozen where they stand, and thawed.
    Pause {
        /// Which.
        which: ContainerSelection,
    },
    /// A command before and one after; programs and arguments, no shell.
    Command {
        /// Before the read; may be empty.
        before: Vec<String>,
        /// After it, also when `before` failed, and again should this process have been killed: it must be safe to
        /// repeat. May be empty.
        after: Vec<String>,
        /// How long each may take before it is killed and counts as failed.
        timeout: Duration,
    },
}

impl Step {
    /// Stops these containers, which may take 60 s to end.
    #[must_use]
    pub fn stop(which: ContainerSelection) -> Self {
        Self::Stop { which, timeout: PATIENCE }
    }

    /// Pauses these containers.
    #[must_use]
    pub fn pause(which: ContainerSelection) -> Self {
        Self::Pause { which }
    }

    /// Runs these commands, each of which may take 60 s.
    #[must_use]
    pub fn command(before: Vec<String>, after: Vec<String>) -> Self {
        Self::Command { before, after, timeout: PATIENCE }
    }

    /// With another limit.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        match &mut self {
            Self::Stop { timeout, .. } | Self::Command { timeout, .. } => *timeout = limit,
            Self::Pause { .. } => {}
        }
        self
    }
}

/// Which containers are meant: those for which all that is given holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContainerSelection {
    /// The container's name.
    pub name: Option<String>,
    /// The Compose service.
    pub service: Option<String>,
    /// The Compose project.
    pub project: Option<String>,
    /// A label, `key` or `key=value`.
    pub label: Option<String>,
}

impl ContainerSelection {
    /// The container of this name.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// The containers of this Compose service.
    #[must_use]
    pub fn service(service: impl Into<String>) -> Self {
        Self { service: Some(service.into()), ..Self::default() }
    }

    /// Only those of this Compose project.
    #[must_use]
    pub fn of_project(mut self, project: impl Into<String>) -> Self {
        self.project = Some(project.into());
        self
    }

    /// Only those with this label.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// True when nothing is given: every container of the machine is never meant.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Display for ContainerSelection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts =
            [("name", &self.name), ("service", &self.service), ("project", &self.project), ("label", &self.label)];
        let given: Vec<String> = parts.iter().filter_map(|(k, v)| v.as_ref().map(|v| format!("{k} {v}"))).collect();
        f.write_str(&given.join(", "))
    }
}
