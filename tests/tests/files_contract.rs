//! The files engine held to the contracts of its two traits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use veza_dr_backup::files::{FilesConfig, FilesTarget};
use veza_dr_core::testing::MemoryArtifacts;
use veza_dr_core::testing::contract::{backup::BackupHarness, restore::RestoreHarness};
use veza_dr_core::{ArtifactSource, BackupId, BackupRequest, BackupTarget, Cx, Manifest, RestoreTarget, SystemClock};
use veza_dr_restore::files::FilesRestore;
use veza_dr_tests::files_scene::{FilesScene, observe};

struct Harness {
    scene: FilesScene,
    manifest: Option<Manifest>,
    data: MemoryArtifacts,
    changes: AtomicU64,
}

impl Harness {
    fn config(&self) -> FilesConfig {
        self.scene.config()
    }

    async fn new() -> Arc<Self> {
        let scene = FilesScene::new();
        for i in 0..40 {
            scene.put(&format!("conf/{}/{i}.yml", i % 3), format!("file: {i}\n").repeat(i * 7));
        }
        scene.put("large", vec![7; 2 << 20]);
        std::os::unix::fs::symlink("large", scene.at("link")).unwrap();
        std::fs::hard_link(scene.at("large"), scene.at("name")).unwrap();
        let mut harness = Self { scene, manifest: None, data: MemoryArtifacts::new(), changes: AtomicU64::new(0) };
        let target = harness.target_of();
        let request = BackupRequest::new(BackupId::new(&SystemClock));
        let out = Arc::new(harness.data.clone());
        let mut manifest = target.create(&Cx::background(), request, out).await.unwrap();
        manifest.objects = harness.data.records();
        harness.manifest = Some(manifest);
        Arc::new(harness)
    }

    fn target_of(&self) -> FilesTarget {
        FilesTarget::new(FilesScene::component(), self.config()).unwrap()
    }

    fn change_something(&self) {
        let n = self.changes.fetch_add(1, Ordering::SeqCst);
        self.scene.put(&format!("new-{n}"), "new");
        self.scene.put("conf/1/1.yml", format!("changed {n}"));
        let _ = std::fs::remove_file(self.scene.at("conf/2/2.yml"));
    }
}

/// The manifest that [`BackupTarget::create`] gives lists its objects only through the runner.
#[derive(Debug)]
struct Listed(FilesTarget);

#[async_trait]
impl BackupTarget for Listed {
    fn info(&self) -> &veza_dr_core::TargetInfo {
        self.0.info()
    }
    fn capabilities(&self) -> veza_dr_core::BackupCaps {
        self.0.capabilities()
    }
    async fn create(
        &self,
        cx: &Cx,
        request: BackupRequest,
        out: Arc<dyn veza_dr_core::ArtifactSink>,
    ) -> veza_dr_core::Result<Manifest> {
        let noting = Arc::new(Noting { inner: out, records: Arc::default() });
        let mut manifest = self.0.create(cx, request, noting.clone()).await?;
        manifest.objects = noting.records.lock().unwrap().clone();
        Ok(manifest)
    }
    async fn check(&self, cx: &Cx) -> veza_dr_core::Result<veza_dr_core::Report> {
        self.0.check(cx).await
    }
    fn recipe(&self, manifest: &Manifest) -> String {
        self.0.recipe(manifest)
    }
}

type Records = Arc<std::sync::Mutex<Vec<veza_dr_core::manifest::ObjectRecord>>>;

struct Noting {
    inner: Arc<dyn veza_dr_core::ArtifactSink>,
    records: Records,
}

struct NotingHandle {
    inner: Box<dyn veza_dr_core::ObjectHandle>,
    records: Records,
}

#[async_trait]
impl veza_dr_core::ArtifactSink for Noting {
    async fn create(
        &self,
        cx: &Cx,
        name: &str,
        codec: Option<veza_dr_core::manifest::Codec>,
        hint: Option<u64>,
    ) -> veza_dr_core::Result<Box<dyn veza_dr_core::ObjectHandle>> {
        let inner = self.inner.create(cx, name, codec, hint).await?;
        Ok(Box::new(NotingHandle { inner, records: self.records.clone() }))
    }
}

#[async_trait]
impl veza_dr_core::ObjectHandle for NotingHandle {
    async fn write(&mut self, plain: bytes::Bytes) -> veza_dr_core::Result<()> {
        self.inner.write(plain).await
    }
    async fn finish(self: Box<Self>) -> veza_dr_core::Result<veza_dr_core::manifest::ObjectRecord> {
        let record = self.inner.finish().await?;
        self.records.lock().unwrap().push(record.clone());
        Ok(record)
    }
    async fn abort(self: Box<Self>) {
        self.inner.abort().await;
    }
}

#[async_trait]
impl BackupHarness for Harness {
    fn target(&self) -> Arc<dyn BackupTarget> {
        Arc::new(Listed(self.target_of()))
    }
    async fn change(&self) {
        self.change_something();
    }
    async fn state(&self) -> String {
        observe(self.scene.dir.path())
    }
}

#[async_trait]
impl RestoreHarness for Harness {
    fn target(&self) -> Arc<dyn RestoreTarget> {
        Arc::new(FilesRestore::new(FilesScene::component(), self.config()).unwrap())
    }
    fn manifest(&self) -> &Manifest {
        self.manifest.as_ref().unwrap()
    }
    fn data(&self) -> Arc<dyn ArtifactSource> {
        Arc::new(self.data.clone())
    }
    async fn damage(&self) {
        self.change_something();
    }
    async fn state(&self) -> String {
        observe(&self.scene.live())
    }
}

mod as_a_source {
    use super::*;
    veza_dr_core::backup_contract!(async { (Harness::new().await as Arc<dyn BackupHarness>, ()) });
}

mod as_a_target {
    use super::*;
    veza_dr_core::restore_contract!(async { (Harness::new().await as Arc<dyn RestoreHarness>, ()) });
}
