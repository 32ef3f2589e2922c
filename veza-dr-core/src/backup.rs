//! The thing that is protected.

use std::{
    fmt::{self, Debug},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;

use crate::{
    ArtifactSource, BackupId, ComponentName, Cx, Manifest, Result,
    manifest::{Codec, ObjectRecord},
};

/// Who a target is, for people and logs; never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetInfo {
    /// The component it belongs to.
    pub component: ComponentName,
    /// The engine: `postgres`, `redis`, `files`, or a third party's own word.
    pub engine: String,
    /// Where it is, without credentials: `postgres://db.example:5432/veza_db`.
    pub location: String,
}

/// What a [`BackupTarget`] can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct BackupCaps {
    /// All of the backup shows the source at one single instant.
    pub consistent: bool,
    /// Content digests are taken in the same instant as the data.
    pub digests: bool,
    /// Can build on an earlier backup: the run then looks for one and offers it in [`BackupRequest::base`].
    pub incremental: bool,
}

impl BackupCaps {
    /// States the two claims.
    #[must_use]
    pub fn new(consistent: bool, digests: bool) -> Self {
        Self { consistent, digests, incremental: false }
    }

    /// Says that it can build on an earlier backup.
    #[must_use]
    pub fn with_incremental(mut self) -> Self {
        self.incremental = true;
        self
    }
}

/// What one backup is to be.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BackupRequest {
    /// The identity the backup will have.
    pub id: BackupId,
    /// An earlier backup that is whole in every store this one goes to, whose objects may be used again.
    pub base: Option<BaseBackup>,
}

impl BackupRequest {
    /// A backup under this identity, building on no other.
    #[must_use]
    pub fn new(id: BackupId) -> Self {
        Self { id, base: None }
    }

    /// Offers an earlier backup to build on.
    #[must_use]
    pub fn with_base(mut self, base: BaseBackup) -> Self {
        self.base = Some(base);
        self
    }
}

/// An earlier backup of the same component.
#[derive(Debug, Clone)]
pub struct BaseBackup {
    /// Its manifest, as one of the stores has it.
    pub manifest: Manifest,
    /// Its objects, as far as this host can read them: with encryption, a host that only backs up cannot.
    pub data: Arc<dyn ArtifactSource>,
}

/// One object being written by a [`BackupTarget`]: plain bytes in; coding, hashing and storing happen behind it.
#[async_trait]
pub trait ObjectHandle: Send {
    /// Adds plain bytes.
    async fn write(&mut self, plain: Bytes) -> Result<()>;
    /// Stores the object and returns its record, already noted for the manifest.
    async fn finish(self: Box<Self>) -> Result<ObjectRecord>;
    /// Gives the object up.
    async fn abort(self: Box<Self>);
}

impl Debug for dyn ObjectHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ObjectHandle")
    }
}

/// Where a [`BackupTarget`] puts its objects. Shared by all its workers.
#[async_trait]
pub trait ArtifactSink: Send + Sync {
    /// Begins the object `name` (relative to the backup, without codec suffix, unique in it). `codec` overrides the
    /// compression that the store's settings ask for, for data that is compressed already.
    async fn create(
        &self,
        cx: &Cx,
        name: &str,
        codec: Option<Codec>,
        size_hint: Option<u64>,
    ) -> Result<Box<dyn ObjectHandle>>;

    /// Makes the object `name` (without codec suffixes) of [`BackupRequest::base`] part of this backup too, without
    /// reading or storing it again.
    ///
    /// # Errors
    /// `Unsupported` when no base was offered; `NotFound` when the base has no such object in any store left.
    async fn reuse(&self, cx: &Cx, name: &str) -> Result<ObjectRecord> {
        let _ = cx;
        Err(crate::Error::new(
            crate::ErrorKind::Unsupported,
            format!("object {name}: there is no base to take it from"),
        ))
    }

    /// Told by a target as soon as nothing that is written to its source from then on can change the backup, although
    /// it is still reading a snapshot, or storing what it read: what was stopped for the backup is then started again
    /// at once. A target that does not tell it is taken to need its source at rest until [`BackupTarget::create`]
    /// returns. Telling it twice does nothing. It ends when all is started again: a target need not wait for that.
    async fn source_was_read(&self) {}
}

impl Debug for dyn ArtifactSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ArtifactSink")
    }
}

/// A thing that is protected: a database, a Redis server, a set of files. (The place written to is
/// [`crate::BackupStore`].)
#[async_trait]
pub trait BackupTarget: Debug + Send + Sync + 'static {
    /// Who this is.
    fn info(&self) -> &TargetInfo;

    /// What it can do.
    fn capabilities(&self) -> BackupCaps;

    /// Reads the source and writes every object of one backup to `out`; returns the manifest, whose objects are those
    /// that `out` recorded. Never changes the source.
    ///
    /// # Errors
    /// Any failure, and anything that could not be read and was not allowed to be skipped, fails the whole backup:
    /// the caller then publishes nothing. On cancellation it stops within seconds and leaves the source as it was.
    async fn create(&self, cx: &Cx, request: BackupRequest, out: Arc<dyn ArtifactSink>) -> Result<Manifest>;

    /// Looks at the source without reading its data: reachable, permissions, versions, limits. One line per finding.
    ///
    /// # Errors
    /// Only when it could not tell; a problem found is an entry of the report.
    async fn check(&self, cx: &Cx) -> Result<crate::Report>;

    /// The recipe, in Markdown, to bring this very backup back with stock tools alone: stored beside the manifest as
    /// `RECOVER.md`. `manifest` is the one of the store it will lie in.
    fn recipe(&self, manifest: &Manifest) -> String;
}
