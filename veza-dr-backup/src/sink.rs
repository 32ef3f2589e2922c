//! Writes a backup's objects to every store at once: compressed once, encrypted and hashed per store.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use sha2::{Digest, Sha256};
use veza_dr_core::{
    ArtifactSink, BackupStore, Cx, Error, ErrorKind, Manifest, ObjectHandle, ObjectKey, ObjectWriter, PutOptions,
    Result,
    manifest::{Codec, ObjectRecord},
};

use crate::{
    codec::{Compression, Compressor},
    encryption::{AgeEncoder, Encryption},
    hooks::HookRun,
};

/// Compressed bytes are handed on in pieces of about this size.
const PIECE: usize = 256 * 1024;

/// One store that a backup goes to, and how it fares.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) store: Arc<dyn BackupStore>,
    pub(crate) encryption: Encryption,
    base: OnceLock<Manifest>,
    state: Mutex<LaneState>,
}

#[derive(Debug, Default)]
struct LaneState {
    failed: Option<Error>,
    records: Vec<ObjectRecord>,
}

impl Lane {
    pub(crate) fn new(store: Arc<dyn BackupStore>, encryption: Encryption) -> Self {
        Self { store, encryption, base: OnceLock::new(), state: Mutex::default() }
    }

    /// Says whose objects may be used again; the first word holds.
    pub(crate) fn build_on(&self, base: Manifest) {
        let _ = self.base.set(base);
    }

    fn reuse(&self, name: &str) -> Result<ObjectRecord> {
        let lacking = || Error::new(ErrorKind::NotFound, format!("the base backup has no object {name}"));
        let base = self.base.get().ok_or_else(lacking)?;
        let mut record = base.object(name).ok_or_else(lacking)?.clone();
        record.stored_in = Some(base.owner(&record).clone());
        let mut state = self.state();
        if !state.records.iter().any(|r| r.name == record.name) {
            state.records.push(record.clone());
        }
        Ok(record)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, LaneState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn fail(&self, error: Error) {
        let mut state = self.state();
        if state.failed.is_none() {
            tracing::warn!(store = %self.store.info().name, error = %error.chain(), "store given up for this backup");
            state.failed = Some(error);
        }
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.state().failed.is_none()
    }

    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.state().failed.take()
    }

    pub(crate) fn records(&self) -> Vec<ObjectRecord> {
        let mut records = self.state().records.clone();
        records.sort_by(|a, b| a.name.cmp(&b.name));
        records
    }
}

/// The sink of one backup.
pub(crate) struct BackupSink {
    /// `<component>/<backup-id>`.
    base: ObjectKey,
    compression: Compression,
    lanes: Vec<Arc<Lane>>,
    hooks: Arc<HookRun>,
}

impl BackupSink {
    pub(crate) fn new(base: ObjectKey, compression: Compression, lanes: Vec<Arc<Lane>>, hooks: Arc<HookRun>) -> Self {
        Self { base, compression, lanes, hooks }
    }
}

/// The error to give once no store is left.
fn none_left(lanes: &[Arc<Lane>]) -> Error {
    let mut failures = lanes.iter().filter_map(|l| l.take_failure().map(|e| (l.store.info().name.clone(), e)));
    match failures.next() {
        Some((name, e)) => {
            let kind = e.kind();
            let error = Error::new(kind, format!("store {name} failed and no other is left"));
            match e.help().map(str::to_owned) {
                Some(help) => error.with_help(help).with_source(e),
                None => error.with_source(e),
            }
        }
        None => Error::new(ErrorKind::Unexpected, "no store to write to"),
    }
}

#[async_trait]
impl ArtifactSink for BackupSink {
    async fn create(
        &self,
        cx: &Cx,
        name: &str,
        codec: Option<Codec>,
        size_hint: Option<u64>,
    ) -> Result<Box<dyn ObjectHandle>> {
        let compression = codec.map_or(self.compression, Compression::of);
        let broken = |e| Error::new(ErrorKind::Unexpected, format!("object {name}: encoder")).with_source(e);
        let compressor = Compressor::new(compression).map_err(broken)?;
        let open = self.lanes.iter().filter(|l| l.is_healthy()).map(|lane| async move {
            match LaneWriter::open(cx, lane, &self.base, name, compression.codec, size_hint).await {
                Ok(writer) => Some(writer),
                Err(e) => {
                    lane.fail(e);
                    None
                }
            }
        });
        let writers: Vec<LaneWriter> = join_all(open).await.into_iter().flatten().collect();
        if writers.is_empty() {
            cx.check(name)?;
            return Err(none_left(&self.lanes));
        }
        Ok(Box::new(SinkHandle {
            cx: cx.clone(),
            name: name.to_owned(),
            compressor,
            plain: Sha256::new(),
            plain_bytes: 0,
            writers,
            lanes: self.lanes.clone(),
        }))
    }

    async fn source_was_read(&self) {
        self.hooks.source_was_read().await;
    }

    async fn reuse(&self, cx: &Cx, name: &str) -> Result<ObjectRecord> {
        let mut first = None;
        for lane in self.lanes.iter().filter(|l| l.is_healthy()) {
            match lane.reuse(name) {
                Ok(record) => first = first.or(Some(record)),
                Err(e) => lane.fail(e),
            }
        }
        match first {
            Some(record) => Ok(record),
            None => {
                cx.check(name)?;
                Err(none_left(&self.lanes))
            }
        }
    }
}

