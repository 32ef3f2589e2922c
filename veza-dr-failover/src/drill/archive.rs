//! Drill records in the stores: `drills/<id>/record.json`, written once, and beside it what later attempts at removal
//! came to.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use veza_dr_core::{
    BackupId, BackupStore, Condition, Cx, Error, ErrorKind, ObjectKey, ObjectReader, Result, ScenarioKind,
};

use super::model::{CleanUp, DrillRecord, RECORD_FORMAT, Unseen};
use crate::measure::RecoveryHistory;

const FOLDER: &str = "drills";
const LIMIT: usize = 64 << 20;

/// The drills of one store.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// Their records, oldest first, each with what the newest attempt at removal came to.
    pub records: Vec<DrillRecord>,
    /// What could not be read, and why.
    pub unreadable: Vec<Unseen>,
}

/// Keeps a record in every store, and its measures in the store's history of recoveries; returns what became of each.
/// A record that is there already stays as it is.
///
/// ```no_run
/// # async fn f(store: std::sync::Arc<dyn veza_dr_core::BackupStore>, record: veza_dr_failover::drill::DrillRecord) {
/// use veza_dr_core::Cx;
/// use veza_dr_failover::drill::publish;
/// for (name, kept) in publish(&Cx::background(), &[store], &record).await {
///     println!("{name}: {kept:?}");
/// }
/// # }
/// ```
pub async fn publish(cx: &Cx, stores: &[Arc<dyn BackupStore>], record: &DrillRecord) -> Vec<(String, Result<()>)> {
    let mut all = Vec::new();
    for store in stores {
        let kept = async {
            let key: ObjectKey = format!("{FOLDER}/{}/record.json", record.id).parse()?;
            write(cx, store.as_ref(), &key, record).await?;
            // One of the two without the other is not kept: whoever tries again changes nothing that is there.
            match RecoveryHistory::new(store.clone()).publish(cx, &record.into()).await {
                Err(e) if e.kind() == ErrorKind::Conflict => Ok(()),
                other => other.map(drop),
            }
        };
        all.push((store.info().name.clone(), kept.await));
    }
    all
}

/// Keeps beside a record what a later attempt at removal came to.
pub(super) async fn publish_cleanup(cx: &Cx, store: &dyn BackupStore, id: &BackupId, found: &CleanUp) -> Result<()> {
    let key = format!("{FOLDER}/{id}/cleanup-{}.json", found.at.format("%Y%m%dT%H%M%S%3fZ")).parse()?;
    write(cx, store, &key, found).await
}

async fn write(cx: &Cx, store: &dyn BackupStore, key: &ObjectKey, what: &impl serde::Serialize) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(what)
        .map_err(|e| Error::new(ErrorKind::Unexpected, format!("{key} as JSON")).with_source(e))?;
    json.push(b'\n');
    match store.put(cx, key, json.into(), Condition::Absent).await {
        // Written by an attempt that never heard so.
        Err(e) if e.kind() == ErrorKind::Conflict => Ok(()),
        other => other.map(drop),
    }
}

/// The drills that a store has records of.
///
/// # Errors
/// Those of the store. A record that cannot be read is named in the result and hides no other.
pub async fn list(cx: &Cx, store: &dyn BackupStore) -> Result<Stored> {
    let mut stored = Stored::default();
    let mut ids: Vec<BackupId> =
        store.list_groups(cx, FOLDER).await?.iter().filter_map(|name| name.parse().ok()).collect();
    ids.sort();
    for id in ids {
        match read(cx, store, &id).await {
            Ok(record) => stored.records.push(record),
            Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
            Err(e) => stored.unreadable.push(Unseen { what: id.to_string(), why: e.chain() }),
        }
    }
    Ok(stored)
}

/// One drill's record.
///
/// # Errors
/// `NotFound` without one; `Corrupt` when it cannot be read; `Unsupported` when a newer version wrote it.
pub async fn read(cx: &Cx, store: &dyn BackupStore, id: &BackupId) -> Result<DrillRecord> {
    let folder: ObjectKey = format!("{FOLDER}/{id}").parse()?;
    let key = folder.join("record.json")?;
    let mut reader = store.get(cx, &key, 0).await.map_err(|e| {
        if e.kind() == ErrorKind::NotFound {
            let text = format!("store {} has no record of drill {id}", store.info().name);
            return Error::new(ErrorKind::NotFound, text)
                .with_source(e)
                .with_help("see what is there: veza-dr drill list");
        }
        e
    })?;
    let json = whole(reader.as_mut(), key.as_str()).await?;
    let broken = |e: serde_json::Error| {
        Error::new(ErrorKind::Corrupt, format!("{key} is no readable drill record")).with_source(e)
    };
    let told: serde_json::Value = serde_json::from_slice(&json).map_err(broken)?;
    let format = told["format"].as_u64().unwrap_or(0);
    if format > u64::from(RECORD_FORMAT) {
        let text = format!("{key} has format {format}, this build reads up to {RECORD_FORMAT}");
        return Err(Error::new(ErrorKind::Unsupported, text).with_help("use a newer veza-dr for this record"));
    }
    let mut record: DrillRecord = serde_json::from_value(told).map_err(broken)?;
    if record.id != *id {
        return Err(Error::new(ErrorKind::Corrupt, format!("{key} is the record of drill {}", record.id)));
    }
    let later = store.list(cx, folder.as_str()).await?;
    let newest = later.into_iter().rfind(|o| o.key.as_str().contains("/cleanup-"));
    if let Some(object) = newest {
        let mut reader = store.get(cx, &object.key, 0).await?;
        let json = whole(reader.as_mut(), object.key.as_str()).await?;
        record.cleanup = serde_json::from_slice(&json).map_err(broken)?;
    }
    Ok(record)
}

async fn whole(reader: &mut dyn ObjectReader, name: &str) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(piece) = reader.next().await? {
        all.extend_from_slice(&piece);
        if all.len() > LIMIT {
            return Err(Error::new(ErrorKind::Corrupt, format!("{name} is too large for a drill record")));
        }
    }
    Ok(all)
}

/// Which drill of a scenario the next one is, beginning with 1: one more than the store that knows most has.
///
/// # Errors
/// When no store could be read.
pub async fn number(cx: &Cx, stores: &[Arc<dyn BackupStore>], scenario: ScenarioKind) -> Result<u64> {
    let (mut most, mut failure) = (None, None);
    for store in stores {
        match list(cx, store.as_ref()).await {
            Ok(stored) => {
                let known = stored.records.iter().filter(|r| r.scenario == scenario).count() + stored.unreadable.len();
                most = most.max(u64::try_from(known).ok());
            }
            Err(e) => failure = Some(e),
        }
    }
    match (most, failure) {
        (Some(most), _) => Ok(most + 1),
        (None, Some(e)) => Err(e),
        (None, None) => Err(Error::new(ErrorKind::Config, "there is no store that keeps the records of drills")),
    }
}

/// When a scenario was last proven, and by which drill.
#[must_use]
pub fn last_proven(records: &[DrillRecord], scenario: ScenarioKind) -> Option<(&DrillRecord, DateTime<Utc>)> {
    let passed = |r: &&DrillRecord| r.scenario == scenario && r.outcome == super::model::DrillOutcome::Passed;
    records.iter().filter(passed).max_by_key(|r| r.ended_at).map(|r| (r, r.ended_at))
}
