//! Where the time comes from, so that tests never sleep.

use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};

/// The clock is looked at again at least this often while it is waited for: it may be set, and the machine may sleep.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Tells the wall-clock time, and waits for one.
#[async_trait]
pub trait Clock: Debug + Send + Sync + 'static {
    /// The time now, in UTC.
    fn now(&self) -> DateTime<Utc>;

    /// Returns once the clock shows `until` or a later time; at once when it does already. Follows a clock that is set
    /// meanwhile, within half a minute. Dropping the future ends the wait.
    async fn sleep_until(&self, until: DateTime<Utc>) {
        loop {
            let left = until - self.now();
            if left <= TimeDelta::zero() {
                return;
            }
            // Rounded up to the millisecond that timers count in: waking early would only mean waiting again.
            let left = left.to_std().unwrap_or_default() + Duration::from_millis(1);
            tokio::time::sleep(left.min(LOOK_AGAIN)).await;
        }
    }
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_when_the_clock_shows_its_time_and_not_before() {
        let until = SystemClock.now() + TimeDelta::milliseconds(20);
        SystemClock.sleep_until(until).await;
        assert!(SystemClock.now() >= until);
        // In the past: at once.
        SystemClock.sleep_until(until).await;
    }
}
