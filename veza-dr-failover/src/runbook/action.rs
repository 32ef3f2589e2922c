//! What a step of a runbook does, and what the engine must know of it to run it safely.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use veza_dr_core::{Cx, Result};

use super::{Attestation, FenceProof, Rule};

/// What repeating an action does: it decides what follows when a run was killed in the middle of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Effects {
    /// It changes nothing: simply done again.
    Pure,
    /// Doing it twice is as doing it once: simply done again.
    Idempotent,
    /// Whether it took place can be found out: [`StepAction::probe`] is asked first.
    Probeable,
    /// It must not be repeated and cannot be looked up (a page, a call): a human decides.
    AtMostOnce,
    /// The plan does not say; no plan with such a step is run.
    Undeclared,
}

/// What an action does to the safety of the data; the engine's rules speak of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Safety {
    /// Makes a site accept writes: refused without proof that no other site does.
    Writes,
    /// Replaces the data of a site: refused without proof that no other site takes writes, as they would be missing.
    Replaces,
    /// Changes what names resolve to: refused before the site led to was validated by its own address.
    Dns,
    /// Deletes or replaces data: refused without a verified copy.
    Destructive,
    /// Acts on production: a drill does it in a copy, or leaves it out.
    Production,
}

/// What an action establishes for the steps that come after it; the engine's rules ask for these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Establishes {
    /// That [`StepAction::site`] takes no writes: its [`Done::fence`] is a proof.
    Fenced,
    /// That [`StepAction::site`] serves, asked by its own address.
    Validated,
    /// That a copy of the data is whole.
    VerifiedCopy,
}

/// Whether an action whose outcome was never recorded took place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Applied {
    /// It did, whole; with the evidence that [`StepAction::act`] would have given.
    Yes(Value),
    /// It did not: it may be done now.
    No,
    /// It cannot be told, for this reason: a human decides.
    Unclear(String),
}

/// What an action achieved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Done {
    /// One line for people.
    pub text: String,
    /// The facts behind it, kept in the journal and the report, and given to later steps. Never holds a secret.
    pub evidence: Value,
    /// The proof that a fence gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<FenceProof>,
    /// What did not go well although the step is done; the run's report shows it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// When its clock point was reached, where that was before the step ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<DateTime<Utc>>,
}

impl Done {
    /// A result with its evidence.
    #[must_use]
    pub fn new(text: impl Into<String>, evidence: Value) -> Self {
        Self { text: text.into(), evidence, fence: None, warnings: Vec::new(), reached: None }
    }

    /// Adds something that people should know of.
    #[must_use]
    pub fn with_warning(mut self, text: impl Into<String>) -> Self {
        self.warnings.push(text.into());
        self
    }

    /// Says when what the step is for was reached: a step that then waits ends later.
    #[must_use]
    pub fn reached_at(mut self, at: DateTime<Utc>) -> Self {
        self.reached = Some(at);
        self
    }

    /// Adds the proof that a site takes no writes.
    #[must_use]
    pub fn with_fence(mut self, proof: FenceProof) -> Self {
        self.fence = Some(proof);
        self
    }
}

/// Which run an action is part of.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StepContext {
    /// The run.
    pub run: String,
    /// The step within the plan.
    pub step: String,
    /// Counts the tries of this step, from 1.
    pub attempt: u32,
    /// The fencing token of the run's lease: grows with every run. Goes into every remote command, so that the other
    /// side can refuse an older one.
    pub epoch: u64,
    /// The same for every try of the same step of the same run.
    pub idempotency_key: String,
    /// What people declared in this run and still vouch for.
    pub attestations: Vec<Attestation>,
    /// The time to go back to that a person named in this run: backups are the newest that show it or an earlier one.
    pub at: Option<DateTime<Utc>>,
    /// What earlier steps found, by step.
    pub evidence: BTreeMap<String, Value>,
    /// The rules that a person goes on without in this run.
    pub overridden: BTreeSet<Rule>,
}

