//! What every [`RestoreTarget`] must do.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;

use super::tools::{must_fail, soon};
use crate::{
    ArtifactSource, Cx, ErrorKind, Manifest, ObjectReader, RestorePlan, RestoreReport, RestoreRequest, RestoreTarget,
    Result, Verdict,
    manifest::ObjectRecord,
    testing::{Fault, Faulty},
};

/// A live target, a backup of what it held, and the means to damage it.
#[async_trait]
pub trait RestoreHarness: Send + Sync {
    /// The target; its live data are those of the backup until [`RestoreHarness::damage`].
    fn target(&self) -> Arc<dyn RestoreTarget>;
    /// The backup's manifest.
    fn manifest(&self) -> &Manifest;
    /// The backup's plain objects.
    fn data(&self) -> Arc<dyn ArtifactSource>;
    /// Changes the live data, each time differently.
    async fn damage(&self);
    /// A mark of the live data alone, equal while they are.
    async fn state(&self) -> String;
}

async fn planned(harness: &dyn RestoreHarness, request: &RestoreRequest) -> RestorePlan {
    harness.target().plan(&Cx::background(), request, harness.manifest()).await.unwrap()
}

async fn apply(harness: &dyn RestoreHarness, cx: &Cx, data: Arc<dyn ArtifactSource>) -> Result<RestoreReport> {
    let plan = planned(harness, &RestoreRequest::in_place()).await;
    harness.target().apply(cx, plan, harness.manifest(), data).await
}

async fn verdict(harness: &dyn RestoreHarness) -> Verdict {
    harness.target().verify(&Cx::background(), harness.manifest()).await.unwrap().verdict()
}

/// A plan tells what will be done, changes nothing, and survives being written down.
pub async fn a_plan_only_looks(harness: Arc<dyn RestoreHarness>) {
    let before = harness.state().await;
    let plan = planned(&*harness, &RestoreRequest::in_place()).await;
    assert_eq!(plan.blockers, [""; 0]);
    assert_eq!(plan.backup, harness.manifest().id);
    assert!(!plan.fingerprint.is_empty());
    assert!(plan.steps.iter().any(|s| s.changes_live), "a restore in place changes what is live");
    assert_eq!(harness.state().await, before);
    let again = planned(&*harness, &RestoreRequest::in_place()).await;
    assert_eq!(again.fingerprint, plan.fingerprint, "nothing changed in between");
    let written = serde_json::to_string(&plan).unwrap();
    let read: RestorePlan = serde_json::from_str(&written).unwrap();
    harness.damage().await;
    let fresh = planned(&*harness, &RestoreRequest::in_place()).await;
    assert_ne!(fresh.fingerprint, read.fingerprint, "the target changed");
}

/// A restore brings everything back and says so only after it compared.
pub async fn a_restore_brings_everything_back(harness: Arc<dyn RestoreHarness>) {
    let original = harness.state().await;
    harness.damage().await;
    assert_ne!(harness.state().await, original);
    assert_eq!(verdict(&*harness).await, Verdict::Different);
    let done = apply(&*harness, &Cx::background(), harness.data()).await.unwrap();
    assert_eq!(done.verification.verdict(), Verdict::Equal, "{done:?}");
    assert_eq!(done.verification.rows, harness.manifest().rows());
    assert!(done.report.is_ok(), "{done:?}");
    assert_eq!(done.backup, harness.manifest().id);
    assert_eq!(harness.state().await, original);
    assert_eq!(verdict(&*harness).await, Verdict::Equal);
}

/// A restore over data that are the backup's already is a restore like any other.
pub async fn a_restore_may_be_repeated(harness: Arc<dyn RestoreHarness>) {
    let original = harness.state().await;
    for _ in 0..2 {
        apply(&*harness, &Cx::background(), harness.data()).await.unwrap();
        assert_eq!(harness.state().await, original);
        if harness.target().capabilities().rollback {
            harness.target().release(&Cx::background()).await.unwrap();
        }
    }
}

/// A plan made before the target changed is refused, and nothing is done.
pub async fn a_stale_plan_is_refused(harness: Arc<dyn RestoreHarness>) {
    let plan = planned(&*harness, &RestoreRequest::in_place()).await;
    harness.damage().await;
    let before = harness.state().await;
    let result = harness.target().apply(&Cx::background(), plan, harness.manifest(), harness.data()).await;
    must_fail(result, ErrorKind::Conflict, "apply of a stale plan");
    assert_eq!(harness.state().await, before);
}

