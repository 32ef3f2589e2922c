//! What a journal holds.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Attestation, Done, Plan, Rule};

/// Graceful: everything ends cleanly, for which the old site must answer. Ungraceful: only what is critical.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mode {
    /// Steps do what they say.
    #[default]
    Graceful,
    /// Steps that have an ungraceful variant do that.
    Ungraceful,
}

/// How one try of one step ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepOutcome {
    /// It is done.
    Ok {
        /// What it achieved.
        done: Done,
        /// Its outcome had been lost, and was found out afterwards.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        recovered: bool,
    },
    /// It failed, and is known not to have taken place.
    Failed {
        /// Why.
        error: String,
        /// Whether it may pass when tried again.
        retryable: bool,
        /// It may have changed a part all the same: what was there before is what this try found, not what a later one
        /// finds.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        touched: bool,
    },
    /// It did not end in its time; it is known not to have taken place.
    TimedOut,
    /// Whether it took place is not known.
    Unknown {
        /// Why not.
        why: String,
    },
    /// It needs something from a person first; nothing was changed.
    Waits {
        /// What.
        why: String,
    },
    /// A person left it out.
    Skipped {
        /// Who.
        who: String,
        /// Why.
        why: String,
    },
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ending {
    /// Every step is done.
    Completed,
    /// Every step is done but those that a person left out.
    CompletedWithSkips,
    /// What was done was undone.
    RolledBack,
    /// A person gave it up as it stood.
    Abandoned,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
#[non_exhaustive]
pub enum Record {
    /// The run begins.
    Started {
        /// Its name.
        run: String,
        /// The plan, whole.
        plan: Box<Plan>,
        /// Its hash.
        plan_sha: String,
        /// Who runs it, on which machine.
        who: String,
        /// The fencing number of its lease.
        epoch: u64,
        /// How.
        mode: Mode,
        /// When the outage began, where somebody said so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        outage_began: Option<DateTime<Utc>>,
    },
    /// Somebody took the run up again.
    Resumed {
        /// Who.
        who: String,
        /// The fencing number of the lease now.
        epoch: u64,
    },
    /// How steps are done from here on.
    ModeChanged {
        /// How.
        mode: Mode,
        /// Who said so.
        who: String,
    },
    /// A person agreed to a step.
    Approved {
        /// The step.
        step: String,
        /// Who.
        who: String,
        /// What they said to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment: Option<String>,
    },
    /// A person named the time to go back to.
    RestorePoint {
        /// The time.
        at: DateTime<Utc>,
        /// Who.
        who: String,
    },
    /// A person declared something.
    Attested {
        /// What and who.
        attestation: Attestation,
    },
    /// A person decided to go on without a rule.
    Overridden {
        /// The rule.
        rule: Rule,
        /// Who.
        who: String,
        /// Why.
        why: String,
    },
    /// A person said whether a step took place.
    Settled {
        /// The step.
        step: String,
        /// Whether.
        took_place: bool,
        /// Who.
        who: String,
    },
    /// A try of a step begins.
    Intent {
        /// The step.
        step: String,
        /// Which try.
        attempt: u32,
        /// How.
        mode: Mode,
        /// The same for every try of the step in this run.
        idempotency_key: String,
        /// What was there before.
        before: Value,
        /// When it must have ended.
        deadline: DateTime<Utc>,
    },
    /// A try of a step ended.
    Outcome {
        /// The step.
        step: String,
        /// Which try; 0 when there was none.
        attempt: u32,
        /// How.
        outcome: StepOutcome,
    },
    /// A step that was done has to be done again.
    Reopened {
        /// The step.
        step: String,
        /// Why.
        why: String,
    },
    /// A person asked for everything to be undone.
    RollbackBegun {
        /// Who.
        who: String,
    },
    /// A step is about to be undone.
    UndoIntent {
        /// The step.
        step: String,
    },
    /// The undoing of a step ended.
    UndoOutcome {
        /// The step.
        step: String,
        /// What was put back, or why not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// How much of a component the run lost, counted when the old site could be compared; also after the run's end.
    LossMeasured {
        /// The component.
        component: String,
        /// Records that only the old site had.
        records: u64,
        /// Records that both had, with other values.
        changed: u64,
        /// The run that counted.
        by: String,
    },
    /// Something that people should know of.
    Warning {
        /// What.
        text: String,
    },
    /// The run rests and can be taken up again.
    Paused {
        /// Why.
        why: String,
        /// The rule that refused to go on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<Rule>,
        /// Whether it goes on once a person did something.
        #[serde(default)]
        needs_human: bool,
        /// Whether somebody asked it to stop.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        asked: bool,
    },
    /// The run ended.
    Ended {
        /// How.
        ending: Ending,
    },
}

/// A record with its place in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// Counted from 1, without a gap.
    pub seq: u64,
    /// When it was written.
    pub at: DateTime<Utc>,
    /// What it says.
    pub record: Record,
}
