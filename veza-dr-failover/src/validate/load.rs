//! A load check: what is offered, and what must come of it.

use std::time::Duration;

use async_trait::async_trait;
use veza_dr_core::{Cx, Result, SecretString};

use super::{Check, Finding, Group, LoadFigures, load_run, suite::seconds};
use crate::reach::HttpAddress;

/// What is offered.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum LoadShape {
    /// So many requests, the next one as soon as one of the connections is free: what `ab -n 100 -c 10` does. A server
    /// that stalls is asked less while it does, so its latencies look better than what users would meet.
    Count {
        /// How many requests.
        requests: u64,
        /// Over how many connections.
        concurrency: u32,
    },
    /// So many requests a second whatever the answers do, as users arrive. Latencies count from the instant at which a
    /// request was due: one that had to wait for a free connection has waited.
    Rate {
        /// Requests a second.
        per_second: f64,
        /// For how long.
        lasting: Duration,
        /// Over how many connections at most.
        concurrency: u32,
    },
}

/// What must come of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadLimits {
    /// 95 of 100 answers must be as fast; absent: any.
    pub p95: Option<Duration>,
    /// 99 of 100 answers must be as fast; absent: any.
    pub p99: Option<Duration>,
    /// The share of requests, from 0 to 1, that may fail: no answer, or a status of 400 or more.
    pub errors: f64,
    /// The share of failures, of the last 50 or more, at which the run is ended early to spare the service.
    pub stop_at_errors: f64,
    /// How long one answer may take before it counts as none.
    pub timeout: Duration,
}

impl Default for LoadLimits {
    /// p95 within 1 s, p99 within 2 s, at most 1 % errors; ended early at 50 %; 10 s for an answer.
    fn default() -> Self {
        Self {
            p95: Some(Duration::from_secs(1)),
            p99: Some(Duration::from_secs(2)),
            errors: 0.01,
            stop_at_errors: 0.5,
            timeout: Duration::from_secs(10),
        }
    }
}

/// Offers load to one address. Never holds more connections than its shape names.
///
/// ```
/// use veza_dr_failover::{reach::HttpAddress, validate::{Check, LoadCheck, LoadShape}};
/// let users = HttpAddress::parse("http://localhost:8080/api/v1/users")?;
/// let ab = LoadCheck::new("load", users, LoadShape::Count { requests: 100, concurrency: 10 });
/// assert_eq!(ab.tolerance(), "100 requests over 10 connections: p95 1 s, p99 2 s, errors 1 %");
/// # Ok::<(), veza_dr_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct LoadCheck {
    pub(super) name: String,
    pub(super) address: HttpAddress,
    pub(super) shape: LoadShape,
    pub(super) limits: LoadLimits,
    pub(super) warm_up: u64,
    pub(super) token: Option<SecretString>,
}

impl LoadCheck {
    /// Offers this, within the default limits, after a warm-up of one request on each connection.
    #[must_use]
    pub fn new(name: impl Into<String>, address: HttpAddress, shape: LoadShape) -> Self {
        let (LoadShape::Count { concurrency, .. } | LoadShape::Rate { concurrency, .. }) = shape;
        let limits = LoadLimits::default();
        Self { name: name.into(), address, shape, limits, warm_up: concurrency.into(), token: None }
    }

    /// Other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: LoadLimits) -> Self {
        self.limits = limits;
        self
    }

    /// How many requests are sent before those that count.
    #[must_use]
    pub fn with_warm_up(mut self, requests: u64) -> Self {
        self.warm_up = requests;
        self
    }

    /// Sends this bearer token.
    #[must_use]
    pub fn with_token(mut self, token: SecretString) -> Self {
        self.token = Some(token);
        self
    }

    /// Offers the load and tells what came of it, whatever the limits say.
    ///
    /// # Errors
    /// `Config` when the shape asks for nothing; `NotFound` when the address does not resolve; `Cancelled`.
    pub async fn measure(&self, cx: &Cx) -> Result<LoadFigures> {
        load_run::run(cx, self).await
    }

    fn complaints(&self, seen: &LoadFigures) -> Vec<String> {
        let mut wrong: Vec<String> = seen.stopped.iter().cloned().collect();
        if seen.not_sent > 0 {
            wrong.push(format!("{} requests could not be sent in time", seen.not_sent));
        }
        if seen.error_share() > self.limits.errors {
            let kinds: Vec<String> = seen.errors.iter().map(|(kind, n)| format!("{n} × {kind}")).collect();
            wrong.push(format!("{} errors: {}", percent(seen.error_share()), kinds.join(", ")));
        }
        for (name, limit, measured) in [("p95", self.limits.p95, seen.p95), ("p99", self.limits.p99, seen.p99)] {
            match (limit, measured) {
                (Some(limit), Some(measured)) if measured > limit => {
                    wrong.push(format!("{name} is {}, {} are allowed", seconds(measured), seconds(limit)));
                }
                _ => {}
            }
        }
        if seen.answered == 0 {
            wrong.push("no request was answered".to_owned());
        }
        wrong
    }
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.2}", share * 100.0).trim_end_matches('0').trim_end_matches('.').to_owned() + " %"
}

#[async_trait]
impl Check for LoadCheck {
    fn name(&self) -> &str {
        &self.name
    }

    fn group(&self) -> Group {
        Group::Load
    }

    fn tolerance(&self) -> String {
        let offered = match self.shape {
            LoadShape::Count { requests, concurrency } => {
                format!("{requests} requests over {concurrency} connections")
            }
            LoadShape::Rate { per_second, lasting, concurrency } => {
                format!("{per_second} requests/s for {} over at most {concurrency} connections", seconds(lasting))
            }
        };
        let mut told = Vec::new();
        told.extend(self.limits.p95.map(|d| format!("p95 {}", seconds(d))));
        told.extend(self.limits.p99.map(|d| format!("p99 {}", seconds(d))));
        told.push(format!("errors {}", percent(self.limits.errors)));
        format!("{offered}: {}", told.join(", "))
    }

    fn deadline(&self) -> Duration {
        // The run ends by itself: it stops sending at the end of its time, and each answer has its own limit.
        let sending = match self.shape {
            LoadShape::Rate { lasting, .. } => lasting,
            LoadShape::Count { requests, concurrency } => {
                let rounds = requests.div_ceil(u64::from(concurrency.max(1)));
                self.limits.timeout.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX))
            }
        };
        let warm_up = self.limits.timeout.saturating_mul(2);
        sending.saturating_add(self.limits.timeout.saturating_mul(2)).saturating_add(warm_up)
    }

    async fn run(&self, cx: &Cx) -> Result<Finding> {
        let seen = self.measure(cx).await?;
        let wrong = self.complaints(&seen);
        let measured = seen.to_string();
        let found = if wrong.is_empty() { Finding::pass(measured) } else { Finding::fail(measured, wrong.join("; ")) };
        Ok(found.with_evidence(seen.evidence()))
    }
}
