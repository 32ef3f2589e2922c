//! A backup, its restore and the proof of both, in one call of a test.

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    sync::Arc,
};

use futures::FutureExt;
use veza_dr_backup::{BackupOptions, Encryption, Repository, Selector, back_up, store::DirectoryStore};
use veza_dr_core::{
    BackupTarget, Cx, Error, ErrorKind, Manifest, Outcome, Report, RestoreRequest, Result, Verdict, Verification,
};

use super::{ScratchPlace, cleaning::Cleaning};

/// Findings that one error names.
const NAMED: usize = 10;

/// A source backed up into a temporary folder, restored into a scratch place, proven equal, shown to the test, and
/// removed again.
///
/// Only a comparison that covered everything and found it equal passes: first the one that the restore makes itself,
/// then another of what lies in the place afterwards. What differs, and what could not be compared, is an error.
#[cfg_attr(feature = "postgres", doc = "```no_run")]
#[cfg_attr(not(feature = "postgres"), doc = "```ignore")]
/// # async fn f() -> veza_dr_core::Result<()> {
/// use std::sync::Arc;
/// use veza_dr_backup::postgres::{PostgresConfig, PostgresTarget};
/// use veza_dr_core::Cx;
/// use veza_dr_restore::testing::{PostgresScratch, RoundTrip};
/// let config = PostgresConfig::new("postgres://postgres@127.0.0.1:5432/shop");
/// let source = PostgresTarget::new("database".parse()?, config.clone())?;
/// let place = PostgresScratch::beside("database".parse()?, config)?;
/// RoundTrip::new(Arc::new(source), Arc::new(place))
///     .run(&Cx::background(), |restored| async move {
///         assert!(restored.manifest.rows() > 0, "connect to {} and look", restored.location);
///         Ok::<_, veza_dr_core::Error>(())
///     })
///     .await
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RoundTrip {
    source: Arc<dyn BackupTarget>,
    place: Arc<dyn ScratchPlace>,
    options: BackupOptions,
    encryption: Encryption,
}

/// What was restored and proven equal; gone when the test has looked at it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Restored {
    /// Where it is, without credentials.
    pub location: String,
    /// The backup it came from.
    pub manifest: Manifest,
    /// What was compared there.
    pub verification: Verification,
}

impl RoundTrip {
    /// From `source` into `place`, unencrypted. No I/O.
    #[must_use]
    pub fn new(source: Arc<dyn BackupTarget>, place: Arc<dyn ScratchPlace>) -> Self {
        Self { source, place, options: BackupOptions::default(), encryption: Encryption::default() }
    }

    /// Backs up with these options: compression, hooks.
    #[must_use]
    pub fn with_options(mut self, options: BackupOptions) -> Self {
        self.options = options;
        self
    }

    /// Encrypts to these recipients, and restores with these identities.
    #[must_use]
    pub fn with_encryption(mut self, encryption: Encryption) -> Self {
        self.encryption = encryption;
        self
    }

    /// Backs up, restores, compares, hands what was restored to `look`, and removes it, whatever happens: after an
    /// error, after a panic in `look`, which goes on when it is removed, and when the returned future is dropped, which
    /// then blocks until it is. A process that is killed leaves the place behind. The source is only read.
    ///
    /// # Errors
    /// `Mismatch` when the restored data differ, `Unverified` when that could not be told for all of them; `Config` for
    /// a place that is the source itself, or another component's; those of backup, restore and `look`; when all of that
    /// went well, that of the removal.
    ///
    /// # Cancellation
    /// With `cx`, up to the call of `look`; the place is removed all the same.
    pub async fn run<T, E, F, L>(self, cx: &Cx, look: F) -> Result<T, E>
    where
        E: From<Error>,
        F: FnOnce(Restored) -> L,
        L: Future<Output = Result<T, E>>,
    {
        let work = cx.child();
        let cleaning = Cleaning::new(self.place.clone(), work.clone());
        let journey = async {
            let restored = self.restore(&work).await?;
            look(restored).await
        };
        let done = AssertUnwindSafe(journey).catch_unwind().await;
        let removed = cleaning.clean().await;
        if let (Err(e), false) = (&removed, matches!(done, Ok(Ok(_)))) {
            tracing::error!(error = %e.chain(), "a scratch place stays behind");
        }
        match done {
            Ok(Ok(seen)) => Ok(removed.map(|()| seen)?),
            Ok(Err(e)) => Err(e),
            Err(panic) => resume_unwind(panic),
        }
    }

