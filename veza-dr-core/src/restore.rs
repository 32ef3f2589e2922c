//! Bringing a backup back: plan, apply, verify.

use std::{
    fmt::{self, Debug},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{BackupId, Cx, Manifest, ObjectReader, Report, Result, TargetInfo, manifest::ObjectRecord};

/// What a [`RestoreTarget`] can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct RestoreCaps {
    /// Restores beside the live data and swaps at the end.
    pub swap: bool,
    /// What the last restore replaced can be put back.
    pub rollback: bool,
    /// Parts can be restored alone.
    pub selective: bool,
}

impl RestoreCaps {
    /// States the three claims.
    #[must_use]
    pub fn new(swap: bool, rollback: bool, selective: bool) -> Self {
        Self { swap, rollback, selective }
    }
}

/// What is to be restored, and where to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RestoreRequest {
    /// Another place than the component's own: a URL, a path, or a bare database name. `None`: in place, by swap.
    pub to: Option<String>,
    /// Only these parts (tables, keys, paths), with what they depend on. Empty: everything.
    pub only: Vec<String>,
    /// Restore into a place of its own, compare, and remove it again.
    pub scratch: bool,
}

impl RestoreRequest {
    /// Everything, in place.
    #[must_use]
    pub fn in_place() -> Self {
        Self::default()
    }

    /// Everything, into a scratch place that is removed afterwards.
    #[must_use]
    pub fn scratch() -> Self {
        Self { scratch: true, ..Self::default() }
    }

    /// To another place.
    #[must_use]
    pub fn to(mut self, place: impl Into<String>) -> Self {
        self.to = Some(place.into());
        self
    }

    /// Only these parts.
    #[must_use]
    pub fn only(mut self, parts: impl IntoIterator<Item = String>) -> Self {
        self.only = parts.into_iter().collect();
        self
    }
}

/// One thing a restore will do, in the operator's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// What is done.
    pub what: String,
    /// True when it changes something that exists.
    pub changes_live: bool,
}

/// What [`RestoreTarget::apply`] will do: data, printable, made without writing anything.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RestorePlan {
    /// The backup it restores.
    pub backup: BackupId,
    /// What was asked for.
    pub request: RestoreRequest,
    /// The steps in order.
    pub steps: Vec<PlannedStep>,
    /// Things worth knowing before saying yes.
    pub warnings: Vec<String>,
    /// Why it cannot be applied as things stand; `apply` refuses while there is one.
    pub blockers: Vec<String>,
    /// What the target looked like; `apply` fails with `Conflict` when it no longer does.
    pub fingerprint: String,
    /// The engine's own details.
    pub details: serde_json::Value,
}

impl RestorePlan {
    /// An empty plan for `request`.
    #[must_use]
    pub fn new(backup: BackupId, request: RestoreRequest, fingerprint: String) -> Self {
        Self {
            backup,
            request,
            steps: Vec::new(),
            warnings: Vec::new(),
            blockers: Vec::new(),
            fingerprint,
            details: serde_json::Value::Null,
        }
    }

    /// Adds a step.
    pub fn step(&mut self, what: impl Into<String>, changes_live: bool) {
        self.steps.push(PlannedStep { what: what.into(), changes_live });
    }
}

/// The result of one comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Compared and equal.
    Equal,
    /// Compared and different.
    Different,
    /// Could not be compared. Not a pass.
    Unverified,
}

/// What a comparison with the manifest found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Verification {
    /// How many things were compared and found equal.
    pub equal: u64,
    /// Rows (or keys, or files) covered by the equal ones.
    pub rows: u64,
    /// What differs, could not be compared, or is equal in a way that is worth knowing: name, verdict, explanation.
    pub findings: Vec<Finding>,
    /// How long the comparison took.
    pub took: Duration,
}

/// One thing that is not proven equal, or that is with a word to be said about it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finding {
    /// The table, key space, file or object.
    pub what: String,
    /// What the comparison came to.
    pub verdict: Verdict,
    /// What was expected and what is there.
    pub why: String,
}

impl Verification {
    /// Notes something equal, covering `rows`.
    pub fn pass(&mut self, rows: u64) {
        self.equal += 1;
        self.rows += rows;
    }

