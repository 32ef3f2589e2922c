//! [`Faulty`] as a store, with its writers and readers.

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::{
    Faulty,
    fault_plan::{Fault, FaultPlan, damaged, injected},
};
use crate::{
    BackupStore, Condition, Cx, ObjectKey, ObjectMeta, ObjectReader, ObjectWriter, PutOptions, Result, StoreCaps,
    StoreInfo, VersionTag,
};

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: BackupStore + ?Sized> BackupStore for Faulty<T> {
    fn info(&self) -> &StoreInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> StoreCaps {
        self.inner.capabilities()
    }

    async fn create(&self, cx: &Cx, key: &ObjectKey, options: PutOptions) -> Result<Box<dyn ObjectWriter>> {
        let inner = self.plan.call(cx, "create", self.inner.create(cx, key, options)).await?;
        Ok(Box::new(FaultyWriter { cx: cx.clone(), inner, plan: self.plan.clone() }))
    }

    async fn put(&self, cx: &Cx, key: &ObjectKey, body: Bytes, condition: Condition) -> Result<VersionTag> {
        let fault = self.plan.next("put");
        let work = self.inner.put(cx, key, damaged(fault, body), condition);
        match fault {
            Some(fault) => injected(cx, "put", fault, work).await,
            None => work.await,
        }
    }

    async fn get(&self, cx: &Cx, key: &ObjectKey, offset: u64) -> Result<Box<dyn ObjectReader>> {
        let inner = self.plan.call(cx, "get", self.inner.get(cx, key, offset)).await?;
        Ok(Box::new(FaultyReader { cx: cx.clone(), inner, plan: self.plan.clone(), ended: false }))
    }

    async fn head(&self, cx: &Cx, key: &ObjectKey) -> Result<Option<ObjectMeta>> {
        self.plan.call(cx, "head", self.inner.head(cx, key)).await
    }

    async fn list(&self, cx: &Cx, prefix: &str) -> Result<Vec<ObjectMeta>> {
        self.plan.call(cx, "list", self.inner.list(cx, prefix)).await
    }

    async fn list_groups(&self, cx: &Cx, prefix: &str) -> Result<Vec<String>> {
        self.plan.call(cx, "list_groups", self.inner.list_groups(cx, prefix)).await
    }

    async fn delete(&self, cx: &Cx, key: &ObjectKey) -> Result<()> {
        self.plan.call(cx, "delete", self.inner.delete(cx, key)).await
    }

    async fn sweep(&self, cx: &Cx, before: DateTime<Utc>) -> Result<u64> {
        self.plan.call(cx, "sweep", self.inner.sweep(cx, before)).await
    }
}

struct FaultyWriter {
    cx: Cx,
    inner: Box<dyn ObjectWriter>,
    plan: FaultPlan,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ObjectWriter for FaultyWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let fault = self.plan.next("write");
        let work = self.inner.write(damaged(fault, bytes));
        match fault {
            Some(fault) => injected(&self.cx, "write", fault, work).await,
            None => work.await,
        }
    }

    async fn finish(self: Box<Self>) -> Result<ObjectMeta> {
        self.plan.call(&self.cx, "finish", self.inner.finish()).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.plan.call(&self.cx, "abort", self.inner.abort()).await
    }
}

pub(super) struct FaultyReader {
    pub(super) cx: Cx,
    pub(super) inner: Box<dyn ObjectReader>,
    pub(super) plan: FaultPlan,
    pub(super) ended: bool,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ObjectReader for FaultyReader {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.ended {
            return Ok(None);
        }
        let fault = self.plan.next("next");
        self.ended = fault == Some(Fault::Truncate);
        let work = self.inner.next();
        let piece = match fault {
            Some(fault) => injected(&self.cx, "next", fault, work).await?,
            None => work.await?,
        };
        Ok(piece.map(|bytes| damaged(fault, bytes)))
    }
}
