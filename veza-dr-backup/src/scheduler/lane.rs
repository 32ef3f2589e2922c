//! One component's place in the scheduler: what it is doing, and what comes next.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};

use super::component::ScheduledComponent;

/// While another run holds the component: the first look, and the longest time between two.
const HELD: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(300));
/// More missed runs than this are not counted.
pub(super) const COUNTED: u32 = 10_000;

/// A run of the schedule and when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) due: DateTime<Utc>,
    pub(super) begins: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Nothing,
    Running { run: Option<DateTime<Utc>>, attempt: u32, held: u32 },
    Waiting { run: Option<DateTime<Utc>>, attempt: u32, held: u32, until: DateTime<Utc> },
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) component: Arc<ScheduledComponent>,
    pub(super) next: Option<Run>,
    pub(super) doing: Doing,
}

impl Lane {
    pub(super) fn new(component: ScheduledComponent) -> Self {
        Self { component: Arc::new(component), next: None, doing: Doing::Nothing }
    }

    /// The run that is due at `due`.
    pub(super) fn run_at(&self, due: DateTime<Utc>) -> Option<Run> {
        let table = self.component.timetable.as_ref()?;
        Some(Run { due, begins: table.begins(due) })
    }

    /// The first run due after `at`.
    pub(super) fn run_after(&self, at: DateTime<Utc>) -> Option<Run> {
        self.run_at(self.component.timetable.as_ref()?.schedule.next_after(at)?)
    }

    /// The newest run that should have begun by `now`.
    pub(super) fn run_before(&self, now: DateTime<Utc>) -> Option<Run> {
        let schedule = &self.component.timetable.as_ref()?.schedule;
        let last = self.run_at(schedule.last_at_or_before(now)?)?;
        if last.begins <= now {
            return Some(last);
        }
        self.run_at(schedule.last_at_or_before(last.due - TimeDelta::seconds(1))?)
    }

    /// How many runs were due after `from`, up to and including `until`.
    pub(super) fn runs_between(&self, from: DateTime<Utc>, until: DateTime<Utc>) -> u32 {
        self.component.timetable.as_ref().map_or(0, |t| t.schedule.count_between(from, until, COUNTED))
    }

    /// When something must be done about it without anybody saying so.
    pub(super) fn wakes(&self) -> Option<DateTime<Utc>> {
        let next = self.next.map(|n| n.begins);
        match self.doing {
            Doing::Waiting { until, .. } => Some(next.map_or(until, |n| n.min(until))),
            _ => next,
        }
    }

    /// The clock was set back to `now`: what was worked out by the time before lies too far ahead.
    pub(super) fn set_back(&mut self, now: DateTime<Utc>) {
        self.next = self.run_after(now);
        if let Doing::Waiting { attempt, until, .. } = &mut self.doing {
            let pause = TimeDelta::from_std(self.component.retries.pause(*attempt)).unwrap_or_default();
            *until = (*until).min(now + pause);
        }
    }

    /// `now + pause`, if that is before the next run begins.
    pub(super) fn before_next(&self, now: DateTime<Utc>, pause: Duration) -> Option<DateTime<Utc>> {
        let at = now.checked_add_signed(TimeDelta::from_std(pause).ok()?)?;
        self.next.is_none_or(|n| at < n.begins).then_some(at)
    }
}

/// How long to wait before looking again whether another run is done.
pub(super) fn held_pause(held: u32) -> Duration {
    HELD.0.saturating_mul(1u32.checked_shl(held).unwrap_or(u32::MAX)).min(HELD.1)
}
