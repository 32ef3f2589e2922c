//! What rests for a backup goes on again: early when all is read, and however the run ends.

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use tokio::task::JoinHandle;
use veza_dr_backup::{BackupHooks, BackupOptions, BackupReport, Encryption, Repository, back_up};
use veza_dr_core::{
    ArtifactSink, BackupCaps, BackupId, BackupRequest, BackupTarget, ComponentName, Cx, ErrorKind, Manifest, Report,
    Result, TargetInfo,
    testing::{MemoryBackupTarget, MemoryDatabase, MemoryStore},
};

/// What happened, in order; shared by hook and target.
#[derive(Debug, Clone, Default)]
struct Diary {
    lines: Arc<Mutex<Vec<&'static str>>>,
    rests_for_ever: bool,
}

impl Diary {
    fn note(&self, line: &'static str) {
        self.lines.lock().expect("nobody panics with it").push(line);
    }

    fn lines(&self) -> Vec<&'static str> {
        self.lines.lock().expect("nobody panics with it").clone()
    }

    async fn until(&self, lines: &[&str]) {
        let same = async {
            while self.lines() != lines {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), same).await;
        assert!(waited.is_ok(), "{:?} is not {lines:?}", self.lines());
    }
}

#[async_trait]
impl BackupHooks for Diary {
    async fn before(&self, _: &Cx, _: &ComponentName, _: &BackupId) -> Result<()> {
        self.note("rest");
        if self.rests_for_ever {
            pending::<()>().await;
        }
        Ok(())
    }

    async fn after_read(&self, _: &Cx, _: &ComponentName, _: &BackupId) -> Result<()> {
        self.note("go on");
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
enum Then {
    Store,
    Panic,
    Stall,
}

#[derive(Debug)]
struct Scene {
    inner: MemoryBackupTarget,
    diary: Diary,
    then: Then,
}

#[async_trait]
impl BackupTarget for Scene {
    fn info(&self) -> &TargetInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> BackupCaps {
        self.inner.capabilities()
    }

    async fn create(&self, cx: &Cx, request: BackupRequest, out: Arc<dyn ArtifactSink>) -> Result<Manifest> {
        self.diary.note("read");
        match self.then {
            Then::Store => {}
            Then::Panic => panic!("the test lets this read panic"),
            Then::Stall => cx.run("read", pending()).await?,
        }
        let made = self.inner.create(cx, request, out).await;
        self.diary.note("stored");
        made
    }

    async fn check(&self, cx: &Cx) -> Result<Report> {
        self.inner.check(cx).await
    }

    fn recipe(&self, manifest: &Manifest) -> String {
        self.inner.recipe(manifest)
    }
}

fn begin(cx: &Cx, diary: &Diary, then: Then) -> JoinHandle<Result<BackupReport>> {
    let (cx, diary) = (cx.clone(), diary.clone());
    tokio::spawn(async move {
        let inner = MemoryBackupTarget::new("db", MemoryDatabase::with_keys(10))?;
        let scene = Scene { inner, diary: diary.clone(), then };
        let repository = Repository::new(Arc::new(MemoryStore::new("one")), Encryption::default());
        let options = BackupOptions::default().with_hooks(Arc::new(diary));
        back_up(&cx, &scene, &[repository], &options).await
    })
}

#[tokio::test]
async fn a_target_that_says_so_ends_the_rest_before_it_has_stored() {
    let diary = Diary::default();
    let report = begin(&Cx::background(), &diary, Then::Store).await.unwrap().unwrap();
    assert!(report.is_complete() && report.after_read.is_none());
    assert_eq!(diary.lines(), ["rest", "read", "go on", "stored"]);
}

#[tokio::test]
async fn a_panic_while_reading_ends_the_rest() {
    let diary = Diary::default();
    assert!(begin(&Cx::background(), &diary, Then::Panic).await.unwrap_err().is_panic());
    diary.until(&["rest", "read", "go on"]).await;
}

#[tokio::test]
async fn a_cancelled_backup_ends_the_rest_before_it_returns() {
    let (diary, cx) = (Diary::default(), Cx::background());
    let running = begin(&cx, &diary, Then::Stall);
    diary.until(&["rest", "read"]).await;
    cx.cancel();
    assert_eq!(running.await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(diary.lines(), ["rest", "read", "go on"]);
}

#[tokio::test]
async fn a_backup_that_is_dropped_ends_the_rest() {
    let diary = Diary::default();
    let running = begin(&Cx::background(), &diary, Then::Stall);
    diary.until(&["rest", "read"]).await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    diary.until(&["rest", "read", "go on"]).await;
}

#[tokio::test]
async fn a_backup_cancelled_on_the_way_to_rest_undoes_it() {
    let (diary, cx) = (Diary { rests_for_ever: true, ..Diary::default() }, Cx::background());
    let running = begin(&cx, &diary, Then::Store);
    diary.until(&["rest"]).await;
    cx.cancel();
    assert_eq!(running.await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(diary.lines(), ["rest", "go on"]);
}
