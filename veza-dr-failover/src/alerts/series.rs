//! One alert about one subject, through time.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{AlertRule, OnMissing, Verdict};

/// How far one alert about one subject is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
#[non_exhaustive]
pub enum SeriesState {
    /// Its condition does not hold.
    #[default]
    Quiet,
    /// It holds, not yet for long enough.
    Pending {
        /// Since when.
        since: DateTime<Utc>,
    },
    /// It cannot be told, not yet for long enough.
    Unsure {
        /// Since when.
        since: DateTime<Utc>,
    },
    /// The alarm is raised.
    Firing,
    /// That it cannot be told was told.
    Missing,
    /// Somebody took note: it is not told again.
    Noted,
}

/// What one look changes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Nothing.
    None,
    /// Only how long something has held: to be remembered, not told.
    Quietly(SeriesState),
    /// The alarm is raised.
    Fires,
    /// It cannot be told, for this reason.
    CannotTell(String),
    /// What was told before is over.
    Ends,
}

impl SeriesState {
    /// What a verdict changes. A verdict that is still open changes nothing.
    #[must_use]
    pub fn look(&self, rule: &AlertRule, verdict: &Verdict, now: DateTime<Utc>) -> Change {
        let hold = TimeDelta::from_std(rule.hold).unwrap_or(TimeDelta::MAX);
        let held = |since: DateTime<Utc>| now - since >= hold;
        let verdict = match (verdict, rule.on_missing) {
            (Verdict::Missing(_), OnMissing::Fire) => &Verdict::True,
            (Verdict::Missing(_), OnMissing::Ignore) => &Verdict::Open,
            (verdict, _) => verdict,
        };
        match (self, verdict) {
            (Self::Noted, Verdict::False) => Change::Quietly(Self::Quiet),
            (Self::Noted, _) => Change::None,
            (_, Verdict::Open) | (Self::Firing, Verdict::True | Verdict::Missing(_)) => Change::None,
            (Self::Missing, Verdict::Missing(_)) => Change::None,
            (Self::Firing | Self::Missing, Verdict::False) => Change::Ends,
            (Self::Quiet, Verdict::False) => Change::None,
            (Self::Pending { .. } | Self::Unsure { .. }, Verdict::False) => Change::Quietly(Self::Quiet),
            (Self::Pending { since }, Verdict::True) if held(*since) => Change::Fires,
            (Self::Pending { .. }, Verdict::True) => Change::None,
            (Self::Quiet | Self::Missing | Self::Unsure { .. }, Verdict::True) if hold.is_zero() => Change::Fires,
            // What was told to be missing stays told until something else is.
            (Self::Missing, Verdict::True) => Change::Fires,
            (Self::Quiet | Self::Unsure { .. }, Verdict::True) => Change::Quietly(Self::Pending { since: now }),
            (Self::Unsure { since }, Verdict::Missing(why)) if held(*since) => Change::CannotTell(why.clone()),
            (Self::Unsure { .. }, Verdict::Missing(_)) => Change::None,
            (Self::Quiet | Self::Pending { .. }, Verdict::Missing(why)) if hold.is_zero() => {
                Change::CannotTell(why.clone())
            }
            (Self::Quiet | Self::Pending { .. }, Verdict::Missing(_)) => Change::Quietly(Self::Unsure { since: now }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use veza_dr_core::Severity;

    use super::*;

    /// What is told at each minute of these verdicts.
    fn told(rule: &AlertRule, verdicts: &str) -> String {
        let mut state = SeriesState::default();
        let mut told = String::new();
        for (minute, c) in verdicts.chars().enumerate() {
            let now = DateTime::UNIX_EPOCH + TimeDelta::minutes(i64::try_from(minute).unwrap());
            let verdict = match c {
                '1' => Verdict::True,
                '0' => Verdict::False,
                '?' => Verdict::Missing("not measured".to_owned()),
                _ => Verdict::Open,
            };
            let (next, c) = match state.look(rule, &verdict, now) {
                Change::None => (state, '.'),
                Change::Quietly(next) => (next, '.'),
                Change::Fires => (SeriesState::Firing, 'F'),
                Change::CannotTell(_) => (SeriesState::Missing, 'M'),
                Change::Ends => (SeriesState::Quiet, 'E'),
            };
            state = next;
            told.push(c);
        }
        told
    }

    #[test]
    fn each_alarm_is_raised_once_and_ends_once() {
        let rule = AlertRule::new("a", "data_loss > 0".parse().unwrap(), Severity::High);
        assert_eq!(told(&rule, "0011_1100110"), "..F....E.F.E");
        assert_eq!(told(&rule, "??0?1?0"), "M.EMF.E");
        let held = rule.clone().held_for(Duration::from_secs(120));
        assert_eq!(told(&held, "1011_1110"), ".....F..E");
        assert_eq!(told(&held, "????0"), "..M.E");
        let strict = rule.clone().on_missing(OnMissing::Fire);
        assert_eq!(told(&strict, "?0"), "FE");
        let deaf = rule.on_missing(OnMissing::Ignore);
        assert_eq!(told(&deaf, "?10?"), ".FE.");
    }
}
