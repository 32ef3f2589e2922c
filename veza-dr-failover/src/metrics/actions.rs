//! What events have told so far: the last outcome of each action, and how often each came about.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use veza_dr_core::{Action, Event, Phase};

/// Action, component, store; empty where the event names none.
pub(super) type ActionKey = (String, String, String);

/// The last outcomes of one action.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcomes {
    pub(super) last: Option<(DateTime<Utc>, bool)>,
    pub(super) last_success: Option<DateTime<Utc>>,
    pub(super) last_seconds: Option<f64>,
}

/// Everything that events have told.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) outcomes: BTreeMap<ActionKey, Outcomes>,
    /// By action, component and outcome.
    pub(super) runs: BTreeMap<(String, String, &'static str), u64>,
    /// By channel and outcome.
    pub(super) notifications: BTreeMap<(String, &'static str), u64>,
    /// Components of which something is under way.
    pub(super) running: BTreeMap<(String, String), bool>,
}

impl Told {
    pub(super) fn take(&mut self, event: &Event) {
        let action = event.action.to_string();
        let component = event.component.as_ref().map(ToString::to_string).unwrap_or_default();
        let store = event.store.clone().unwrap_or_default();
        let outcome = match event.phase {
            Phase::Succeeded => "succeeded",
            Phase::Failed => "failed",
            Phase::Retrying => "retried",
            Phase::Missed => "missed",
            _ => {
                self.running.insert((action, component), true);
                return;
            }
        };
        // One store's outcome of a backup is part of a run; each store is pruned by a run of its own.
        if store.is_empty() || event.action == Action::Prune {
            *self.runs.entry((action.clone(), component.clone(), outcome)).or_default() += 1;
        }
        let ok = match event.phase {
            Phase::Succeeded => true,
            Phase::Failed => false,
            // Not an end: whatever came of the last attempt still stands. In the pause nothing runs.
            _ => {
                if event.phase == Phase::Retrying && store.is_empty() {
                    self.running.insert((action, component), false);
                }
                return;
            }
        };
        if store.is_empty() {
            self.running.insert((action.clone(), component.clone()), false);
        }
        // What a backup came to is in the stores' own records, of which the status tells.
        if event.action == Action::Backup {
            return;
        }
        let outcomes = self.outcomes.entry((action, component, store)).or_default();
        outcomes.last = Some((event.at, ok));
        outcomes.last_seconds = event.took.map(|t| t.as_secs_f64());
        if ok {
            outcomes.last_success = Some(event.at);
        }
    }
}
