//! A store that tells a test of every call before it is made, and of every call that has ended.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use veza_dr_core::{
    BackupStore, Condition, Cx, ObjectKey, ObjectMeta, ObjectReader, ObjectWriter, PutOptions, Result, StoreCaps,
    StoreInfo, VersionTag,
};

/// One call, about to be made or just ended.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The method, of the store or of one of its writers.
    pub method: &'static str,
    /// The object, or the prefix of a listing.
    pub key: &'a str,
    /// Its number over all calls, from 1; two moments have the same: before it and after it.
    pub number: u64,
    /// Whether it has ended.
    pub ended: bool,
}

type Hook = Arc<dyn Fn(Call<'_>) + Send + Sync>;

/// Passes calls on to another store and tells the hook.
#[derive(Clone)]
pub struct HookStore {
    inner: Arc<dyn BackupStore>,
    hook: Hook,
    calls: Arc<AtomicU64>,
}

impl fmt::Debug for HookStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HookStore({:?})", self.inner)
    }
}

impl HookStore {
    /// Tells `hook` of every call to `inner` that writes or deletes.
    pub fn new(inner: Arc<dyn BackupStore>, hook: impl Fn(Call<'_>) + Send + Sync + 'static) -> Self {
        Self { inner, hook: Arc::new(hook), calls: Arc::default() }
    }

    /// How many calls were made.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    async fn around<T>(&self, method: &'static str, key: &str, work: impl Future<Output = T>) -> T {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        (self.hook)(Call { method, key, number, ended: false });
        let done = work.await;
        (self.hook)(Call { method, key, number, ended: true });
        done
    }
}

#[async_trait]
impl BackupStore for HookStore {
    fn info(&self) -> &StoreInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> StoreCaps {
        self.inner.capabilities()
    }

    async fn create(&self, cx: &Cx, key: &ObjectKey, options: PutOptions) -> Result<Box<dyn ObjectWriter>> {
        let inner = self.around("create", key.as_str(), self.inner.create(cx, key, options)).await?;
        Ok(Box::new(HookWriter { inner, store: self.clone(), key: key.clone() }))
    }

    async fn put(&self, cx: &Cx, key: &ObjectKey, body: Bytes, condition: Condition) -> Result<VersionTag> {
        self.around("put", key.as_str(), self.inner.put(cx, key, body, condition)).await
    }

    async fn get(&self, cx: &Cx, key: &ObjectKey, offset: u64) -> Result<Box<dyn ObjectReader>> {
        self.inner.get(cx, key, offset).await
    }

    async fn head(&self, cx: &Cx, key: &ObjectKey) -> Result<Option<ObjectMeta>> {
        self.inner.head(cx, key).await
    }

    async fn list(&self, cx: &Cx, prefix: &str) -> Result<Vec<ObjectMeta>> {
        self.inner.list(cx, prefix).await
    }

    async fn list_groups(&self, cx: &Cx, prefix: &str) -> Result<Vec<String>> {
        self.inner.list_groups(cx, prefix).await
    }

    async fn delete(&self, cx: &Cx, key: &ObjectKey) -> Result<()> {
        self.around("delete", key.as_str(), self.inner.delete(cx, key)).await
    }

    async fn sweep(&self, cx: &Cx, before: DateTime<Utc>) -> Result<u64> {
        self.inner.sweep(cx, before).await
    }
}

struct HookWriter {
    inner: Box<dyn ObjectWriter>,
    store: HookStore,
    key: ObjectKey,
}

#[async_trait]
impl ObjectWriter for HookWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.store.around("write", self.key.as_str(), self.inner.write(bytes)).await
    }

    async fn finish(self: Box<Self>) -> Result<ObjectMeta> {
        self.store.around("finish", self.key.as_str(), self.inner.finish()).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.store.around("abort", self.key.as_str(), self.inner.abort()).await
    }
}
