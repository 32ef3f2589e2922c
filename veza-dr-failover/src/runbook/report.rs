//! What is told of a run.

use std::{collections::BTreeMap, path::Path};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use veza_dr_core::Result;

use super::{ComponentLoss, Ending, Entry, Mode, Rule, StepStatus, read_journal, state::State};

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunStatus {
    /// Every step is done.
    Completed,
    /// Every step is done but those that a person left out.
    CompletedWithSkips,
    /// What was done was undone.
    RolledBack,
    /// A step failed for good; it can be taken up again or rolled back.
    Failed,
    /// A person must approve, attest, or say whether a step took place.
    NeedsHuman,
    /// A rule refused to go on.
    Refused,
    /// A person gave it up as it stood.
    Abandoned,
    /// It rests, because somebody asked for it.
    Paused,
    /// It was cut off, or is under way right now.
    Interrupted,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StepReport {
    /// Its name.
    pub id: String,
    /// How far it is.
    pub status: StepStatus,
    /// How often it was tried.
    pub attempts: u32,
    /// When its last try began.
    pub began: Option<DateTime<Utc>>,
    /// When that ended.
    pub ended: Option<DateTime<Utc>>,
    /// What it achieved, or why not.
    pub text: String,
    /// Its outcome was lost and found out afterwards.
    pub recovered: bool,
}

/// A rule that a person went on without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OverrideReport {
    /// The rule.
    pub rule: Rule,
    /// Who.
    pub who: String,
    /// Why.
    pub why: String,
}

/// A step that a person agreed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ApprovalReport {
    /// The step.
    pub step: String,
    /// Who.
    pub who: String,
    /// What they said to it.
    pub comment: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
}

/// A run, told.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RunReport {
    /// Its name.
    pub run: String,
    /// The plan's name.
    pub plan: String,
    /// The scenario that the plan is for.
    pub scenario: Option<String>,
    /// The plan's hash.
    pub plan_sha: String,
    /// Who began it.
    pub who: String,
    /// The fencing number of its lease.
    pub epoch: u64,
    /// How it stands.
    pub status: RunStatus,
    /// What it waits for or why it stopped, in words.
    pub why: Option<String>,
    /// The rule that refused to go on.
    pub refused: Option<Rule>,
    /// How steps are done.
    pub mode: Mode,
    /// When it began.
    pub started: DateTime<Utc>,
    /// The time of the last entry.
    pub last: DateTime<Utc>,
    /// The steps, in the plan's order.
    pub steps: Vec<StepReport>,
    /// The clock points `T0` to `T8`; `None` is unknown, never zero.
    pub points: BTreeMap<&'static str, Option<DateTime<Utc>>>,
    /// Steps that a person agreed to.
    pub approvals: Vec<ApprovalReport>,
    /// What was lost, by component, where a site was restored; what is not known of it is `None`, never zero.
    pub data_loss: BTreeMap<String, ComponentLoss>,
    /// Rules that a person went on without.
    pub overrides: Vec<OverrideReport>,
    /// What people should know of.
    pub warnings: Vec<String>,
}

/// The clock points: T0 the outage began, T1 it was detected, T2 declared, T3 the decision to fail over, T4 the plan
/// began, T5 the standby passed validation by its own address, T6 users are served, T7 redundancy is back, T8 the way
/// back is done.
const POINTS: [&str; 9] = ["T0", "T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8"];

impl RunReport {
    /// How a run stands, by this journal.
    ///
    /// # Errors
    /// `NotFound` without it; `Corrupt` when it is damaged.
    pub fn from_journal(path: &Path) -> Result<Self> {
        Self::of_entries(&read_journal(path)?)
    }

    /// How a run stands, by what its journal holds.
    ///
    /// # Errors
    /// `NotFound` when that is nothing; `Corrupt` when it does not begin with the start of a run.
    pub fn of_entries(entries: &[Entry]) -> Result<Self> {
        Ok(Self::of(&State::of(entries)?))
    }

    pub(super) fn of(state: &State) -> Self {
        let steps: Vec<StepReport> = state
            .plan
            .steps
            .iter()
            .map(|step| {
                let s = state.steps.get(&step.id).cloned().unwrap_or_default();
                StepReport {
                    id: step.id.clone(),
                    status: s.status,
                    attempts: s.attempts,
                    began: s.began,
                    ended: s.ended,
                    text: s.text,
                    recovered: s.recovered,
                }
            })
            .collect();
        let has = |wanted: &[StepStatus]| steps.iter().find(|s| wanted.contains(&s.status));
        let waits = [StepStatus::Waits, StepStatus::Unknown];
        let failed = [StepStatus::Failed, StepStatus::TimedOut, StepStatus::UndoFailed];
        let (status, why) = match (state.ending, &state.paused) {
            (Some(Ending::Completed), _) => (RunStatus::Completed, None),
            (Some(Ending::CompletedWithSkips), _) => (RunStatus::CompletedWithSkips, None),
            (Some(Ending::RolledBack), _) => (RunStatus::RolledBack, None),
            (Some(Ending::Abandoned), _) => (RunStatus::Abandoned, None),
            (None, Some(pause)) if pause.asked => (RunStatus::Paused, Some(pause.why.clone())),
            (None, Some(pause)) if pause.refused.is_some() => (RunStatus::Refused, Some(pause.why.clone())),
            (None, Some(pause)) => match (has(&failed), has(&waits)) {
                (Some(step), _) => (RunStatus::Failed, Some(format!("step {}: {}", step.id, step.text))),
                (None, Some(step)) => (RunStatus::NeedsHuman, Some(format!("step {}: {}", step.id, step.text))),
                (None, None) if pause.needs_human => (RunStatus::NeedsHuman, Some(pause.why.clone())),
                (None, None) => (RunStatus::Paused, Some(pause.why.clone())),
            },
            (None, None) => (RunStatus::Interrupted, None),
        };
        let mut points: BTreeMap<&'static str, Option<DateTime<Utc>>> = POINTS.map(|p| (p, None)).into();
        points.insert("T0", state.outage_began);
        points.insert("T3", Some(state.started));
        points.insert("T4", steps.iter().filter_map(|s| s.began).min());
        for step in &state.plan.steps {
            let Some(point) = POINTS.into_iter().find(|p| step.marks.as_deref() == Some(*p)) else { continue };
            let s = state.steps.get(&step.id).filter(|s| s.status == StepStatus::Done);
            // Of several steps with one mark the last one counts.
            if let Some(at) = s.and_then(|s| s.done.as_ref().and_then(|d| d.reached).or(s.ended)) {
                let known = points.get(point).copied().flatten();
                points.insert(point, known.max(Some(at)));
            }
        }
        Self {
            run: state.run.clone(),
            plan: state.plan.name.clone(),
            scenario: state.plan.scenario.clone(),
            plan_sha: state.plan_sha.clone(),
            who: state.who.clone(),
            epoch: state.epoch,
            status,
            why,
            refused: state.paused.as_ref().filter(|_| state.ending.is_none()).and_then(|p| p.refused),
            mode: state.mode,
            started: state.started,
            last: state.last,
            steps,
            points,
            approvals: state.approved.values().cloned().collect(),
            data_loss: state.losses(),
            overrides: state
                .overridden
                .iter()
                .map(|(rule, (who, why))| OverrideReport { rule: *rule, who: who.clone(), why: why.clone() })
                .collect(),
            warnings: state.warnings.clone(),
        }
    }
}