/// A plan with something in its way is refused, and nothing is done.
pub async fn a_blocked_plan_is_refused(harness: Arc<dyn RestoreHarness>) {
    harness.damage().await;
    let before = harness.state().await;
    let mut plan = planned(&*harness, &RestoreRequest::in_place()).await;
    plan.blockers.push("the suite's own blocker".into());
    let result = harness.target().apply(&Cx::background(), plan, harness.manifest(), harness.data()).await;
    assert!(result.is_err(), "{result:?}");
    assert_eq!(harness.state().await, before);
}

/// A backup of another engine cannot be restored here.
pub async fn a_foreign_backup_is_refused(harness: Arc<dyn RestoreHarness>) {
    let mut foreign = harness.manifest().clone();
    foreign.engine = "somebody-elses".into();
    let before = harness.state().await;
    let cx = Cx::background();
    if let Ok(plan) = harness.target().plan(&cx, &RestoreRequest::in_place(), &foreign).await {
        assert!(!plan.blockers.is_empty(), "{plan:?}");
        let result = harness.target().apply(&cx, plan, &foreign, harness.data()).await;
        assert!(result.is_err(), "{result:?}");
    }
    assert_eq!(harness.state().await, before);
}

/// Damaged, shortened, missing or unreachable objects end the restore with the live data untouched.
pub async fn a_bad_backup_leaves_the_live_data(harness: Arc<dyn RestoreHarness>) {
    harness.damage().await;
    let before = harness.state().await;
    let faulty = |fault| Arc::new(Faulty::over(harness.data()).on("next", 1, fault));
    let sources: [(&str, Arc<dyn ArtifactSource>); 4] = [
        ("damaged", faulty(Fault::Corrupt)),
        ("shortened", faulty(Fault::Truncate)),
        ("lost", faulty(Fault::Fail(ErrorKind::NotFound))),
        ("unreachable", faulty(Fault::Fail(ErrorKind::Unavailable))),
    ];
    for (what, data) in sources {
        let result = apply(&*harness, &Cx::background(), data).await;
        assert!(result.is_err(), "{what}: {result:?}");
        assert_eq!(harness.state().await, before, "{what}");
    }
    // And it is not spoilt for a good one.
    apply(&*harness, &Cx::background(), harness.data()).await.unwrap();
    assert_eq!(verdict(&*harness).await, Verdict::Equal);
}

/// Data that are whole and yet not what the manifest says are a mismatch, found before the swap.
pub async fn a_mismatch_is_found_before_the_swap(harness: Arc<dyn RestoreHarness>) {
    harness.damage().await;
    let before = harness.state().await;
    let mut wrong = harness.manifest().clone();
    for content in &mut wrong.contents {
        content.rows += 1;
    }
    let cx = Cx::background();
    let plan = harness.target().plan(&cx, &RestoreRequest::in_place(), &wrong).await.unwrap();
    must_fail(harness.target().apply(&cx, plan, &wrong, harness.data()).await, ErrorKind::Mismatch, "apply");
    assert_eq!(harness.state().await, before);
}

/// A backup that cannot be compared is not restored as if it had been.
pub async fn verification_without_a_record_is_no_pass(harness: Arc<dyn RestoreHarness>) {
    let mut silent = harness.manifest().clone();
    silent.contents.clear();
    let verification = harness.target().verify(&Cx::background(), &silent).await;
    if let Ok(verification) = verification {
        assert_ne!(verification.verdict(), Verdict::Equal, "{verification:?}");
    }
}

/// Cancelled while it reads, a restore stops soon and leaves the live data.
pub async fn a_cancelled_restore_leaves_the_live_data(harness: Arc<dyn RestoreHarness>) {
    harness.damage().await;
    let before = harness.state().await;
    let cx = Cx::background();
    let data = Arc::new(Cancelling { inner: harness.data(), cx: cx.clone() });
    must_fail(soon("apply", apply(&*harness, &cx, data)).await, ErrorKind::Cancelled, "apply");
    assert_eq!(harness.state().await, before);
    apply(&*harness, &Cx::background(), harness.data()).await.unwrap();
    assert_eq!(verdict(&*harness).await, Verdict::Equal);
}

/// Nothing begins under a context that has ended.
pub async fn nothing_begins_when_cancelled(harness: Arc<dyn RestoreHarness>) {
    harness.damage().await;
    let before = harness.state().await;
    let (target, manifest) = (harness.target(), harness.manifest());
    let plan = planned(&*harness, &RestoreRequest::in_place()).await;
    let cancelled = Cx::background();
    cancelled.cancel();
    let late = Cx::background().with_deadline(SystemTime::now() - Duration::from_secs(1));
    for cx in [cancelled, late] {
        soon("calls", async {
            let kind = ErrorKind::Cancelled;
            must_fail(target.plan(&cx, &RestoreRequest::in_place(), manifest).await, kind, "plan");
            must_fail(target.apply(&cx, plan.clone(), manifest, harness.data()).await, kind, "apply");
            must_fail(target.verify(&cx, manifest).await, kind, "verify");
        })
        .await;
        assert_eq!(harness.state().await, before);
    }
}

