//! Where a backup target's objects go, and come from, without a store or codec in between.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

use crate::{
    ArtifactSink, ArtifactSource, Cx, Error, ErrorKind, ObjectHandle, ObjectKey, ObjectReader, Result,
    manifest::{Codec, ObjectRecord},
};

/// How large the pieces are that a reader gives.
const PIECE: usize = 64 * 1024;

/// The plain objects of one backup, in memory; clones share them. Both ends: what was written can be read.
#[derive(Debug, Clone, Default)]
pub struct MemoryArtifacts {
    objects: Arc<Mutex<BTreeMap<String, (ObjectRecord, Bytes)>>>,
}

impl MemoryArtifacts {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The records of all finished objects, by name.
    #[must_use]
    pub fn records(&self) -> Vec<ObjectRecord> {
        self.lock().values().map(|(record, _)| record.clone()).collect()
    }

    /// The plain bytes of a finished object.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<Bytes> {
        self.lock().get(name).map(|(_, bytes)| bytes.clone())
    }

    /// Removes an object, as a store would that lost it. Returns whether it was there.
    pub fn lose(&self, name: &str) -> bool {
        self.lock().remove(name).is_some()
    }

    /// Changes the bytes of an object but not its record, as rot would. Returns whether it was there.
    pub fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        match self.lock().get_mut(name) {
            Some((_, bytes)) => {
                let mut changed = bytes.to_vec();
                change(&mut changed);
                *bytes = changed.into();
                true
            }
            None => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (ObjectRecord, Bytes)>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ArtifactSink for MemoryArtifacts {
    async fn create(&self, cx: &Cx, name: &str, _: Option<Codec>, _: Option<u64>) -> Result<Box<dyn ObjectHandle>> {
        cx.check(&format!("create {name}"))?;
        name.parse::<ObjectKey>()?;
        if self.lock().contains_key(name) {
            return Err(Error::new(ErrorKind::Conflict, format!("create {name}: the backup has such an object")));
        }
        let plain = BytesMut::new();
        Ok(Box::new(Handle { cx: cx.clone(), artifacts: self.clone(), name: name.to_owned(), plain }))
    }
}

struct Handle {
    cx: Cx,
    artifacts: MemoryArtifacts,
    name: String,
    plain: BytesMut,
}

#[async_trait]
impl ObjectHandle for Handle {
    async fn write(&mut self, plain: Bytes) -> Result<()> {
        self.cx.check(&format!("write {}", self.name))?;
        self.plain.extend_from_slice(&plain);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<ObjectRecord> {
        self.cx.check(&format!("finish {}", self.name))?;
        let sha256 = hex::encode(Sha256::digest(&self.plain));
        let record = ObjectRecord {
            name: self.name.clone(),
            bytes: self.plain.len() as u64,
            stored_bytes: self.plain.len() as u64,
            sha256: sha256.clone(),
            stored_sha256: sha256,
            codec: vec![Codec::None],
            stored_in: None,
        };
        self.artifacts.lock().insert(self.name, (record.clone(), self.plain.freeze()));
        Ok(record)
    }

    async fn abort(self: Box<Self>) {}
}

#[async_trait]
impl ArtifactSource for MemoryArtifacts {
    async fn open(&self, cx: &Cx, object: &ObjectRecord) -> Result<Box<dyn ObjectReader>> {
        cx.check(&format!("open {}", object.name))?;
        let Some(rest) = self.bytes(&object.name) else {
            return Err(Error::new(ErrorKind::NotFound, format!("open {}: it is not there", object.name)));
        };
        Ok(Box::new(Reader { cx: cx.clone(), object: object.clone(), rest, digest: Sha256::new() }))
    }
}

struct Reader {
    cx: Cx,
    object: ObjectRecord,
    rest: Bytes,
    digest: Sha256,
}

#[async_trait]
impl ObjectReader for Reader {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        self.cx.check(&format!("read {}", self.object.name))?;
        if self.rest.is_empty() {
            if hex::encode(self.digest.clone().finalize()) != self.object.sha256 {
                let text = format!("read {}: its digest is not the manifest's", self.object.name);
                return Err(Error::new(ErrorKind::Corrupt, text));
            }
            return Ok(None);
        }
        let piece = self.rest.split_to(PIECE.min(self.rest.len()));
        self.digest.update(&piece);
        Ok(Some(piece))
    }
}
