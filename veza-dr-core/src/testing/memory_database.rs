//! A small key-value database that can be backed up and restored: the reference for both traits.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::{
    ArtifactSink, BackupCaps, BackupRequest, BackupTarget, Clock, Cx, Error, ErrorKind, Manifest, Outcome, Report,
    Result, SystemClock, TargetInfo,
    manifest::{ConsistencyPoint, ContentRecord, SourceIdentity},
};

/// The engine's name in manifests.
pub(super) const ENGINE: &str = "memory";
/// The one content record's name.
pub(super) const CONTENT: &str = "keys";

pub(super) type Keys = BTreeMap<String, Bytes>;

/// Live data, and what the last restore replaced. Clones are the same database.
#[derive(Debug, Clone, Default)]
pub struct MemoryDatabase(Arc<Mutex<Data>>);

#[derive(Debug, Default)]
pub(super) struct Data {
    pub(super) live: Keys,
    pub(super) kept: Option<Keys>,
}

impl MemoryDatabase {
    /// An empty database.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A database with this many generated keys.
    #[must_use]
    pub fn with_keys(count: usize) -> Self {
        let database = Self::new();
        for n in 0..count {
            database.set(format!("key-{n:05}"), format!("value {n}"));
        }
        database
    }

    /// Sets a key.
    pub fn set(&self, key: impl Into<String>, value: impl Into<Bytes>) {
        self.lock().live.insert(key.into(), value.into());
    }

    /// Reads a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Bytes> {
        self.lock().live.get(key).cloned()
    }

    /// Removes a key. Returns whether it was there.
    pub fn remove(&self, key: &str) -> bool {
        self.lock().live.remove(key).is_some()
    }

    /// How many keys are live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().live.len()
    }

    /// True when no key is live.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A digest of all live keys and values.
    #[must_use]
    pub fn digest(&self) -> String {
        digest(&self.lock().live)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Data> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn digest(keys: &Keys) -> String {
    let mut sum = Sha256::new();
    for (key, value) in keys {
        // Lengths first, so that no two different databases give the same bytes.
        sum.update((key.len() as u64).to_be_bytes());
        sum.update(key);
        sum.update((value.len() as u64).to_be_bytes());
        sum.update(value);
    }
    format!("sha256:{}", hex::encode(sum.finalize()))
}

/// As JSON, values in hexadecimal.
fn to_json(keys: &Keys) -> Result<Vec<u8>> {
    let text: BTreeMap<&String, String> = keys.iter().map(|(k, v)| (k, hex::encode(v))).collect();
    serde_json::to_vec_pretty(&text)
        .map_err(|e| Error::new(ErrorKind::Unexpected, "keys cannot be written as JSON").with_source(e))
}

pub(super) fn from_json(json: &[u8], origin: &str) -> Result<Keys> {
    let corrupt = || Error::new(ErrorKind::Corrupt, format!("{origin} does not hold keys"));
    let text: BTreeMap<String, String> = serde_json::from_slice(json).map_err(|e| corrupt().with_source(e))?;
    let decode = |(k, v): (String, String)| match hex::decode(v) {
        Ok(value) => Ok((k, Bytes::from(value))),
        Err(e) => Err(corrupt().with_source(e)),
    };
    text.into_iter().map(decode).collect()
}

/// Backs a [`MemoryDatabase`] up, as two objects.
#[derive(Debug, Clone)]
pub struct MemoryBackupTarget {
    info: TargetInfo,
    database: MemoryDatabase,
    clock: Arc<dyn Clock>,
}

impl MemoryBackupTarget {
    /// A target over `database`.
    ///
    /// # Errors
    /// `Config` when `component` is not a component name.
    pub fn new(component: &str, database: MemoryDatabase) -> Result<Self> {
        let info = TargetInfo { component: component.parse()?, engine: ENGINE.into(), location: "memory:".into() };
        Ok(Self { info, database, clock: Arc::new(SystemClock) })
    }

    /// Tells times by this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

#[async_trait]
impl BackupTarget for MemoryBackupTarget {
    fn info(&self) -> &TargetInfo {
        &self.info
    }

    fn capabilities(&self) -> BackupCaps {
        BackupCaps::new(true, true)
    }

    async fn create(&self, cx: &Cx, request: BackupRequest, out: Arc<dyn ArtifactSink>) -> Result<Manifest> {
        cx.check("back up memory database")?;
        let snapshot = self.database.lock().live.clone();
        let consistency = ConsistencyPoint { at: self.clock.now(), lsn: None, snapshot: None };
        let source = SourceIdentity { server_version: "1".into(), location: "memory:".into(), ..Default::default() };
        out.source_was_read().await;
        let contents =
            ContentRecord { name: CONTENT.into(), rows: snapshot.len() as u64, digest: Some(digest(&snapshot)) };
        let mut manifest = Manifest::new(request.id, self.info.component.clone(), ENGINE, source, consistency);
        let mut first = snapshot;
        let middle = first.keys().nth(first.len() / 2).cloned().unwrap_or_default();
        let second = first.split_off(&middle);
        for (name, keys) in [("keys-0.json", first), ("keys-1.json", second)] {
            let json = Bytes::from(to_json(&keys)?);
            let mut object = out.create(cx, name, None, Some(json.len() as u64)).await?;
            object.write(json).await?;
            manifest.objects.push(object.finish().await?);
        }
        manifest.contents.push(contents);
        manifest.finished_at = self.clock.now();
        Ok(manifest)
    }

    async fn check(&self, cx: &Cx) -> Result<Report> {
        cx.check("check memory database")?;
        let mut report = Report::default();
        report.push("reach", Outcome::Ok, format!("{} keys", self.database.len()), std::time::Duration::ZERO);
        Ok(report)
    }

    fn recipe(&self, manifest: &Manifest) -> String {
        let mut text = format!("# Recover {}\n\nEach value is hexadecimal.\n\n", manifest.id);
        for object in &manifest.objects {
            text.push_str(&format!("    jq . {}\n", object.name));
        }
        text
    }
}
