//! The place backups are written to.

use std::fmt::{self, Debug};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{Cx, ObjectKey, Result};

/// An opaque mark of one version of one object (an ETag, or a digest): equal marks mean equal contents.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VersionTag(pub String);

/// What must hold for a small write to take place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// Nothing is stored under the key yet.
    Absent,
    /// The stored version is still this one.
    Matches(VersionTag),
    /// No condition: last writer wins.
    Always,
}

/// Who a store is, for people and logs; never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreInfo {
    /// The name the configuration gives it.
    pub name: String,
    /// The kind: `directory`, `s3`, `memory`.
    pub kind: &'static str,
    /// Where it is: a path, or `s3://bucket/prefix`.
    pub location: String,
}

/// What an implementation claims it does; [`crate::testing`]'s suites hold it to its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StoreCaps {
    /// [`Condition`]s are enforced atomically. Manifests and leases need it.
    pub conditional_put: bool,
    /// What was acknowledged survives a crash of the machine.
    pub durable: bool,
}

impl StoreCaps {
    /// States the two claims.
    #[must_use]
    pub fn new(conditional_put: bool, durable: bool) -> Self {
        Self { conditional_put, durable }
    }
}

/// How a streamed object is written.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PutOptions {
    /// How large it may become, where that is known; lets a store choose its part size.
    pub size_hint: Option<u64>,
}

impl PutOptions {
    /// Tells the store about how many bytes will come.
    #[must_use]
    pub fn with_size_hint(mut self, bytes: u64) -> Self {
        self.size_hint = Some(bytes);
        self
    }
}

/// One stored object, as a listing tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its key below the store's prefix.
    pub key: ObjectKey,
    /// Its stored size in bytes.
    pub bytes: u64,
    /// When it was stored.
    pub modified: DateTime<Utc>,
    /// The mark of this version.
    pub tag: VersionTag,
}

/// Takes the bytes of one object. Dropping it without [`ObjectWriter::finish`] leaves nothing visible under the key.
#[async_trait]
pub trait ObjectWriter: Send {
    /// Adds bytes; waits when the store is slower than the caller.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;
    /// Publishes the object whole and durable, or fails and publishes nothing. The object must not exist yet.
    async fn finish(self: Box<Self>) -> Result<ObjectMeta>;
    /// Gives the object up and frees what was stored of it.
    async fn abort(self: Box<Self>) -> Result<()>;
}

impl Debug for dyn ObjectWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ObjectWriter")
    }
}

/// Gives the bytes of one object, in order.
#[async_trait]
pub trait ObjectReader: Send {
    /// The next bytes, or `None` at the end. A connection lost mid-way is an error, never an early end.
    async fn next(&mut self) -> Result<Option<Bytes>>;
}

impl Debug for dyn ObjectReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ObjectReader")
    }
}

/// The place backups are written to: a directory, a bucket. Object-safe; keys are relative to the store's prefix.
///
/// Contract, held by `testing::contract::store`:
/// - An object is visible whole or not at all, and does not change once visible (only [`BackupStore::put`] with
///   [`Condition::Matches`] or [`Condition::Always`] replaces one).
/// - What `finish` and `put` acknowledged is durable, and seen at once by every later `get`, `head` and `list`.
/// - Every call ends soon after `cx` is cancelled. After a cancelled or timed-out write it is unknown whether the
///   write took place ([`crate::Effect::Unknown`]).
#[async_trait]
pub trait BackupStore: Debug + Send + Sync + 'static {
    /// Who this is.
    fn info(&self) -> &StoreInfo;

    /// What this implementation claims.
    fn capabilities(&self) -> StoreCaps;

    /// Begins to write a large object.
    ///
    /// # Errors
    /// `Conflict` (here or at `finish`) when the key exists; `Full`, `Denied`, `Unavailable` as met.
    async fn create(&self, cx: &Cx, key: &ObjectKey, options: PutOptions) -> Result<Box<dyn ObjectWriter>>;

    /// Writes a small object (a manifest, a lease) atomically, if `condition` holds.
    ///
    /// # Errors
    /// `Conflict` when the condition does not hold; nothing is changed then.
    async fn put(&self, cx: &Cx, key: &ObjectKey, body: Bytes, condition: Condition) -> Result<VersionTag>;

    /// Reads an object from byte `offset` on. Reads that are cut off resume by themselves while the stored version
    /// stays the same.
    ///
    /// # Errors
    /// `NotFound` when there is no such object.
    async fn get(&self, cx: &Cx, key: &ObjectKey, offset: u64) -> Result<Box<dyn ObjectReader>>;

    /// Looks an object up; `None` when there is none.
    ///
    /// # Errors
    /// `Denied` or `Unavailable`; absence is not an error.
    async fn head(&self, cx: &Cx, key: &ObjectKey) -> Result<Option<ObjectMeta>>;

    /// All objects whose key begins with `prefix` followed by `/` (all objects where it is empty), sorted by key.
    ///
    /// # Errors
    /// `Denied` or `Unavailable`; an unknown prefix gives an empty list.
    async fn list(&self, cx: &Cx, prefix: &str) -> Result<Vec<ObjectMeta>>;

    /// The names one level below `prefix` that have objects under them, sorted.
    ///
    /// # Errors
    /// As [`BackupStore::list`].
    async fn list_groups(&self, cx: &Cx, prefix: &str) -> Result<Vec<String>>;

    /// Deletes an object; deleting what is not there succeeds.
    ///
    /// # Errors
    /// `Denied` where the store forbids it (retention, object lock).
    async fn delete(&self, cx: &Cx, key: &ObjectKey) -> Result<()>;

    /// Frees what writers left behind that were begun before `before` and never finished. Returns how many.
    ///
    /// # Errors
    /// As met; what was freed stays freed.
    async fn sweep(&self, cx: &Cx, before: DateTime<Utc>) -> Result<u64>;
}
