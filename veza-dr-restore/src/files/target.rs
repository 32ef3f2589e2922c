//! Files and folders as a thing that can be brought back.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use veza_dr_backup::files::{FilesConfig, FilesDetail, Root};
use veza_dr_core::{
    ArtifactSource, BackupId, ComponentName, Cx, Error, ErrorKind, Manifest, Report, RestoreCaps, RestorePlan,
    RestoreReport, RestoreRequest, RestoreTarget, Result, TargetInfo, Verification,
};

use crate::guards;

use super::{
    apply::{self, Job},
    feed::Source,
    kept,
    plan::{self, Aim},
    proof, selection,
};

/// Files and folders as a thing that can be brought back.
///
/// ```no_run
/// # async fn f() -> veza_dr_core::Result<()> {
/// use std::sync::Arc;
/// use veza_dr_backup::{Encryption, Repository, Selector, files::FilesConfig, store::DirectoryStore};
/// use veza_dr_core::{Cx, RestoreRequest, RestoreTarget};
/// use veza_dr_restore::files::FilesRestore;
/// let cx = Cx::background();
/// let repository = Repository::new(Arc::new(DirectoryStore::open("local", "/opt/backups")?), Encryption::default());
/// let manifest = repository.manifest(&cx, &"files".parse()?, &Selector::Latest).await?;
/// let target = FilesRestore::new("files".parse()?, FilesConfig::new(["/etc/veza/"]))?;
/// let plan = target.plan(&cx, &RestoreRequest::in_place(), &manifest).await?;
/// let report = target.apply(&cx, plan, &manifest, Arc::new(repository.open(&manifest))).await?;
/// println!("restored {}", report.location);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct FilesRestore {
    info: TargetInfo,
    config: FilesConfig,
    roots: Vec<Root>,
    scratch_dir: Option<PathBuf>,
}

impl FilesRestore {
    /// The files that `config` names. No I/O.
    ///
    /// # Errors
    /// `Config` when no path is named, or one is not absolute.
    pub fn new(component: ComponentName, config: FilesConfig) -> Result<Self> {
        let roots = Root::all(&config)?;
        let location = roots.iter().map(|r| r.path.display().to_string()).collect::<Vec<_>>().join(", ");
        let info = TargetInfo { component, engine: "files".to_owned(), location };
        Ok(Self { info, config, roots, scratch_dir: None })
    }

    /// Builds scratch restores in this folder instead of the system's own for temporary files.
    #[must_use]
    pub fn with_scratch_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.scratch_dir = Some(dir.into());
        self
    }

    /// Compares a tree that was restored to another folder with a manifest, as [`RestoreTarget::verify`] does with the
    /// live one.
    ///
    /// # Errors
    /// As there.
    pub async fn verify_below(&self, cx: &Cx, folder: &std::path::Path, against: &Manifest) -> Result<Verification> {
        use std::os::unix::ffi::OsStrExt;
        cx.check("verify")?;
        let detail = FilesDetail::of(against)?;
        let mut roots = selection::roots(&detail)?;
        for root in &mut roots {
            root.path = folder.join(std::ffi::OsStr::from_bytes(&root.member));
        }
        let (cx, manifest, config) = (cx.clone(), against.clone(), self.config.clone());
        blocking("verify", move || {
            let started = std::time::Instant::now();
            let threads = config.effective_jobs();
            let mut found = proof::live(&cx, &roots, &detail, &manifest, config.one_file_system, threads)?;
            found.took = started.elapsed();
            Ok(found)
        })
        .await
    }

    /// When the last restore in place that is on record made its exchange; what comes later is told from it.
    ///
    /// # Errors
    /// Those of the file system, and `Conflict` for records that are not this user's own.
    pub async fn last_exchange(&self, cx: &Cx) -> Result<Option<DateTime<Utc>>> {
        cx.check("look what is kept")?;
        let roots = self.roots.clone();
        blocking("look what is kept", move || Ok(kept::last(&roots)?.map(|j| j.since))).await
    }

    /// Where what the restore of this backup replaced is kept, if that is the last exchange that was made and the backup
    /// is live.
    ///
    /// # Errors
    /// As [`last_exchange`](Self::last_exchange).
    pub async fn kept_for(&self, cx: &Cx, backup: &BackupId) -> Result<Option<String>> {
        cx.check("look what is kept")?;
        let (roots, backup) = (self.roots.clone(), backup.clone());
        blocking("look what is kept", move || {
            let last = kept::last(&roots)?.filter(|j| j.is_in() && j.phase == super::journal::Phase::Kept);
            let kept = |j: super::journal::Journal| {
                let folders = j.places.iter().map(|p| p.folder.join("tree").display().to_string());
                folders.collect::<Vec<_>>().join(", ")
            };
            Ok(last.filter(|j| j.backup == backup).map(kept))
        })
        .await
    }

    /// Puts back what was live after the exchange of that time, or before there was any: every later restore is taken
    /// back. Repeating it changes nothing.
    ///
    /// # Errors
    /// As [`RestoreTarget::rollback`], but not when there is nothing to put back.
    pub async fn back_to(&self, cx: &Cx, since: Option<DateTime<Utc>>) -> Result<Report> {
        let (cx, roots) = (cx.clone(), self.roots.clone());
        blocking("rollback", move || kept::back_to(&cx, &roots, since)).await
    }

    fn aim(&self, request: &RestoreRequest) -> Result<Aim> {
        Aim::of(request, self.scratch_dir.as_deref())
    }
}

