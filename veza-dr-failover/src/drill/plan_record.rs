//! What became of each step of a plan in a drill.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    course::{Course, Fate, LeftOut, Lost},
    model::{DrillFinding, DrillRecord},
};
use veza_dr_core::Severity;

/// The plan that a drill followed in a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RehearsedPlan {
    /// Its name.
    pub name: String,
    /// Its hash: the one that `failover run` demands.
    pub sha256: String,
    /// The site that it recovers, where it speaks of one.
    pub recovers: Option<String>,
    /// The site whose project was copied.
    pub copy_of: String,
    /// What the disaster took.
    pub lost: Lost,
    /// Every step, in the plan's order.
    pub steps: Vec<PlanStep>,
    /// Steps that the configuration has nothing for, and that a failover would not do either.
    pub not_in_plan: Vec<String>,
    /// What the plan has no step for and the drill did by itself, so that the whole stands in the end.
    pub beyond: Vec<String>,
}

/// What became of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlanStep {
    /// Its name.
    pub id: String,
    /// The kind of its action.
    pub action: String,
    /// How it ended.
    pub fate: StepFate,
    /// Why it was left out, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<LeftOut>,
    /// What was done and found, or why not.
    pub text: String,
    /// A person has to agree to it before a failover does it; nobody was asked in the drill.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approval: bool,
    /// The clock point that its success is in a failover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marks: Option<String>,
    /// How often it was tried.
    pub tries: u32,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<DateTime<Utc>>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<DateTime<Utc>>,
    /// How long it took with all tries, in milliseconds, by a clock that is never set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
}

/// How a step of a plan ended in a drill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepFate {
    /// Carried out in the copy.
    CarriedOut,
    /// Left out, for the reason that it has.
    LeftOut,
    /// Tried in the copy, and failed.
    Failed,
    /// The drill ended before it.
    NotReached,
    /// What a step of its kind is in a copy is not known. No pass.
    Unknown,
}

impl RehearsedPlan {
    /// Before anything of it was done.
    pub(super) fn of(course: &Course, copy_of: &str) -> Self {
        let step = |walk: &super::course::Walk| {
            let (fate, left_out, text) = match &walk.fate {
                Fate::InTheCopy(_) => (StepFate::NotReached, None, String::new()),
                Fate::LeftOut(why) => (StepFate::LeftOut, Some(*why), why.why().to_owned()),
                Fate::Unknown => {
                    let text = format!("what a step `{}` is in a copy is not known", walk.step.action);
                    (StepFate::Unknown, None, text)
                }
            };
            PlanStep {
                id: walk.step.id.clone(),
                action: walk.step.action.clone(),
                fate,
                left_out,
                text,
                approval: walk.step.approval,
                marks: walk.step.marks.clone(),
                tries: 0,
                began: None,
                ended: None,
                took_ms: None,
            }
        };
        Self {
            name: course.plan.clone(),
            sha256: course.sha256.clone(),
            recovers: course.recovers.clone(),
            copy_of: copy_of.to_owned(),
            lost: course.lost.clone(),
            steps: course.steps.iter().map(step).collect(),
            not_in_plan: course.not_in_plan.clone(),
            beyond: Vec::new(),
        }
    }

    /// How many steps ended so.
    #[must_use]
    pub fn count(&self, fate: StepFate) -> usize {
        self.steps.iter().filter(|s| s.fate == fate).count()
    }

    /// Whether every step was carried out, or left out for a reason that is known.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.steps.iter().all(|s| matches!(s.fate, StepFate::CarriedOut | StepFate::LeftOut))
    }

    /// Its steps in a few words.
    #[must_use]
    pub fn told(&self) -> String {
        let mut text = format!(
            "{} steps carried out in the copy, {} left out",
            self.count(StepFate::CarriedOut),
            self.count(StepFate::LeftOut)
        );
        for (fate, words) in
            [(StepFate::Failed, "failed"), (StepFate::NotReached, "not reached"), (StepFate::Unknown, "not known")]
        {
            match self.count(fate) {
                0 => {}
                n => text.push_str(&format!(", {n} {words}")),
            }
        }
        text
    }
}

/// What keeps the plan's part of a record from being a pass.
pub(super) fn gaps(record: &DrillRecord) -> Vec<DrillFinding> {
    let Some(plan) = &record.plan else { return Vec::new() };
    let mut found = Vec::new();
    // What a step that was tried left open is told by what it found.
    for step in plan.steps.iter().filter(|s| s.fate == StepFate::Unknown && s.tries == 0) {
        let text = format!("step {} of plan {}: {}", step.id, plan.name, step.text);
        let help = "rehearse it by hand, or give it the tag `production` to leave it out".to_owned();
        found.push(DrillFinding { severity: Severity::Medium, text, help: Some(help) });
    }
    for what in &plan.beyond {
        let text = format!("plan {} does not recover everything: {what}", plan.name);
        let help = format!("give the plan a step for it, or take it out of scenarios.{}.needs", record.scenario);
        found.push(DrillFinding { severity: Severity::Medium, text, help: Some(help) });
    }
    found
}
