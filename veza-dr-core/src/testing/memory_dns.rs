//! DNS zones in memory, with compare-and-set and the delay until every server answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use crate::{ChangeId, ChangeSet, ChangeState, Cx, DnsProvider, Error, ErrorKind, RecordKey, RecordSet, Result, diff};

/// Serves records from memory; clones serve the same ones. A change is `Pending` for a number of status calls.
#[derive(Debug, Clone)]
pub struct MemoryDns {
    name: String,
    pending_polls: u32,
    state: Arc<Mutex<Zones>>,
}

#[derive(Debug, Default)]
struct Zones {
    zones: BTreeSet<String>,
    /// What the provider's own interface shows.
    records: BTreeMap<RecordKey, RecordSet>,
    /// What its servers answer.
    served: BTreeMap<RecordKey, RecordSet>,
    /// Per change, how many more status calls it stays pending.
    changes: Vec<u32>,
}

impl MemoryDns {
    /// A provider of these zones, without records. Changes stay pending for one status call.
    #[must_use]
    pub fn new<Z: Into<String>>(name: impl Into<String>, zones: impl IntoIterator<Item = Z>) -> Self {
        let zones = Zones { zones: zones.into_iter().map(Into::into).collect(), ..Zones::default() };
        Self { name: name.into(), pending_polls: 1, state: Arc::new(Mutex::new(zones)) }
    }

    /// Keeps changes pending for this many status calls.
    #[must_use]
    pub fn with_pending_polls(mut self, polls: u32) -> Self {
        self.pending_polls = polls;
        self
    }

    /// Puts a record there, served at once, without a change.
    pub fn seed(&self, record: RecordSet) {
        let mut state = self.lock();
        state.served.insert(record.key.clone(), record.clone());
        state.records.insert(record.key.clone(), record);
    }

    /// What the authoritative servers answer: the old value while a change is pending.
    #[must_use]
    pub fn served(&self, key: &RecordKey) -> Option<RecordSet> {
        self.lock().served.get(key).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Zones> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Zones {
    fn check_zone(&self, key: &RecordKey) -> Result<()> {
        if self.zones.contains(&key.zone) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NotFound, format!("zone {} is not served here", key.zone)))
    }

    /// Fails unless `expected` is what is there, but for the order of values.
    fn check_expected(&self, key: &RecordKey, expected: Option<&RecordSet>) -> Result<()> {
        let current = self.records.get(key);
        let as_expected = match (expected, current) {
            (None, None) => true,
            (Some(expected), current @ Some(_)) => diff(current, expected).is_empty(),
            _ => false,
        };
        if as_expected {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict, format!("record {} {:?} is not what was expected", key.name, key.kind)))
    }
}

#[async_trait]
impl DnsProvider for MemoryDns {
    fn name(&self) -> &str {
        &self.name
    }

    async fn read(&self, cx: &Cx, key: &RecordKey) -> Result<Option<RecordSet>> {
        cx.check(&format!("read record {}", key.name))?;
        let state = self.lock();
        state.check_zone(key)?;
        Ok(state.records.get(key).cloned())
    }

    async fn apply(&self, cx: &Cx, changes: &ChangeSet) -> Result<ChangeId> {
        cx.check("apply records")?;
        let mut state = self.lock();
        let mut next = state.records.clone();
        for (old, new) in &changes.changes {
            let Some(key) = new.as_ref().or(old.as_ref()).map(|r| &r.key) else {
                return Err(Error::new(
                    ErrorKind::Config,
                    "apply records: a change has neither an old nor a new value",
                ));
            };
            let old_key = old.as_ref().map_or(key, |r| &r.key);
            state.check_zone(key)?;
            state.check_zone(old_key)?;
            state.check_expected(old_key, old.as_ref())?;
            if key != old_key {
                state.check_expected(key, None)?;
            }
            next.remove(old_key);
            if let Some(new) = new {
                next.insert(key.clone(), new.clone());
            }
        }
        state.records = next;
        state.changes.push(self.pending_polls);
        if self.pending_polls == 0 {
            state.served = state.records.clone();
        }
        Ok(ChangeId(format!("C{}", state.changes.len())))
    }

    async fn status(&self, cx: &Cx, id: &ChangeId) -> Result<ChangeState> {
        cx.check(&format!("status of change {}", id.0))?;
        let mut state = self.lock();
        let number = id.0.strip_prefix('C').and_then(|n| n.parse::<usize>().ok()).and_then(|n| n.checked_sub(1));
        let Some(left) = number.and_then(|n| state.changes.get_mut(n)) else {
            return Err(Error::new(ErrorKind::NotFound, format!("change {} is not known here", id.0)));
        };
        if *left > 0 {
            *left -= 1;
            return Ok(ChangeState::Pending);
        }
        state.served = state.records.clone();
        Ok(ChangeState::InSync)
    }
}