/// Runs work that blocks on a thread of its own; it watches the context itself.
async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let died = |e| Error::new(ErrorKind::Unexpected, format!("{what}: the thread died")).with_source(e);
    tokio::task::spawn_blocking(work).await.map_err(died)?
}

#[async_trait]
impl RestoreTarget for FilesRestore {
    fn info(&self) -> &TargetInfo {
        &self.info
    }

    fn capabilities(&self) -> RestoreCaps {
        RestoreCaps::new(true, true, true)
    }

    async fn plan(&self, cx: &Cx, request: &RestoreRequest, from: &Manifest) -> Result<RestorePlan> {
        cx.check("plan")?;
        let aim = self.aim(request)?;
        let (roots, request, from) = (self.roots.clone(), request.clone(), from.clone());
        blocking("plan", move || plan::make(&aim, &roots, &request, &from)).await
    }

    async fn apply(
        &self,
        cx: &Cx,
        plan: RestorePlan,
        from: &Manifest,
        data: Arc<dyn ArtifactSource>,
    ) -> Result<RestoreReport> {
        cx.check("restore")?;
        guards::ready(&plan, from)?;
        let detail = FilesDetail::of(from)?;
        let aim = self.aim(&plan.request)?;
        // What is new since a careful look is a blocker, too.
        let fresh = self.plan(cx, &plan.request, from).await?;
        guards::unchanged(&plan, &fresh.fingerprint)?;
        guards::refuse(&fresh.blockers)?;
        let job = Job {
            component: self.info.component.clone(),
            configured: self.roots.clone(),
            roots: selection::roots(&detail)?,
            only: plan.request.only.clone(),
            jobs: self.config.effective_jobs(),
            source: Source::new(cx, &data, from),
            detail,
        };
        blocking("restore", move || apply::run(&job, &aim)).await
    }

    async fn verify(&self, cx: &Cx, against: &Manifest) -> Result<Verification> {
        cx.check("verify")?;
        let detail = FilesDetail::of(against)?;
        let roots = selection::roots(&detail)?;
        let (cx, manifest, config) = (cx.clone(), against.clone(), self.config.clone());
        let configured = self.roots.clone();
        blocking("verify", move || {
            let started = std::time::Instant::now();
            let threads = config.effective_jobs();
            let mut found = proof::live(&cx, &roots, &detail, &manifest, config.one_file_system, threads)?;
            if super::aside::journals(&configured)?.iter().any(|j| j.phase == super::journal::Phase::Swapping) {
                found.unverified("swap", "an interrupted swap is to be finished first: run the restore or a rollback");
            }
            found.took = started.elapsed();
            Ok(found)
        })
        .await
    }

    async fn rollback(&self, cx: &Cx) -> Result<Report> {
        let (cx, roots, what) = (cx.clone(), self.roots.clone(), self.info.location.clone());
        blocking("rollback", move || kept::rollback(&cx, &roots, &what)).await
    }

    async fn release(&self, cx: &Cx) -> Result<Report> {
        let (cx, roots, what) = (cx.clone(), self.roots.clone(), self.info.location.clone());
        blocking("release", move || kept::release(&cx, &roots, &what)).await
    }
}
