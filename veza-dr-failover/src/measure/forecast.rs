//! How long a recovery will take, told from those before.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::RecoveryRecord;
use crate::runbook::{Plan, Prediction, RunReport, StepStatus};

/// A length of time as it is half of the times, and as it is at most 95 times of 100.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Span {
    /// Half of the times it took no longer.
    pub p50_seconds: f64,
    /// 95 of 100 times it took no longer.
    pub p95_seconds: f64,
    /// What it is known from: of several steps the least that one of them was seen.
    pub samples: usize,
}

/// How long a plan will take until users are served.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Forecast {
    /// The plan.
    pub plan: String,
    /// From the first step until users are served: the slowest way through the steps. `None` while a step on the way
    /// was never seen.
    pub steps: Option<Span>,
    /// The steps that were never seen: how long they take is not known.
    pub unseen: Vec<String>,
    /// The recovery times (T6 − T0) of the recoveries and drills of this plan themselves; `None` without any.
    pub whole: Option<Span>,
}

impl Forecast {
    /// The longer of what the steps and the past recoveries say; `None` when neither is known.
    #[must_use]
    pub fn recovery_time(&self) -> Option<Span> {
        match (self.steps, self.whole) {
            (Some(a), Some(b)) => Some(if b.p95_seconds >= a.p95_seconds { b } else { a }),
            (a, b) => a.or(b),
        }
    }
}

/// For each step of a plan that was done in these recoveries and drills: how long it took. A step that is not here was
/// never seen.
#[must_use]
pub fn predictions_of(records: &[RecoveryRecord], plan: &str) -> BTreeMap<String, Prediction> {
    let mut seen: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for step in records.iter().filter(|r| r.plan == plan).flat_map(|r| &r.steps) {
        if let Some(took) = step.took() {
            seen.entry(&step.id).or_default().push(took);
        }
    }
    seen.into_iter().filter_map(|(id, took)| Some((id.to_owned(), Prediction::of(took)?))).collect()
}

/// How long a plan will take: by how long its steps took, and by how long those recoveries took as a whole.
#[must_use]
pub fn forecast(plan: &Plan, known: &BTreeMap<String, Prediction>, records: &[RecoveryRecord]) -> Forecast {
    let path = Path::of(plan);
    let unseen = path.steps.iter().filter(|id| !known.contains_key(**id)).map(|id| (*id).to_owned()).collect();
    let whole = records.iter().filter(|r| r.plan == plan.name).filter_map(|r| r.points.recovery_time()).collect();
    Forecast { plan: plan.name.clone(), steps: path.span(known, &|_| Left::All), unseen, whole: span_of(whole) }
}

/// When users will be served again, for a run that is under way: the time left by half of the past runs and by 95 of 100.
/// `None` when they are served already, or when a step that is still to come was never seen.
#[must_use]
pub fn eta(plan: &Plan, report: &RunReport, known: &BTreeMap<String, Prediction>, now: DateTime<Utc>) -> Option<Span> {
    if report.points.get("T6").copied().flatten().is_some() {
        return None;
    }
    let left = |id: &str| {
        let Some(step) = report.steps.iter().find(|s| s.id == id) else { return Left::All };
        match (step.status, step.began) {
            (StepStatus::Done | StepStatus::Skipped, _) => Left::Nothing,
            (StepStatus::Started, Some(began)) => Left::AllBut((now - began).to_std().unwrap_or_default()),
            _ => Left::All,
        }
    };
    Path::of(plan).span(known, &left)
}

/// How much of a step is still to do.
enum Left {
    Nothing,
    All,
    AllBut(Duration),
}

/// The steps up to the one that serves users; the whole plan where none says so.
struct Path<'a> {
    plan: &'a Plan,
    steps: BTreeSet<&'a str>,
    ends: Vec<&'a str>,
}

impl<'a> Path<'a> {
    fn of(plan: &'a Plan) -> Self {
        let marked = plan.steps.iter().filter(|s| matches!(s.marks.as_deref(), Some("T6" | "T8")));
        let mut ends: Vec<&str> = marked.map(|s| s.id.as_str()).collect();
        if ends.is_empty() {
            ends = plan.steps.iter().map(|s| s.id.as_str()).collect();
        }
        let (mut steps, mut open) = (BTreeSet::new(), ends.clone());
        while let Some(id) = open.pop() {
            if steps.insert(id)
                && let Some(step) = plan.step(id)
            {
                open.extend(step.needs.iter().map(String::as_str));
            }
        }
        Self { plan, steps, ends }
    }

