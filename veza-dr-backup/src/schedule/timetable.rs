//! A schedule with what goes with it: jitter, and whether a missed run is made up for.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};

use super::Schedule;

/// When a component's backups begin.
///
/// Jitter delays each run by a time that is random to others and always the same for one run: components with the same
/// run and the same jitter still begin together, as one recovery point, while machines of different seeds do not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timetable {
    /// When.
    pub schedule: Schedule,
    /// How much later at most.
    pub jitter: Duration,
    /// Whether a run that was missed is made up for as soon as possible, once.
    pub catch_up: bool,
    seed: String,
}

impl Timetable {
    /// On the dot, missed runs made up for.
    #[must_use]
    pub fn new(schedule: Schedule) -> Self {
        Self { schedule, jitter: Duration::ZERO, catch_up: true, seed: String::new() }
    }

    /// With up to `most` of delay; `seed` tells this machine from others: its name, say.
    #[must_use]
    pub fn with_jitter(mut self, most: Duration, seed: impl Into<String>) -> Self {
        self.jitter = most;
        self.seed = seed.into();
        self
    }

    /// Whether missed runs are made up for.
    #[must_use]
    pub fn with_catch_up(mut self, catch_up: bool) -> Self {
        self.catch_up = catch_up;
        self
    }

    /// When the run that is due at `run` begins: never as late as the run after it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use veza_dr_backup::Timetable;
    /// let table = Timetable::new("0 * * * *".parse().unwrap()).with_jitter(Duration::from_secs(600), "db1");
    /// let run = "2026-11-23T10:00:00Z".parse().unwrap();
    /// let late = table.begins(run) - run;
    /// assert!((0..=600).contains(&late.num_seconds()));
    /// assert_eq!(table.begins(run) - run, late);
    /// ```
    #[must_use]
    pub fn begins(&self, run: DateTime<Utc>) -> DateTime<Utc> {
        let most = u64::try_from(self.jitter.as_millis()).unwrap_or(u64::MAX);
        if most == 0 {
            return run;
        }
        let mut hash = Sha256::new();
        hash.update(self.seed.as_bytes());
        hash.update(run.timestamp().to_be_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hash.finalize()[..8]);
        let late = i64::try_from(u64::from_be_bytes(first) % (most.saturating_add(1))).unwrap_or(i64::MAX);
        let late = TimeDelta::try_milliseconds(late).unwrap_or(TimeDelta::MAX);
        let begins = run.checked_add_signed(late).unwrap_or(DateTime::<Utc>::MAX_UTC);
        match self.schedule.next_after(run) {
            Some(next) => begins.min(next - TimeDelta::seconds(1)).max(run),
            None => begins,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_spread_differ_by_seed_and_never_reach_the_next_run() {
        let hour = Duration::from_secs(3600);
        let table = |seed: &str| Timetable::new("* * * * *".parse().unwrap()).with_jitter(hour, seed);
        let run = |n: i64| DateTime::from_timestamp(1_800_000_000 + n * 60, 0).unwrap();
        assert!((0..500).all(|n| table("a").begins(run(n)) < run(n + 1)));
        let slow = |seed: &str| Timetable::new("0 0 * * *".parse().unwrap()).with_jitter(hour, seed);
        let late: Vec<i64> =
            (0..200).map(|n| (slow("a").begins(run(n * 1440)) - run(n * 1440)).num_minutes()).collect();
        assert!(late.iter().any(|m| *m < 10) && late.iter().any(|m| *m > 50) && late.iter().all(|m| *m <= 60));
        assert!((0..200).any(|n| slow("a").begins(run(n * 1440)) != slow("b").begins(run(n * 1440))));
    }
}
