//! What the desk judges by.

use chrono::{DateTime, Utc};

use crate::{alerts::Subject, measure::Outage};

/// What is known at one moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Facts {
    /// The moment.
    pub now: DateTime<Utc>,
    /// The service as probes see it; alerts about it are judged by this.
    pub service: Subject,
    /// Whether users are served now; `None`: not known.
    pub served: Option<bool>,
    /// Whether anything looks at the service at all, in this process or another.
    pub watched: bool,
    /// The outage that goes on.
    pub outage: Option<Outage>,
    /// Runs that are not finished.
    pub live: Vec<Subject>,
    /// The newest recovery and the newest drill of each scenario that have ended.
    pub ended: Vec<Subject>,
    /// For the run that is under way: how many seconds are probably left until users are served.
    pub left_seconds: Option<f64>,
    /// The strictest recovery time objective: what an outage is held to before a run for it begins.
    pub strictest_rto: Option<std::time::Duration>,
}

impl Facts {
    /// Nothing is known but the time.
    #[must_use]
    pub fn at(now: DateTime<Utc>) -> Self {
        Self {
            now,
            service: Subject::service(Err("no probes are configured")),
            served: None,
            watched: false,
            outage: None,
            live: Vec::new(),
            ended: Vec::new(),
            left_seconds: None,
            strictest_rto: None,
        }
    }

    pub(super) fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.live.iter().chain(&self.ended)
    }
}
