//! The history of recoveries and drills in a store.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{StreamExt, future::BoxFuture, stream};
use veza_dr_core::{BackupStore, Condition, Cx, Error, ErrorKind, ObjectKey, Result};

use super::RecoveryRecord;

/// Where the records are, below the store's prefix.
const FOLDER: &str = "failover/history";
/// A record is small; more than this is none.
const LARGEST: usize = 4 << 20;
/// So many are read at a time.
const AT_A_TIME: usize = 8;

/// What publishing a record did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Published {
    /// It is stored.
    Now,
    /// The very same record was there already.
    Before,
}

/// The last revision of each record that could be read, the oldest first; and those that could not.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Catalogue {
    /// The records.
    pub records: Vec<RecoveryRecord>,
    /// The names of those that could not be read, and why.
    pub unreadable: Vec<(String, String)>,
}

/// Records of recoveries and drills: one immutable object each (`failover/history/ID.json`), a listing is the catalogue.
/// Cheap to clone; clones share what was read already.
///
/// ```no_run
/// # async fn f(store: std::sync::Arc<dyn veza_dr_core::BackupStore>) -> veza_dr_core::Result<()> {
/// use veza_dr_core::Cx;
/// use veza_dr_failover::measure::RecoveryHistory;
/// let history = RecoveryHistory::new(store);
/// for record in history.read_all(&Cx::background()).await?.records {
///     println!("{} {:?}", record.id, record.recovery_time());
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct RecoveryHistory {
    store: Arc<dyn BackupStore>,
    // An object never changes: one that was read need not be read again.
    known: Arc<Mutex<BTreeMap<String, RecoveryRecord>>>,
}

impl RecoveryHistory {
    /// The history that this store holds.
    #[must_use]
    pub fn new(store: Arc<dyn BackupStore>) -> Self {
        Self { store, known: Arc::default() }
    }

    /// Stores a record. Publishing the same record again changes nothing.
    ///
    /// # Errors
    /// `Conflict` when another record has its name: nothing was changed; `Config` when the name cannot be one; those of
    /// the store, with what it says of the effect.
    pub async fn publish(&self, cx: &Cx, record: &RecoveryRecord) -> Result<Published> {
        let key = key(&record.id)?;
        let body = serde_json::to_vec_pretty(record)
            .map_err(|e| Error::new(ErrorKind::Unexpected, "the record as JSON").with_source(e))?;
        match self.store.put(cx, &key, body.into(), Condition::Absent).await {
            Ok(_) => Ok(Published::Now),
            Err(e) if e.kind() == ErrorKind::Conflict => {
                let there = self.read(cx, &record.id).await?;
                // Compared as stored: a float or a time may lose its last digits on the way.
                let same = serde_json::to_value(&there).ok() == round_trip(record);
                if same {
                    return Ok(Published::Before);
                }
                let text = format!("the history of store {} has another record {}", self.store.info().name, record.id);
                Err(Error::new(ErrorKind::Conflict, text).with_help("records are never replaced; nothing was changed"))
            }
            Err(e) => Err(e),
        }
    }

