//! Carries a restore out: build, prove, swap; every step but the last leaves the live trees alone.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use veza_dr_backup::files::{FilesDetail, Root, Tree};
use veza_dr_core::{
    Clock, ComponentName, Effect, Error, ErrorKind, Outcome, Report, RestoreReport, Result, SystemClock, Verdict,
    Verification,
};

use super::{
    aside::{self, Lock},
    exchanges,
    feed::Source,
    journal::{Journal, Phase, sync_folder},
    kept,
    place::Shortfalls,
    plan::Aim,
    proof,
    stage::{self, Order, Stage},
    surroundings::{self, Way},
    swap,
};

/// One restore.
pub(crate) struct Job {
    pub(crate) component: ComponentName,
    /// What the configuration includes.
    pub(crate) configured: Vec<Root>,
    /// What the backup holds.
    pub(crate) roots: Vec<Root>,
    pub(crate) only: Vec<String>,
    pub(crate) jobs: usize,
    pub(crate) source: Source,
    pub(crate) detail: FilesDetail,
}

pub(crate) fn run(job: &Job, aim: &Aim) -> Result<RestoreReport> {
    match aim {
        Aim::InPlace => in_place(job),
        Aim::To(to) => to_folder(job, to),
        Aim::Scratch(dir) => scratch(job, dir),
    }
}

/// Builds and proves; an outcome other than "equal" is an error.
fn build(job: &Job, stage: &Stage, report: &mut Report) -> Result<Verification> {
    let short = Shortfalls::default();
    let order = Order { source: &job.source, detail: &job.detail, only: &job.only, jobs: job.jobs, short: &short };
    let started = Instant::now();
    let made = stage::build(stage, &order)?;
    report.push("build", Outcome::Ok, format!("{made} entries"), started.elapsed());
    let started = Instant::now();
    let mut verification = proof::staged(stage, &order, &job.source.manifest)?;
    verification.took = started.elapsed();
    let (owners, attributes) = short.counts();
    if owners + attributes > 0 {
        let text = format!("{owners} owners and {attributes} attributes could not be restored: only root may set them");
        report.push("owners", Outcome::Warning, text, Duration::ZERO);
    }
    if verification.verdict() != Verdict::Equal {
        return Err(not_proven(&verification));
    }
    report.push("verify", Outcome::Ok, format!("{} entries are equal", verification.rows), started.elapsed());
    Ok(verification)
}

fn not_proven(verification: &Verification) -> Error {
    let mut findings: Vec<String> = verification.findings.iter().map(|f| format!("{}: {}", f.what, f.why)).collect();
    let more = findings.len().saturating_sub(10);
    findings.truncate(10);
    if more > 0 {
        findings.push(format!("and {more} more"));
    }
    let kind = if verification.verdict() == Verdict::Different { ErrorKind::Mismatch } else { ErrorKind::Unverified };
    Error::new(kind, format!("the restored files are not proven equal to the backup: {}", findings.join("; ")))
        .with_help("nothing live was touched; try another backup: veza-dr list")
}

/// Folders of a restore that go when it fails, unless a swap was begun in them.
struct Folders(Vec<PathBuf>);

impl Drop for Folders {
    fn drop(&mut self) {
        for folder in &self.0 {
            if matches!(Journal::read(folder), Ok(None))
                && let Err(e) = aside::remove(folder)
            {
                tracing::warn!(folder = %folder.display(), error = %e.chain(), "the next restore removes it");
            }
        }
    }
}

