//! How much data a move to another site lost: at most, by what was restored and by when the old site was proven to take
//! no writes; exactly, once both sides could be compared. Records, metrics and reports are made of this and of nothing else.

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
    /// What kind of server it is of, as manifests name it: `postgres`, `redis`, `files`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
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
        Self { component, site, backup, shows, replaced: None, is_final: false, engine: None }
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

    /// Of this kind of server, as manifests name it.
    #[must_use]
    pub fn of_engine(mut self, engine: impl Into<String>) -> Self {
        self.engine = Some(engine.into());
        self
    }

    /// Why nobody has counted what is missing.
    fn not_counted(&self) -> String {
        let backup = &self.backup;
        match self.engine.as_deref() {
            Some("postgres") => format!(
                "what was written after backup {backup} is counted once the old site can be read: veza-dr failover count, \
                 or in the course of veza-dr failover back"
            ),
            Some("redis") => format!(
                "keys written after backup {backup} are not counted: the run saw none of the old site's keys, and Redis does \
                 not tell a key that was lost from one that has run out since"
            ),
            Some(engine) => format!(
                "what was written after backup {backup} is not counted: nothing compares {engine} with the old site"
            ),
            None => format!("what was written after backup {backup} was not counted"),
        }
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
    /// The instant at which the old site was proven to take no writes, however much later than the outage began: until
    /// then it may have written. That of the last proof, where there were several. `None` where nothing proved it.
    #[serde(default)]
    pub written_until: Option<DateTime<Utc>>,
    /// From `shows` to `written_until`, in seconds: no more than that is missing. `None` where nothing proved when it
    /// stopped.
    pub at_most_seconds: Option<f64>,
    /// How many records are missing. `None` is unknown: `basis` says why.
    pub records: Option<u64>,
    /// How many records have other values than they have on the old site: changes that were lost, but also changes made
    /// since where the site serves, and records that have taken the key of one that was lost. `None` is unknown.
    pub changed: Option<u64>,
    /// How the numbers are known, or why they are not.
    #[serde(default)]
    pub basis: String,
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
            let (records, changed, mut basis) = match (r.is_final, self.measured.get(&r.component)) {
                (true, _) => {
                    (Some(0), Some(0), format!("backup {} was the last: nothing was written after it", r.backup))
                }
                (false, Some(m)) => {
                    (Some(m.records), Some(m.changed), format!("counted on the old site by run {}", m.by))
                }
                (false, None) => (None, None, r.not_counted()),
            };
            let written_until = if r.is_final { Some(r.shows) } else { stopped };
            if written_until.is_none() {
                basis.push_str("; nothing proved when the old site stopped writing, so the time span is unknown");
            }
            let span = |at: DateTime<Utc>| ((at - r.shows).num_milliseconds() as f64 / 1000.0).max(0.0);
            let at_most_seconds = written_until.map(span);
            let Restored { component, site, backup, shows, .. } = r;
            (component, ComponentLoss { site, backup, shows, written_until, at_most_seconds, records, changed, basis })
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
        let known = State::of(&entries)?.measured.get(component).map(|m| (m.records, m.changed));
        if known == Some((records, changed)) {
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

/// What a run lost, in words, with how or why not; `None` when it restored no site.
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
            (None, _) => "unknown".to_owned(),
        };
        let basis = if loss.basis.is_empty() { String::new() } else { format!(", {}", loss.basis) };
        format!("{component}: {records} ({span}{basis})")
    };
    (!losses.is_empty()).then(|| losses.iter().map(one).collect::<Vec<_>>().join("; "))
}
