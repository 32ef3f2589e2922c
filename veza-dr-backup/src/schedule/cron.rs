//! A cron expression in a time zone, right on the days when clocks change.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Local, LocalResult, NaiveDateTime, TimeDelta, TimeZone, Timelike, Utc};
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use veza_dr_core::{Error, ErrorKind, Result};

use super::{Zone, fields::written_out};

/// When something runs: a cron expression of five fields (minute hour day month weekday), of six with seconds first,
/// or a nickname such as `@daily`, in a time zone.
///
/// On the days when clocks change:
/// - A time that the clocks skip runs at the instant they jump, once however many times were skipped.
/// - A time that the clocks show twice runs the first time only where the expression names its hour (`30 2 * * *`,
///   `0 2,14 * * *`), and both times where the hour is `*` or a step (`0 */2 * * *`), which means an interval: no two
///   runs are then further apart than on any other day.
///
/// ```
/// use veza_dr_backup::{Schedule, Zone};
/// let every_six_hours: Schedule = "0 */6 * * *".parse().unwrap();
/// let paris = Schedule::parse("30 2 * * *", "Europe/Paris".parse::<Zone>().unwrap()).unwrap();
/// // On this night clocks went from 02:00 to 03:00.
/// let after = "2026-03-28T12:00:00Z".parse().unwrap();
/// assert_eq!(paris.next_after(after).unwrap().to_rfc3339(), "2026-03-29T01:00:00+00:00");
/// let e = "0 25 * * *".parse::<Schedule>().unwrap_err();
/// assert_eq!(e.to_string(), "`0 25 * * *` is not a schedule: hour 25 is not between 0 and 23");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    cron: Cron,
    zone: Zone,
    /// The hour is a wildcard or a step.
    interval: bool,
}

impl Schedule {
    /// Reads an expression whose hours are told in `zone`.
    ///
    /// # Errors
    /// `Config` naming what is wrong, also for one that can never run (`0 0 30 2 *`).
    pub fn parse(text: &str, zone: Zone) -> Result<Self> {
        let bad = |why: String| {
            Error::new(ErrorKind::Config, format!("`{text}` is not a schedule: {why}"))
                .with_help("write minute hour day month weekday, such as 0 */6 * * * for every six hours")
        };
        let plain = written_out(text).map_err(bad)?;
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(&plain).map_err(|e| bad(e.to_string().trim_end_matches('.').to_owned()))?;
        let hour = plain.split(' ').rev().nth(3).unwrap_or_default();
        let interval = hour.contains(['*', '/']);
        let schedule = Self { text: text.trim().to_owned(), cron, zone, interval };
        // A leap day can be eight years away, and nothing that comes at all is further.
        let start = NaiveDateTime::default().and_utc();
        let comes = schedule.next_after(start);
        if comes.is_none() {
            return Err(Error::new(ErrorKind::Config, format!("`{text}` never runs: there is no such day"))
                .with_help("choose a day that the month has"));
        }
        Ok(schedule)
    }

    /// The expression, as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The zone that its hours are told in.
    #[must_use]
    pub fn zone(&self) -> Zone {
        self.zone
    }

    /// The same expression in another zone.
    #[must_use]
    pub fn in_zone(mut self, zone: Zone) -> Self {
        self.zone = zone;
        self
    }

    /// The first run after `after`, which itself does not count. `None` only beyond the years that calendars know.
    #[must_use]
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self.zone {
            Zone::Local => self.next_in(after, &Local),
            Zone::Named(zone) => self.next_in(after, &zone),
        }
    }

    /// The last run at or before `at`. `None` when there is none within ten years.
    #[must_use]
    pub fn last_at_or_before(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut back = TimeDelta::minutes(1);
        while back < TimeDelta::days(3653) {
            let mut last = None;
            let mut next = self.next_after(at - back);
            while let Some(run) = next.filter(|run| *run <= at) {
                last = Some(run);
                next = self.next_after(run);
            }
            if last.is_some() {
                return last;
            }
            back = back * 4;
        }
        None
    }

    /// How many runs lie after `from` and no later than `until`; counted up to `limit`.
    #[must_use]
    pub fn count_between(&self, from: DateTime<Utc>, until: DateTime<Utc>, limit: u32) -> u32 {
        let mut next = self.next_after(from);
        let mut count = 0;
        while let Some(run) = next.filter(|run| *run <= until && count < limit) {
            count += 1;
            next = self.next_after(run);
        }
        count
    }

    fn next_in<Z: TimeZone>(&self, after: DateTime<Utc>, zone: &Z) -> Option<DateTime<Utc>> {
        let after = after.with_nanosecond(0).unwrap_or(after);
        let mut from = after.with_timezone(zone);
        loop {
            let run = self.cron.find_next_occurrence(&from, false).ok()?;
            if !self.interval && is_second_showing(&run) {
                from = run;
                continue;
            }
            let run = run.to_utc();
            return Some(self.skipped_between(after, run).unwrap_or(run));
        }
    }

    /// The instant between `after` and `run` at which clocks jumped over a time of this schedule.
    fn skipped_between(&self, after: DateTime<Utc>, run: DateTime<Utc>) -> Option<DateTime<Utc>> {
        super::gap::forward_jumps(self.zone, after, run)
            .find(|jump| {
                let before = self.cron.find_next_occurrence(&(jump.from - TimeDelta::seconds(1)), false);
                jump.at > after && before.is_ok_and(|skipped| skipped < jump.to)
            })
            .map(|jump| jump.at)
    }
}

