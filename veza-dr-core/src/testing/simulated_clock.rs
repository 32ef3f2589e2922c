//! A clock that runs as fast as the program does: a week passes in the time that its work takes.

use std::{future::Future, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use crate::Clock;

/// A clock that stands still while anything runs and leaps to the next timer once everything waits for one.
///
/// It shows the paused time of a tokio runtime of one thread, so that every timer of the program under test takes part:
/// the daemon's, its retries', those of the servers it plays. Work on blocking threads (files) holds the clock; work
/// that waits for sockets does not, so a test under it must not use the network.
///
/// ```
/// use chrono::{TimeDelta, TimeZone, Utc};
/// use veza_dr_core::{Clock, testing::SimulatedClock};
/// let monday = Utc.with_ymd_and_hms(2026, 11, 23, 0, 0, 0).unwrap();
/// let slept = SimulatedClock::run(monday, |clock| async move {
///     clock.sleep_until(monday + TimeDelta::days(7)).await;
///     clock.now() - monday
/// });
/// assert_eq!(slept.num_days(), 7);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct SimulatedClock {
    start: DateTime<Utc>,
    began: Instant,
}

impl SimulatedClock {
    /// Runs `work` to its end, on a runtime of its own, with a clock that shows `start` at first.
    ///
    /// # Panics
    /// When the operating system gives no runtime.
    pub fn run<T, F: Future<Output = T>>(start: DateTime<Utc>, work: impl FnOnce(Self) -> F) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let runtime = runtime.unwrap_or_else(|e| panic!("no runtime for the simulation: {e}"));
        runtime.block_on(async { work(Self { start, began: Instant::now() }).await })
    }

    /// Waits for this long.
    pub async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> DateTime<Utc> {
        self.start + TimeDelta::from_std(self.began.elapsed()).unwrap_or(TimeDelta::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn sleepers_wake_in_the_order_of_their_times_and_blocking_work_holds_the_clock() {
        let start = DateTime::<Utc>::UNIX_EPOCH;
        let woken = Arc::new(Mutex::new(Vec::new()));
        let seen = woken.clone();
        SimulatedClock::run(start, |clock| async move {
            let sleepers = [50, 10, 30].map(|hours| {
                let seen = seen.clone();
                tokio::spawn(async move {
                    clock.sleep_until(start + TimeDelta::hours(hours)).await;
                    let before = clock.now();
                    tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(20))).await.unwrap();
                    assert_eq!(clock.now(), before);
                    seen.lock().unwrap().push((clock.now() - start).num_hours());
                })
            });
            for sleeper in sleepers {
                sleeper.await.unwrap();
            }
        });
        assert_eq!(*woken.lock().unwrap(), [10, 30, 50]);
    }
}
