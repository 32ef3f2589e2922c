//! The longest time between two runs of a schedule, over a whole year with its clock changes and short months.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};

use super::{Schedule, Zone};

/// Gaps are looked for no finer than this; shorter ones are told by the first day alone.
const FINEST: TimeDelta = TimeDelta::minutes(10);
/// As many runs of the first day are looked at.
const FIRST_DAY_RUNS: usize = 2000;

/// The longest time between two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorstGap {
    /// How long it is.
    pub gap: Duration,
    /// The run before it.
    pub from: DateTime<Utc>,
    /// The run after it.
    pub until: DateTime<Utc>,
}

impl Schedule {
    /// The longest time between two runs of which the former lies within a year of `start`; the earliest of several
    /// that are as long. `None` when there are no two runs.
    ///
    /// ```
    /// use veza_dr_backup::{Schedule, Zone};
    /// let nightly = Schedule::parse("0 3 * * *", "Europe/Paris".parse::<Zone>().unwrap()).unwrap();
    /// let worst = nightly.worst_gap("2026-01-01T00:00:00Z".parse().unwrap()).unwrap();
    /// // The night on which clocks go back has an hour more.
    /// assert_eq!(worst.gap.as_secs(), 25 * 3600);
    /// assert_eq!(worst.until.to_rfc3339(), "2026-10-25T02:00:00+00:00");
    /// ```
    #[must_use]
    pub fn worst_gap(&self, start: DateTime<Utc>) -> Option<WorstGap> {
        let end = start + TimeDelta::days(366);
        let mut run = self.next_after(start)?;
        let mut worst: Option<(TimeDelta, DateTime<Utc>, DateTime<Utc>)> = None;
        let mut see = |from: DateTime<Utc>, until: DateTime<Utc>| {
            if worst.is_none_or(|(gap, ..)| until - from > gap) {
                worst = Some((until - from, from, until));
            }
            worst.map_or(FINEST, |(gap, ..)| gap)
        };
        let mut longest = TimeDelta::zero();
        let mut day = run;
        for _ in 0..FIRST_DAY_RUNS {
            let next = self.next_after(day)?;
            longest = see(day, next);
            day = next;
            if day - run > TimeDelta::days(1) {
                break;
            }
        }
        while run < end {
            // A run in the second half of a stretch no longer than the longest gap: all gaps before it are shorter.
            let stretch = longest.max(FINEST);
            let ahead = self.next_after(run + stretch / 2)?;
            if ahead <= run + stretch {
                run = ahead;
                continue;
            }
            while run < ahead {
                let next = self.next_after(run)?;
                longest = see(run, next);
                run = next;
            }
        }
        let (gap, from, until) = worst?;
        Some(WorstGap { gap: gap.to_std().unwrap_or_default(), from, until })
    }
}

/// A jump of the wall's clocks over times that never were.
#[derive(Debug, Clone, Copy)]
pub(super) struct Jump {
    /// When.
    pub(super) at: DateTime<Utc>,
    /// The first time of the wall that was skipped.
    pub(super) from: NaiveDateTime,
    /// The first one after it.
    pub(super) to: NaiveDateTime,
}

/// The forward jumps after `from`, up to and including `until`.
pub(super) fn forward_jumps(zone: Zone, from: DateTime<Utc>, until: DateTime<Utc>) -> impl Iterator<Item = Jump> {
    // No zone changes its clocks there and back again within this time; longer stretches are looked at day by day.
    let step = TimeDelta::days(7);
    let mut at = from;
    std::iter::from_fn(move || {
        while at < until {
            let next = (at + step).min(until);
            let (before, after) = (zone.offset(at), zone.offset(next));
            let began = at;
            at = next;
            if after > before {
                return Some(jump(zone, began, next, before, after));
            }
        }
        None
    })
}

fn jump(zone: Zone, from: DateTime<Utc>, until: DateTime<Utc>, before: i32, after: i32) -> Jump {
    let (mut low, mut high) = (from.timestamp(), until.timestamp());
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let at = DateTime::from_timestamp(middle, 0).unwrap_or(from);
        if zone.offset(at) == before {
            low = middle;
        } else {
            high = middle;
        }
    }
    let at = DateTime::from_timestamp(high, 0).unwrap_or(until);
    let wall = |offset: i32| at.naive_utc() + TimeDelta::seconds(offset.into());
    Jump { at, from: wall(before), to: wall(after) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(text: &str, zone: &str) -> (u64, String) {
        let schedule = Schedule::parse(text, zone.parse().unwrap()).unwrap();
        let worst = schedule.worst_gap("2026-01-01T00:00:00Z".parse().unwrap()).unwrap();
        (worst.gap.as_secs(), worst.from.format("%m-%dT%H:%M").to_string())
    }

    #[test]
    fn clock_changes_and_months_count() {
        assert_eq!(worst("0 */6 * * *", "UTC"), (6 * 3600, "01-01T06:00".into()));
        // 00:00 to 06:00 on the day that has an hour more.
        assert_eq!(worst("0 */6 * * *", "Europe/Paris"), (7 * 3600, "10-24T22:00".into()));
        // An interval through the repeated hour stays one.
        assert_eq!(worst("0 */2 * * *", "Europe/Paris").0, 2 * 3600);
        assert_eq!(worst("0 0 31 * *", "UTC").0, 61 * 86400);
        assert_eq!(worst("0 0 29 2 *", "UTC").0, 1461 * 86400);
        assert_eq!(worst("0 9 * * mon-fri", "UTC").0, 3 * 86400);
    }

    #[test]
    fn dense_schedules_are_quick_and_their_holes_are_found() {
        assert_eq!(worst("* * * * * *", "UTC").0, 1);
        assert_eq!(worst("*/5 * * * *", "Europe/Paris").0, 300);
        let (gap, _) = worst("*/5 8-18 * * mon-fri", "UTC");
        assert_eq!(gap, 2 * 86400 + 13 * 3600 + 5 * 60);
        assert_eq!(worst("*/5 * 1-30 * *", "UTC").0, 86400 + 300);
    }
}
