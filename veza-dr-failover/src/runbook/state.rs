//! What a journal adds up to.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use veza_dr_core::{Error, ErrorKind, Result};

use super::{ApprovalReport, Attestation, Done, Ending, Entry, Mode, Plan, Record, Rule, StepOutcome};

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepStatus {
    /// Not begun, or to be done again.
    Waiting,
    /// Begun; without a live run its outcome is not known.
    Started,
    /// Done.
    Done,
    /// Failed, and known not to have taken place.
    Failed,
    /// Out of time, and known not to have taken place.
    TimedOut,
    /// Whether it took place is not known and could not be found out.
    Unknown,
    /// A person must do something first.
    Waits,
    /// A person left it out.
    Skipped,
    /// Done, then undone.
    Undone,
    /// Done, and the undoing failed or was cut off.
    UndoFailed,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StepState {
    pub(super) status: StepStatus,
    pub(super) attempts: u32,
    pub(super) mode: Mode,
    pub(super) before: Value,
    pub(super) began: Option<DateTime<Utc>>,
    pub(super) ended: Option<DateTime<Utc>>,
    pub(super) done: Option<Done>,
    pub(super) text: String,
    pub(super) settled: Option<bool>,
    /// The order in which steps ended, for undoing them in reverse.
    pub(super) done_seq: u64,
    pub(super) recovered: bool,
    /// A try that did not succeed may have changed something; `before` is how it was before that.
    pub(super) touched: bool,
    /// It will not be tried again in this process; not of the journal.
    pub(super) given_up: bool,
    /// The rule by which its last try was refused in this process; not of the journal.
    pub(super) refused: Option<Rule>,
}

impl Default for StepState {
    fn default() -> Self {
        Self {
            status: StepStatus::Waiting,
            attempts: 0,
            mode: Mode::Graceful,
            before: Value::Null,
            began: None,
            ended: None,
            done: None,
            text: String::new(),
            settled: None,
            done_seq: 0,
            recovered: false,
            touched: false,
            given_up: false,
            refused: None,
        }
    }
}

/// What was counted of a loss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) records: u64,
    /// Records with older values.
    pub(super) changed: u64,
    /// The run that counted.
    pub(super) by: String,
}

/// Why a run rests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pause {
    pub(super) why: String,
    pub(super) refused: Option<Rule>,
    pub(super) needs_human: bool,
    pub(super) asked: bool,
}

/// A run as its journal tells it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    pub(super) run: String,
    pub(super) plan: Plan,
    pub(super) plan_sha: String,
    pub(super) who: String,
    pub(super) epoch: u64,
    pub(super) mode: Mode,
    pub(super) started: DateTime<Utc>,
    pub(super) outage_began: Option<DateTime<Utc>>,
    pub(super) steps: BTreeMap<String, StepState>,
    /// The first approval of each step.
    pub(super) approved: BTreeMap<String, ApprovalReport>,
    pub(super) attestations: Vec<Attestation>,
    pub(super) restore_at: Option<DateTime<Utc>>,
    /// By component.
    pub(super) measured: BTreeMap<String, Measured>,
    pub(super) overridden: BTreeMap<Rule, (String, String)>,
    pub(super) warnings: Vec<String>,
    pub(super) paused: Option<Pause>,
    pub(super) ending: Option<Ending>,
    pub(super) last: DateTime<Utc>,
    /// A person asked for a rollback; it must be finished.
    pub(super) undoing: bool,
}

impl State {
    /// Adds the entries up.
    pub(super) fn of(entries: &[Entry]) -> Result<Self> {
        let empty = || {
            Error::new(ErrorKind::NotFound, "the journal holds no run: it was killed before the first step")
                .with_help("nothing was done; begin anew with: veza-dr failover run")
        };
        let first = entries.first().ok_or_else(empty)?;
        let Record::Started { run, plan, plan_sha, who, epoch, mode, outage_began } = &first.record else {
            return Err(Error::new(ErrorKind::Corrupt, "the journal does not begin with the start of a run"));
        };
        let mut state = Self {
            run: run.clone(),
            plan: (**plan).clone(),
            plan_sha: plan_sha.clone(),
            who: who.clone(),
            epoch: *epoch,
            mode: *mode,
            started: first.at,
            outage_began: *outage_began,
            steps: plan.steps.iter().map(|s| (s.id.clone(), StepState::default())).collect(),
            approved: BTreeMap::new(),
            attestations: Vec::new(),
            restore_at: None,
            measured: BTreeMap::new(),
            overridden: BTreeMap::new(),
            warnings: Vec::new(),
            paused: None,
            ending: None,
            last: first.at,
            undoing: false,
        };
        for entry in &entries[1..] {
            state.add(entry);
        }
        Ok(state)
    }