/// Whether the wall showed this time before, an hour ago.
fn is_second_showing<Z: TimeZone>(at: &DateTime<Z>) -> bool {
    match at.timezone().from_local_datetime(&at.naive_local()) {
        LocalResult::Ambiguous(first, _) => *at > first,
        _ => false,
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.zone)
    }
}

impl FromStr for Schedule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text, Zone::Local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paris(text: &str) -> Schedule {
        Schedule::parse(text, "Europe/Paris".parse().unwrap()).unwrap()
    }

    fn runs(schedule: &Schedule, from: &str, count: usize) -> Vec<String> {
        let mut at: DateTime<Utc> = from.parse().unwrap();
        let mut found = Vec::new();
        for _ in 0..count {
            at = schedule.next_after(at).unwrap();
            found.push(at.format("%m-%dT%H:%M").to_string());
        }
        found
    }

    #[test]
    fn a_skipped_time_runs_when_the_clocks_jump_and_only_once() {
        // 29 March 2026: 02:00 becomes 03:00, at 01:00 UTC.
        assert_eq!(
            runs(&paris("30 2 * * *"), "2026-03-28T00:00:00Z", 3),
            ["03-28T01:30", "03-29T01:00", "03-30T00:30"]
        );
        let six = runs(&paris("0 */2 * * *"), "2026-03-28T22:00:00Z", 4);
        assert_eq!(six, ["03-28T23:00", "03-29T01:00", "03-29T02:00", "03-29T04:00"]);
        let quarter = runs(&paris("*/15 * * * *"), "2026-03-29T00:40:00Z", 3);
        assert_eq!(quarter, ["03-29T00:45", "03-29T01:00", "03-29T01:15"]);
        let listed = runs(&paris("15,45 2,14 * * *"), "2026-03-28T23:00:00Z", 3);
        assert_eq!(listed, ["03-29T01:00", "03-29T12:15", "03-29T12:45"]);
    }

    #[test]
    fn a_repeated_time_runs_once_unless_it_is_an_interval() {
        // 25 October 2026: 03:00 becomes 02:00, at 01:00 UTC.
        assert_eq!(runs(&paris("30 2 * * *"), "2026-10-24T12:00:00Z", 2), ["10-25T00:30", "10-26T01:30"]);
        assert_eq!(runs(&paris("0 2,14 * * *"), "2026-10-24T20:00:00Z", 2), ["10-25T00:00", "10-25T13:00"]);
        let halves = runs(&paris("*/30 * * * *"), "2026-10-25T00:10:00Z", 4);
        assert_eq!(halves, ["10-25T00:30", "10-25T01:00", "10-25T01:30", "10-25T02:00"]);
        let twos = runs(&paris("0 */2 * * *"), "2026-10-24T23:00:00Z", 3);
        assert_eq!(twos, ["10-25T00:00", "10-25T01:00", "10-25T03:00"]);
    }

    #[test]
    fn the_last_run_is_found_from_any_moment() {
        let daily = paris("0 3 * * *");
        for at in ["2026-11-23T02:00:00Z", "2026-11-23T15:31:07Z", "2026-11-24T01:59:59Z"] {
            assert_eq!(daily.last_at_or_before(at.parse().unwrap()).unwrap().to_rfc3339(), "2026-11-23T02:00:00+00:00");
        }
        let leap = paris("0 0 29 2 *");
        let last = leap.last_at_or_before("2026-11-23T00:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(last.to_rfc3339(), "2024-02-28T23:00:00+00:00");
        let (from, until) = ("2026-11-20T00:00:00Z".parse().unwrap(), "2026-11-23T02:00:00Z".parse().unwrap());
        assert_eq!((daily.count_between(from, until, 99), daily.count_between(from, until, 2)), (4, 2));
    }

    #[test]
    fn what_cron_takes_is_taken() {
        for good in [
            "0 */6 * * *",
            "0 0 * * *",
            "5,35 8-18/2 * jan-MAR mon-fri",
            "30 0 3 * * ?",
            "0 0 L * *",
            "0 2 * * 5L",
            "0 2 * * 1#1",
            "0 2 15W * *",
            "@daily",
            "@midnight",
            "@Weekly",
            "0 0 * * 7",
        ] {
            assert!(good.parse::<Schedule>().is_ok(), "{good}: {:?}", good.parse::<Schedule>());
        }
    }

    #[test]
    fn what_would_never_run_or_means_nothing_is_named() {
        for (bad, why) in [
            ("", "it has 0 fields, not 5 (or 6 with seconds first)"),
            ("0 6 * *", "it has 4 fields, not 5 (or 6 with seconds first)"),
            ("60 * * * *", "minute 60 is not between 0 and 59"),
            ("0 0 0 * *", "day 0 is not between 1 and 31"),
            ("0 0 * * mo", "weekday `mo` is not a number"),
            ("*/0 * * * *", "minute step `0` is not between 1 and 59"),
            ("0 18-8 * * *", "hour range `18-8` runs backwards"),
            ("0 0 é * *", "day `é` is not a number"),
            ("0 0 * * éL", "weekday `é` is not a number"),
            ("5/15 * * * *", "minute `5/15` steps from a single value"),
        ] {
            let e = bad.parse::<Schedule>().unwrap_err();
            assert_eq!(e.to_string(), format!("`{bad}` is not a schedule: {why}"));
        }
        for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
            let e = never.parse::<Schedule>().unwrap_err();
            assert_eq!(e.to_string(), format!("`{never}` never runs: there is no such day"));
        }
    }
}
