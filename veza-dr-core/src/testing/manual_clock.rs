//! A clock that moves when told to.

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;

use crate::Clock;

/// A clock for tests; clones show the same time.
///
/// ```
/// use chrono::TimeDelta;
/// use veza_dr_core::{Clock, testing::ManualClock};
/// let clock = ManualClock::default();
/// let before = clock.now();
/// clock.advance(TimeDelta::hours(2));
/// assert_eq!(clock.now() - before, TimeDelta::hours(2));
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock(watch::Sender<DateTime<Utc>>);

impl ManualClock {
    /// A clock that stands at `time`.
    #[must_use]
    pub fn at(time: DateTime<Utc>) -> Self {
        Self(watch::Sender::new(time))
    }

    /// Moves the clock, backwards when `by` is negative.
    pub fn advance(&self, by: TimeDelta) {
        self.0.send_modify(|now| *now += by);
    }

    /// Puts the clock at `time`.
    pub fn set(&self, time: DateTime<Utc>) {
        self.0.send_replace(time);
    }
}

impl Default for ManualClock {
    /// Stands at the machine's time now.
    fn default() -> Self {
        Self::at(Utc::now())
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.borrow()
    }

    async fn sleep_until(&self, until: DateTime<Utc>) {
        // The sender lives as long as `self`.
        let _ = self.0.subscribe().wait_for(|now| *now >= until).await;
    }
}
