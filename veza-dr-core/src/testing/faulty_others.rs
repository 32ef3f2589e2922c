//! [`Faulty`] as a probe, DNS provider, backup target, restore target and source of artifacts.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Faulty, faulty_store::FaultyReader};
use crate::{
    ArtifactSink, ArtifactSource, BackupCaps, BackupRequest, BackupTarget, ChangeId, ChangeSet, ChangeState, Cx,
    DnsProvider, Manifest, ObjectReader, Observation, RecordKey, RecordSet, Report, RestoreCaps, RestorePlan,
    RestoreReport, RestoreRequest, RestoreTarget, Result, ServiceProbe, TargetInfo, Verification,
    manifest::ObjectRecord,
};

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: ServiceProbe + ?Sized> ServiceProbe for Faulty<T> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn observe(&self, cx: &Cx) -> Result<Observation> {
        self.plan.call(cx, "observe", self.inner.observe(cx)).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: DnsProvider + ?Sized> DnsProvider for Faulty<T> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn read(&self, cx: &Cx, key: &RecordKey) -> Result<Option<RecordSet>> {
        self.plan.call(cx, "read", self.inner.read(cx, key)).await
    }

    async fn apply(&self, cx: &Cx, changes: &ChangeSet) -> Result<ChangeId> {
        self.plan.call(cx, "apply", self.inner.apply(cx, changes)).await
    }

    async fn status(&self, cx: &Cx, id: &ChangeId) -> Result<ChangeState> {
        self.plan.call(cx, "status", self.inner.status(cx, id)).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: BackupTarget + ?Sized> BackupTarget for Faulty<T> {
    fn info(&self) -> &TargetInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> BackupCaps {
        self.inner.capabilities()
    }

    async fn create(&self, cx: &Cx, request: BackupRequest, out: Arc<dyn ArtifactSink>) -> Result<Manifest> {
        self.plan.call(cx, "create", self.inner.create(cx, request, out)).await
    }

    async fn check(&self, cx: &Cx) -> Result<Report> {
        self.plan.call(cx, "check", self.inner.check(cx)).await
    }

    fn recipe(&self, manifest: &Manifest) -> String {
        self.inner.recipe(manifest)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: RestoreTarget + ?Sized> RestoreTarget for Faulty<T> {
    fn info(&self) -> &TargetInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> RestoreCaps {
        self.inner.capabilities()
    }

    async fn plan(&self, cx: &Cx, request: &RestoreRequest, from: &Manifest) -> Result<RestorePlan> {
        self.plan.call(cx, "plan", self.inner.plan(cx, request, from)).await
    }

    async fn apply(
        &self,
        cx: &Cx,
        plan: RestorePlan,
        from: &Manifest,
        data: Arc<dyn ArtifactSource>,
    ) -> Result<RestoreReport> {
        self.plan.call(cx, "apply", self.inner.apply(cx, plan, from, data)).await
    }

    async fn verify(&self, cx: &Cx, against: &Manifest) -> Result<Verification> {
        self.plan.call(cx, "verify", self.inner.verify(cx, against)).await
    }

    async fn rollback(&self, cx: &Cx) -> Result<Report> {
        self.plan.call(cx, "rollback", self.inner.rollback(cx)).await
    }

    async fn release(&self, cx: &Cx) -> Result<Report> {
        self.plan.call(cx, "release", self.inner.release(cx)).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: ArtifactSource + ?Sized> ArtifactSource for Faulty<T> {
    async fn open(&self, cx: &Cx, object: &ObjectRecord) -> Result<Box<dyn ObjectReader>> {
        let inner = self.inner.open(cx, object).await?;
        Ok(Box::new(FaultyReader { cx: cx.clone(), inner, plan: self.plan.clone(), ended: false }))
    }
}
