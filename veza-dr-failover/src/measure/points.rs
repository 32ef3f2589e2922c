//! The clock points of a recovery.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// When each stage of a recovery was reached; `None` is not reached or not known, never zero. Written as `T0` to `T8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClockPoints {
    /// The outage began: the first bad probe after the last good one.
    #[serde(rename = "T0", default)]
    pub t0: Option<DateTime<Utc>>,
    /// It was detected.
    #[serde(rename = "T1", default)]
    pub t1: Option<DateTime<Utc>>,
    /// Somebody declared it.
    #[serde(rename = "T2", default)]
    pub t2: Option<DateTime<Utc>>,
    /// It was decided to recover.
    #[serde(rename = "T3", default)]
    pub t3: Option<DateTime<Utc>>,
    /// The first step began.
    #[serde(rename = "T4", default)]
    pub t4: Option<DateTime<Utc>>,
    /// What was recovered passed validation by its own address.
    #[serde(rename = "T5", default)]
    pub t5: Option<DateTime<Utc>>,
    /// Users are served.
    #[serde(rename = "T6", default)]
    pub t6: Option<DateTime<Utc>>,
    /// Redundancy is back: backups are made of what serves now.
    #[serde(rename = "T7", default)]
    pub t7: Option<DateTime<Utc>>,
    /// The way back is done.
    #[serde(rename = "T8", default)]
    pub t8: Option<DateTime<Utc>>,
}

impl ClockPoints {
    /// As the report of a run has them.
    #[must_use]
    pub fn of(points: &BTreeMap<&'static str, Option<DateTime<Utc>>>) -> Self {
        let at = |name: &str| points.get(name).copied().flatten();
        Self {
            t0: at("T0"),
            t1: at("T1"),
            t2: at("T2"),
            t3: at("T3"),
            t4: at("T4"),
            t5: at("T5"),
            t6: at("T6"),
            t7: at("T7"),
            t8: at("T8"),
        }
    }

    /// Each point with its name, in order.
    #[must_use]
    pub fn named(&self) -> [(&'static str, Option<DateTime<Utc>>); 9] {
        [
            ("T0", self.t0),
            ("T1", self.t1),
            ("T2", self.t2),
            ("T3", self.t3),
            ("T4", self.t4),
            ("T5", self.t5),
            ("T6", self.t6),
            ("T7", self.t7),
            ("T8", self.t8),
        ]
    }

    /// These points, and those of `other` where they are not known here.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            t0: self.t0.or(other.t0),
            t1: self.t1.or(other.t1),
            t2: self.t2.or(other.t2),
            t3: self.t3.or(other.t3),
            t4: self.t4.or(other.t4),
            t5: self.t5.or(other.t5),
            t6: self.t6.or(other.t6),
            t7: self.t7.or(other.t7),
            t8: self.t8.or(other.t8),
        }
    }

    /// The recovery time that counts: from the outage's beginning until users are served (T6 − T0).
    #[must_use]
    pub fn recovery_time(&self) -> Option<Duration> {
        between(self.t0, self.t6)
    }

    /// From the decision until users are served (T6 − T3).
    #[must_use]
    pub fn since_decision(&self) -> Option<Duration> {
        between(self.t3, self.t6)
    }

    /// From the first step until users are served (T6 − T4).
    #[must_use]
    pub fn since_plan(&self) -> Option<Duration> {
        between(self.t4, self.t6)
    }

    /// How long it took to notice (T1 − T0).
    #[must_use]
    pub fn time_to_detect(&self) -> Option<Duration> {
        between(self.t0, self.t1)
    }

    /// How long it took to decide (T3 − T1).
    #[must_use]
    pub fn time_to_decide(&self) -> Option<Duration> {
        between(self.t1, self.t3)
    }
}

/// `None` too when the clock was set back in between: that is no length of time.
fn between(from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>) -> Option<Duration> {
    (to? - from?).to_std().ok()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn what_is_not_known_gives_no_length_and_is_null() {
        let at = DateTime::UNIX_EPOCH + TimeDelta::hours(1);
        let points = ClockPoints { t3: Some(at), t6: Some(at + TimeDelta::minutes(90)), ..ClockPoints::default() };
        assert_eq!(points.recovery_time(), None);
        assert_eq!(points.since_decision(), Some(Duration::from_secs(5400)));
        let json = serde_json::to_value(points).unwrap();
        assert_eq!((json["T0"].is_null(), json["T3"].as_str()), (true, Some("1970-01-01T01:00:00Z")));
        assert_eq!(serde_json::from_value::<ClockPoints>(json).unwrap(), points);
        let back = ClockPoints { t0: Some(at), t6: Some(at - TimeDelta::seconds(1)), ..ClockPoints::default() };
        assert_eq!(back.recovery_time(), None);
    }
}