fn in_place(job: &Job) -> Result<RestoreReport> {
    let manifest = &job.source.manifest;
    let mut report = Report::default();
    let (mut locks, mut ways, mut tops) = (Vec::new(), Vec::new(), Vec::new());
    for root in &job.roots {
        let way = surroundings::way(root);
        // Before a work folder in it changes its time.
        tops.push(match &way {
            Way::Inside(_) => {
                let tree = Tree::of_root(root).map_err(|e| io_error("open", &root.path, e))?;
                Some(exchanges::description(&tree, &root.member)?)
            }
            _ => None,
        });
        match &way {
            Way::Beside(aside) | Way::Inside(aside) => locks.push(Lock::take(aside)?),
            Way::Blocked(why) => return Err(Error::new(ErrorKind::Conflict, why.clone())),
        }
        ways.push(way);
    }
    let started = Instant::now();
    for done in kept::repair(&job.configured)? {
        report.push("finish", Outcome::Ok, done, started.elapsed());
    }
    for swept in aside::sweep(&job.configured)? {
        report.push("remove an unfinished restore", Outcome::Ok, swept.display().to_string(), started.elapsed());
    }
    let generation = aside::generation(&manifest.id);
    let mut folders = Folders(Vec::new());
    for way in &ways {
        if let Way::Beside(aside) | Way::Inside(aside) = way {
            let folder = aside.join(&generation);
            aside::make(&folder)?;
            folders.0.push(folder);
        }
    }
    let stage = Stage::beside(&job.roots, &folders.0)?;
    let verification = build(job, &stage, &mut report)?;
    let started = Instant::now();
    let (places, exchanges) = exchanges::all(job, &stage, &ways, &folders.0, &tops)?;
    let replaced = exchanges.iter().any(|e| e.outgoing.is_some());
    let mut journal = Journal {
        version: 1,
        component: job.component.clone(),
        backup: manifest.id.clone(),
        since: SystemClock.now(),
        sequence: 1,
        phase: Phase::Swapping,
        places,
        exchanges,
    };
    // Building takes its time: something may have been mounted meanwhile, and a rename would carry it away.
    for (root, way) in job.roots.iter().zip(&ways) {
        match surroundings::way(root) {
            Way::Blocked(why) => return Err(Error::new(ErrorKind::Conflict, why).with_effect(Effect::None)),
            now if now != *way => {
                let text = format!("{} can no longer be replaced as it was planned", root.path.display());
                return Err(Error::new(ErrorKind::Conflict, text)
                    .with_effect(Effect::None)
                    .with_help("something was mounted or unmounted meanwhile: make a new plan"));
            }
            _ => {}
        }
    }
    swap::swap(&job.source.cx, &mut journal)?;
    report.push("swap", Outcome::Ok, format!("{} renames", journal.exchanges.len()), started.elapsed());
    let location = job.roots.iter().map(|r| r.path.display().to_string()).collect::<Vec<_>>().join(", ");
    let mut done = RestoreReport::new(manifest.id.clone(), report, verification, location);
    if replaced {
        let kept: Vec<String> = folders.0.iter().map(|f| f.join("tree").display().to_string()).collect();
        done.replaced = Some(kept.join(", "));
        done.next.push(format!("veza-dr rollback {}   # back to what it replaced", job.component));
        let left_out = job.detail.excluded > 0 || !manifest.skipped.is_empty();
        if left_out && job.only.is_empty() {
            done.next.push(format!(
                "cp -a …/PATH /PATH   # what the backup excludes or skipped lies only in {} now, until release",
                kept.join(", ")
            ));
        }
        done.next.push(format!("veza-dr release {}    # when all is well: remove what it replaced", job.component));
    }
    Ok(done)
}

fn io_error(doing: &str, path: &Path, e: impl Into<std::io::Error>) -> Error {
    super::place::failed(doing, path.strip_prefix("/").unwrap_or(path).as_os_str().as_encoded_bytes(), e)
}

