//! How available the service was in a window of time.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What probes at a fixed rate saw in a window. A probe that was due and was not made counts as bad, unless no vantage
/// point could see anything: then that time is unknown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Availability {
    /// The window begins.
    pub from: DateTime<Utc>,
    /// It ends.
    pub to: DateTime<Utc>,
    /// Who looked.
    #[serde(default)]
    pub vantage_points: Vec<String>,
    /// Probes answered as they should be.
    pub good: u64,
    /// Probes answered, but not as they should be.
    pub degraded: u64,
    /// Probes not answered in time, or with a failure.
    pub bad: u64,
    /// Probes that were due and could not be made: bad too.
    pub missing: u64,
    /// Probes by a vantage point that could see nothing at all: neither good nor bad.
    pub unknown: u64,
    /// How long no vantage point was served.
    pub outage_seconds: f64,
    /// The longest time in a row of that.
    pub longest_gap_seconds: f64,
    /// How long answers came, but not as they should.
    pub degraded_seconds: f64,
    /// How long nobody could tell: blind, asleep, or not running.
    pub unknown_seconds: f64,
}

impl Availability {
    /// A window of which nothing is known.
    #[must_use]
    pub fn nothing(from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        Self {
            from,
            to,
            vantage_points: Vec::new(),
            good: 0,
            degraded: 0,
            bad: 0,
            missing: 0,
            unknown: 0,
            outage_seconds: 0.0,
            longest_gap_seconds: 0.0,
            degraded_seconds: 0.0,
            unknown_seconds: (to - from).as_seconds_f64().max(0.0),
        }
    }

    /// Probes that count.
    #[must_use]
    pub fn counted(&self) -> u64 {
        self.good + self.degraded + self.bad + self.missing
    }

    /// Good probes of a hundred; `None` when none counts.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share; beyond 2^53 probes one no longer counts")]
    pub fn percent(&self) -> Option<f64> {
        let counted = self.counted();
        (counted > 0).then(|| self.good as f64 * 100.0 / counted as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_is_bad_and_unknown_is_neither() {
        let mut seen = Availability::nothing(DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH);
        assert_eq!(seen.percent(), None);
        (seen.good, seen.missing, seen.unknown) = (3, 1, 96);
        assert_eq!(seen.percent(), Some(75.0));
    }
}
