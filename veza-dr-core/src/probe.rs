//! Asking a service how it is.

use std::{fmt::Debug, future::Future, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{Cx, Error, ErrorKind, Result};

/// What a probe saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Does what it should.
    Healthy,
    /// Answers, but not as it should.
    Degraded,
    /// Does not answer, or says that it is down.
    Down,
}

/// One look at one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Observation {
    /// What was seen.
    pub health: Health,
    /// The evidence, in words.
    pub detail: String,
    /// When.
    pub at: DateTime<Utc>,
    /// How long the answer took.
    pub latency: Duration,
    /// Whether anything at all came back from the machine asked. Where nothing did, it may be cut off from whoever
    /// looks rather than down.
    #[serde(default = "yes")]
    pub reached: bool,
}

fn yes() -> bool {
    true
}

impl Observation {
    /// An observation made at `at`.
    #[must_use]
    pub fn new(health: Health, detail: impl Into<String>, at: DateTime<Utc>, latency: Duration) -> Self {
        Self { health, detail: detail.into(), at, latency, reached: true }
    }

    /// The same, of a machine from which nothing came back.
    #[must_use]
    pub fn with_reached(mut self, reached: bool) -> Self {
        self.reached = reached;
        self
    }
}

/// Looks at one service. Unhealthy is `Ok`; `Err` means that it could not tell.
#[async_trait]
pub trait ServiceProbe: Debug + Send + Sync + 'static {
    /// The service's name.
    fn name(&self) -> &str;

    /// Looks once, without changing anything, within the context's deadline.
    ///
    /// # Errors
    /// Only when nothing can be said about the service: the probe itself could not run.
    async fn observe(&self, cx: &Cx) -> Result<Observation>;
}

/// Conveniences over any probe.
pub trait ServiceProbeExt: ServiceProbe {
    /// Looks every `interval` until the service is healthy.
    ///
    /// # Errors
    /// `Unavailable` with the last observation when `within` has passed; those of `observe` are looked past until then.
    fn wait_healthy(
        &self,
        cx: &Cx,
        within: Duration,
        interval: Duration,
    ) -> impl Future<Output = Result<Observation>> + Send {
        async move {
            let end = tokio::time::Instant::now() + within;
            loop {
                let last = cx.run("probe", self.observe(cx)).await;
                match last {
                    Ok(seen) if seen.health == Health::Healthy => return Ok(seen),
                    Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
                    _ if tokio::time::Instant::now() + interval <= end => tokio::time::sleep(interval).await,
                    Ok(seen) => {
                        let text = format!("{} is not healthy after {within:?}: {}", self.name(), seen.detail);
                        return Err(Error::new(ErrorKind::Unavailable, text));
                    }
                    Err(e) => {
                        let text = format!("{} could not be observed for {within:?}", self.name());
                        return Err(Error::new(ErrorKind::Unavailable, text).with_source(e));
                    }
                }
            }
        }
    }
}

impl<T: ServiceProbe + ?Sized> ServiceProbeExt for T {}
