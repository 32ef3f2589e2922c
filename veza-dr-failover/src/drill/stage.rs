//! One restore of one component into an empty private place, compared with its manifest.

use std::{fmt::Debug, path::Path, sync::Arc, time::Instant};

use async_trait::async_trait;
use veza_dr_core::{
    ArtifactSource, Cx, Error, ErrorKind, Manifest, RestoreRequest, RestoreTarget, Result, Verdict, Verification,
};

use super::{
    clock::millis,
    model::StageRecord,
    place::{Place, Raised},
    run::DrillPart,
};

/// So many findings are kept; the verdict counts all.
const FINDINGS: usize = 20;

/// Restores a component into a private place.
#[async_trait]
pub trait RestoreInto: Debug + Send + Sync + 'static {
    /// What restores into `place`, and what to ask of it.
    ///
    /// # Errors
    /// When the two do not fit.
    async fn target(&self, cx: &Cx, place: &Place) -> Result<(Box<dyn RestoreTarget>, RestoreRequest)>;

    /// Compares what is in `place` with a manifest, exactly.
    ///
    /// # Errors
    /// When the comparison could not be begun; what cannot be compared is an `Unverified` finding.
    async fn compare(&self, cx: &Cx, place: &Place, manifest: &Manifest) -> Result<Verification>;
}

/// What one restore came to.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) raised: Option<Raised>,
    pub(super) record: StageRecord,
    /// The kind of what failed.
    pub(super) failed: Option<ErrorKind>,
}

/// Raises a place, restores, compares. A failure is a result; only what stops the whole drill is an error.
pub(super) async fn stage(cx: &Cx, part: &DrillPart, folder: &Path, data: &Arc<dyn ArtifactSource>) -> Result<Staged> {
    let began = Instant::now();
    let mut raised = None;
    let done = bring_back(cx, part, folder, data, &mut raised).await;
    staged(raised, done, began)
}

/// The result of one restore.
pub(super) fn staged(raised: Option<Raised>, done: Result<Verification>, began: Instant) -> Result<Staged> {
    let mut record = StageRecord { took_ms: millis(began.elapsed()), ..StageRecord::default() };
    match done {
        Ok(found) => {
            record.verdict = Some(found.verdict());
            (record.equal, record.rows) = (found.equal, found.rows);
            record.findings = found.findings;
            record.findings.retain(|f| f.verdict != Verdict::Equal);
            record.findings.truncate(FINDINGS);
            Ok(Staged { raised, record, failed: None })
        }
        Err(e) if e.kind() == ErrorKind::Cancelled => Err(e),
        Err(e) => {
            record.error = Some(match e.help() {
                Some(help) => format!("{} ({help})", e.chain()),
                None => e.chain(),
            });
            Ok(Staged { raised, record, failed: Some(e.kind()) })
        }
    }
}

async fn bring_back(
    cx: &Cx,
    part: &DrillPart,
    folder: &Path,
    data: &Arc<dyn ArtifactSource>,
    kept: &mut Option<Raised>,
) -> Result<Verification> {
    let raised = kept.insert(Raised::new(cx, &part.spec, folder, &part.manifest, data).await?);
    bring_into(cx, part, part.restore.as_ref(), &raised.place, data).await
}

/// Restores into a place that is there, and compares.
pub(super) async fn bring_into(
    cx: &Cx,
    part: &DrillPart,
    restore: &dyn RestoreInto,
    place: &Place,
    data: &Arc<dyn ArtifactSource>,
) -> Result<Verification> {
    let (target, request) = restore.target(cx, place).await?;
    let plan = target.plan(cx, &request, &part.manifest).await?;
    if !plan.blockers.is_empty() {
        let text = format!("{} cannot be restored into {}", part.component, place.location());
        return Err(Error::new(ErrorKind::Conflict, text).with_source(plan.blockers.join("; ")));
    }
    let report = target.apply(cx, plan, &part.manifest, data.clone()).await?;
    if report.verification.verdict() != Verdict::Equal {
        return Ok(report.verification);
    }
    // What the restore compared was its own staging; this is what a user would get.
    restore.compare(cx, place, &part.manifest).await
}