    fn span(&self, known: &BTreeMap<String, Prediction>, left: &dyn Fn(&str) -> Left) -> Option<Span> {
        let mut samples = usize::MAX;
        let mut takes: BTreeMap<&str, (Duration, Duration)> = BTreeMap::new();
        for id in &self.steps {
            let some = match left(id) {
                Left::Nothing => (Duration::ZERO, Duration::ZERO),
                rest => {
                    let seen = known.get(*id)?;
                    samples = samples.min(seen.samples);
                    match rest {
                        Left::AllBut(gone) => (seen.p50.saturating_sub(gone), seen.p95.saturating_sub(gone)),
                        _ => (seen.p50, seen.p95),
                    }
                }
            };
            takes.insert(id, some);
        }
        let mut done = BTreeMap::new();
        let ends = self.ends.iter().map(|id| self.slowest(id, &takes, &mut done, 0));
        let (p50, p95) = ends.fold((Duration::ZERO, Duration::ZERO), |all, one| (all.0.max(one.0), all.1.max(one.1)));
        let samples = if samples == usize::MAX { 0 } else { samples };
        Some(Span { p50_seconds: p50.as_secs_f64(), p95_seconds: p95.as_secs_f64(), samples })
    }

    /// The slowest way to the end of a step.
    fn slowest(
        &self,
        id: &'a str,
        takes: &BTreeMap<&str, (Duration, Duration)>,
        done: &mut BTreeMap<&'a str, (Duration, Duration)>,
        depth: usize,
    ) -> (Duration, Duration) {
        if let Some(known) = done.get(id) {
            return *known;
        }
        let own = takes.get(id).copied().unwrap_or_default();
        let needs = self.plan.step(id).map(|s| s.needs.as_slice()).unwrap_or_default();
        let mut before = (Duration::ZERO, Duration::ZERO);
        // A plan whose steps need each other in a circle is refused elsewhere; here it must only come to an end.
        for need in needs.iter().filter(|_| depth <= self.plan.steps.len()) {
            let one = self.slowest(need, takes, done, depth + 1);
            before = (before.0.max(one.0), before.1.max(one.1));
        }
        let all = (before.0 + own.0, before.1 + own.1);
        done.insert(id, all);
        all
    }
}

fn span_of(took: Vec<Duration>) -> Option<Span> {
    let p = Prediction::of(took)?;
    Some(Span { p50_seconds: p.p50.as_secs_f64(), p95_seconds: p.p95.as_secs_f64(), samples: p.samples })
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::{super::StepTime, super::record::tests::record, *};
    use crate::runbook::Step;

    fn step(id: &str, seconds: i64) -> StepTime {
        let began = DateTime::UNIX_EPOCH;
        StepTime {
            id: id.to_owned(),
            status: StepStatus::Done,
            attempts: 1,
            began: Some(began),
            ended: Some(began + TimeDelta::seconds(seconds)),
            recovered: false,
        }
    }

    fn plan() -> Plan {
        Plan::new("p")
            .with_step(Step::new("fence", "note"))
            .with_step(Step::new("check", "note"))
            .with_step(Step::new("start", "note").after(["fence", "check"]))
            .with_step(Step::new("switch", "note").after(["start"]).marking("T6"))
            .with_step(Step::new("backup", "note").after(["switch"]).marking("T7"))
    }

    #[test]
    fn the_slowest_way_to_the_users_counts_and_what_comes_after_does_not() {
        let mut r = record("a", "p", 30);
        r.steps = vec![step("fence", 10), step("check", 60), step("start", 100), step("switch", 30)];
        let known = predictions_of(&[r.clone()], "p");
        let told = forecast(&plan(), &known, &[r]);
        assert_eq!(told.steps, Some(Span { p50_seconds: 190.0, p95_seconds: 190.0, samples: 1 }));
        assert_eq!((told.unseen.len(), told.whole.unwrap().p50_seconds), (0, 1800.0));
        assert_eq!(told.recovery_time().unwrap().p95_seconds, 1800.0);
    }

    #[test]
    fn one_step_that_was_never_seen_makes_the_whole_unknown() {
        let mut r = record("a", "p", 30);
        r.steps = vec![step("fence", 10), step("check", 60), step("switch", 30)];
        r.points.t0 = None;
        let mut lost = step("start", 3);
        lost.recovered = true;
        r.steps.push(lost);
        let known = predictions_of(&[r.clone()], "p");
        let told = forecast(&plan(), &known, &[r]);
        assert_eq!((told.steps, told.unseen.as_slice(), told.whole), (None, ["start".to_owned()].as_slice(), None));
        assert_eq!(told.recovery_time(), None);
    }
}
