//! A plan followed in a copy: its steps in their order, those whose needs are met at the same time, each with its own
//! time and tries, as a failover does them.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use futures::{StreamExt, stream::FuturesUnordered};
use veza_dr_core::{Cx, Error, ErrorKind, Outcome, Result};

use super::{
    clock::millis,
    course::{Course, Deed, Lost, Selection, Walk},
    model::DrillValidation,
    place::Raised,
    plan_record::StepFate,
    platform::{CopyChecks, DrillPlatform},
    run::{Drill, Found},
    stage::Staged,
};
use crate::{
    runbook::Tries,
    validate::{CheckResult, ValidationReport, Verdict},
};

/// What a step came to.
#[derive(Debug, Default)]
struct Did {
    text: String,
    /// Which component was restored, and what came of it.
    staged: Option<(usize, Staged)>,
    validation: Option<ValidationReport>,
    end: End,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum End {
    #[default]
    Done,
    /// It is done, and something of it could not be told.
    Open,
    /// It was done, and what came of it is not what must be.
    Failed {
        /// Another try may end otherwise.
        again: bool,
    },
}

/// How a step ended.
#[derive(Debug)]
struct Ended {
    at: usize,
    since: Instant,
    tries: u32,
    result: Result<Did>,
}

impl Did {
    fn told(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

impl Drill {
    /// Follows the plan after the disaster. Returns the places that were restored into.
    ///
    /// # Errors
    /// When a step fails for good; those that come after it are not begun.
    pub(super) async fn follow(
        &self,
        cx: &Cx,
        found: &mut Found,
        folder: &Path,
        course: &Course,
    ) -> Result<Vec<Raised>> {
        let Some(platform) = &self.platform else {
            return Err(Error::new(ErrorKind::Unexpected, "a plan is followed in a copy, and there is none"));
        };
        let mut sites = self.before_the_plan(cx, platform.as_ref(), found, folder, course).await?;
        found.chronicle.point("T4");
        let scoped = match course.timeout {
            Some(limit) => cx.child().with_deadline(SystemTime::now() + limit),
            None => cx.child(),
        };
        let mut begun = vec![false; course.steps.len()];
        let mut over: BTreeSet<&str> = BTreeSet::new();
        let mut running = FuturesUnordered::new();
        let mut failed: Option<Error> = None;
        loop {
            let mut news = failed.is_none();
            while news {
                news = false;
                for (at, walk) in course.steps.iter().enumerate() {
                    if begun[at] || !walk.step.needs.iter().all(|n| over.contains(n.as_str())) {
                        continue;
                    }
                    begun[at] = true;
                    match walk.deed() {
                        Some(deed) => {
                            running.push(self.try_step(&scoped, platform.as_ref(), folder, course, at, walk, deed))
                        }
                        None => {
                            over.insert(&walk.step.id);
                            news = true;
                        }
                    }
                }
            }
            let Some(ended) = running.next().await else { break };
            let walk = &course.steps[ended.at];
            match self.note_step(found, walk, ended, &mut sites) {
                Ok(()) => {
                    over.insert(&walk.step.id);
                }
                Err(e) => {
                    failed.get_or_insert(e);
                }
            }
        }
        drop(running);
        if let Some(e) = failed {
            // That somebody stopped it is no failure of the plan.
            cx.check("follow the plan")?;
            return Err(e);
        }
        if let Some(left) = begun.iter().position(|b| !b) {
            let text = format!("step {} of plan {} could not begin", course.steps[left].step.id, course.plan);
            return Err(Error::new(ErrorKind::Unexpected, text));
        }
        if !found.chronicle.has("T5") {
            found.chronicle.point("T5");
        }
        Ok(sites)
    }

    /// Makes what the plan takes to be there, and brings back what the scenario needs and no step restores.
    async fn before_the_plan(
        &self,
        cx: &Cx,
        platform: &dyn DrillPlatform,
        found: &mut Found,
        folder: &Path,
        course: &Course,
    ) -> Result<Vec<Raised>> {
        let since = Instant::now();
        let alone: Vec<usize> = {
            let nobody = |p: &super::run::DrillPart| !p.standing && !course.restores(p.component.as_str());
            self.parts.iter().enumerate().filter(|(_, p)| nobody(p)).map(|(n, _)| n).collect()
        };
        let detail = match &course.lost {
            Lost::Site => {
                platform.make(cx, folder).await?;
                if course.starts_data_first() && alone.iter().all(|n| self.parts[*n].service.is_none()) {
                    "a site that was never started".to_owned()
                } else {
                    self.start_data(cx, "after").await?;
                    "a site whose services that keep components run, and are empty".to_owned()
                }
            }
            Lost::Data(components) => {
                self.start_data(cx, "after").await?;
                format!("the services of {} run, and are empty", components.join(", "))
            }
            Lost::Services => "the services that keep components run".to_owned(),
        };
        self.tell(found.chronicle.note("what the plan finds", Outcome::Ok, detail, since));
        if alone.is_empty() {
            return Ok(Vec::new());
        }
        let since = Instant::now();
        let sites = self.recover(cx, found, folder, &alone).await?;
        for n in &alone {
            let part = &found.parts[*n];
            let whole = part.recovery.as_ref().is_some_and(super::model::StageRecord::is_equal);
            let detail = format!("component {} was restored by the drill, by no step", part.component);
            if !whole {
                let text = format!("{} was not brought back", part.component);
                return Err(Error::new(ErrorKind::Unverified, text));
            }
            if let Some(plan) = &mut found.plan {
                plan.beyond.push(detail.clone());
            }
            self.tell(found.chronicle.note("beside the plan", Outcome::Warning, detail, since));
        }
        Ok(sites)
    }

    /// Does a step, again where the plan says so and it may help.
    #[expect(clippy::too_many_arguments, reason = "what one step is made of")]
    async fn try_step(
        &self,
        cx: &Cx,
        platform: &dyn DrillPlatform,
        folder: &Path,
        course: &Course,
        at: usize,
        walk: &Walk,
        deed: &Deed,
    ) -> Ended {
        let (since, mut tries) = (Instant::now(), Tries::of(&walk.step));
        loop {
            let limit = tries.begin();
            let scoped = cx.child().with_deadline(SystemTime::now() + limit);
            // Names of folders and jobs: those of steps may hold anything.
            let name = format!("step-{}-{}", at + 1, tries.begun());
            let doing = self.carry_out(&scoped, platform, folder, course, deed, &name);
            let (result, late) = match tokio::time::timeout(limit, doing).await {
                Ok(Err(e)) if e.kind() == ErrorKind::Cancelled && !cx.is_cancelled() => (Err(late(limit)), true),
                Ok(result) => (result, false),
                Err(_) => (Err(late(limit)), true),
            };
            let again = match &result {
                Ok(did) => did.end == End::Failed { again: true },
                Err(e) => late || e.is_retryable(),
            };
            if !again || tries.are_over() || cx.is_cancelled() || !tries.rest(cx).await {
                return Ended { at, since, tries: tries.begun(), result };
            }
        }
    }

    async fn carry_out(
        &self,
        cx: &Cx,
        platform: &dyn DrillPlatform,
        folder: &Path,
        course: &Course,
        deed: &Deed,
        name: &str,
    ) -> Result<Did> {
        let part = |component: &str| {
            let found = self.parts.iter().enumerate().find(|(_, p)| p.component.as_str() == component);
            found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("the drill has no backup of {component}")))
        };
        match deed {
            Deed::VerifyCopy { component } => {
                let (_, part) = part(component)?;
                let proof = part.proof.as_ref().ok_or_else(|| {
                    let text = format!("nothing proves the backup of {component} whole");
                    Error::new(ErrorKind::Unsupported, text)
                })?;
                proof.prove(cx).await.map(Did::told)
            }
            Deed::Restore { component } => {
                let (n, part) = part(component)?;
                let staged = self.stage_part(cx, part, &folder.join(name)).await?;
                let (text, end) = if staged.record.is_equal() {
                    (format!("backup {}, equal ({} records)", part.manifest.id, staged.record.rows), End::Done)
                } else {
                    let first = || staged.record.findings.first().map(|f| format!("{}: {}", f.what, f.why));
                    let why = staged.record.error.clone().or_else(first);
                    let again = matches!(staged.failed, Some(ErrorKind::Unavailable | ErrorKind::Throttled));
                    (why.unwrap_or_else(|| "not proven equal".to_owned()), End::Failed { again })
                };
                Ok(Did { staged: Some((n, staged)), end, ..Did::told(text) })
            }
            Deed::Up(services) => {
                platform.up(cx, services, name).await?;
                Ok(Did::told(format!("started: {services}")))
            }
            Deed::Start(services) => {
                platform.start(cx, services).await?;
                Ok(Did::told(format!("started: {services}")))
            }
            Deed::Stop(services, grace) => {
                platform.stop(cx, services, *grace).await?;
                Ok(Did::told(format!("stopped: {services}")))
            }
            Deed::WaitHealthy(services, within) => {
                let healthy = platform.healthy(cx, services, Some(*within)).await?;
                Ok(Did::told(format!("healthy: {services} ({healthy})")))
            }
            Deed::Validate => {
                if matches!(course.lost, Lost::Data(_)) {
                    // What ended because its database was gone: in production the engine starts it again.
                    platform.up(cx, &Selection::All, name).await?;
                    platform.healthy(cx, &Selection::All, None).await?;
                }
                self.validate(cx, platform).await
            }
        }
    }

