//! Ten seconds of probes in 32 bytes, and how they add up.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Availability, prober::Outcome};

/// The length of a bucket, in seconds.
pub(super) const LENGTH: i64 = 10;

/// What a tick came to: the best that any vantage point saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Served,
    Degraded,
    Out,
    Blind,
}

impl Class {
    pub(super) fn of(outcomes: &[Outcome]) -> Self {
        let any = |wanted: &[Outcome]| outcomes.iter().any(|o| wanted.contains(o));
        if any(&[Outcome::Good]) {
            Self::Served
        } else if any(&[Outcome::Degraded]) {
            Self::Degraded
        } else if any(&[Outcome::Bad, Outcome::Missing]) {
            Self::Out
        } else {
            Self::Blind
        }
    }
}

/// Ten seconds. Counts of probes, then of ticks; gaps in milliseconds: the one that begins with the bucket, the one that
/// ends with it, the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "[u32; 14]", from = "[u32; 14]")]
pub(super) struct Bucket {
    /// Seconds since 1970, a multiple of [`LENGTH`].
    pub(super) at: u32,
    pub(super) every: u16,
    good: u16,
    degraded: u16,
    bad: u16,
    missing: u16,
    unknown: u16,
    ticks: u16,
    out: u16,
    slow: u16,
    blind: u16,
    lead: u16,
    trail: u16,
    longest: u16,
}

impl From<Bucket> for [u32; 14] {
    fn from(b: Bucket) -> Self {
        let rest = [
            b.every, b.good, b.degraded, b.bad, b.missing, b.unknown, b.ticks, b.out, b.slow, b.blind, b.lead, b.trail,
            b.longest,
        ];
        let mut all = [b.at; 14];
        for (to, from) in all[1..].iter_mut().zip(rest) {
            *to = u32::from(from);
        }
        all
    }
}

impl From<[u32; 14]> for Bucket {
    fn from(all: [u32; 14]) -> Self {
        let n = |at: usize| u16::try_from(all[at]).unwrap_or(u16::MAX);
        Self {
            at: all[0],
            every: n(1),
            good: n(2),
            degraded: n(3),
            bad: n(4),
            missing: n(5),
            unknown: n(6),
            ticks: n(7),
            out: n(8),
            slow: n(9),
            blind: n(10),
            lead: n(11),
            trail: n(12),
            longest: n(13),
        }
    }
}

impl Bucket {
    /// The bucket that an instant falls into; empty.
    pub(super) fn at(at: DateTime<Utc>, every: u16) -> Self {
        let start = at.timestamp().div_euclid(LENGTH) * LENGTH;
        Self { at: u32::try_from(start).unwrap_or(0), every, ..Self::default() }
    }

    pub(super) fn start(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(i64::from(self.at), 0).unwrap_or_default()
    }

    pub(super) fn end(&self) -> DateTime<Utc> {
        self.start() + chrono::TimeDelta::seconds(LENGTH)
    }

    pub(super) fn add(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            let n = match outcome {
                Outcome::Good => &mut self.good,
                Outcome::Degraded => &mut self.degraded,
                Outcome::Bad => &mut self.bad,
                Outcome::Missing => &mut self.missing,
                Outcome::Unknown => &mut self.unknown,
            };
            *n = n.saturating_add(1);
        }
        let pure = self.ticks == self.out + self.blind;
        self.ticks = self.ticks.saturating_add(1);
        match Class::of(outcomes) {
            Class::Out => {
                self.out = self.out.saturating_add(1);
                self.trail = self.trail.saturating_add(self.every);
                self.longest = self.longest.max(self.trail);
                if pure {
                    self.lead = self.trail;
                }
            }
            Class::Blind => self.blind = self.blind.saturating_add(1),
            class => {
                if class == Class::Degraded {
                    self.slow = self.slow.saturating_add(1);
                }
                self.trail = 0;
            }
        }
    }
}

