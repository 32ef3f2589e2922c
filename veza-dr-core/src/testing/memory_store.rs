//! A store in memory.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};

use crate::{
    BackupStore, Clock, Condition, Cx, Error, ErrorKind, ObjectKey, ObjectMeta, ObjectReader, ObjectWriter, PutOptions,
    Result, StoreCaps, StoreInfo, SystemClock, VersionTag,
};

/// Readers give pieces of this size, so that even small tests see several.
const PIECE: usize = 64 * 1024;

/// Keeps objects in memory; clones share them.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    info: StoreInfo,
    clock: Arc<dyn Clock>,
    objects: Arc<Mutex<Objects>>,
}

#[derive(Debug, Default)]
struct Objects {
    stored: BTreeMap<ObjectKey, (ObjectMeta, Bytes)>,
    versions: u64,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self::with_clock(name, Arc::new(SystemClock))
    }

    /// An empty store whose objects carry this clock's time.
    #[must_use]
    pub fn with_clock(name: impl Into<String>, clock: Arc<dyn Clock>) -> Self {
        // Every store is a place of its own: what was found out about one must not be believed of another.
        let location = format!("memory:{:016x}", rand::random::<u64>());
        let info = StoreInfo { name: name.into(), kind: "memory", location };
        Self { info, clock, objects: Arc::default() }
    }

    /// The bytes of an object as they are kept.
    #[must_use]
    pub fn bytes(&self, key: &ObjectKey) -> Option<Bytes> {
        self.lock().stored.get(key).map(|(_, bytes)| bytes.clone())
    }

    /// Changes kept bytes behind everybody's back, as rot would. Returns whether there is such an object.
    pub fn tamper(&self, key: &ObjectKey, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        match self.lock().stored.get_mut(key) {
            Some((meta, bytes)) => {
                let mut changed = bytes.to_vec();
                change(&mut changed);
                meta.bytes = changed.len() as u64;
                *bytes = changed.into();
                true
            }
            None => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self, key: &ObjectKey, body: Bytes, condition: &Condition) -> Result<ObjectMeta> {
        let mut objects = self.lock();
        let conflict = |why: &str| Err(Error::new(ErrorKind::Conflict, format!("put {key}: {why}")));
        match (condition, objects.stored.get(key)) {
            (Condition::Absent, Some(_)) => return conflict("it exists already"),
            (Condition::Matches(_), None) => return conflict("it is no longer there"),
            (Condition::Matches(wanted), Some((meta, _))) if *wanted != meta.tag => {
                return conflict("it was changed meanwhile");
            }
            _ => {}
        }
        objects.versions += 1;
        let tag = VersionTag(format!("v{}", objects.versions));
        let meta = ObjectMeta { key: key.clone(), bytes: body.len() as u64, modified: self.clock.now(), tag };
        objects.stored.insert(key.clone(), (meta.clone(), body));
        Ok(meta)
    }
}

/// What follows `prefix/` in `key`; all of it where the prefix is empty.
fn below<'a>(key: &'a ObjectKey, prefix: &str) -> Option<&'a str> {
    if prefix.is_empty() {
        return Some(key.as_str());
    }
    key.as_str().strip_prefix(prefix)?.strip_prefix('/')
}

#[async_trait]
impl BackupStore for MemoryStore {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    fn capabilities(&self) -> StoreCaps {
        StoreCaps::new(true, false)
    }

    async fn create(&self, cx: &Cx, key: &ObjectKey, _: PutOptions) -> Result<Box<dyn ObjectWriter>> {
        cx.check(&format!("create {key}"))?;
        if self.lock().stored.contains_key(key) {
            return Err(Error::new(ErrorKind::Conflict, format!("create {key}: it exists already")));
        }
        Ok(Box::new(MemoryWriter { cx: cx.clone(), store: self.clone(), key: key.clone(), written: BytesMut::new() }))
    }

    async fn put(&self, cx: &Cx, key: &ObjectKey, body: Bytes, condition: Condition) -> Result<VersionTag> {
        cx.check(&format!("put {key}"))?;
        self.store(key, body, &condition).map(|meta| meta.tag)
    }

    async fn get(&self, cx: &Cx, key: &ObjectKey, offset: u64) -> Result<Box<dyn ObjectReader>> {
        cx.check(&format!("get {key}"))?;
        let Some(mut bytes) = self.bytes(key) else {
            return Err(Error::new(ErrorKind::NotFound, format!("get {key}: it is not there")));
        };
        let mut rest = bytes.split_off(usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len()));
        let mut pieces = VecDeque::new();
        while !rest.is_empty() {
            pieces.push_back(rest.split_to(PIECE.min(rest.len())));
        }
        Ok(Box::new(MemoryReader { cx: cx.clone(), key: key.clone(), pieces }))
    }

    async fn head(&self, cx: &Cx, key: &ObjectKey) -> Result<Option<ObjectMeta>> {
        cx.check(&format!("head {key}"))?;
        Ok(self.lock().stored.get(key).map(|(meta, _)| meta.clone()))
    }

    async fn list(&self, cx: &Cx, prefix: &str) -> Result<Vec<ObjectMeta>> {
        cx.check(&format!("list {prefix}"))?;
        let objects = self.lock();
        let found = objects.stored.values().filter(|(meta, _)| below(&meta.key, prefix).is_some());
        Ok(found.map(|(meta, _)| meta.clone()).collect())
    }

    async fn list_groups(&self, cx: &Cx, prefix: &str) -> Result<Vec<String>> {
        cx.check(&format!("list {prefix}"))?;
        let objects = self.lock();
        let rests = objects.stored.keys().filter_map(|key| below(key, prefix));
        let groups: BTreeSet<&str> = rests.filter_map(|rest| rest.split_once('/')).map(|(group, _)| group).collect();
        Ok(groups.into_iter().map(str::to_owned).collect())
    }

    async fn delete(&self, cx: &Cx, key: &ObjectKey) -> Result<()> {
        cx.check(&format!("delete {key}"))?;
        self.lock().stored.remove(key);
        Ok(())
    }

    async fn sweep(&self, cx: &Cx, _: DateTime<Utc>) -> Result<u64> {
        // Unfinished bytes live in their writer and go with it.
        cx.check("sweep")?;
        Ok(0)
    }
}

struct MemoryWriter {
    cx: Cx,
    store: MemoryStore,
    key: ObjectKey,
    written: BytesMut,
}

#[async_trait]
impl ObjectWriter for MemoryWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.cx.check(&format!("write {}", self.key))?;
        self.written.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<ObjectMeta> {
        self.cx.check(&format!("finish {}", self.key))?;
        self.store.store(&self.key, self.written.freeze(), &Condition::Absent)
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

struct MemoryReader {
    cx: Cx,
    key: ObjectKey,
    pieces: VecDeque<Bytes>,
}

#[async_trait]
impl ObjectReader for MemoryReader {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        self.cx.check(&format!("read {}", self.key))?;
        Ok(self.pieces.pop_front())
    }
}
