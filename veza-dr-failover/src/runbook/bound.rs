//! A plan whose steps have their actions: what is shown, hashed, approved and run.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use veza_dr_core::{Error, ErrorKind, Result};

use super::{Plan, Step, StepAction, load::nearest};

/// Makes actions of what plans say.
pub trait Actions: Debug + Send + Sync + 'static {
    /// The kinds there are.
    fn kinds(&self) -> Vec<String>;

    /// The action of this kind with these parameters.
    ///
    /// # Errors
    /// `Config` when a parameter is wrong, missing or not known, or names what is not configured. Never asked for a
    /// kind that is not among [`kinds`](Self::kinds).
    fn build(&self, kind: &str, parameters: &Map<String, Value>) -> Result<Arc<dyn StepAction>>;
}

/// The actions of one step.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub(super) graceful: Arc<dyn StepAction>,
    pub(super) ungraceful: Option<Arc<dyn StepAction>>,
}

/// A plan with its actions.
#[derive(Debug, Clone)]
pub struct Bound {
    pub(super) plan: Plan,
    pub(super) actions: BTreeMap<String, Choice>,
}

impl Bound {
    /// Finds the action of every step.
    ///
    /// # Errors
    /// `Config` naming the step, its place and what is wrong with it.
    pub fn new(plan: Plan, actions: &dyn Actions) -> Result<Self> {
        let mut bound = BTreeMap::new();
        for (at, step) in plan.steps.iter().enumerate() {
            let place = plan.place(at).map(|p| format!("{p}: ")).unwrap_or_default();
            let build = |kind: &str, parameters| {
                build(actions, kind, parameters).map_err(|e| {
                    let text = format!("{place}step {}: {}", step.id, super::load::with_nearest(&e.to_string()));
                    let mut located = Error::new(e.kind(), text);
                    if let Some(help) = e.help() {
                        located = located.with_help(help);
                    }
                    match std::error::Error::source(&e) {
                        Some(cause) => located.with_source(cause.to_string()),
                        None => located,
                    }
                })
            };
            let graceful = build(&step.action, &step.parameters)?;
            let ungraceful = step.ungraceful.as_ref().map(|v| build(&v.action, &v.parameters)).transpose()?;
            let least = ungraceful.iter().chain([&graceful]).map(|a| a.least_time()).max().unwrap_or_default();
            if step.timeout < least || step.total_timeout.is_some_and(|total| total < least) {
                let least = least.as_secs();
                let text = format!("{place}step {}: its time is shorter than what it waits for", step.id);
                return Err(Error::new(ErrorKind::Config, text).with_help(format!("give it: timeout: {least}s")));
            }
            bound.insert(step.id.clone(), Choice { graceful, ungraceful });
        }
        Ok(Self { plan, actions: bound })
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The action of a step in this mode.
    #[must_use]
    pub fn action(&self, step: &str, ungraceful: bool) -> Option<&Arc<dyn StepAction>> {
        let choice = self.actions.get(step)?;
        Some(choice.ungraceful.as_ref().filter(|_| ungraceful).unwrap_or(&choice.graceful))
    }

    pub(super) fn all_actions(&self) -> impl Iterator<Item = (&Step, &Arc<dyn StepAction>)> {
        self.plan.steps.iter().flat_map(|step| {
            let choice = self.actions.get(&step.id);
            choice.into_iter().flat_map(move |c| {
                std::iter::once((step, &c.graceful)).chain(c.ungraceful.iter().map(move |a| (step, a)))
            })
        })
    }

    /// SHA-256, in hexadecimal, over what would be done: every step with its parameters, its commands, its limits and
    /// the sites it touches. Where the plan was read from and the order of its keys do not matter.
    #[must_use]
    pub fn sha256(&self) -> String {
        let side = |action: &Arc<dyn StepAction>| {
            json!({
                "commands": action.commands(), "effects": action.effects(), "safety": action.safety(),
                "site": action.site(), "establishes": action.establishes(),
            })
        };
        let mut steps: Vec<(&str, Value)> = self
            .plan
            .steps
            .iter()
            .map(|step| {
                let choice = self.actions.get(&step.id);
                let graceful = choice.map(|c| side(&c.graceful));
                let ungraceful = choice.and_then(|c| c.ungraceful.as_ref()).map(side);
                (step.id.as_str(), json!({ "step": step, "graceful": graceful, "ungraceful": ungraceful }))
            })
            .collect();
        steps.sort_by_key(|(id, _)| *id);
        let steps: Vec<Value> = steps.into_iter().map(|(_, step)| step).collect();
        let plan = &self.plan;
        let whole = json!({ "format": 1, "name": plan.name, "timeout": plan.timeout.map(|t| t.as_millis() as u64), "steps": steps });
        hex::encode(Sha256::digest(sorted(whole).to_string()))
    }
}

fn build(actions: &dyn Actions, kind: &str, parameters: &Map<String, Value>) -> Result<Arc<dyn StepAction>> {
    let kinds = actions.kinds();
    if !kinds.iter().any(|k| k == kind) {
        let help = match nearest(kind, kinds.iter().map(String::as_str)) {
            Some(name) => format!("did you mean {name}?"),
            None => format!("there are {}", kinds.join(", ")),
        };
        return Err(Error::new(ErrorKind::Config, format!("there is no action `{kind}`")).with_help(help));
    }
    actions.build(kind, parameters)
}

/// The same value with all keys in order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered: BTreeMap<String, Value> = map.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            Value::Object(ordered.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
