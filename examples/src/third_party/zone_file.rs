//! DNS zones in one file of JSON, as a small provider of one's own would keep them: every change is a new file, renamed
//! over the old one, under a lock.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use veza_dr_core::{
    ChangeId, ChangeSet, ChangeState, Cx, DnsProvider, Error, ErrorKind, RecordKey, RecordSet, Result, diff,
};

/// Serves the zones of a file.
#[derive(Debug, Clone)]
pub struct ZoneFile {
    path: PathBuf,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Zones {
    zones: BTreeSet<String>,
    records: Vec<RecordSet>,
    /// So many changes were made.
    changes: u64,
}

impl ZoneFile {
    /// A new file with these zones, without records.
    ///
    /// # Errors
    /// `Conflict` when there is one; `Denied` when it cannot be written.
    pub fn create(path: impl Into<PathBuf>, zones: &[&str]) -> Result<Self> {
        let provider = Self { path: path.into() };
        if provider.path.exists() {
            return Err(Error::new(ErrorKind::Conflict, format!("{} exists", provider.path.display())));
        }
        let zones = zones.iter().map(|z| (*z).to_owned()).collect();
        provider.write(&Zones { zones, ..Zones::default() })?;
        Ok(provider)
    }

    fn load(&self) -> Result<Zones> {
        let text = std::fs::read(&self.path).map_err(|e| failed("read", &self.path, e))?;
        serde_json::from_slice(&text).map_err(|e| {
            Error::new(ErrorKind::Corrupt, format!("{} holds no zones", self.path.display())).with_source(e)
        })
    }

    fn write(&self, zones: &Zones) -> Result<()> {
        let fresh = self.path.with_extension("new");
        let text = serde_json::to_vec_pretty(zones)
            .map_err(|e| Error::new(ErrorKind::Unexpected, "zones as JSON").with_source(e))?;
        let put = || {
            let mut file = File::create(&fresh)?;
            std::io::Write::write_all(&mut file, &text)?;
            file.sync_all()?;
            std::fs::rename(&fresh, &self.path)
        };
        put().map_err(|e| failed("written", &self.path, e))
    }

    /// Everything or nothing, against what is there while nobody else may change it.
    fn change(&self, changes: &ChangeSet) -> Result<ChangeId> {
        let lock = File::create(self.path.with_extension("lock")).map_err(|e| failed("locked", &self.path, e))?;
        lock.lock().map_err(|e| failed("locked", &self.path, e))?;
        let mut zones = self.load()?;
        let before: BTreeMap<RecordKey, RecordSet> = zones.records.drain(..).map(|r| (r.key.clone(), r)).collect();
        let mut after = before.clone();
        for (old, new) in &changes.changes {
            for record in old.iter().chain(new) {
                known(&zones, &record.key)?;
            }
            if let Some(old) = old {
                expect(&before, &old.key, Some(old))?;
                after.remove(&old.key);
            }
            if let Some(new) = new {
                if old.as_ref().is_none_or(|old| old.key != new.key) {
                    expect(&before, &new.key, None)?;
                }
                after.insert(new.key.clone(), new.clone());
            }
        }
        zones.records = after.into_values().collect();
        zones.changes += 1;
        self.write(&zones)?;
        Ok(ChangeId(zones.changes.to_string()))
    }
}

fn failed(what: &str, path: &Path, e: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{} cannot be {what}", path.display())).with_source(e)
}

fn known(zones: &Zones, key: &RecordKey) -> Result<()> {
    if zones.zones.contains(&key.zone) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::NotFound, format!("zone {} is not served here", key.zone)))
}

fn expect(there: &BTreeMap<RecordKey, RecordSet>, key: &RecordKey, wanted: Option<&RecordSet>) -> Result<()> {
    let same = match (there.get(key), wanted) {
        (None, None) => true,
        (Some(there), Some(wanted)) => diff(Some(there), wanted).is_empty(),
        _ => false,
    };
    if same {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Conflict, format!("{key} is not what was expected")))
}

#[async_trait]
impl DnsProvider for ZoneFile {
    fn name(&self) -> &str {
        "zone-file"
    }

    async fn read(&self, cx: &Cx, key: &RecordKey) -> Result<Option<RecordSet>> {
        cx.check("read a record")?;
        let zones = self.load()?;
        known(&zones, key)?;
        Ok(zones.records.into_iter().find(|r| r.key == *key))
    }

    async fn apply(&self, cx: &Cx, changes: &ChangeSet) -> Result<ChangeId> {
        cx.check("change records")?;
        let (provider, changes) = (self.clone(), changes.clone());
        let work = tokio::task::spawn_blocking(move || provider.change(&changes));
        work.await.map_err(|e| Error::new(ErrorKind::Unexpected, "the change was not made").with_source(e))?
    }

    async fn status(&self, cx: &Cx, id: &ChangeId) -> Result<ChangeState> {
        cx.check("ask for a change")?;
        let made = self.load()?.changes;
        match id.0.parse::<u64>() {
            // Whoever asks reads the file that was renamed into place.
            Ok(n) if (1..=made).contains(&n) => Ok(ChangeState::InSync),
            _ => Err(Error::new(ErrorKind::NotFound, format!("change {} is not known here", id.0))),
        }
    }
}