    /// Notes something different.
    pub fn differs(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.findings.push(Finding { what: what.into(), verdict: Verdict::Different, why: why.into() });
    }

    /// Notes something that could not be compared.
    pub fn unverified(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.findings.push(Finding { what: what.into(), verdict: Verdict::Unverified, why: why.into() });
    }

    /// Names something that is as it must be although it is not the same: keys whose time has passed since the backup.
    pub fn note(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.findings.push(Finding { what: what.into(), verdict: Verdict::Equal, why: why.into() });
    }

    /// `Equal` only when something was compared and nothing differs or stayed unverified.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.findings.iter().any(|f| f.verdict == Verdict::Different) {
            Verdict::Different
        } else if self.equal == 0 || self.findings.iter().any(|f| f.verdict == Verdict::Unverified) {
            Verdict::Unverified
        } else {
            Verdict::Equal
        }
    }

    /// Adds the findings of `other`.
    pub fn merge(&mut self, other: Self) {
        self.equal += other.equal;
        self.rows += other.rows;
        self.findings.extend(other.findings);
        self.took += other.took;
    }
}

/// What a restore did.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RestoreReport {
    /// The backup that was restored.
    pub backup: BackupId,
    /// Each step with its outcome and duration.
    pub report: Report,
    /// The comparison with the manifest, made before anything live was touched.
    pub verification: Verification,
    /// Where the restored data is now.
    pub location: String,
    /// Where what it replaced is kept, when something was replaced.
    pub replaced: Option<String>,
    /// The commands worth running next.
    pub next: Vec<String>,
}

impl RestoreReport {
    /// A report of these parts.
    #[must_use]
    pub fn new(backup: BackupId, report: Report, verification: Verification, location: String) -> Self {
        Self { backup, report, verification, location, replaced: None, next: Vec::new() }
    }
}

/// Gives the plain bytes of a backup's objects, decrypted, decompressed and checked against the manifest's digests.
#[async_trait]
pub trait ArtifactSource: Send + Sync {
    /// Opens an object. The reader fails with `Corrupt` at the end when the digest is not the manifest's.
    async fn open(&self, cx: &Cx, object: &ObjectRecord) -> Result<Box<dyn ObjectReader>>;
}

impl Debug for dyn ArtifactSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ArtifactSource")
    }
}

/// A thing that can be brought back from a backup.
#[async_trait]
pub trait RestoreTarget: Debug + Send + Sync + 'static {
    /// Who this is.
    fn info(&self) -> &TargetInfo;

    /// What it can do.
    fn capabilities(&self) -> RestoreCaps;

    /// Says what a restore would do. Reads only, never writes.
    ///
    /// # Errors
    /// When the target cannot be looked at; things that stand in the way are the plan's `blockers`.
    async fn plan(&self, cx: &Cx, request: &RestoreRequest, from: &Manifest) -> Result<RestorePlan>;

    /// Carries a plan out: beside, verified, then swapped. Killed or cancelled before the swap, the live data is
    /// untouched; the swap itself is atomic; what it replaced is kept until [`RestoreTarget::release`].
    ///
    /// # Errors
    /// `Conflict` when the target changed since the plan; `Mismatch` when the restored data is not the manifest's
    /// (nothing is swapped then).
    async fn apply(
        &self,
        cx: &Cx,
        plan: RestorePlan,
        from: &Manifest,
        data: Arc<dyn ArtifactSource>,
    ) -> Result<RestoreReport>;

    /// Compares what is live now with a manifest.
    ///
    /// # Errors
    /// When the comparison could not be begun; what cannot be compared is an `Unverified` finding.
    async fn verify(&self, cx: &Cx, against: &Manifest) -> Result<Verification>;

    /// Puts back what the last restore replaced. The restored copy is kept aside in its turn.
    ///
    /// # Errors
    /// `NotFound` when nothing is kept; `Unsupported` where [`RestoreCaps::rollback`] is false.
    async fn rollback(&self, cx: &Cx) -> Result<Report>;

    /// Lets go of what the last restore (or rollback) replaced. Irreversible.
    ///
    /// # Errors
    /// As [`RestoreTarget::rollback`].
    async fn release(&self, cx: &Cx) -> Result<Report>;
}
