//! What the scheduler is doing, for status pages, and the way to ask it for a backup.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use veza_dr_core::{ComponentName, Error, ErrorKind, Result, status::Attempt};

/// The last attempt to store a backup in one store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreAttempt {
    /// The store's name.
    pub store: String,
    /// When it ended and why it failed.
    pub attempt: Attempt,
}

/// What the scheduler knows of one component. Only since it started: what the stores hold is theirs to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ComponentState {
    /// Its name.
    pub component: ComponentName,
    /// When it is backed up next; for a failed one, when it is tried again.
    pub next_run: Option<DateTime<Utc>>,
    /// A backup is being made right now.
    pub running: bool,
    /// The longest time between two runs of its schedule within a year, jitter included.
    pub expected_interval: Option<Duration>,
    /// The last attempt that this scheduler made, in each store.
    pub attempts: Vec<StoreAttempt>,
    /// How the last run went that ended for good.
    pub last_run: Option<Attempt>,
    /// How retention went the last time.
    pub last_prune: Option<Attempt>,
}

#[derive(Debug)]
pub(super) struct Shared {
    states: Mutex<BTreeMap<ComponentName, ComponentState>>,
    /// Where retention failed the last time.
    held: Mutex<BTreeSet<(ComponentName, String)>>,
    asked: mpsc::UnboundedSender<ComponentName>,
}

impl Shared {
    pub(super) fn new(asked: mpsc::UnboundedSender<ComponentName>) -> Self {
        Self { states: Mutex::default(), held: Mutex::default(), asked }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ComponentName, ComponentState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, component: ComponentName, expected_interval: Option<Duration>) {
        let state = ComponentState {
            component: component.clone(),
            next_run: None,
            running: false,
            expected_interval,
            attempts: Vec::new(),
            last_run: None,
            last_prune: None,
        };
        self.lock().insert(component, state);
    }

    pub(super) fn change(&self, component: &ComponentName, change: impl FnOnce(&mut ComponentState)) {
        if let Some(state) = self.lock().get_mut(component) {
            change(state);
        }
    }

    /// Notes how retention ended in a store; says whether it had failed there before.
    pub(super) fn prune_ended(&self, component: &ComponentName, store: &str, failed: bool) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (component.clone(), store.to_owned());
        if failed { !held.insert(key) } else { held.remove(&key) }
    }

    pub(super) fn attempted(&self, component: &ComponentName, store: &str, attempt: Attempt) {
        self.change(component, |state| {
            state.attempts.retain(|a| a.store != store);
            state.attempts.push(StoreAttempt { store: store.to_owned(), attempt });
            state.attempts.sort_by(|a, b| a.store.cmp(&b.store));
        });
    }
}

/// Looks at a scheduler and asks it for backups, from anywhere. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SchedulerHandle(pub(super) Arc<Shared>);

impl SchedulerHandle {
    /// Every component, by name.
    #[must_use]
    pub fn states(&self) -> Vec<ComponentState> {
        self.0.lock().values().cloned().collect()
    }

    /// One component.
    #[must_use]
    pub fn state(&self, component: &ComponentName) -> Option<ComponentState> {
        self.0.lock().get(component).cloned()
    }

    /// Asks for a backup of `component` now. Returns at once; how it went is told by events.
    ///
    /// # Errors
    /// `NotFound` when there is no such component; `Conflict` when it is being backed up; `Unavailable` when the
    /// scheduler has ended.
    pub fn run_now(&self, component: &ComponentName) -> Result<()> {
        let Some(state) = self.state(component) else {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no component {component}")));
        };
        if state.running {
            return Err(Error::new(ErrorKind::Conflict, format!("{component} is being backed up")));
        }
        self.0.asked.send(component.clone()).map_err(|_| {
            Error::new(ErrorKind::Unavailable, format!("back up {component} now: the scheduler has ended"))
        })
    }
}
