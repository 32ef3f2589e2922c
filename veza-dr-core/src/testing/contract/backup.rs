//! What every [`BackupTarget`] must do.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;

use super::tools::{must_fail, soon};
use crate::{
    ArtifactSink, BackupId, BackupRequest, BackupTarget, Cx, Error, ErrorKind, Manifest, ObjectHandle, ObjectKey,
    Result, SystemClock,
    manifest::{Codec, ObjectRecord},
    testing::MemoryArtifacts,
};

/// A source with some data in it.
#[async_trait]
pub trait BackupHarness: Send + Sync {
    /// The target over it.
    fn target(&self) -> Arc<dyn BackupTarget>;
    /// Changes the data, so that a later backup must differ.
    async fn change(&self);
    /// A mark that is equal while the data and whatever else a backup could leave behind (snapshots, slots, temporary
    /// files) are.
    async fn state(&self) -> String;
}

async fn back_up(target: &dyn BackupTarget, cx: &Cx, out: Arc<dyn ArtifactSink>) -> Result<(BackupId, Manifest)> {
    let id = BackupId::new(&SystemClock);
    let manifest = target.create(cx, BackupRequest::new(id.clone()), out).await?;
    Ok((id, manifest))
}

/// The manifest says whose backup it is and from when.
pub async fn the_manifest_names_its_backup(harness: Arc<dyn BackupHarness>) {
    let target = harness.target();
    let before = SystemTime::now() - Duration::from_secs(5);
    let (id, manifest) = back_up(&*target, &Cx::background(), Arc::new(MemoryArtifacts::new())).await.unwrap();
    assert_eq!(manifest.id, id);
    assert_eq!(manifest.component, target.info().component);
    assert_eq!(manifest.engine, target.info().engine);
    assert!(!manifest.source.location.is_empty() && !manifest.source.server_version.is_empty());
    assert!(SystemTime::from(manifest.consistency.at) >= before, "the consistency point is in the past");
    assert!(manifest.finished_at >= manifest.started_at);
    let read = Manifest::from_json(&manifest.to_json().unwrap(), "its own JSON").unwrap();
    assert_eq!(read, manifest);
}

/// The manifest lists exactly the objects that were stored, under valid names.
pub async fn the_manifest_lists_what_was_stored(harness: Arc<dyn BackupHarness>) {
    let out = MemoryArtifacts::new();
    let (_, manifest) = back_up(&*harness.target(), &Cx::background(), Arc::new(out.clone())).await.unwrap();
    assert!(!manifest.objects.is_empty());
    let mut listed = manifest.objects.clone();
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(listed, out.records());
    let reserved = ["manifest.json", "RECOVER.md"];
    for object in &listed {
        assert!(object.name.parse::<ObjectKey>().is_ok(), "{}", object.name);
        assert!(!reserved.contains(&object.name.as_str()), "{} is the runner's to write", object.name);
    }
}

/// The contents are told, with digests where the target claims them, each under one name.
pub async fn the_manifest_tells_the_contents(harness: Arc<dyn BackupHarness>) {
    let target = harness.target();
    let (_, manifest) = back_up(&*target, &Cx::background(), Arc::new(MemoryArtifacts::new())).await.unwrap();
    assert!(!manifest.contents.is_empty());
    let names: BTreeSet<_> = manifest.contents.iter().map(|c| &c.name).collect();
    assert_eq!(names.len(), manifest.contents.len(), "a name occurs twice");
    if target.capabilities().digests {
        for content in &manifest.contents {
            let digest = content.digest.as_deref().unwrap_or_else(|| panic!("{} has no digest", content.name));
            assert!(digest.contains(':'), "{digest} does not name its algorithm");
        }
    }
}

/// Two backups of the same data tell the same contents; one of changed data does not.
pub async fn contents_follow_the_data(harness: Arc<dyn BackupHarness>) {
    let target = harness.target();
    let mut contents = Vec::new();
    for round in 0..3 {
        if round == 2 {
            harness.change().await;
        }
        let (_, manifest) = back_up(&*target, &Cx::background(), Arc::new(MemoryArtifacts::new())).await.unwrap();
        let mut told = manifest.contents;
        told.sort_by(|a, b| a.name.cmp(&b.name));
        contents.push(told);
    }
    assert_eq!(contents[0], contents[1], "the data did not change");
    assert_ne!(contents[1], contents[2], "the data changed");
}

/// A backup leaves its source as it was, whether it succeeds, fails or is cancelled.
pub async fn the_source_stays_as_it_was(harness: Arc<dyn BackupHarness>) {
    let target = harness.target();
    let before = harness.state().await;
    back_up(&*target, &Cx::background(), Arc::new(MemoryArtifacts::new())).await.unwrap();
    assert_eq!(harness.state().await, before, "after a success");
    back_up(&*target, &Cx::background(), Broken::after(1)).await.unwrap_err();
    assert_eq!(harness.state().await, before, "after a failure");
    let cx = Cx::background();
    back_up(&*target, &cx, Cancelling::on_first_write(&cx)).await.unwrap_err();
    assert_eq!(harness.state().await, before, "after a cancellation");
}

/// A place that fails, at whatever moment, fails the backup: with its own kind of error, never with a manifest.
pub async fn a_failing_place_fails_the_backup(harness: Arc<dyn BackupHarness>) {
    let target = harness.target();
    let whole = Broken::after(u64::MAX);
    back_up(&*target, &Cx::background(), whole.clone()).await.unwrap();
    let calls = whole.calls.load(Ordering::SeqCst);
    for nth in [0, 1, calls / 2, calls - 1] {
        let result = soon("backup", back_up(&*target, &Cx::background(), Broken::after(nth))).await;
        must_fail(result, ErrorKind::Full, &format!("a place full after {nth} of {calls} calls"));
    }
}

