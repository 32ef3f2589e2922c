//! A run under way: which step may begin, and when the run ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chrono::TimeDelta;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, sleep};
use veza_dr_core::{Cx, Error, ErrorKind, Result, lease::LeaseGuard};

use super::{
    Bound, Ending, Engine, Mode, Question, Record, Rule, RunOptions, RunReport, StepOutcome, StepStatus,
    copies::Copies,
    engine::{is_ungraceful, name_of},
    journal::Journal,
    questions::Questions,
    rules::Violation,
    state::State,
};

/// How often requests from outside are looked for.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct Live<'a> {
    pub(super) engine: &'a Engine,
    pub(super) bound: &'a Bound,
    pub(super) state: Mutex<State>,
    pub(super) journal: Mutex<Journal>,
    pub(super) copies: Copies,
}

/// Whether a step may begin.
enum Admission {
    Go,
    /// Another step comes first.
    Later,
    /// A person must agree first.
    Ask(Box<Question>),
    /// Not in this run until somebody does something.
    Held {
        why: String,
        refused: Option<Rule>,
    },
}

impl Live<'_> {
    /// Makes a record durable, then believes it.
    pub(super) fn record(&self, record: Record) -> Result<()> {
        let now = self.engine.clock.now();
        // Both under one lock: the state must have the journal's order.
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = journal.append(now, record)?;
        self.state().add(&entry);
        drop(journal);
        self.engine.watcher.told(&entry);
        self.copies.grew();
        Ok(())
    }

    pub(super) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn report(&self) -> RunReport {
        RunReport::of(&self.state())
    }

    pub(super) fn is_undoing(&self) -> bool {
        self.state().undoing
    }

    /// Writes the operator's decisions down.
    pub(super) fn decide(&self, options: &RunOptions) -> Result<()> {
        let who = || self.engine.who.clone();
        let plan = self.bound.plan();
        plan.known_steps(options.approve.iter().chain(options.skip.keys()).chain(options.settle.keys()))?;
        let (mode, before) = (options.mode, self.state().mode);
        if let Some(mode) = mode.filter(|m| *m != before) {
            self.record(Record::ModeChanged { mode, who: who() })?;
        }
        for (rule, why) in &options.overrides {
            self.record(Record::Overridden { rule: *rule, who: who(), why: why.clone() })?;
        }
        let told = self.state().restore_at;
        if let Some(at) = options.restore_at.filter(|at| told != Some(*at)) {
            self.record(Record::RestorePoint { at, who: who() })?;
        }
        for attestation in &options.attest {
            self.record(Record::Attested { attestation: attestation.clone() })?;
        }
        for step in &options.approve {
            let (step, who, comment) = (step.clone(), name_of(&self.engine.who, options), options.comment.clone());
            self.record(Record::Approved { step, who, comment })?;
        }
        for (step, took_place) in &options.settle {
            if matches!(self.state().status(step), StepStatus::Unknown | StepStatus::Started) {
                self.record(Record::Settled { step: step.clone(), took_place: *took_place, who: who() })?;
            }
        }
        for (step, why) in &options.skip {
            let status = self.state().status(step);
            if !plan.step(step).is_some_and(|s| s.skippable) {
                let text = format!("step {step} may not be left out: the plan does not say `skippable: true`");
                return Err(Error::new(ErrorKind::Config, text));
            }
            if !matches!(status, StepStatus::Done | StepStatus::Skipped) {
                let outcome = StepOutcome::Skipped { who: who(), why: why.clone() };
                self.record(Record::Outcome { step: step.clone(), attempt: 0, outcome })?;
            }
        }
        Ok(())
    }

    /// Runs every step that can be, until nothing moves.
    pub(super) async fn drive(&self, cx: &Cx, lease: Option<&LeaseGuard>) -> Result<()> {
        let mut running: FuturesUnordered<BoxFuture<'_, (String, Result<()>)>> = FuturesUnordered::new();
        let mut active: BTreeSet<String> = BTreeSet::new();
        let mut tried: BTreeSet<String> = BTreeSet::new();
        let mut held: BTreeMap<String, (String, Option<Rule>)> = BTreeMap::new();
        let mut questions = Questions::default();
        let mut fatal: Option<Error> = None;
        let mut copy_failed = false;
        let mut keep_at = Instant::now() + self.engine.keep_every;
        let mut keeping: Option<BoxFuture<'_, Vec<String>>> = None;
        loop {
            self.look_for_requests()?;
            // Somebody agreed from elsewhere.
            held.retain(|id, (_, rule)| rule.is_some() || !self.state().approved.contains_key(id));
            questions.drop_answered(&self.state());
            if let Some(why) = self.copies.failure().filter(|_| !copy_failed) {
                copy_failed = true;
                let text = format!("the journal could not be copied to store {}: {why}", self.engine.store.info().name);
                self.record(Record::Warning { text })?;
            }
            let stopped = cx.is_cancelled() || fatal.is_some() || self.is_out_of_time() || self.has_failed(&tried);
            if !stopped {
                for id in self.candidates(&active, &tried, &held) {
                    if questions.is_open(&id) {
                        continue;
                    }
                    match self.admit(&id, &active, &mut tried)? {
                        Admission::Go => {
                            tried.insert(id.clone());
                            active.insert(id.clone());
                            let step = async move { (id.clone(), self.execute(cx, lease, &id).await) };
                            running.push(step.boxed());
                        }
                        Admission::Later => {}
                        Admission::Ask(question) => questions.ask(cx, &self.engine.approver, *question),
                        Admission::Held { why, refused } => {
                            held.insert(id, (why, refused));
                        }
                    }
                }
            }
            let waits = !questions.is_empty() || !self.candidates(&active, &tried, &held).is_empty();
            if running.is_empty() && (stopped || !waits) {
                break;
            }
            if keeping.is_none() && Instant::now() >= keep_at && !stopped {
                keeping = Some(self.keep(cx).boxed());
            }
            let kept = async {
                match keeping.as_mut() {
                    Some(work) => work.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some((id, ended)) = running.next() => {
                    active.remove(&id);
                    if let Err(e) = ended {
                        fatal.get_or_insert(e);
                    }
                }
                Some((id, answer)) = questions.next() => match answer {
                    Ok(Some(who)) => self.record(Record::Approved { step: id, who, comment: None })?,
                    Ok(None) => {
                        let run = self.state().run.clone();
                        let why = format!("step {id} waits for approval: veza-dr failover resume {run} --approve {id}");
                        held.insert(id, (why, None));
                    }
                    Err(e) if e.kind() == ErrorKind::Cancelled => {}
                    Err(e) => {
                        fatal.get_or_insert(e);
                    }
                },
                found = kept => {
                    keeping = None;
                    keep_at = Instant::now() + self.engine.keep_every;
                    for text in found {
                        self.record(Record::Warning { text })?;
                    }
                }
                () = sleep(LOOK) => {}
            }
        }
        if let Some(e) = fatal {
            return Err(e);
        }
        self.settle_end(cx, lease, held).await
    }

    async fn settle_end(
        &self,
        cx: &Cx,
        lease: Option<&LeaseGuard>,
        held: BTreeMap<String, (String, Option<Rule>)>,
    ) -> Result<()> {
        let statuses: Vec<StepStatus> = self.state().steps.values().map(|s| s.status).collect();
        if statuses.iter().all(|s| matches!(s, StepStatus::Done | StepStatus::Skipped)) {
            let skipped = statuses.contains(&StepStatus::Skipped);
            let ending = if skipped { Ending::CompletedWithSkips } else { Ending::Completed };
            return self.record(Record::Ended { ending });
        }
        let failed = statuses.iter().any(|s| matches!(s, StepStatus::Failed | StepStatus::TimedOut));
        if cx.is_cancelled() {
            // A lost lease cancels the work too, and is no wish of anybody's.
            lease.map_or(Ok(()), LeaseGuard::check)?;
            let why = "somebody asked it to stop".to_owned();
            return self.record(Record::Paused { why, refused: None, needs_human: false, asked: true });
        }
        if failed {
            self.undo_after_failure(cx, lease).await?;
        }
        let refused = held.iter().find_map(|(_, (why, rule))| Some((why.clone(), (*rule)?)));
        let refused = refused.or_else(|| self.refused_step());
        let (why, refused) = match (refused, held.into_iter().next()) {
            (Some((why, rule)), _) => (why, Some(rule)),
            (None, Some((_, (why, _)))) => (why, None),
            (None, None) if self.is_out_of_time() => ("the time of the whole run is up".to_owned(), None),
            (None, None) => ("a step did not succeed".to_owned(), None),
        };
        let waits = statuses.iter().any(|s| matches!(s, StepStatus::Waits | StepStatus::Unknown));
        let needs_human = !failed && (waits || why.starts_with("step "));
        self.record(Record::Paused { why, refused, needs_human, asked: false })
    }

    /// A step whose action refused by a rule, and why.
    fn refused_step(&self) -> Option<(String, Rule)> {
        let state = self.state();
        let mut refused = state.steps.iter().filter(|(_, s)| s.status == StepStatus::Failed);
        refused.find_map(|(id, s)| Some((format!("step {id}: {}", s.text), s.refused?)))
    }

    /// Steps that are not done although all their needs are, in the plan's order.
    fn candidates(
        &self,
        active: &BTreeSet<String>,
        tried: &BTreeSet<String>,
        held: &BTreeMap<String, (String, Option<Rule>)>,
    ) -> Vec<String> {
        let state = self.state();
        let settled = |id: &str| matches!(state.status(id), StepStatus::Done | StepStatus::Skipped);
        let steps = self.bound.plan().steps.iter();
        steps
            .filter(|s| !settled(&s.id) && s.needs.iter().all(|n| settled(n)))
            .filter(|s| !active.contains(&s.id) && !tried.contains(&s.id) && !held.contains_key(&s.id))
            .map(|s| s.id.clone())
            .collect()
    }

    fn has_failed(&self, tried: &BTreeSet<String>) -> bool {
        let state = self.state();
        let failed = |id: &String| matches!(state.status(id), StepStatus::Failed | StepStatus::TimedOut);
        // One that is tried again in a moment has not failed yet.
        tried.iter().any(|id| failed(id) && state.steps.get(id).is_some_and(|s| s.given_up))
    }

    fn is_out_of_time(&self) -> bool {
        let Some(limit) = self.bound.plan().timeout else { return false };
        let limit = TimeDelta::from_std(limit).unwrap_or(TimeDelta::MAX);
        self.engine.clock.now() - self.state().started >= limit
    }

    /// Whether a step may begin by approval and rules.
    fn admit(&self, id: &str, active: &BTreeSet<String>, tried: &mut BTreeSet<String>) -> Result<Admission> {
        let Some(step) = self.bound.plan().step(id) else { return Ok(Admission::Later) };
        let ungraceful = is_ungraceful(self.state().mode);
        let Some(action) = self.bound.action(id, ungraceful) else { return Ok(Admission::Later) };
        for (rule, _) in self.bound.wants(id, action.as_ref()) {
            if self.state().overridden.contains_key(&rule) {
                continue;
            }
            let gates = self.bound.gates(id, rule, action.site());
            let now = self.engine.clock.now();
            for gate in gates {
                let found = self.state().steps.get(gate).cloned().unwrap_or_default();
                let proof = found.done.as_ref().and_then(|d| d.fence.as_ref());
                let text = match (found.status, rule) {
                    (StepStatus::Done, Rule::OneWritableSite) if proof.is_some_and(|p| p.holds(now)) => continue,
                    (StepStatus::Done, Rule::OneWritableSite) => {
                        if active.contains(gate) {
                            return Ok(Admission::Later);
                        }
                        let why = "its proof has expired: it is made sure of again".to_owned();
                        self.record(Record::Reopened { step: gate.to_owned(), why })?;
                        tried.remove(gate);
                        return Ok(Admission::Later);
                    }
                    (StepStatus::Done, _) => continue,
                    (StepStatus::Waiting | StepStatus::Started, _) => return Ok(Admission::Later),
                    (StepStatus::Skipped, _) => format!("step {gate}, which would establish it, was left out"),
                    _ => format!("step {gate}, which would establish it, did not succeed"),
                };
                let e = Violation::new(rule, id, text).refusal();
                let why = format!("{e}; {}", e.help().unwrap_or_default());
                return Ok(Admission::Held { why, refused: Some(rule) });
            }
        }
        if step.approval && !self.state().approved.contains_key(id) {
            return Ok(Admission::Ask(Box::new(Question {
                run: self.state().run.clone(),
                step: step.clone(),
                commands: action.commands(),
                site: action.site().map(str::to_owned),
                safety: action.safety(),
            })));
        }
        Ok(Admission::Go)
    }

    /// Keeps true what steps established; says what had to be done for it.
    async fn keep(&self, cx: &Cx) -> Vec<String> {
        let done: Vec<(String, Mode)> = {
            let state = self.state();
            let done = state.steps.iter().filter(|(_, s)| s.status == StepStatus::Done);
            done.map(|(id, s)| (id.clone(), s.mode)).collect()
        };
        let mut found = Vec::new();
        for (id, mode) in done {
            let Some(action) = self.bound.action(&id, is_ungraceful(mode)) else { continue };
            let context = self.context(&id, 0);
            let limited = cx.child().with_deadline(std::time::SystemTime::now() + Duration::from_secs(20));
            if let Ok(Some(text)) = limited.run("keep", action.keep(&limited, &context)).await {
                found.push(format!("step {id}: {text}"));
            }
        }
        found
    }
}