impl StepContext {
    /// A context for one try of one step.
    #[must_use]
    pub fn new(run: impl Into<String>, step: impl Into<String>, attempt: u32, epoch: u64) -> Self {
        let (run, step) = (run.into(), step.into());
        let idempotency_key = format!("{run}/{step}");
        Self {
            run,
            step,
            attempt,
            epoch,
            idempotency_key,
            attestations: Vec::new(),
            at: None,
            evidence: BTreeMap::new(),
            overridden: BTreeSet::new(),
        }
    }
}

/// One kind of work that a step can do. The engine calls, in order: [`prepare`](Self::prepare), whose result it makes
/// durable; [`act`](Self::act); and, when the outcome of `act` was lost, [`probe`](Self::probe) with what `prepare`
/// had given. Dropping the future of any of them must leave nothing that `probe` cannot find out.
#[async_trait]
pub trait StepAction: Debug + Send + Sync + 'static {
    /// What will be done, as commands or sentences that a human could follow by hand; printed by the plan and part of
    /// its hash, so it depends on nothing but the plan.
    fn commands(&self) -> Vec<String>;

    /// What repeating it does.
    fn effects(&self) -> Effects;

    /// What it does to the safety of the data.
    fn safety(&self) -> Vec<Safety>;

    /// The site that it acts on, or for a switch of names the one led to, if it is one.
    fn site(&self) -> Option<&str>;

    /// What it establishes once it succeeded.
    fn establishes(&self) -> Vec<Establishes> {
        Vec::new()
    }

    /// The least time that one try must be given: a plan that gives it less is refused.
    fn least_time(&self) -> Duration {
        Duration::ZERO
    }

    /// Looks at the world before it is changed and gives what `probe` and `undo` will need: the pre-image. Changes
    /// nothing. What it gives is kept through later tries once a try may have changed something.
    ///
    /// # Errors
    /// When it can be seen already that the step cannot be done; nothing was changed then.
    async fn prepare(&self, cx: &Cx, step: &StepContext) -> Result<Value> {
        let _ = (cx, step);
        Ok(Value::Null)
    }

    /// Does it.
    ///
    /// # Errors
    /// With [`Effect`](veza_dr_core::Effect) saying whether the world was changed: `Unknown` makes the engine probe.
    async fn act(&self, cx: &Cx, step: &StepContext, before: &Value) -> Result<Done>;

    /// Finds out whether an `act` of which no outcome is known took place. Changes nothing. Must be given by
    /// [`Effects::Probeable`] actions.
    ///
    /// # Errors
    /// When it could not be looked up; taken as unclear.
    async fn probe(&self, cx: &Cx, step: &StepContext, before: &Value) -> Result<Applied> {
        let _ = (cx, step, before);
        Ok(Applied::Unclear("this kind of step cannot be looked up".to_owned()))
    }

    /// Called again and again while the run goes on, once the action is done: keeps true what it established, and says
    /// what it had to do for that.
    ///
    /// # Errors
    /// As met; it is called again all the same.
    async fn keep(&self, cx: &Cx, step: &StepContext) -> Result<Option<String>> {
        let _ = (cx, step);
        Ok(None)
    }

    /// Whether [`undo`](Self::undo) can be asked for.
    fn can_undo(&self) -> bool {
        false
    }

    /// Whether a rollback undoes also what was begun and did not succeed; what may have let a site take writes, unless it
    /// says otherwise.
    fn undo_when_begun(&self) -> bool {
        self.safety().contains(&Safety::Writes)
    }

    /// Whether [`undo`](Self::undo) lets the site take writes again: not done while the other site is left to take some.
    fn undo_lets_write(&self) -> bool {
        self.establishes().contains(&Establishes::Fenced)
    }

    /// Puts back what was before, by the pre-image.
    ///
    /// # Errors
    /// `Unsupported` when there is no way back; else as met.
    async fn undo(&self, cx: &Cx, step: &StepContext, before: &Value) -> Result<Done> {
        let _ = (cx, before);
        Err(veza_dr_core::Error::new(
            veza_dr_core::ErrorKind::Unsupported,
            format!("step {} has no way back", step.step),
        ))
    }
}
