//! One step: looked up if its outcome was lost, tried, tried again; and undone.

use std::time::{Duration, SystemTime};

use chrono::TimeDelta;
use tokio::time::timeout;
use veza_dr_core::{Cx, Effect, Error, ErrorKind, Result, lease::LeaseGuard};

use super::{
    Applied, Done, Effects, Ending, Establishes, Mode, Record, Rule, Safety, Step, StepAction, StepContext,
    StepOutcome, StepStatus, Tries, UndoPolicy, engine::is_ungraceful, live::Live,
};

/// How long finding something out may take.
const LOOK_UP: Duration = Duration::from_secs(30);
/// How long an action may take to stop once it was asked to.
const WIND_DOWN: Duration = Duration::from_secs(10);
/// How long a declaration of a person counts.
const ATTESTED: TimeDelta = TimeDelta::minutes(60);

/// The context entry of an error that says what a person must do before the step can go on.
pub(crate) const WAITS_FOR: &str = "waits_for";

impl Live<'_> {
    pub(super) fn context(&self, id: &str, attempt: u32) -> StepContext {
        let now = self.engine.clock.now();
        let state = self.state();
        let mut context = StepContext::new(state.run.clone(), id, attempt, state.epoch);
        context.attestations =
            state.attestations.iter().filter(|a| a.at <= now && now - a.at < ATTESTED).cloned().collect();
        context.at = state.restore_at;
        context.evidence = state.evidence();
        context.overridden = state.overridden.keys().copied().collect();
        context
    }

    /// Brings one step to an end that is on record. Fails only when the journal or the lease does.
    pub(super) async fn execute(&self, cx: &Cx, lease: Option<&LeaseGuard>, id: &str) -> Result<()> {
        let Some(step) = self.bound.plan().step(id) else { return Ok(()) };
        if matches!(self.state().status(id), StepStatus::Started | StepStatus::Unknown) && !self.settle(step).await? {
            return Ok(());
        }
        let mut tries = Tries::of(step);
        loop {
            let mode = self.state().mode;
            let attempt = self.state().steps.get(id).map_or(0, |s| s.attempts) + 1;
            let Some(action) = self.bound.action(id, is_ungraceful(mode)) else { return Ok(()) };
            let limit = tries.begin();
            let outcome = self.attempt(cx, lease, step, action.as_ref(), mode, attempt, limit).await?;
            let again = match &outcome {
                StepOutcome::Failed { retryable, .. } => *retryable,
                StepOutcome::TimedOut => true,
                _ => false,
            };
            let last = !again || tries.are_over() || cx.is_cancelled();
            if last {
                self.state().steps.entry(id.to_owned()).or_default().given_up = true;
            }
            self.record(Record::Outcome { step: id.to_owned(), attempt, outcome })?;
            if last || !tries.rest(cx).await {
                return Ok(());
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what one try is made of")]
    async fn attempt(
        &self,
        cx: &Cx,
        lease: Option<&LeaseGuard>,
        step: &Step,
        action: &dyn StepAction,
        mode: Mode,
        attempt: u32,
        limit: Duration,
    ) -> Result<StepOutcome> {
        let context = self.context(&step.id, attempt);
        let scoped = cx.child().with_deadline(SystemTime::now() + limit);
        // What a try that may have changed something found is how it was before; what is found now is not.
        let earlier = self.state().steps.get(&step.id).filter(|s| s.touched).map(|s| s.before.clone());
        let before = match timeout(limit, action.prepare(&scoped, &context)).await {
            Ok(Ok(found)) => earlier.unwrap_or(found),
            Ok(Err(e)) => {
                self.state().steps.entry(step.id.clone()).or_default().refused = rule_of(&e);
                return Ok(not_done(&e));
            }
            Err(_) => return Ok(StepOutcome::TimedOut),
        };
        lease.map_or(Ok(()), LeaseGuard::check)?;
        let deadline = self.engine.clock.now() + TimeDelta::from_std(limit).unwrap_or(TimeDelta::MAX);
        self.record(Record::Intent {
            step: step.id.clone(),
            attempt,
            mode,
            idempotency_key: context.idempotency_key.clone(),
            before: before.clone(),
            deadline,
        })?;
        let work = timeout(limit, action.act(&scoped, &context, &before));
        let stopped = async {
            cx.token().cancelled().await;
            tokio::time::sleep(WIND_DOWN).await;
        };
        let acted = tokio::select! {
            acted = work => acted,
            () = stopped => return Ok(self.lost(cx, action, &context, &before, "it was stopped", false).await),
        };
        Ok(match acted {
            Ok(Ok(done)) if action.establishes().contains(&Establishes::Fenced) && done.fence.is_none() => {
                StepOutcome::Failed { error: "it gave no proof".to_owned(), retryable: false, touched: true }
            }
            Ok(Ok(done)) => StepOutcome::Ok { done, recovered: false },
            // A cancelled call was dropped where it stood, whatever its error says of that.
            Ok(Err(e)) if e.effect() == Effect::None && e.kind() != ErrorKind::Cancelled => not_done(&e),
            Ok(Err(e)) => {
                let late = e.kind() == ErrorKind::Cancelled && !cx.token().is_cancelled();
                self.lost(cx, action, &context, &before, &e.chain(), late).await
            }
            Err(_) => self.lost(cx, action, &context, &before, "it did not end in its time", true).await,
        })
    }

    /// What is made of an action whose result was lost in this very process.
    async fn lost(
        &self,
        cx: &Cx,
        action: &dyn StepAction,
        context: &StepContext,
        before: &serde_json::Value,
        why: &str,
        late: bool,
    ) -> StepOutcome {
        let not_done = |text: String| {
            if late {
                StepOutcome::TimedOut
            } else {
                StepOutcome::Failed { error: text, retryable: true, touched: true }
            }
        };
        match action.effects() {
            Effects::Pure | Effects::Idempotent => not_done(why.to_owned()),
            // Nobody waits for an answer any more: it is looked up when the run is taken up again.
            _ if cx.token().is_cancelled() => StepOutcome::Unknown { why: why.to_owned() },
            Effects::Probeable => match look_up(action, context, before).await {
                Applied::Yes(evidence) => {
                    StepOutcome::Ok { done: Done::new(format!("done ({why})"), evidence), recovered: true }
                }
                Applied::No => not_done(format!("{why}; it did not take place")),
                Applied::Unclear(unclear) => StepOutcome::Unknown { why: format!("{why}; {unclear}") },
            },
            Effects::AtMostOnce | Effects::Undeclared => {
                StepOutcome::Unknown { why: format!("{why}; whether it took place must be said by a person") }
            }
        }
    }

    /// Finds out about a try of an earlier process; whether the step is to be tried now.
    async fn settle(&self, step: &Step) -> Result<bool> {
        let state = self.state().steps.get(&step.id).cloned().unwrap_or_default();
        let Some(action) = self.bound.action(&step.id, is_ungraceful(state.mode)) else { return Ok(false) };
        let context = self.context(&step.id, state.attempts);
        let found = match (state.settled, action.effects()) {
            (Some(true), _) => Applied::Yes(serde_json::Value::String("a person said so".to_owned())),
            (Some(false), _) | (None, Effects::Pure | Effects::Idempotent) => Applied::No,
            (None, Effects::Probeable) => look_up(action.as_ref(), &context, &state.before).await,
            (None, Effects::AtMostOnce | Effects::Undeclared) => {
                Applied::Unclear("its outcome was lost, and it must not be done twice".to_owned())
            }
        };
        let (outcome, again) = match found {
            Applied::Yes(evidence) => {
                let done = Done::new("had taken place; its outcome was lost", evidence);
                (StepOutcome::Ok { done, recovered: true }, false)
            }
            Applied::No => {
                let error = "its outcome was lost; it is safe to do it now".to_owned();
                (StepOutcome::Failed { error, retryable: true, touched: state.settled.is_none() }, true)
            }
            Applied::Unclear(why) => {
                let run = self.state().run.clone();
                let id = &step.id;
                let why = format!(
                    "{why}; find out and say it: veza-dr failover resume {run} --took-place {id}=yes (or {id}=no)"
                );
                (StepOutcome::Unknown { why }, false)
            }
        };
        self.record(Record::Outcome { step: step.id.clone(), attempt: state.attempts, outcome })?;
        Ok(again)
    }

    /// After a failure: undoes the steps whose policy asks for it.
    pub(super) async fn undo_after_failure(&self, cx: &Cx, lease: Option<&LeaseGuard>) -> Result<()> {
        for id in self.to_undo() {
            let wanted = self.bound.plan().step(&id).is_some_and(|s| s.undo == UndoPolicy::OnFailure);
            if wanted && !self.undo(cx, lease, &id).await? {
                break;
            }
        }
        Ok(())
    }

    /// Undoes everything that has a way back, the last first.
    pub(super) async fn roll_back(&self, cx: &Cx, lease: Option<&LeaseGuard>) -> Result<()> {
        if !self.is_undoing() {
            self.record(Record::RollbackBegun { who: self.engine.who.clone() })?;
        }
        let open: Vec<String> = {
            let state = self.state();
            let open =
                state.steps.iter().filter(|(_, s)| matches!(s.status, StepStatus::Started | StepStatus::Unknown));
            open.map(|(id, _)| id.clone()).collect()
        };
        for id in open {
            let Some(step) = self.bound.plan().step(&id) else { continue };
            self.settle(step).await?;
            if self.state().status(&id) == StepStatus::Unknown {
                let why = format!("step {id}: whether there is anything to undo is not known");
                return self.record(Record::Paused { why, refused: None, needs_human: true, asked: false });
            }
        }
        let mut still_writes = None;
        for id in self.to_undo() {
            if cx.is_cancelled() {
                let why = "somebody asked it to stop".to_owned();
                return self.record(Record::Paused { why, refused: None, needs_human: false, asked: true });
            }
            let Some(step) = self.bound.plan().step(&id) else { continue };
            let mode = self.state().steps.get(&id).map_or(Mode::Graceful, |s| s.mode);
            let Some(action) = self.bound.action(&id, is_ungraceful(mode)) else { continue };
            if let Some(writer) = still_writes.as_ref().filter(|_| action.undo_lets_write())
                && !self.state().overridden.contains_key(&Rule::OneWritableSite)
            {
                let text =
                    format!("step {id} stays: step {writer} lets the other site take writes and has no way back");
                self.record(Record::Warning { text })?;
                continue;
            }
            if step.undo == UndoPolicy::Never || !action.can_undo() {
                if action.safety().contains(&Safety::Writes) {
                    still_writes = Some(id.clone());
                }
                if !matches!(action.effects(), Effects::Pure) {
                    self.record(Record::Warning { text: format!("step {id} has no way back and stays") })?;
                }
                continue;
            }
            if !self.undo(cx, lease, &id).await? {
                let why = format!("step {id} could not be undone; try again: veza-dr failover resume --rollback");
                return self.record(Record::Paused { why, refused: None, needs_human: false, asked: false });
            }
        }
        self.record(Record::Ended { ending: Ending::RolledBack })
    }

    /// What was done, the last first; and what may have begun, where that is to be undone though it did not succeed.
    fn to_undo(&self) -> Vec<String> {
        let state = self.state();
        let half = |id: &str, s: &super::state::StepState| {
            s.touched && self.bound.action(id, is_ungraceful(s.mode)).is_some_and(|a| a.undo_when_begun())
        };
        let done = state.steps.iter().filter(|(id, s)| match s.status {
            StepStatus::Done | StepStatus::UndoFailed => true,
            StepStatus::Failed | StepStatus::TimedOut => half(id, s),
            _ => false,
        });
        let mut done: Vec<(u64, String)> = done.map(|(id, s)| (s.done_seq, id.clone())).collect();
        done.sort_by(|a, b| b.cmp(a));
        done.into_iter().map(|(_, id)| id).collect()
    }

    async fn undo(&self, cx: &Cx, lease: Option<&LeaseGuard>, id: &str) -> Result<bool> {
        lease.map_or(Ok(()), LeaseGuard::check)?;
        let found = self.state().steps.get(id).cloned().unwrap_or_default();
        let Some(action) = self.bound.action(id, is_ungraceful(found.mode)) else { return Ok(true) };
        let limit = self.bound.plan().step(id).map_or(LOOK_UP, |s| s.timeout);
        self.record(Record::UndoIntent { step: id.to_owned() })?;
        let scoped = cx.child().with_deadline(SystemTime::now() + limit);
        let context = self.context(id, found.attempts);
        let undone = match timeout(limit, action.undo(&scoped, &context, &found.before)).await {
            Ok(undone) => undone.map_err(|e| e.chain()),
            Err(_) => Err("undoing it did not end in its time".to_owned()),
        };
        let ok = undone.is_ok();
        self.record(Record::UndoOutcome { step: id.to_owned(), error: undone.err() })?;
        Ok(ok)
    }
}

async fn look_up(action: &dyn StepAction, context: &StepContext, before: &serde_json::Value) -> Applied {
    // Under a context of its own: the one of the lost work has ended.
    let cx = Cx::background().with_deadline(SystemTime::now() + LOOK_UP);
    match cx.run("find out", action.probe(&cx, context, before)).await {
        Ok(found) => found,
        Err(e) => Applied::Unclear(format!("it could not be found out: {}", e.chain())),
    }
}

/// The rule by which an action refuses.
fn rule_of(e: &Error) -> Option<Rule> {
    e.context().find(|(key, _)| *key == "rule").and_then(|(_, name)| name.parse().ok())
}

/// An action that says of itself that it changed nothing.
fn not_done(e: &Error) -> StepOutcome {
    let help = e.help().map(|h| format!("; {h}")).unwrap_or_default();
    let text = format!("{}{help}", e.chain());
    if e.context().any(|(key, _)| key == WAITS_FOR) {
        return StepOutcome::Waits { why: text };
    }
    StepOutcome::Failed { error: text, retryable: e.is_retryable(), touched: false }
}
