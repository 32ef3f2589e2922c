//! A store that cannot be reached for a while, by a clock.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use veza_dr_core::{
    BackupStore, Clock, Condition, Cx, Error, ErrorKind, ObjectKey, ObjectMeta, ObjectReader, ObjectWriter, PutOptions,
    Result, StoreCaps, StoreInfo, VersionTag,
};

/// Passes calls on to another store, but for those of its outage.
#[derive(Debug, Clone)]
pub struct OutageStore {
    /// The store.
    pub inner: Arc<dyn BackupStore>,
    /// What tells the time.
    pub clock: Arc<dyn Clock>,
    /// When nothing answers.
    pub outage: Range<DateTime<Utc>>,
}

impl OutageStore {
    fn reach(&self) -> Result<()> {
        if self.outage.contains(&self.clock.now()) {
            return Err(Error::new(ErrorKind::Unavailable, format!("{}: no route to host", self.info().name)));
        }
        Ok(())
    }
}

#[async_trait]
impl BackupStore for OutageStore {
    fn info(&self) -> &StoreInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> StoreCaps {
        self.inner.capabilities()
    }

    async fn create(&self, cx: &Cx, key: &ObjectKey, options: PutOptions) -> Result<Box<dyn ObjectWriter>> {
        self.reach()?;
        self.inner.create(cx, key, options).await
    }

    async fn put(&self, cx: &Cx, key: &ObjectKey, body: Bytes, condition: Condition) -> Result<VersionTag> {
        self.reach()?;
        self.inner.put(cx, key, body, condition).await
    }

    async fn get(&self, cx: &Cx, key: &ObjectKey, offset: u64) -> Result<Box<dyn ObjectReader>> {
        self.reach()?;
        self.inner.get(cx, key, offset).await
    }

    async fn head(&self, cx: &Cx, key: &ObjectKey) -> Result<Option<ObjectMeta>> {
        self.reach()?;
        self.inner.head(cx, key).await
    }

    async fn list(&self, cx: &Cx, prefix: &str) -> Result<Vec<ObjectMeta>> {
        self.reach()?;
        self.inner.list(cx, prefix).await
    }

    async fn list_groups(&self, cx: &Cx, prefix: &str) -> Result<Vec<String>> {
        self.reach()?;
        self.inner.list_groups(cx, prefix).await
    }

    async fn delete(&self, cx: &Cx, key: &ObjectKey) -> Result<()> {
        self.reach()?;
        self.inner.delete(cx, key).await
    }

    async fn sweep(&self, cx: &Cx, before: DateTime<Utc>) -> Result<u64> {
        self.reach()?;
        self.inner.sweep(cx, before).await
    }
}