    /// Adds one entry.
    pub(super) fn add(&mut self, entry: &Entry) {
        self.last = entry.at;
        match &entry.record {
            Record::Started { .. } => {}
            Record::Resumed { epoch, .. } => {
                self.epoch = *epoch;
                self.paused = None;
            }
            Record::ModeChanged { mode, .. } => self.mode = *mode,
            Record::Approved { step, who, comment } => {
                let (step, who, comment, at) = (step.clone(), who.clone(), comment.clone(), entry.at);
                self.approved.entry(step.clone()).or_insert(ApprovalReport { step, who, comment, at });
            }
            Record::RestorePoint { at, .. } => self.restore_at = Some(*at),
            Record::Attested { attestation } => self.attestations.push(attestation.clone()),
            Record::Overridden { rule, who, why } => {
                self.overridden.insert(*rule, (who.clone(), why.clone()));
            }
            Record::LossMeasured { component, records, changed, by } => {
                let measured = Measured { records: *records, changed: *changed, by: by.clone() };
                self.measured.insert(component.clone(), measured);
            }
            Record::Warning { text } => self.warnings.push(text.clone()),
            Record::Paused { why, refused, needs_human, asked } => {
                self.paused =
                    Some(Pause { why: why.clone(), refused: *refused, needs_human: *needs_human, asked: *asked });
            }
            Record::RollbackBegun { .. } => {
                self.undoing = true;
                self.paused = None;
                // It is not over any more: what it has done is being undone, and may be by half.
                self.ending = None;
            }
            Record::Ended { ending } => self.ending = Some(*ending),
            Record::Settled { step, took_place, .. } => self.change(step, |s| s.settled = Some(*took_place)),
            Record::Intent { step, attempt, mode, before, .. } => self.change(step, |s| {
                (s.status, s.attempts, s.mode) = (StepStatus::Started, *attempt, *mode);
                s.before = before.clone();
                s.began = Some(entry.at);
                (s.ended, s.settled, s.given_up, s.refused) = (None, None, false, None);
            }),
            Record::Outcome { step, outcome, attempt } => {
                if let StepOutcome::Ok { done, .. } = outcome {
                    self.warnings.extend(done.warnings.iter().map(|text| format!("step {step}: {text}")));
                }
                self.change(step, |s| {
                    s.attempts = s.attempts.max(*attempt);
                    s.end(entry, outcome);
                });
            }
            Record::Reopened { step, why } => self.change(step, |s| {
                s.status = StepStatus::Waiting;
                s.text.clone_from(why);
                s.touched = false;
            }),
            Record::UndoIntent { step } => self.change(step, |s| s.status = StepStatus::UndoFailed),
            Record::UndoOutcome { step, error } => self.change(step, |s| match error {
                None => s.status = StepStatus::Undone,
                Some(why) => s.text.clone_from(why),
            }),
        }
    }

    fn change(&mut self, step: &str, how: impl FnOnce(&mut StepState)) {
        // A step that the plan does not have cannot come from a journal whose checksums hold.
        if let Some(step) = self.steps.get_mut(step) {
            how(step);
        }
    }

    pub(super) fn status(&self, step: &str) -> StepStatus {
        self.steps.get(step).map_or(StepStatus::Waiting, |s| s.status)
    }

    /// What steps found, by step.
    pub(super) fn evidence(&self) -> BTreeMap<String, Value> {
        let found = self.steps.iter().filter_map(|(id, s)| Some((id.clone(), s.done.as_ref()?.evidence.clone())));
        found.collect()
    }
}

impl StepState {
    fn end(&mut self, entry: &Entry, outcome: &StepOutcome) {
        self.ended = Some(entry.at);
        self.done_seq = entry.seq;
        match outcome {
            StepOutcome::Ok { done, recovered } => {
                self.status = StepStatus::Done;
                self.text.clone_from(&done.text);
                self.done = Some(done.clone());
                self.recovered = *recovered;
            }
            StepOutcome::Failed { error, touched, .. } => {
                self.status = StepStatus::Failed;
                self.text.clone_from(error);
                // That nothing took place, as a person says, ends what was begun.
                self.touched = (self.touched || *touched) && self.settled != Some(false);
            }
            StepOutcome::TimedOut => {
                self.status = StepStatus::TimedOut;
                self.touched = true;
                "it did not end in its time".clone_into(&mut self.text);
            }
            StepOutcome::Unknown { why } => {
                self.status = StepStatus::Unknown;
                self.touched = true;
                self.text.clone_from(why);
            }
            StepOutcome::Waits { why } => {
                self.status = StepStatus::Waits;
                self.text.clone_from(why);
            }
            StepOutcome::Skipped { who, why } => {
                self.status = StepStatus::Skipped;
                self.text = format!("left out by {who}: {why}");
            }
        }
    }
}
