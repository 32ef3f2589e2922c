//! A local copy of everything that a live server, or cluster, holds: a backup whose store is a folder.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use veza_dr_backup::redis::{RedisConfig, RedisDetail, RedisTarget, rdb::Summary};
use veza_dr_core::{
    ArtifactSink, BackupId, BackupRequest, BackupTarget, Cx, Error, ErrorKind, ObjectHandle, Result, SystemClock,
    manifest::{Codec, ObjectRecord},
};

use super::spool;

/// One file for each server; deleted when dropped.
#[derive(Debug)]
pub(crate) struct Copied {
    pub(crate) summary: Summary,
    files: Vec<tempfile::TempPath>,
}

impl Copied {
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.files.iter().map(|f| f.to_path_buf()).collect()
    }
}

/// Copies into `folder`, proving the copy whole.
pub(crate) async fn copy(cx: &Cx, config: &RedisConfig, folder: &Path) -> Result<Copied> {
    let target = RedisTarget::new("copy".parse()?, config.clone().with_spool_dir(folder))?;
    let sink = Arc::new(Folder { path: folder.to_owned(), files: Mutex::default() });
    let request = BackupRequest::new(BackupId::new(&SystemClock));
    let manifest = target.create(cx, request, sink.clone()).await?;
    let summary = RedisDetail::of(&manifest)?.total;
    let files = std::mem::take(&mut *sink.files.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Copied { summary, files })
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    files: Mutex<Vec<tempfile::TempPath>>,
}

#[async_trait]
impl ArtifactSink for Folder {
    async fn create(&self, _: &Cx, name: &str, _: Option<Codec>, _: Option<u64>) -> Result<Box<dyn ObjectHandle>> {
        let temporary = spool::temporary_file(&self.path)?;
        let file = std::fs::File::options().write(true).open(&temporary).map_err(|e| full(&temporary, e))?;
        let object = Object {
            name: name.to_owned(),
            path: temporary.to_path_buf(),
            file: tokio::fs::File::from_std(file),
            bytes: 0,
        };
        self.files.lock().unwrap_or_else(PoisonError::into_inner).push(temporary);
        Ok(Box::new(object))
    }
}

struct Object {
    name: String,
    path: PathBuf,
    file: tokio::fs::File,
    bytes: u64,
}

#[async_trait]
impl ObjectHandle for Object {
    async fn write(&mut self, plain: Bytes) -> Result<()> {
        self.bytes += plain.len() as u64;
        self.file.write_all(&plain).await.map_err(|e| full(&self.path, e))
    }

    async fn finish(mut self: Box<Self>) -> Result<ObjectRecord> {
        self.file.flush().await.map_err(|e| full(&self.path, e))?;
        self.file.sync_all().await.map_err(|e| full(&self.path, e))?;
        // Nobody reads these: the copy is no backup in a repository.
        Ok(ObjectRecord {
            name: self.name,
            bytes: self.bytes,
            stored_bytes: self.bytes,
            sha256: String::new(),
            stored_sha256: String::new(),
            codec: Vec::new(),
            stored_in: None,
        })
    }

    async fn abort(self: Box<Self>) {}
}

fn full(path: &Path, e: std::io::Error) -> Error {
    let full = matches!(e.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
    let kind = if full { ErrorKind::Full } else { ErrorKind::Denied };
    Error::new(kind, format!("the copy of what is live cannot be written to {}", path.display()))
        .with_source(e)
        .with_help("free space there, or choose another state_dir")
}
