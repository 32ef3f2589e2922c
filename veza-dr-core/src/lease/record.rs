//! A lease as it is stored, and the conditional writes that change it.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::Holder;
use crate::{BackupStore, Condition, Cx, Effect, Error, ErrorKind, ObjectKey, Result, VersionTag};

/// The body of `locks/<name>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) format: u32,
    /// Grows with every new holder: what an older holder writes can be told from what a newer one wrote.
    pub(super) epoch: u64,
    pub(super) holder: Holder,
    /// Tells this acquisition from every other.
    pub(super) nonce: String,
    pub(super) renewals: u64,
    pub(super) ttl_ms: u64,
    /// By the holder's clock: for people. Others go by the store's own time of the last write.
    pub(super) expires_at: DateTime<Utc>,
    pub(super) released: bool,
}

impl Record {
    pub(super) fn first(holder: Holder, ttl: Duration, now: DateTime<Utc>) -> Self {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        Self {
            format: 1,
            epoch: 1,
            holder,
            nonce: format!("{:016x}", rand::random::<u64>()),
            renewals: 0,
            ttl_ms,
            expires_at: now + delta(ttl),
            released: false,
        }
    }

    pub(super) fn after(mut self, previous: &Self) -> Self {
        self.epoch = previous.epoch + 1;
        self
    }

    pub(super) fn renewed(&self, now: DateTime<Utc>) -> Self {
        let ttl = Duration::from_millis(self.ttl_ms);
        Self { renewals: self.renewals + 1, expires_at: now + delta(ttl), ..self.clone() }
    }

    pub(super) fn released(&self, now: DateTime<Utc>) -> Self {
        Self { released: true, expires_at: now, ..self.clone() }
    }

    fn to_json(&self) -> Result<Bytes> {
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::new(ErrorKind::Unexpected, "lease cannot be written as JSON").with_source(e))?;
        text.push(b'\n');
        Ok(text.into())
    }
}

/// A duration as chrono has it; the longest where it has none.
pub(super) fn delta(d: Duration) -> TimeDelta {
    TimeDelta::from_std(d).unwrap_or(TimeDelta::MAX)
}

/// A record with the version it was read in and when the store took it in.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) record: Record,
    pub(super) tag: VersionTag,
    pub(super) modified: DateTime<Utc>,
}

/// Reads the record under `key`. The body may be newer than the tag, never older: a write that names the tag then fails.
pub(super) async fn read(cx: &Cx, store: &dyn BackupStore, key: &ObjectKey) -> Result<Option<Stored>> {
    let Some(meta) = store.head(cx, key).await? else { return Ok(None) };
    let mut reader = match store.get(cx, key, 0).await {
        Ok(reader) => reader,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut body = Vec::new();
    while let Some(piece) = reader.next().await? {
        body.extend_from_slice(&piece);
    }
    let record: Record = serde_json::from_slice(&body).map_err(|e| {
        Error::new(ErrorKind::Corrupt, format!("lease {key} is not readable"))
            .with_source(e)
            .with_help(format!("make sure that no run is alive, then delete {key} from store {}", store.info().name))
    })?;
    if record.format != 1 {
        let text = format!("lease {key} has format {}, this build reads format 1", record.format);
        return Err(Error::new(ErrorKind::Unsupported, text).with_help("use a newer veza-dr"));
    }
    Ok(Some(Stored { record, tag: meta.tag, modified: meta.modified }))
}

/// Writes `record` if `condition` holds. An answer that was lost is looked up: the record itself tells who wrote it.
pub(super) async fn write(
    cx: &Cx,
    store: &dyn BackupStore,
    key: &ObjectKey,
    record: &Record,
    condition: Condition,
) -> Result<VersionTag> {
    let failed = match store.put(cx, key, record.to_json()?, condition).await {
        Ok(tag) => return Ok(tag),
        Err(e) => e,
    };
    // A store's own retry can meet the trace of its own first attempt: that, too, looks like a conflict.
    let unsure = failed.kind() == ErrorKind::Conflict || failed.effect() == Effect::Unknown;
    if unsure
        && failed.kind() != ErrorKind::Cancelled
        && let Ok(Some(stored)) = read(cx, store, key).await
        && stored.record == *record
    {
        return Ok(stored.tag);
    }
    Err(failed)
}
