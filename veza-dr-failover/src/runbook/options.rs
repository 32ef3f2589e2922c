//! What an operator decides when a run begins or is taken up again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use veza_dr_core::{Cx, Result};

use super::{Attestation, Entry, Mode, Rule, Step};

/// Decisions of the operator; the journal keeps each with their name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunOptions {
    /// How steps are done from now on; as before where it is left out.
    pub mode: Option<Mode>,
    /// The hash of the plan that was approved: any other plan is refused.
    pub plan_sha: Option<String>,
    /// Steps that are agreed to.
    pub approve: BTreeSet<String>,
    /// Steps that are left out, and why.
    pub skip: BTreeMap<String, String>,
    /// Rules that are gone on without, and why.
    pub overrides: BTreeMap<Rule, String>,
    /// Whether steps of unknown outcome took place, as somebody saw.
    pub settle: BTreeMap<String, bool>,
    /// What people declare.
    pub attest: Vec<Attestation>,
    /// When the outage began.
    pub outage_began: Option<DateTime<Utc>>,
}

impl RunOptions {
    /// Runs only the plan of this hash.
    #[must_use]
    pub fn with_plan_sha(mut self, sha: impl Into<String>) -> Self {
        self.plan_sha = Some(sha.into());
        self
    }

    /// Does steps like this from now on.
    #[must_use]
    pub fn with_mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Agrees to a step.
    #[must_use]
    pub fn with_approval(mut self, step: impl Into<String>) -> Self {
        self.approve.insert(step.into());
        self
    }

    /// Leaves a step out.
    #[must_use]
    pub fn with_skip(mut self, step: impl Into<String>, why: impl Into<String>) -> Self {
        self.skip.insert(step.into(), why.into());
        self
    }

    /// Goes on without a rule.
    #[must_use]
    pub fn with_override(mut self, rule: Rule, why: impl Into<String>) -> Self {
        self.overrides.insert(rule, why.into());
        self
    }

    /// Says whether a step of unknown outcome took place.
    #[must_use]
    pub fn with_settled(mut self, step: impl Into<String>, took_place: bool) -> Self {
        self.settle.insert(step.into(), took_place);
        self
    }

    /// Declares something.
    #[must_use]
    pub fn with_attestation(mut self, attestation: Attestation) -> Self {
        self.attest.push(attestation);
        self
    }

    /// Says when the outage began.
    #[must_use]
    pub fn with_outage_began(mut self, at: Option<DateTime<Utc>>) -> Self {
        self.outage_began = at;
        self
    }
}

/// Asks a person for what only a person may decide.
#[async_trait]
pub trait Approver: Debug + Send + Sync + 'static {
    /// Whether the step may be done, and who says so; `None` when nobody does.
    ///
    /// # Errors
    /// `Cancelled` when the question was interrupted.
    async fn approve(&self, cx: &Cx, step: &Step, commands: &[String]) -> Result<Option<String>>;
}

/// Nobody is there to ask: the run rests until it is resumed with the approval.
#[derive(Debug, Clone, Copy, Default)]
pub struct NobodyApproves;

#[async_trait]
impl Approver for NobodyApproves {
    async fn approve(&self, _: &Cx, _: &Step, _: &[String]) -> Result<Option<String>> {
        Ok(None)
    }
}

/// Is told every entry of the journal, once it is durable.
pub trait Watcher: Debug + Send + Sync + 'static {
    /// Takes note; must not block.
    fn told(&self, entry: &Entry);
}

/// Takes no note.
#[derive(Debug, Clone, Copy, Default)]
pub struct NobodyWatches;

impl Watcher for NobodyWatches {
    fn told(&self, _: &Entry) {}
}
