//! The drill's stop-watch: wall clock for people, a clock that is never set for durations.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use veza_dr_core::{Clock, Outcome, SystemClock};

use super::model::{ClockPoint, TimelineEntry};

/// What happened when.
#[derive(Debug)]
pub(super) struct Chronicle {
    wall: DateTime<Utc>,
    since: Instant,
    points: Vec<(ClockPoint, Duration)>,
    pub(super) timeline: Vec<TimelineEntry>,
}

impl Chronicle {
    pub(super) fn begin() -> Self {
        Self { wall: SystemClock.now(), since: Instant::now(), points: Vec::new(), timeline: Vec::new() }
    }

    /// Now, as the start's wall clock and the time since tell it: it does not jump when the machine's clock is set.
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.at(self.since.elapsed())
    }

    fn at(&self, elapsed: Duration) -> DateTime<Utc> {
        self.wall + chrono::TimeDelta::from_std(elapsed).unwrap_or_default()
    }

    /// Notes a clock point.
    pub(super) fn point(&mut self, name: &str) -> DateTime<Utc> {
        let elapsed = self.since.elapsed();
        let at = self.at(elapsed);
        self.points.push((ClockPoint { point: name.to_owned(), at }, elapsed));
        at
    }

    /// Whether a point was reached.
    pub(super) fn has(&self, name: &str) -> bool {
        self.points.iter().any(|(p, _)| p.point == name)
    }

    /// Milliseconds between two points, when both were reached.
    pub(super) fn between(&self, from: &str, to: &str) -> Option<u64> {
        let of = |name: &str| self.points.iter().find(|(p, _)| p.point == name).map(|(_, d)| *d);
        Some(millis(of(to)?.checked_sub(of(from)?)?))
    }

    pub(super) fn points(&self) -> Vec<ClockPoint> {
        self.points.iter().map(|(p, _)| p.clone()).collect()
    }

    /// Notes something that took from `since` until now.
    pub(super) fn note(
        &mut self,
        what: impl Into<String>,
        outcome: Outcome,
        detail: impl Into<String>,
        since: Instant,
    ) -> TimelineEntry {
        let took_ms = millis(since.elapsed());
        let entry = TimelineEntry { at: self.now(), took_ms, what: what.into(), outcome, detail: detail.into() };
        self.timeline.push(entry.clone());
        entry
    }
}

pub(super) fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