/// Adds buckets up, in the order of their time.
#[derive(Debug)]
pub(super) struct Sum {
    all: Availability,
    run: u64,
    ends: Option<DateTime<Utc>>,
    longest: u64,
    milliseconds: [u64; 4],
}

impl Sum {
    pub(super) fn over(from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        Self { all: Availability::nothing(from, to), run: 0, ends: None, longest: 0, milliseconds: [0; 4] }
    }

    pub(super) fn add(&mut self, b: &Bucket) {
        let all = &mut self.all;
        all.good += u64::from(b.good);
        all.degraded += u64::from(b.degraded);
        all.bad += u64::from(b.bad);
        all.missing += u64::from(b.missing);
        all.unknown += u64::from(b.unknown);
        for (sum, ticks) in self.milliseconds.iter_mut().zip([b.ticks, b.out, b.slow, b.blind]) {
            *sum += u64::from(ticks) * u64::from(b.every);
        }
        // A gap goes on into the next bucket only where there is no hole between them.
        if self.ends != Some(b.start()) {
            self.run = 0;
        }
        self.longest = self.longest.max(self.run + u64::from(b.lead)).max(u64::from(b.longest));
        let whole = b.ticks == b.out + b.blind;
        self.run = if whole { self.run + u64::from(b.trail) } else { u64::from(b.trail) };
        self.ends = Some(b.end());
    }

    pub(super) fn end(mut self, vantage_points: Vec<String>) -> Availability {
        let seconds = |ms: u64| std::time::Duration::from_millis(ms).as_secs_f64();
        let [ticks, out, slow, blind] = self.milliseconds;
        let window = (self.all.to - self.all.from).as_seconds_f64().max(0.0);
        self.all.outage_seconds = seconds(out);
        self.all.longest_gap_seconds = seconds(self.longest);
        self.all.degraded_seconds = seconds(slow);
        self.all.unknown_seconds = seconds(blind) + (window - seconds(ticks)).max(0.0);
        self.all.vantage_points = vantage_points;
        self.all
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    const START: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn sum(text: &str) -> Availability {
        let mut buckets: Vec<Bucket> = Vec::new();
        for (n, c) in text.chars().enumerate() {
            let at = START + TimeDelta::seconds(i64::try_from(n).unwrap());
            if buckets.last().is_none_or(|b| b.end() <= at) {
                buckets.push(Bucket::at(at, 1000));
            }
            let outcome = match c {
                '+' => Outcome::Good,
                '~' => Outcome::Degraded,
                '-' => Outcome::Bad,
                '.' => Outcome::Missing,
                _ => Outcome::Unknown,
            };
            buckets.last_mut().unwrap().add(&[outcome]);
        }
        let mut sum = Sum::over(START, START + TimeDelta::seconds(i64::try_from(text.len()).unwrap()));
        for bucket in &buckets {
            let packed: [u32; 14] = (*bucket).into();
            assert_eq!(Bucket::from(packed), *bucket);
            sum.add(bucket);
        }
        sum.end(Vec::new())
    }

    #[test]
    fn gaps_go_on_across_buckets_and_what_is_unknown_neither_ends_nor_lengthens_them() {
        let seen = sum("+++++++---" /* 10 */);
        assert_eq!((seen.outage_seconds, seen.longest_gap_seconds), (3.0, 3.0));
        let seen = sum("++++++++--..........-+-++~");
        assert_eq!((seen.outage_seconds, seen.longest_gap_seconds, seen.degraded_seconds), (14.0, 13.0, 1.0));
        assert_eq!((seen.missing, seen.bad), (10, 4));
        let seen = sum("--?????????---------------++");
        assert_eq!((seen.longest_gap_seconds, seen.unknown_seconds, seen.unknown), (17.0, 9.0, 9));
        assert_eq!(seen.percent().map(|p| p.round()), Some(11.0));
    }
}
