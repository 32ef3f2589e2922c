//! What an operator decides when a run begins or is taken up again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use veza_dr_core::{Cx, Result};

use super::{Attestation, Entry, Mode, Rule, Safety, Step};

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
    /// Who agrees to them, where it is not the one who enters it.
    pub approved_by: Option<String>,
    /// What they say to it.
    pub comment: Option<String>,
    /// Steps that are left out, and why.
    pub skip: BTreeMap<String, String>,
    /// Rules that are gone on without, and why.
    pub overrides: BTreeMap<Rule, String>,
    /// Whether steps of unknown outcome took place, as somebody saw.
    pub settle: BTreeMap<String, bool>,
    /// What people declare.
    pub attest: Vec<Attestation>,
    /// The time to go back to: what is restored is the newest backup that shows it or an earlier one.
    pub restore_at: Option<DateTime<Utc>>,
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

    /// The approvals are given in this name, and with these words.
    #[must_use]
    pub fn in_the_name_of(mut self, who: Option<String>, comment: Option<String>) -> Self {
        (self.approved_by, self.comment) = (who, comment);
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

    /// Goes back to this time: the last one at which the data was sound.
    #[must_use]
    pub fn with_restore_at(mut self, at: Option<DateTime<Utc>>) -> Self {
        self.restore_at = at;
        self
    }

    /// Says when the outage began.
    #[must_use]
    pub fn with_outage_began(mut self, at: Option<DateTime<Utc>>) -> Self {
        self.outage_began = at;
        self
    }
}

/// A step that waits for a person to agree.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Question {
    /// The run.
    pub run: String,
    /// The step.
    pub step: Step,
    /// What it will do.
    pub commands: Vec<String>,
    /// The site that it acts on, if it is one.
    pub site: Option<String>,
    /// What it does to the safety of the data.
    pub safety: Vec<Safety>,
}

/// Asks a person for what only a person may decide. Other steps go on meanwhile.
#[async_trait]
pub trait Approver: Debug + Send + Sync + 'static {
    /// Whether the step may be done, and who says so; `None` when nobody does. Several may be asked for at a time.
    ///
    /// # Errors
    /// `Cancelled` when the question was interrupted, as it is when somebody agrees from elsewhere.
    async fn approve(&self, cx: &Cx, question: &Question) -> Result<Option<String>>;
}

/// Nobody is there to ask: the run rests until it is resumed with the approval.
#[derive(Debug, Clone, Copy, Default)]
pub struct NobodyApproves;

#[async_trait]
impl Approver for NobodyApproves {
    async fn approve(&self, _: &Cx, _: &Question) -> Result<Option<String>> {
        Ok(None)
    }
}

/// Nobody is here to ask, but somebody may agree from another process, by [`Engine::approve`](super::Engine::approve):
/// for so long the run waits.
#[derive(Debug, Clone, Copy)]
pub struct ApprovesElsewhere(pub Duration);

#[async_trait]
impl Approver for ApprovesElsewhere {
    async fn approve(&self, cx: &Cx, _: &Question) -> Result<Option<String>> {
        let wait = async {
            tokio::time::sleep(self.0).await;
            Ok(None)
        };
        cx.run("wait for an approval", wait).await
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
