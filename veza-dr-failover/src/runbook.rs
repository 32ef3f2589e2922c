//! Runbooks: a plan is data, its steps are actions, and a journal lets a run that was killed go on.
//!
//! A [`Plan`] with its [`Actions`] makes a [`Bound`] plan, which can be shown, checked against the [`Rule`]s and hashed;
//! the [`Engine`] runs it. docs/runbooks.md has the form of plans and journals.

mod action;
mod bound;
mod copies;
mod engine;
mod execute;
mod fence_proof;
mod history;
mod journal;
mod journals;
mod live;
mod load;
mod look;
mod loss;
mod options;
mod plan;
mod questions;
mod record;
mod report;
mod requests;
mod rules;
mod scenarios;
pub(crate) mod span;
mod state;
mod tries;

pub use action::{Applied, Done, Effects, Establishes, Safety, StepAction, StepContext};
pub use bound::{Actions, Bound};
pub use engine::Engine;
pub(crate) use execute::WAITS_FOR;
pub use fence_proof::{Attestation, FenceProof, FencedBy};
#[cfg(feature = "http")]
pub(crate) use history::of_journals;
pub use history::{Prediction, predictions};
pub use journal::read_journal;
pub use journals::Journals;
pub(crate) use load::nearest;
pub use loss::{ComponentLoss, Restored, loss_in_words};
pub use options::{Approver, ApprovesElsewhere, NobodyApproves, NobodyWatches, Question, RunOptions, Watcher};
pub use plan::{Plan, RetrySteps, Step, UndoPolicy, Variant};
pub use record::{Ending, Entry, Mode, Record, StepOutcome};
pub use report::{ApprovalReport, OverrideReport, RunReport, RunStatus, StepReport};
pub use rules::{Rule, Violation};
pub use state::StepStatus;
pub(crate) use tries::Tries;