struct LaneWriter {
    lane: Arc<Lane>,
    writer: Box<dyn ObjectWriter>,
    age: Option<AgeEncoder>,
    hash: Sha256,
    bytes: u64,
    name: String,
    codec: Vec<Codec>,
}

impl LaneWriter {
    async fn open(
        cx: &Cx,
        lane: &Arc<Lane>,
        base: &ObjectKey,
        name: &str,
        codec: Codec,
        size_hint: Option<u64>,
    ) -> Result<Self> {
        let mut chain = Vec::new();
        if codec != Codec::None {
            chain.push(codec);
        }
        let age = if lane.encryption.is_on() {
            chain.push(Codec::Age);
            Some(lane.encryption.encryptor()?)
        } else {
            None
        };
        let name = format!("{name}{}", chain.iter().map(|c| c.suffix()).collect::<String>());
        let mut options = PutOptions::default();
        if let Some(bytes) = size_hint {
            options = options.with_size_hint(bytes);
        }
        let writer = lane.store.create(cx, &base.join(&name)?, options).await?;
        Ok(Self { lane: lane.clone(), writer, age, hash: Sha256::new(), bytes: 0, name, codec: chain })
    }

    async fn push(&mut self, compressed: &Bytes) -> Result<()> {
        let out = match &mut self.age {
            Some(age) => Bytes::from(age.push(compressed).map_err(encrypting)?),
            None => compressed.clone(),
        };
        self.store(out).await
    }

    async fn store(&mut self, out: Bytes) -> Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        self.hash.update(&out);
        self.bytes += out.len() as u64;
        self.writer.write(out).await
    }

    async fn finish(mut self, bytes: u64, sha256: &str) -> Result<ObjectRecord> {
        if let Some(age) = self.age.take() {
            let tail = age.finish().map_err(encrypting)?;
            self.store(Bytes::from(tail)).await?;
        }
        let meta = self.writer.finish().await?;
        if meta.bytes != self.bytes {
            let text = format!("object {} was stored with {} bytes instead of {}", self.name, meta.bytes, self.bytes);
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        let record = ObjectRecord {
            name: self.name,
            bytes,
            stored_bytes: self.bytes,
            sha256: sha256.to_owned(),
            stored_sha256: hex::encode(self.hash.finalize()),
            codec: self.codec,
            stored_in: None,
        };
        self.lane.state().records.push(record.clone());
        Ok(record)
    }
}

fn encrypting(e: std::io::Error) -> Error {
    Error::new(ErrorKind::Unexpected, "age encryption failed").with_source(e)
}

struct SinkHandle {
    cx: Cx,
    name: String,
    compressor: Compressor,
    plain: Sha256,
    plain_bytes: u64,
    writers: Vec<LaneWriter>,
    lanes: Vec<Arc<Lane>>,
}

impl SinkHandle {
    /// Gives `compressed` to every store; one that fails is given up, all failing is an error.
    async fn spread(&mut self, compressed: Vec<u8>) -> Result<()> {
        let piece = Bytes::from(compressed);
        let results = join_all(self.writers.iter_mut().map(|w| w.push(&piece))).await;
        let mut kept = Vec::with_capacity(self.writers.len());
        for (writer, result) in std::mem::take(&mut self.writers).into_iter().zip(results) {
            match result {
                Ok(()) => kept.push(writer),
                Err(e) => {
                    writer.lane.fail(e);
                    // Already failing: what abort says is not news, and a sweep frees what it leaves.
                    let _ = writer.writer.abort().await;
                }
            }
        }
        self.writers = kept;
        self.any_left()
    }

    fn any_left(&self) -> Result<()> {
        if self.writers.is_empty() {
            self.cx.check(&self.name)?;
            return Err(none_left(&self.lanes));
        }
        Ok(())
    }
}

#[async_trait]
impl ObjectHandle for SinkHandle {
    async fn write(&mut self, plain: Bytes) -> Result<()> {
        self.plain.update(&plain);
        self.plain_bytes += plain.len() as u64;
        self.compressor.push(&plain).map_err(encrypting)?;
        match self.compressor.take(PIECE) {
            Some(compressed) => self.spread(compressed).await,
            None => Ok(()),
        }
    }

    async fn finish(mut self: Box<Self>) -> Result<ObjectRecord> {
        let compressor = std::mem::replace(&mut self.compressor, Compressor::None(Vec::new()));
        let tail = compressor.finish().map_err(encrypting)?;
        self.spread(tail).await?;
        let sha256 = hex::encode(std::mem::take(&mut self.plain).finalize());
        let bytes = self.plain_bytes;
        let finish = std::mem::take(&mut self.writers).into_iter().map(|w| {
            let lane = w.lane.clone();
            let sha256 = &sha256;
            async move { (lane, w.finish(bytes, sha256).await) }
        });
        let mut first = None;
        for (lane, result) in join_all(finish).await {
            match result {
                Ok(record) => first = first.or(Some(record)),
                Err(e) => lane.fail(e),
            }
        }
        match first {
            Some(record) => Ok(record),
            None => {
                self.cx.check(&self.name)?;
                Err(none_left(&self.lanes))
            }
        }
    }

    async fn abort(mut self: Box<Self>) {
        for writer in std::mem::take(&mut self.writers) {
            // Giving up: a sweep frees what this cannot.
            let _ = writer.writer.abort().await;
        }
    }
}