    /// Runs the checks against the copy. One that fails is an error; one that cannot tell leaves the question open.
    async fn validate(&self, cx: &Cx, platform: &dyn DrillPlatform) -> Result<Did> {
        let Some(checks) = &self.checks else {
            return Ok(Did { end: End::Open, ..Did::told("no checks were given to run against the copy") });
        };
        let CopyChecks { suite, unled } = checks.suite(cx, platform).await?;
        let mut report = suite.run(cx).await;
        cx.check("validate")?;
        report.checks.extend(unled.into_iter().map(|(name, why)| CheckResult::not_asked(name, why)));
        let told = |verdict: Verdict| {
            let all = report.checks.iter().filter(|c| c.verdict == verdict);
            let each = all.map(|c| format!("{}: {}", c.name, c.reason.as_deref().unwrap_or("no reason is known")));
            each.collect::<Vec<_>>().join("; ")
        };
        let mut text = format!("{} of {} checks passed", report.count(Verdict::Pass), report.checks.len());
        let end = match report.verdict() {
            Verdict::Pass => End::Done,
            Verdict::Fail => {
                text.push_str(&format!("; failed: {}", told(Verdict::Fail)));
                End::Failed { again: true }
            }
            Verdict::Error | Verdict::Skipped => {
                text.push_str(&format!("; it could not be told: {}", told(Verdict::Error)));
                End::Open
            }
        };
        Ok(Did { validation: Some(report), end, ..Did::told(text) })
    }

