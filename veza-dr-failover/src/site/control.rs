//! What can be asked of a site and done to it.

use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use veza_dr_core::{Cx, Health, Result};

/// One service of a site, as its container engine tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceState {
    /// The compose service.
    pub service: String,
    /// The container; absent when there is none.
    pub container: Option<String>,
    /// The engine's word for it: `running`, `exited`, `restarting`, `paused`, …; `absent` without a container.
    pub state: String,
    /// By its health check where it has one, else by whether it runs.
    pub health: Health,
    /// Exit code of its last end.
    pub exit_code: Option<i64>,
    /// How often the engine restarted it.
    pub restarts: u64,
    /// Since when it is in this state.
    pub since: Option<DateTime<Utc>>,
    /// The image, by digest where the engine knows one.
    pub image: Option<String>,
    /// Whether it ended by itself, with success, as a one-shot job does.
    pub finished: bool,
    /// Whether it was set apart: it is in a network that nothing leads to, so that it can be read and serves nobody.
    #[serde(default)]
    pub apart: bool,
}

impl ServiceState {
    /// A service without a container.
    #[must_use]
    pub fn absent(service: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            container: None,
            state: "absent".to_owned(),
            health: Health::Down,
            exit_code: None,
            restarts: 0,
            since: None,
            image: None,
            finished: false,
            apart: false,
        }
    }
}

/// Names a piece of work on a site, so that a cut connection can find it again: a job started twice under one name runs
/// once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Job(pub String);

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobResult {
    /// Its exit code.
    pub code: i32,
    /// The end of what it printed, both streams.
    pub output: String,
}

impl JobResult {
    /// A result.
    #[must_use]
    pub fn new(code: i32, output: impl Into<String>) -> Self {
        Self { code, output: output.into() }
    }
}

/// What can be asked of a site and done to it. All calls end by the context's deadline.
///
/// A site that cannot be reached is an `Unavailable` error, never an empty list of services.
#[async_trait]
pub trait SiteControl: Debug + Send + Sync + 'static {
    /// The site's name in the configuration.
    fn name(&self) -> &str;

    /// The address under which its services answer, whatever DNS says.
    fn address(&self) -> Option<&str>;

    /// Every service of the compose project with what it depends on, dependencies first.
    ///
    /// # Errors
    /// `Config` when the compose file is not valid; `Unavailable` when the site cannot be reached.
    async fn order(&self, cx: &Cx) -> Result<Vec<(String, Vec<String>)>>;

    /// The state of every service, dependencies first.
    ///
    /// # Errors
    /// `Unavailable` when the site or its container engine cannot be reached, `Denied` when it refuses us.
    async fn services(&self, cx: &Cx) -> Result<Vec<ServiceState>>;

    /// Creates and starts these services of the compose file with what they depend on (all when none is named). Returns
    /// once the command ended, which is before services are healthy.
    ///
    /// # Errors
    /// With [`Effect::Unknown`](veza_dr_core::Effect) when the connection was lost: call again with the same job.
    async fn up(&self, cx: &Cx, job: &Job, services: &[String]) -> Result<JobResult>;

    /// Stops and removes the project's containers and networks; never its volumes.
    ///
    /// # Errors
    /// As [`up`](Self::up).
    async fn down(&self, cx: &Cx, job: &Job, grace: Duration) -> Result<JobResult>;

    /// Stops these services (all when none is named), dependents first, each within `grace` before it is killed, and
    /// sees that they are stopped. Their restart policies no longer bring them back while the engine runs.
    ///
    /// # Errors
    /// As met; what was stopped stays stopped.
    async fn stop(&self, cx: &Cx, services: &[String], grace: Duration) -> Result<()>;

    /// Starts existing containers of these services (all when none is named), dependencies first.
    ///
    /// # Errors
    /// As met; what was started stays started.
    async fn start(&self, cx: &Cx, services: &[String]) -> Result<()>;

    /// Waits until each of these services (all when none is named) is healthy or has finished.
    ///
    /// # Errors
    /// `Unavailable` naming the ones that are not, with the end of their logs, when `within` has passed.
    async fn wait_healthy(&self, cx: &Cx, services: &[String], within: Duration) -> Result<Vec<ServiceState>>;

    /// The last `lines` lines that a service printed.
    ///
    /// # Errors
    /// `NotFound` when it has no container.
    async fn logs(&self, cx: &Cx, service: &str, lines: usize) -> Result<String>;

    /// Runs a shell command on the site's machine, detached under `job`, and waits for its end.
    ///
    /// # Errors
    /// As [`up`](Self::up). A command that fails is an `Ok` with its code.
    async fn run(&self, cx: &Cx, job: &Job, command: &str) -> Result<JobResult>;

    /// Marks the site as fenced by a run with this epoch, durably, on the site's machine: a start by hand or at boot
    /// through the wrapper refuses while a mark of a higher epoch than its own is there.
    ///
    /// # Errors
    /// `Conflict` when a mark of a higher epoch is there.
    async fn fence(&self, cx: &Cx, epoch: u64, reason: &str) -> Result<()>;

    /// The epoch of the fence mark, `None` when the site is not fenced.
    ///
    /// # Errors
    /// `Unavailable` when the site cannot be reached.
    async fn fenced(&self, cx: &Cx) -> Result<Option<u64>>;

    /// Lifts the fence.
    ///
    /// # Errors
    /// `Conflict` when a mark of a higher epoch than `epoch` is there.
    async fn unfence(&self, cx: &Cx, epoch: u64) -> Result<()>;
}
