//! What people did, decided and said.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use super::Outcome;

/// Somebody and their part in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Who.
    pub name: String,
    /// What they did or what they are: `began`, `approved`, `incident lead`.
    pub role: String,
    /// To what: a step, a rule, a statement.
    pub of: Option<String>,
    /// When; absent when it is not on record.
    pub at: Option<DateTime<Utc>>,
}

impl Person {
    /// Somebody.
    #[must_use]
    pub fn new(name: impl Into<String>, role: impl Into<String>, at: Option<DateTime<Utc>>) -> Self {
        Self { name: name.into(), role: role.into(), of: None, at }
    }

    /// About this step, rule or statement.
    #[must_use]
    pub fn about(mut self, of: impl Into<String>) -> Self {
        self.of = Some(of.into());
        self
    }
}

/// What was left out of the scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusion {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

impl Exclusion {
    /// An exclusion.
    #[must_use]
    pub fn new(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into() }
    }
}

/// A step left out, or a rule gone on without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The step or the rule.
    pub what: String,
    /// Who decided.
    pub who: String,
    /// Why.
    pub why: String,
    /// When; absent when it is not on record.
    pub at: Option<DateTime<Utc>>,
}

impl Decision {
    /// A decision.
    #[must_use]
    pub fn new(
        what: impl Into<String>,
        who: impl Into<String>,
        why: impl Into<String>,
        at: Option<DateTime<Utc>>,
    ) -> Self {
        Self { what: what.into(), who: who.into(), why: why.into(), at }
    }
}

/// A message to people, sent or rehearsed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Communication {
    /// By which channel.
    pub channel: String,
    /// To whom, and which level of escalation.
    pub to: Option<String>,
    /// When.
    pub at: Option<DateTime<Utc>>,
    /// Whether it was delivered.
    pub outcome: Outcome,
    /// What was said, or why it was not delivered.
    pub text: String,
}

impl Communication {
    /// A message.
    #[must_use]
    pub fn new(channel: impl Into<String>, outcome: Outcome, text: impl Into<String>) -> Self {
        Self { channel: channel.into(), to: None, at: None, outcome, text: text.into() }
    }
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingSeverity {
    /// Worth knowing.
    Info,
    /// To be mended some day.
    Low,
    /// To be mended before the next drill.
    Medium,
    /// The objectives are at risk.
    High,
    /// A recovery would fail, or lose data.
    Critical,
}

/// Something to be mended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// A name by which a later report can speak of it.
    pub id: String,
    /// How much it matters.
    pub severity: FindingSeverity,
    /// What was found.
    pub text: String,
    /// Who mends it; absent: nobody was named yet.
    pub owner: Option<String>,
    /// By when; absent: no date was set yet.
    pub due: Option<NaiveDate>,
}

impl Finding {
    /// A finding that nobody owns yet.
    #[must_use]
    pub fn new(id: impl Into<String>, severity: FindingSeverity, text: impl Into<String>) -> Self {
        Self { id: id.into(), severity, text: text.into(), owner: None, due: None }
    }

    /// Mended by this person, by this date.
    #[must_use]
    pub fn owned(mut self, owner: impl Into<String>, due: NaiveDate) -> Self {
        (self.owner, self.due) = (Some(owner.into()), Some(due));
        self
    }
}

/// An earlier finding, looked at again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retest {
    /// The earlier report.
    pub report: String,
    /// The finding within it.
    pub finding: String,
    /// `Passed`: it is mended.
    pub outcome: Outcome,
    /// What was seen.
    pub text: String,
}

impl Retest {
    /// A finding looked at again.
    #[must_use]
    pub fn new(
        report: impl Into<String>,
        finding: impl Into<String>,
        outcome: Outcome,
        text: impl Into<String>,
    ) -> Self {
        Self { report: report.into(), finding: finding.into(), outcome, text: text.into() }
    }
}

/// Somebody who stands behind the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignOff {
    /// Who.
    pub name: String,
    /// In which role.
    pub role: String,
    /// When.
    pub at: DateTime<Utc>,
    /// What they say of it.
    pub statement: Option<String>,
    /// The SHA-256 of the report as it was when they signed; what was added later is not what they signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl SignOff {
    /// A signature.
    #[must_use]
    pub fn new(name: impl Into<String>, role: impl Into<String>, at: DateTime<Utc>) -> Self {
        Self { name: name.into(), role: role.into(), at, statement: None, sha256: None }
    }
}
