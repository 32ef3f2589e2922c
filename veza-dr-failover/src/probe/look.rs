//! What all probes share: one look within a deadline, and the two ways in which it can end early.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant, SystemTime},
};

use chrono::Utc;
use veza_dr_core::{Cx, Error, ErrorKind, Health, Observation, Result};

/// How long a probe waits for its answer when nothing else is said.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What was seen, before it is stamped with its time.
#[derive(Debug)]
pub(super) struct Seen {
    health: Health,
    detail: String,
    reached: bool,
}

impl Seen {
    pub(super) fn healthy(detail: impl Into<String>) -> Self {
        Self { health: Health::Healthy, detail: detail.into(), reached: true }
    }

    pub(super) fn degraded(detail: impl Into<String>) -> Self {
        Self { health: Health::Degraded, detail: detail.into(), reached: true }
    }

    pub(super) fn down(detail: impl Into<String>) -> Self {
        Self { health: Health::Down, detail: detail.into(), reached: true }
    }

    /// Nothing came back at all.
    pub(super) fn silent(detail: impl Into<String>) -> Self {
        Self { health: Health::Down, detail: detail.into(), reached: false }
    }

    pub(super) fn of(health: Health, detail: String) -> Self {
        Self { health, detail, reached: true }
    }
}

/// Why a look ends before its last question.
#[derive(Debug)]
pub(super) enum Stop {
    /// Enough was seen.
    Seen(Seen),
    /// Nothing can be said.
    Cannot(Error),
}

impl From<Seen> for Stop {
    fn from(seen: Seen) -> Self {
        Self::Seen(seen)
    }
}

impl From<Error> for Stop {
    fn from(e: Error) -> Self {
        Self::Cannot(e)
    }
}

/// Whether the other side gave any sign of life, kept where it outlives a look that ran out of time.
#[derive(Debug, Default)]
pub(super) struct Contact(AtomicBool);

impl Contact {
    pub(super) fn made(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_made(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Looks once. Time that runs out is an observation: the service did not answer.
pub(super) async fn look(
    cx: &Cx,
    what: &str,
    patience: Duration,
    contact: &Contact,
    work: impl Future<Output = Result<Seen, Stop>>,
) -> Result<Observation> {
    cx.check(what)?;
    let began = Instant::now();
    let left = cx.deadline().map(|d| d.duration_since(SystemTime::now()).unwrap_or_default());
    let limit = left.map_or(patience, |left| left.min(patience));
    let ended = tokio::select! {
        biased;
        () = cx.token().cancelled() => return Err(Error::new(ErrorKind::Cancelled, format!("{what}: cancelled"))),
        ended = work => ended,
        () = tokio::time::sleep(limit) => Err(Stop::Seen(late(limit, contact))),
    };
    let seen = match ended {
        Ok(seen) | Err(Stop::Seen(seen)) => seen,
        Err(Stop::Cannot(e)) => return Err(e),
    };
    Ok(Observation::new(seen.health, seen.detail, Utc::now(), began.elapsed()).with_reached(seen.reached))
}

fn late(limit: Duration, contact: &Contact) -> Seen {
    let limit = limit.as_secs_f64();
    if contact.is_made() {
        Seen::down(format!("it can be reached and did not answer within {limit:.1} s"))
    } else {
        Seen::silent(format!("nothing came back within {limit:.1} s"))
    }
}
