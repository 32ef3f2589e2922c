//! A plan as data.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use veza_dr_core::{Error, ErrorKind, Result};

use super::span;

/// The steps of a recovery and their order.
///
/// ```
/// use veza_dr_failover::runbook::{Plan, Step};
/// let plan = Plan::new("night").with_step(Step::new("look", "note")).with_step(Step::new("act", "note").after(["look"]));
/// assert_eq!(plan.steps[1].needs, ["look"]);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// The scenario that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
    /// When to use it.
    #[serde(default)]
    pub about: String,
    /// How long the whole run may take; unlimited where it is left out.
    #[serde(default, with = "span::optional", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// The steps. Those whose needs are met run at the same time.
    pub steps: Vec<Step>,
    /// Where it was read from; not part of it.
    #[serde(skip)]
    pub(super) read_from: ReadFrom,
}

/// The file of a plan, and the line of each of its steps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ReadFrom {
    pub(super) file: Option<String>,
    pub(super) lines: Vec<u64>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Step {
    /// Its name within the plan.
    pub id: String,
    /// The kind of action.
    #[serde(rename = "do")]
    pub action: String,
    /// The action's parameters.
    #[serde(default, rename = "with", skip_serializing_if = "Map::is_empty")]
    pub parameters: Map<String, Value>,
    /// What is done instead once the run is ungraceful: when speed counts for more than a clean end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ungraceful: Option<Variant>,
    /// The steps that come before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// How long one try may take.
    #[serde(default = "five_minutes", with = "span")]
    pub timeout: Duration,
    /// How long all tries together may take.
    #[serde(default, with = "span::optional", skip_serializing_if = "Option::is_none")]
    pub total_timeout: Option<Duration>,
    /// How often it is tried.
    #[serde(default)]
    pub retry: RetrySteps,
    /// When it is undone.
    #[serde(default)]
    pub undo: UndoPolicy,
    /// It waits for a person to agree.
    #[serde(default)]
    pub approval: bool,
    /// A person may leave it out.
    #[serde(default)]
    pub skippable: bool,
    /// Words for the tools around: `production` keeps it out of drills.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    /// The clock point that its success is: `T5`, `T6`, `T7`, `T8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marks: Option<String>,
    /// Parts of the configuration without which it is left out of the plan: `dns`, `validation`, `database`, …
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub only_with: BTreeSet<String>,
}

/// Another action for the same step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Variant {
    /// The kind of action.
    #[serde(rename = "do")]
    pub action: String,
    /// Its parameters.
    #[serde(default, rename = "with", skip_serializing_if = "Map::is_empty")]
    pub parameters: Map<String, Value>,
}

/// How often a step is tried when it fails in a way that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RetrySteps {
    /// Tries in all.
    #[serde(default = "one")]
    pub max: u32,
    /// The pause before the second try; it doubles each time, up to a minute.
    #[serde(default = "two_seconds", with = "span")]
    pub backoff: Duration,
}

impl Default for RetrySteps {
    fn default() -> Self {
        Self { max: one(), backoff: two_seconds() }
    }
}

/// When a step is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UndoPolicy {
    /// By a rollback, where its action has a way back.
    #[default]
    IfPossible,
    /// By a rollback; a plan whose action has no way back is refused.
    Required,
    /// By a rollback, and when a later step fails for good; a plan whose action has no way back is refused.
    OnFailure,
    /// Never.
    Never,
}

fn one() -> u32 {
    1
}

fn two_seconds() -> Duration {
    Duration::from_secs(2)
}

fn five_minutes() -> Duration {
    Duration::from_secs(300)
}

impl Plan {
    /// A plan without steps.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            scenario: None,
            about: String::new(),
            timeout: None,
            steps: Vec::new(),
            read_from: ReadFrom::default(),
        }
    }

    /// Adds a step.
    #[must_use]
    pub fn with_step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// The plan without the steps whose `only_with` is not among `present`, and the names of those. What came after
    /// one of them comes after its needs instead.
    #[must_use]
    pub fn fitted(mut self, present: &BTreeSet<String>) -> (Self, Vec<String>) {
        let mut left_out = Vec::new();
        while let Some(at) = self.steps.iter().position(|s| !s.only_with.is_subset(present)) {
            let gone = self.steps.remove(at);
            if at < self.read_from.lines.len() {
                self.read_from.lines.remove(at);
            }
            for step in &mut self.steps {
                if let Some(place) = step.needs.iter().position(|n| *n == gone.id) {
                    step.needs.remove(place);
                    for need in &gone.needs {
                        if !step.needs.contains(need) {
                            step.needs.push(need.clone());
                        }
                    }
                }
            }
            left_out.push(gone.id);
        }
        (self, left_out)
    }

    /// The step of that name.
    #[must_use]
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.steps.iter().find(|s| s.id == id)
    }

    /// Refuses names that are no steps of the plan.
    pub(super) fn known_steps<'a>(&self, named: impl IntoIterator<Item = &'a String>) -> Result<()> {
        let Some(unknown) = named.into_iter().find(|id| self.step(id).is_none()) else { return Ok(()) };
        let known: Vec<&str> = self.steps.iter().map(|s| s.id.as_str()).collect();
        let text = format!("the plan has no step `{unknown}`");
        Err(Error::new(ErrorKind::Config, text).with_help(format!("its steps are {}", known.join(", "))))
    }

    /// `file:line` of a step, where it was read from a file.
    pub(super) fn place(&self, at: usize) -> Option<String> {
        let file = self.read_from.file.as_deref()?;
        Some(self.read_from.lines.get(at).map_or_else(|| file.to_owned(), |line| format!("{file}:{line}")))
    }
}

impl Step {
    /// A step that does this kind of action, without parameters.
    #[must_use]
    pub fn new(id: impl Into<String>, action: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            action: action.into(),
            parameters: Map::new(),
            ungraceful: None,
            needs: Vec::new(),
            timeout: five_minutes(),
            total_timeout: None,
            retry: RetrySteps::default(),
            undo: UndoPolicy::default(),
            approval: false,
            skippable: false,
            tags: BTreeSet::new(),
            marks: None,
            only_with: BTreeSet::new(),
        }
    }

    /// After these steps.
    #[must_use]
    pub fn after(mut self, needs: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.needs.extend(needs.into_iter().map(Into::into));
        self
    }

    /// With a parameter of its action.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.parameters.insert(name.into(), value.into());
        self
    }

    /// Each try within this time.
    #[must_use]
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Tried up to `max` times, with this pause after the first.
    #[must_use]
    pub fn retried(mut self, max: u32, backoff: Duration) -> Self {
        self.retry = RetrySteps { max, backoff };
        self
    }

    /// Undone by this policy.
    #[must_use]
    pub fn undone(mut self, policy: UndoPolicy) -> Self {
        self.undo = policy;
        self
    }

    /// Only after a person agreed.
    #[must_use]
    pub fn approved(mut self) -> Self {
        self.approval = true;
        self
    }

    /// A person may leave it out.
    #[must_use]
    pub fn skippable(mut self) -> Self {
        self.skippable = true;
        self
    }

    /// Does this instead once the run is ungraceful.
    #[must_use]
    pub fn or_ungraceful(mut self, action: impl Into<String>, parameters: Map<String, Value>) -> Self {
        self.ungraceful = Some(Variant { action: action.into(), parameters });
        self
    }

    /// Its success is this clock point.
    #[must_use]
    pub fn marking(mut self, point: impl Into<String>) -> Self {
        self.marks = Some(point.into());
        self
    }
}
