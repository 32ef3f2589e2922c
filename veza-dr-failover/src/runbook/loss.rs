//! How much data a move to another site lost: at most, by what was restored; exactly, once both sides could be compared.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use veza_dr_core::{ErrorKind, Result};

use super::{Ending, Engine, Record, StepStatus, copies::copy_once, journal::Journal, state::State};

/// What steps that restore a site put into their evidence under `restored`; the loss of a run is read from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Restored {
    /// The component.
    pub component: String,
    /// The site that it was restored to.
    pub site: String,
    /// The backup.
    pub backup: String,
    /// The instant that it shows.
    pub shows: DateTime<Utc>,
    /// Where what was replaced is kept.
    pub replaced: Option<String>,
    /// It was the final backup of a planned move: nothing was written after it, as was seen.
    #[serde(default)]
    pub is_final: bool,
}

impl Restored {
    /// What was restored where.
    #[must_use]
    pub fn new(
        component: impl Into<String>,
        site: impl Into<String>,
        backup: impl Into<String>,
        shows: DateTime<Utc>,
    ) -> Self {
        let (component, site, backup) = (component.into(), site.into(), backup.into());
        Self { component, site, backup, shows, replaced: None, is_final: false }
    }

    /// Where what was replaced is kept.
    #[must_use]
    pub fn replacing(mut self, replaced: Option<String>) -> Self {
        self.replaced = replaced;
        self
    }

    /// From the final backup of a planned move, or not.
    #[must_use]
    pub fn from_final(mut self, is_final: bool) -> Self {
        self.is_final = is_final;
        self
    }

    /// The one in a step's evidence.
    #[must_use]
    pub fn of(evidence: &Value) -> Option<Self> {
        serde_json::from_value(evidence.get("restored")?.clone()).ok()
    }
}

/// What a run lost of one component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ComponentLoss {
    /// The site that took over.
    pub site: String,
    /// The backup that it was given.
    pub backup: String,
    /// The instant that this shows: what was written later is missing.
    pub shows: DateTime<Utc>,
    /// From then until the old site was known to take no writes, in seconds: no more than that is missing. `None` where
    /// nothing proved when it stopped.
    pub at_most_seconds: Option<f64>,
    /// How many records are missing. `None` is unknown: nobody could compare yet.
    pub records: Option<u64>,
    /// How many records are there with older values. `None` is unknown.
    pub changed: Option<u64>,
}

impl State {
    /// What the run lost, by component; empty when it restored no site.
    pub(super) fn losses(&self) -> BTreeMap<String, ComponentLoss> {
        // What was restored is not used any more.
        if self.ending == Some(Ending::RolledBack) {
            return BTreeMap::new();
        }
        let done = |id: &String| {
            let step = self.steps.get(id)?;
            step.done.as_ref().filter(|_| matches!(step.status, StepStatus::Done))
        };
        let steps: Vec<_> = self.steps.keys().filter_map(done).collect();
        let restored = steps.iter().filter_map(|d| Restored::of(&d.evidence));
        let loss = |r: Restored| {
            // The last proof that another site stopped: until then somebody may have written there.
            let others = steps.iter().filter_map(|d| d.fence.as_ref()).filter(|p| p.site != r.site);
            let stopped = others.map(|p| p.at).max();
            let span = stopped.map(|at| ((at - r.shows).num_milliseconds() as f64 / 1000.0).max(0.0));
            let measured = self.measured.get(&r.component).copied();
            let (records, changed) = match (r.is_final, measured) {
                (true, _) => (Some(0), Some(0)),
                (false, Some((records, changed))) => (Some(records), Some(changed)),
                (false, None) => (None, None),
            };
            let at_most_seconds = if r.is_final { Some(0.0) } else { span };
            (
                r.component,
                ComponentLoss { site: r.site, backup: r.backup, shows: r.shows, at_most_seconds, records, changed },
            )
        };
        restored.map(loss).collect()
    }
}

impl Engine {
    /// The newest run before `before` that gave a component to another site than `site`: the one whose loss can be
    /// counted on `site`, when that is back.
    ///
    /// # Errors
    /// As [`Engine::runs`]; `Corrupt` when a journal is damaged.
    pub fn run_that_moved(&self, component: &str, site: &str, before: &str) -> Result<Option<String>> {
        for run in self.runs()?.into_iter().rev().filter(|run| run.as_str() < before) {
            let state = match super::read_journal(&self.path(&run)).and_then(|entries| State::of(&entries)) {
                Ok(state) => state,
                // Killed before its first line: nothing was done.
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            if let Some(loss) = state.losses().get(component) {
                // The newest move counts: one to this very site ended what was lost before it.
                return Ok((loss.site != site).then_some(run));
            }
        }
        Ok(None)
    }

    /// Writes into the journal of a run that has ended how much of a component it lost: counted by `by` (another run),
    /// once what the old site still has could be compared. Call it only while holding the right to run, as the steps of
    /// a run do. Saying the same twice changes nothing.
    ///
    /// # Errors
    /// `NotFound` without such a run; when the journal cannot be written. That its copy in the store is not brought up
    /// to date is no error: it is said in the journal.
    pub async fn measured(&self, run: &str, component: &str, records: u64, changed: u64, by: &str) -> Result<()> {
        let path = self.path(run);
        let (mut journal, entries) = Journal::open(&path)?;
        if State::of(&entries)?.measured.get(component) == Some(&(records, changed)) {
            return Ok(());
        }
        let (component, by) = (component.to_owned(), by.to_owned());
        journal.append(self.clock.now(), Record::LossMeasured { component, records, changed, by })?;
        if let Err(e) = copy_once(self.store.as_ref(), &path, run).await {
            let text = format!("the journal could not be copied to store {}: {}", self.store.info().name, e.chain());
            journal.append(self.clock.now(), Record::Warning { text })?;
        }
        Ok(())
    }
}

/// What a run lost, in words; `None` when it restored no site.
#[must_use]
pub fn loss_in_words(losses: &BTreeMap<String, ComponentLoss>) -> Option<String> {
    let one = |(component, loss): (&String, &ComponentLoss)| {
        let span = match loss.at_most_seconds {
            Some(seconds) => format!("at most {seconds:.0} s of writes"),
            None => "a span that is not known".to_owned(),
        };
        let records = match (loss.records, loss.changed) {
            (Some(records), Some(changed)) if changed > 0 => format!("{records} records and {changed} changes"),
            (Some(records), _) => format!("{records} records"),
            (None, _) => "unknown until the old site can be compared".to_owned(),
        };
        format!("{component}: {records} ({span})")
    };
    (!losses.is_empty()).then(|| losses.iter().map(one).collect::<Vec<_>>().join("; "))
}