/// What a restore replaced comes back by rollback, and the restored data by another.
pub async fn a_rollback_puts_back_what_was_replaced(harness: Arc<dyn RestoreHarness>) {
    let (target, cx) = (harness.target(), Cx::background());
    let restored = harness.state().await;
    harness.damage().await;
    let damaged = harness.state().await;
    if !target.capabilities().rollback {
        must_fail(target.rollback(&cx).await, ErrorKind::Unsupported, "rollback");
        assert_eq!(harness.state().await, damaged);
        return;
    }
    must_fail(target.rollback(&cx).await, ErrorKind::NotFound, "rollback before any restore");
    let done = apply(&*harness, &cx, harness.data()).await.unwrap();
    assert!(done.replaced.is_some(), "{done:?}");
    target.rollback(&cx).await.unwrap();
    assert_eq!(harness.state().await, damaged);
    target.rollback(&cx).await.unwrap();
    assert_eq!(harness.state().await, restored);
}

/// What was replaced can be let go of, once.
pub async fn a_release_lets_go_of_what_was_replaced(harness: Arc<dyn RestoreHarness>) {
    let (target, cx) = (harness.target(), Cx::background());
    if !target.capabilities().rollback {
        must_fail(target.release(&cx).await, ErrorKind::Unsupported, "release");
        return;
    }
    must_fail(target.release(&cx).await, ErrorKind::NotFound, "release before any restore");
    let restored = harness.state().await;
    harness.damage().await;
    apply(&*harness, &cx, harness.data()).await.unwrap();
    target.release(&cx).await.unwrap();
    must_fail(target.rollback(&cx).await, ErrorKind::NotFound, "rollback after release");
    must_fail(target.release(&cx).await, ErrorKind::NotFound, "second release");
    assert_eq!(harness.state().await, restored);
}

/// A scratch restore proves the backup and leaves no trace.
pub async fn a_scratch_restore_leaves_no_trace(harness: Arc<dyn RestoreHarness>) {
    let (target, cx) = (harness.target(), Cx::background());
    harness.damage().await;
    let before = harness.state().await;
    let plan = planned(&*harness, &RestoreRequest::scratch()).await;
    assert!(plan.steps.iter().all(|s| !s.changes_live), "{plan:?}");
    let done = target.apply(&cx, plan, harness.manifest(), harness.data()).await.unwrap();
    assert_eq!(done.verification.verdict(), Verdict::Equal);
    assert_eq!(done.replaced, None);
    assert_eq!(harness.state().await, before);
    if target.capabilities().rollback {
        must_fail(target.rollback(&cx).await, ErrorKind::NotFound, "rollback of a scratch restore");
    }
}

/// Cancels the restore with the first piece that it reads.
#[derive(Debug)]
struct Cancelling {
    inner: Arc<dyn ArtifactSource>,
    cx: Cx,
}

#[async_trait]
impl ArtifactSource for Cancelling {
    async fn open(&self, cx: &Cx, object: &ObjectRecord) -> Result<Box<dyn ObjectReader>> {
        let inner = self.inner.open(cx, object).await?;
        Ok(Box::new(CancellingReader { inner, cx: self.cx.clone() }))
    }
}

struct CancellingReader {
    inner: Box<dyn ObjectReader>,
    cx: Cx,
}

#[async_trait]
impl ObjectReader for CancellingReader {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let piece = self.inner.next().await;
        self.cx.cancel();
        piece
    }
}

/// Emits the suite for a restore target: one `#[tokio::test]` per case of [`crate::testing::contract::restore`].
///
/// The argument is a future of `(Arc<dyn RestoreHarness>, K)`, where `K` must live as long as the test.
#[macro_export]
macro_rules! restore_contract {
    ($fresh:expr) => {
        $crate::contract_cases! { restore, $fresh;
            a_plan_only_looks
            a_restore_brings_everything_back
            a_restore_may_be_repeated
            a_stale_plan_is_refused
            a_blocked_plan_is_refused
            a_foreign_backup_is_refused
            a_bad_backup_leaves_the_live_data
            a_mismatch_is_found_before_the_swap
            verification_without_a_record_is_no_pass
            a_cancelled_restore_leaves_the_live_data
            nothing_begins_when_cancelled
            a_rollback_puts_back_what_was_replaced
            a_release_lets_go_of_what_was_replaced
            a_scratch_restore_leaves_no_trace
        }
    };
}
