//! When an outage begins and ends, told from ticks.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::bucket::Class;

/// What was seen longer ago says nothing of now.
const STALE: TimeDelta = TimeDelta::seconds(60);

/// A time in which users are not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Outage {
    /// The first bad probe after the last good one: T0.
    pub began: DateTime<Utc>,
    /// When it had lasted long enough to be called one: T1.
    pub detected: DateTime<Utc>,
}

/// Follows ticks in the order of their time.
#[derive(Debug)]
pub(super) struct Tracker {
    after: TimeDelta,
    good_in_a_row: u32,
    began: Option<DateTime<Utc>>,
    detected: Option<DateTime<Utc>>,
    good: u32,
    last: Option<(DateTime<Utc>, bool)>,
}

impl Default for Tracker {
    fn default() -> Self {
        Self::new(Duration::from_secs(30), 3)
    }
}

impl Tracker {
    pub(super) fn new(after: Duration, good_in_a_row: u32) -> Self {
        let after = TimeDelta::from_std(after).unwrap_or(TimeDelta::MAX);
        Self { after, good_in_a_row: good_in_a_row.max(1), began: None, detected: None, good: 0, last: None }
    }

    pub(super) fn see(&mut self, at: DateTime<Utc>, class: Class) {
        match class {
            Class::Blind => {}
            Class::Out => {
                self.good = 0;
                let began = *self.began.get_or_insert(at);
                if self.detected.is_none() && at - began >= self.after {
                    self.detected = Some(at);
                }
                self.last = Some((at, false));
            }
            Class::Served | Class::Degraded => {
                self.good = self.good.saturating_add(1);
                if self.good >= self.good_in_a_row {
                    (self.began, self.detected) = (None, None);
                }
                self.last = Some((at, true));
            }
        }
    }

    pub(super) fn current(&self) -> Option<Outage> {
        Some(Outage { began: self.began?, detected: self.detected? })
    }

    /// Not before enough good ones came in a row, and neither while a first bad one may be the beginning of an outage.
    pub(super) fn is_served(&self, now: DateTime<Utc>) -> Option<bool> {
        let (at, served) = self.last?;
        if now - at > STALE {
            return None;
        }
        match (self.detected, self.began, served) {
            (Some(_), ..) => Some(false),
            (None, None, true) if self.good >= self.good_in_a_row => Some(true),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_needs_time_to_be_one_and_good_probes_in_a_row_to_end() {
        let mut tracker = Tracker::new(Duration::from_secs(3), 2);
        let at = |n: i64| DateTime::UNIX_EPOCH + TimeDelta::seconds(n);
        let mut told = Vec::new();
        for (n, c) in "++--+--??--+-++".chars().enumerate() {
            let n = i64::try_from(n).unwrap();
            let class = match c {
                '+' => Class::Served,
                '-' => Class::Out,
                _ => Class::Blind,
            };
            tracker.see(at(n), class);
            told.push(tracker.current().map(|o| ((o.began - at(0)).num_seconds(), (o.detected - at(0)).num_seconds())));
        }
        // One good probe does not end what began at 2.
        assert_eq!(told[..5], [None; 5]);
        assert_eq!(told[5..14], [Some((2, 5)); 9]);
        assert_eq!((told[14], tracker.is_served(at(14))), (None, Some(true)));
        assert_eq!(tracker.is_served(at(200)), None, "too long ago");
    }
}