/// Cancelled while it writes, a backup stops soon.
pub async fn a_cancelled_backup_stops(harness: Arc<dyn BackupHarness>) {
    let cx = Cx::background();
    let result = soon("backup", back_up(&*harness.target(), &cx, Cancelling::on_first_write(&cx))).await;
    must_fail(result, ErrorKind::Cancelled, "cancelled backup");
}

/// Nothing begins under a context that has ended.
pub async fn nothing_begins_when_cancelled(harness: Arc<dyn BackupHarness>) {
    let target = harness.target();
    let cancelled = Cx::background();
    cancelled.cancel();
    let late = Cx::background().with_deadline(SystemTime::now() - Duration::from_secs(1));
    for cx in [cancelled, late] {
        let out = MemoryArtifacts::new();
        let result = soon("backup", back_up(&*target, &cx, Arc::new(out.clone()))).await;
        must_fail(result, ErrorKind::Cancelled, "backup");
        assert_eq!(out.records(), []);
        must_fail(soon("check", target.check(&cx)).await, ErrorKind::Cancelled, "check");
    }
}

/// A healthy source passes its check, and the check changes nothing.
pub async fn a_healthy_source_passes_its_check(harness: Arc<dyn BackupHarness>) {
    let before = harness.state().await;
    let report = harness.target().check(&Cx::background()).await.unwrap();
    assert!(report.is_ok(), "{report:?}");
    assert!(!report.steps.is_empty());
    assert_eq!(harness.state().await, before);
}

/// The recipe is about this very backup.
pub async fn the_recipe_is_about_this_backup(harness: Arc<dyn BackupHarness>) {
    let target = harness.target();
    let (id, manifest) = back_up(&*target, &Cx::background(), Arc::new(MemoryArtifacts::new())).await.unwrap();
    let recipe = target.recipe(&manifest);
    assert!(recipe.starts_with('#'), "a recipe is Markdown with a title");
    assert!(recipe.contains(id.as_str()), "it does not name the backup");
    assert!(manifest.objects.iter().any(|o| recipe.contains(&o.name)), "it names no object");
}

/// A place that is full after a number of calls.
#[derive(Debug, Clone)]
struct Broken {
    inner: MemoryArtifacts,
    calls: Arc<AtomicU64>,
    good: u64,
}

impl Broken {
    fn after(good: u64) -> Arc<Self> {
        Arc::new(Self { inner: MemoryArtifacts::new(), calls: Arc::default(), good })
    }

    fn count(&self) -> Result<()> {
        if self.calls.fetch_add(1, Ordering::SeqCst) < self.good {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Full, "the suite's own full place"))
    }
}

/// A place whose first write cancels the backup.
#[derive(Debug)]
struct Cancelling {
    inner: MemoryArtifacts,
    cx: Cx,
}

impl Cancelling {
    fn on_first_write(cx: &Cx) -> Arc<Self> {
        Arc::new(Self { inner: MemoryArtifacts::new(), cx: cx.clone() })
    }
}

struct Watched {
    inner: Box<dyn ObjectHandle>,
    before: Box<dyn Fn() -> Result<()> + Send + Sync>,
}

#[async_trait]
impl ArtifactSink for Broken {
    async fn create(
        &self,
        cx: &Cx,
        name: &str,
        codec: Option<Codec>,
        size_hint: Option<u64>,
    ) -> Result<Box<dyn ObjectHandle>> {
        self.count()?;
        let inner = self.inner.create(cx, name, codec, size_hint).await?;
        let place = self.clone();
        Ok(Box::new(Watched { inner, before: Box::new(move || place.count()) }))
    }
}

#[async_trait]
impl ArtifactSink for Cancelling {
    async fn create(
        &self,
        cx: &Cx,
        name: &str,
        codec: Option<Codec>,
        size_hint: Option<u64>,
    ) -> Result<Box<dyn ObjectHandle>> {
        let inner = self.inner.create(cx, name, codec, size_hint).await?;
        let cancel = self.cx.clone();
        let before = move || {
            cancel.cancel();
            Ok(())
        };
        Ok(Box::new(Watched { inner, before: Box::new(before) }))
    }
}

#[async_trait]
impl ObjectHandle for Watched {
    async fn write(&mut self, plain: Bytes) -> Result<()> {
        (self.before)()?;
        self.inner.write(plain).await
    }

    async fn finish(self: Box<Self>) -> Result<ObjectRecord> {
        (self.before)()?;
        self.inner.finish().await
    }

    async fn abort(self: Box<Self>) {
        self.inner.abort().await;
    }
}

/// Emits the suite for a backup target: one `#[tokio::test]` per case of [`crate::testing::contract::backup`].
///
/// The argument is a future of `(Arc<dyn BackupHarness>, K)`, where `K` must live as long as the test.
#[macro_export]
macro_rules! backup_contract {
    ($fresh:expr) => {
        $crate::contract_cases! { backup, $fresh;
            the_manifest_names_its_backup
            the_manifest_lists_what_was_stored
            the_manifest_tells_the_contents
            contents_follow_the_data
            the_source_stays_as_it_was
            a_failing_place_fails_the_backup
            a_cancelled_backup_stops
            nothing_begins_when_cancelled
            a_healthy_source_passes_its_check
            the_recipe_is_about_this_backup
        }
    };
}