    /// The names of all records, the oldest first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn list(&self, cx: &Cx) -> Result<Vec<String>> {
        let found = self.store.list(cx, FOLDER).await?;
        let name = |key: &ObjectKey| key.file_name().strip_suffix(".json").map(str::to_owned);
        Ok(found.iter().filter_map(|o| name(&o.key)).collect())
    }

    /// One record.
    ///
    /// # Errors
    /// `NotFound` without such a record; `Corrupt` when it is damaged; `Unsupported` when a later version wrote it in a
    /// form that this one does not know.
    pub async fn read(&self, cx: &Cx, id: &str) -> Result<RecoveryRecord> {
        if let Some(known) = self.known().get(id) {
            return Ok(known.clone());
        }
        let key = key(id)?;
        let mut reader = self.store.get(cx, &key, 0).await?;
        let mut body = Vec::new();
        while let Some(part) = reader.next().await? {
            body.extend_from_slice(&part);
            if body.len() > LARGEST {
                return Err(Error::new(ErrorKind::Corrupt, format!("{key} is too large for a record")));
            }
        }
        let damaged = |e| Error::new(ErrorKind::Corrupt, format!("{key} is no record of a recovery")).with_source(e);
        let value: serde_json::Value = serde_json::from_slice(&body).map_err(damaged)?;
        if let Some(format) = value["format"].as_u64().filter(|f| *f != 1) {
            return Err(Error::new(ErrorKind::Unsupported, format!("{key} has format {format}, this version knows 1")));
        }
        let record: RecoveryRecord = serde_json::from_value(value).map_err(damaged)?;
        self.known().insert(id.to_owned(), record.clone());
        Ok(record)
    }

    /// All records. One that cannot be read does not hide the others; it is named.
    ///
    /// # Errors
    /// When the store cannot be listed, or `Cancelled`.
    pub async fn read_all(&self, cx: &Cx) -> Result<Catalogue> {
        let ids = self.list(cx).await?;
        let mut reads: Vec<BoxFuture<'_, (String, Result<RecoveryRecord>)>> = Vec::new();
        for id in ids {
            reads.push(Box::pin(async move {
                let read = self.read(cx, &id).await;
                (id, read)
            }));
        }
        let mut reads = stream::iter(reads).buffered(AT_A_TIME);
        let mut all = Catalogue::default();
        while let Some((id, read)) = reads.next().await {
            match read {
                Ok(record) => all.records.push(record),
                Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
                Err(e) => all.unreadable.push((id, e.chain())),
            }
        }
        let mut last: BTreeMap<String, RecoveryRecord> = BTreeMap::new();
        for record in all.records.drain(..) {
            match last.get(&record.run) {
                Some(known) if known.revision >= record.revision => {}
                _ => {
                    last.insert(record.run.clone(), record);
                }
            }
        }
        all.records = last.into_values().collect();
        Ok(all)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, RecoveryRecord>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(id: &str) -> Result<ObjectKey> {
    if id.contains('/') {
        return Err(Error::new(ErrorKind::Config, format!("`{id}` cannot be the name of a record")));
    }
    Ok(format!("{FOLDER}/{id}.json").parse::<ObjectKey>()?)
}

fn round_trip(record: &RecoveryRecord) -> Option<serde_json::Value> {
    let text = serde_json::to_vec(record).ok()?;
    let read: RecoveryRecord = serde_json::from_slice(&text).ok()?;
    serde_json::to_value(read).ok()
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use veza_dr_core::testing::MemoryStore;

    use super::{super::record_for_tests, *};

    #[tokio::test]
    async fn records_are_written_once_and_the_last_revision_counts() {
        let (cx, store) = (Cx::background(), Arc::new(MemoryStore::new("m")));
        let history = RecoveryHistory::new(store.clone());
        let (one, two) =
            (record_for_tests("20261123T104500Z-7f3a9c", "backend", 5), record_for_tests("2027", "backend", 9));
        assert_eq!(history.publish(&cx, &two).await.unwrap(), Published::Now);
        assert_eq!(history.publish(&cx, &one).await.unwrap(), Published::Now);
        assert_eq!(history.publish(&cx, &one).await.unwrap(), Published::Before);
        let mut other = one.clone();
        other.who = "somebody else".to_owned();
        assert_eq!(history.publish(&cx, &other).await.unwrap_err().kind(), ErrorKind::Conflict);
        history.publish(&cx, &other.clone().revised(2)).await.unwrap();
        let key = "failover/history/20270101T000000Z-x.json".parse().unwrap();
        store.put(&cx, &key, "{\"format\":9}".into(), Condition::Absent).await.unwrap();
        // Anew: what another process wrote is seen.
        let all = RecoveryHistory::new(store).read_all(&cx).await.unwrap();
        assert_eq!(all.records, [other.revised(2), two]);
        assert!(all.unreadable[0].1.contains("format 9"), "{:?}", all.unreadable);
        assert!(history.publish(&cx, &one.named("../x")).await.is_err());
    }
}