    /// Runs the checks once all is up, where no step of the plan did.
    pub(super) async fn validate_at_the_end(&self, cx: &Cx, found: &mut Found) -> Result<()> {
        let (Some(platform), true) = (&self.platform, self.checks.is_some()) else { return Ok(()) };
        let since = Instant::now();
        let did = self.validate(cx, platform.as_ref()).await?;
        found.validation.extend(did.validation.map(|report| DrillValidation { step: None, report }));
        let outcome = outcome_of(did.end);
        self.tell(found.chronicle.note("validation", outcome, did.text.clone(), since));
        if outcome == Outcome::Failed {
            return Err(Error::new(ErrorKind::Mismatch, "validation failed on the copy").with_source(did.text));
        }
        Ok(())
    }

    /// Takes note of how a step ended.
    fn note_step(&self, found: &mut Found, walk: &Walk, ended: Ended, sites: &mut Vec<Raised>) -> Result<()> {
        let Ended { since, tries, result, at } = ended;
        let (outcome, text) = match &result {
            Ok(did) => (outcome_of(did.end), did.text.clone()),
            Err(e) => {
                let help = e.help().map(|h| format!(" ({h})")).unwrap_or_default();
                (Outcome::Failed, format!("{}{help}", e.chain()))
            }
        };
        let fate = match outcome {
            Outcome::Ok => StepFate::CarriedOut,
            Outcome::Warning => StepFate::Unknown,
            _ => StepFate::Failed,
        };
        let entry = found.chronicle.note(format!("step {}", walk.step.id), outcome, text.clone(), since);
        let took = chrono::TimeDelta::from_std(since.elapsed()).unwrap_or_default();
        if let Some(step) = found.plan.as_mut().and_then(|p| p.steps.get_mut(at)) {
            (step.fate, step.text, step.tries) = (fate, text, tries);
            (step.began, step.ended) = (entry.at.checked_sub_signed(took), Some(entry.at));
            step.took_ms = Some(millis(since.elapsed()));
        }
        self.tell(entry);
        let failed = format!("step {} failed in the copy", walk.step.id);
        let Did { text, staged, validation, end } =
            result.map_err(|e| Error::new(e.kind(), &*failed).with_source(e))?;
        if let Some((n, staged)) = staged {
            found.parts[n].recovery = Some(staged.record);
            sites.extend(staged.raised);
        }
        let step = Some(walk.step.id.clone());
        found.validation.extend(validation.map(|report| DrillValidation { step, report }));
        if matches!(end, End::Failed { .. }) {
            return Err(Error::new(ErrorKind::Mismatch, failed).with_source(text));
        }
        if walk.step.marks.as_deref() == Some("T5") && !found.chronicle.has("T5") {
            found.chronicle.point("T5");
        }
        Ok(())
    }
}

fn outcome_of(end: End) -> Outcome {
    match end {
        End::Done => Outcome::Ok,
        End::Open => Outcome::Warning,
        End::Failed { .. } => Outcome::Failed,
    }
}

fn late(limit: Duration) -> Error {
    Error::new(ErrorKind::Unavailable, format!("it did not end within {} s", limit.as_secs_f64()))
}