fn to_folder(job: &Job, to: &Path) -> Result<RestoreReport> {
    let target = Root::of_member(veza_dr_backup::files::member_path(to).unwrap_or_default());
    let way = surroundings::way(&target);
    let (Way::Beside(aside_dir) | Way::Inside(aside_dir)) = &way else {
        let why = if let Way::Blocked(why) = way { why } else { String::new() };
        return Err(Error::new(ErrorKind::Conflict, why));
    };
    let _lock = Lock::take(aside_dir)?;
    aside::sweep(std::slice::from_ref(&target))?;
    let folder = aside_dir.join(aside::generation(&job.source.manifest.id));
    aside::make(&folder)?;
    let _folders = Folders(vec![folder.clone()]);
    let tree = folder.join("tree");
    std::fs::create_dir(&tree).map_err(|e| io_error("make", &tree, e))?;
    let stage = Stage::under(&job.roots, &tree)?;
    let mut report = Report::default();
    let verification = build(job, &stage, &mut report)?;
    let started = Instant::now();
    let fd = std::fs::File::open(&tree).map_err(|e| io_error("open", &tree, e))?;
    rustix::fs::syncfs(&fd).map_err(|e| io_error("make durable", &tree, e))?;
    job.source.cx.check("restore")?;
    if let Some(why) = super::plan::occupied(to) {
        return Err(Error::new(ErrorKind::Conflict, why));
    }
    match &way {
        Way::Inside(_) => {
            for entry in std::fs::read_dir(&tree).map_err(|e| io_error("list", &tree, e))? {
                let entry = entry.map_err(|e| io_error("list", &tree, e))?;
                let place = to.join(entry.file_name());
                renameat_with(CWD, entry.path(), CWD, &place, RenameFlags::NOREPLACE)
                    .map_err(|e| io_error("rename to", &place, e))?;
            }
        }
        _ if to.exists() => {
            // The folder that was there says who may look into it.
            if let Ok(meta) = std::fs::metadata(to) {
                let (uid, gid) =
                    (std::os::unix::fs::MetadataExt::uid(&meta), std::os::unix::fs::MetadataExt::gid(&meta));
                if super::place::is_root() {
                    std::os::unix::fs::chown(&tree, Some(uid), Some(gid))
                        .map_err(|e| io_error("give an owner to", to, e))?;
                }
                std::fs::set_permissions(&tree, meta.permissions()).map_err(|e| io_error("set the mode of", to, e))?;
            }
            // An empty folder gives way to a rename; one that is not empty any more does not.
            std::fs::rename(&tree, to).map_err(|e| io_error("rename to", to, e))?;
        }
        _ => renameat_with(CWD, &tree, CWD, to, RenameFlags::NOREPLACE).map_err(|e| io_error("rename to", to, e))?,
    }
    if let Some(parent) = to.parent() {
        sync_folder(parent)?;
    }
    report.push("rename", Outcome::Ok, to.display().to_string(), started.elapsed());
    let location = to.display().to_string();
    Ok(RestoreReport::new(job.source.manifest.id.clone(), report, verification, location))
}

fn scratch(job: &Job, dir: &Path) -> Result<RestoreReport> {
    let prefix = format!("veza-dr-scratch-{}-", job.component);
    sweep_scratch(dir, &prefix);
    let made = tempfile::Builder::new()
        .prefix(&prefix)
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .tempdir_in(dir)
        .map_err(|e| io_error("make a folder in", dir, e))?;
    let lock = Lock::take(made.path())?;
    let tree = made.path().join("tree");
    std::fs::create_dir(&tree).map_err(|e| io_error("make", &tree, e))?;
    let stage = Stage::under(&job.roots, &tree)?;
    let mut report = Report::default();
    let built = build(job, &stage, &mut report);
    drop(stage);
    aside::remove(&tree)?;
    drop(lock);
    Ok(RestoreReport::new(job.source.manifest.id.clone(), report, built?, String::new()))
}

/// Removes scratch folders whose makers died: nobody holds their locks.
fn sweep_scratch(dir: &Path, prefix: &str) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let mine = std::os::unix::fs::MetadataExt::uid(&match entry.metadata() {
            Ok(meta) if meta.is_dir() => meta,
            _ => continue,
        }) == rustix::process::geteuid().as_raw();
        if mine
            && entry.file_name().to_string_lossy().starts_with(prefix)
            && let Ok(_lock) = Lock::take(&entry.path())
            && let Err(e) = aside::remove(&entry.path())
        {
            tracing::warn!(folder = %entry.path().display(), error = %e.chain(), "a scratch folder stays behind");
        }
    }
}