    async fn restore(&self, cx: &Cx) -> Result<Restored> {
        let (target, component) = (self.place.target(), &self.source.info().component);
        if target.info().component != *component {
            let text = format!("the scratch place is {}'s, the source is {component}", target.info().component);
            return Err(Error::new(ErrorKind::Config, text));
        }
        if target.info().location == self.source.info().location {
            let text = format!("the scratch place is the source itself: {}", target.info().location);
            return Err(Error::new(ErrorKind::Config, text).with_help("restore into a place that holds nothing else"));
        }
        let folder = tempfile::tempdir()
            .map_err(|e| Error::new(ErrorKind::Unavailable, "a temporary folder for the backup").with_source(e))?;
        let store = DirectoryStore::open("round-trip", folder.path().join("store"))?;
        let repository = Repository::new(Arc::new(store), self.encryption.clone());
        let made = back_up(cx, self.source.as_ref(), std::slice::from_ref(&repository), &self.options).await?;
        made.ensure_complete()?;
        if let Some(e) = made.after_read {
            return Err(e);
        }
        let manifest = repository.manifest(cx, component, &Selector::Id(made.id)).await?;
        let plan = target.plan(cx, &RestoreRequest::in_place(), &manifest).await?;
        if !plan.blockers.is_empty() {
            let text = format!("the restore cannot begin: {}", plan.blockers.join("; "));
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        let done = target.apply(cx, plan, &manifest, Arc::new(repository.open(&manifest))).await?;
        all_done(&done.report)?;
        proven("as the restore compared it", &done.verification, &manifest)?;
        let verification = target.verify(cx, &manifest).await?;
        proven("as it lies there", &verification, &manifest)?;
        Ok(Restored { location: done.location, manifest, verification })
    }
}

fn all_done(report: &Report) -> Result<()> {
    let failed = report.steps.iter().filter(|s| s.outcome == Outcome::Failed);
    let failed: Vec<String> = failed.map(|s| format!("{}: {}", s.name, s.detail)).collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Partial, format!("steps of the restore failed: {}", failed.join("; "))))
}

/// An error unless everything was compared and is equal.
fn proven(when: &str, found: &Verification, manifest: &Manifest) -> Result<()> {
    let verdict = found.verdict();
    let mut findings: Vec<String> = found
        .findings
        .iter()
        .filter(|f| f.verdict != Verdict::Equal)
        .map(|f| format!("{}: {}", f.what, f.why))
        .collect();
    let (rows, of) = (found.rows, manifest.rows());
    // Fewer is right only where a finding says why, as of keys whose time has passed.
    if verdict == Verdict::Equal && (rows >= of || !found.findings.is_empty()) {
        return Ok(());
    }
    if findings.is_empty() {
        findings.push(format!("{rows} of {of} rows were compared"));
    }
    let more = findings.len().saturating_sub(NAMED);
    findings.truncate(NAMED);
    if more > 0 {
        findings.push(format!("and {more} more"));
    }
    let kind = if verdict == Verdict::Different { ErrorKind::Mismatch } else { ErrorKind::Unverified };
    let text = format!("what was restored of {} is not proven equal, {when}: {}", manifest.id, findings.join("; "));
    Err(Error::new(kind, text))
}

#[cfg(test)]
mod tests {
    use veza_dr_core::{
        BackupId, SystemClock,
        manifest::{ConsistencyPoint, ContentRecord, SourceIdentity},
    };

    use super::*;

    fn manifest(rows: u64) -> Manifest {
        let at = chrono::DateTime::UNIX_EPOCH;
        let consistency = ConsistencyPoint { at, lsn: None, snapshot: None };
        let (id, name) = (BackupId::new(&SystemClock), "db".parse().unwrap());
        let mut manifest = Manifest::new(id, name, "memory", SourceIdentity::default(), consistency);
        manifest.contents.push(ContentRecord { name: "keys".into(), rows, digest: None });
        manifest
    }

    fn kind(found: &Verification, rows: u64) -> Option<ErrorKind> {
        proven("here", found, &manifest(rows)).err().map(|e| e.kind())
    }

    #[test]
    fn only_all_of_it_compared_and_equal_is_a_pass() {
        let equal = |rows| {
            let mut found = Verification::default();
            found.pass(rows);
            found
        };
        assert_eq!(kind(&equal(3), 3), None);
        assert_eq!(kind(&equal(0), 0), None);
        assert_eq!(kind(&Verification::default(), 0), Some(ErrorKind::Unverified), "nothing was compared");
        assert_eq!(kind(&equal(2), 3), Some(ErrorKind::Unverified), "a part was compared");
        let mut found = equal(2);
        found.note("keys", "one has expired");
        assert_eq!(kind(&found, 3), None);
        found.unverified("more", "no digest");
        assert_eq!(kind(&found, 3), Some(ErrorKind::Unverified));
        found.differs("keys", "one is missing");
        assert_eq!(kind(&found, 3), Some(ErrorKind::Mismatch));
    }
}
