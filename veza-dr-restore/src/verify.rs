//! Proving a backup at the level asked for, and keeping the proof beside it.

use std::{sync::Arc, time::Instant};

use veza_dr_backup::{Level, Proof, Repository, verify_objects};
use veza_dr_core::{Cx, Error, ErrorKind, Manifest, RestoreRequest, RestoreTarget, Result, Verification};

/// Verifies one backup and records the outcome beside it: `objects` reads every stored byte; `structure` also opens
/// the archives and counts the rows of every chunk; `restore` restores into a scratch place on the target's server,
/// compares everything with the manifest and removes it again.
///
/// ```no_run
/// # async fn f(repository: &veza_dr_backup::Repository, target: &dyn veza_dr_core::RestoreTarget)
/// # -> veza_dr_core::Result<()> {
/// use veza_dr_backup::{Level, Selector};
/// use veza_dr_core::{Cx, Verdict};
/// let cx = Cx::background();
/// let manifest = repository.manifest(&cx, &target.info().component, &Selector::Latest).await?;
/// let (found, _) = veza_dr_restore::verify(&cx, repository, &manifest, Level::Restore, target).await?;
/// assert_eq!(found.verdict(), Verdict::Equal);
/// # Ok(()) }
/// ```
///
/// # Errors
/// When the comparison could not be made. What was compared and differs is in the [`Verification`]; its verdict is
/// the result, and "could not compare" is never a pass. A proof that cannot be kept is an error of the store.
pub async fn verify(
    cx: &Cx,
    repository: &Repository,
    manifest: &Manifest,
    level: Level,
    target: &dyn RestoreTarget,
) -> Result<(Verification, Proof)> {
    let found = match level {
        Level::Objects => verify_objects(cx, repository, manifest).await?,
        Level::Structure => structure(cx, repository, manifest).await?,
        Level::Restore => restore(cx, repository, manifest, target).await?,
    };
    let proof = repository.record_proof(cx, manifest, level, &found).await?;
    Ok((found, proof))
}

async fn structure(cx: &Cx, repository: &Repository, manifest: &Manifest) -> Result<Verification> {
    match manifest.engine.as_str() {
        #[cfg(feature = "postgres")]
        "postgres" => crate::postgres::verify_structure(cx, repository, manifest).await,
        #[cfg(feature = "files")]
        "files" => crate::files::verify_structure(cx, repository, manifest).await,
        #[cfg(feature = "redis")]
        "redis" => crate::redis::verify_structure(cx, repository, manifest).await,
        other => {
            cx.check("verify structure")?;
            let text = format!("engine {other}, met in {}, has no structure check in this build", repository.name());
            Err(Error::new(ErrorKind::Unsupported, text).with_help("use --level objects or --level restore"))
        }
    }
}

async fn restore(
    cx: &Cx,
    repository: &Repository,
    manifest: &Manifest,
    target: &dyn RestoreTarget,
) -> Result<Verification> {
    let started = Instant::now();
    let plan = target.plan(cx, &RestoreRequest::scratch(), manifest).await?;
    let data = Arc::new(repository.open(manifest));
    match target.apply(cx, plan, manifest, data).await {
        Ok(report) => {
            let mut found = report.verification;
            found.took = started.elapsed();
            Ok(found)
        }
        // The backup itself is what failed: that is a finding about it, to be kept beside it.
        Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Mismatch) => {
            let mut found = Verification::default();
            found.differs("restore", e.chain());
            found.took = started.elapsed();
            Ok(found)
        }
        Err(e) => Err(e),
    }
}
