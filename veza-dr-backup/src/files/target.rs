//! The whole backup of a set of files, from the first look to the manifest.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, mpsc as std_mpsc},
};

use async_trait::async_trait;
use futures::future::join_all;
use tokio::sync::mpsc;
use veza_dr_core::{
    ArtifactSink, BackupCaps, BackupRequest, BackupTarget, Clock, ComponentName, Cx, Error, ErrorKind, Manifest,
    Progress, Report, Result, SystemClock, TargetInfo, Unit,
    manifest::{ConsistencyPoint, SourceIdentity},
};

use super::{
    FilesConfig,
    base_index::{Base, copy_path},
    budget::Budget,
    collect::{Collected, Collector},
    detail::{FilesDetail, SegmentRecord, segment_object},
    join::{Joined, Joiner},
    problems::Problems,
    roots::{Patterns, Root},
    segment::{self, PHASE, QUEUE, Shared},
};

/// Index lines that may wait for a segment.
const WAITING: usize = 24 << 20;

/// Files and folders as a thing that is protected.
///
/// ```no_run
/// # async fn f() -> veza_dr_core::Result<()> {
/// use veza_dr_backup::{BackupOptions, Encryption, Repository, back_up};
/// use veza_dr_backup::{files::{FilesConfig, FilesTarget}, store::DirectoryStore};
/// use veza_dr_core::Cx;
/// let config = FilesConfig::new(["/etc/veza/", "/var/log/veza/"]).allowing_changed(true);
/// let target = FilesTarget::new("files".parse()?, config)?;
/// let store = DirectoryStore::open("local", "/opt/backups")?;
/// let repository = Repository::new(std::sync::Arc::new(store), Encryption::default());
/// let report = back_up(&Cx::background(), &target, &[repository], &BackupOptions::default()).await?;
/// println!("backup {} took {:?}", report.id, report.took);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct FilesTarget {
    info: TargetInfo,
    config: FilesConfig,
    roots: Vec<Root>,
    excludes: Patterns,
}

impl FilesTarget {
    /// The files that `config` names. No I/O.
    ///
    /// # Errors
    /// `Config` when no path is named, one is not absolute, or a pattern cannot be read.
    pub fn new(component: ComponentName, config: FilesConfig) -> Result<Self> {
        let roots = Root::all(&config)?;
        let excludes = Patterns::new(&config.exclude)?;
        let location = roots.iter().map(|r| r.path.display().to_string()).collect::<Vec<_>>().join(", ");
        Ok(Self { info: TargetInfo { component, engine: "files".to_owned(), location }, config, roots, excludes })
    }
}

#[async_trait]
impl BackupTarget for FilesTarget {
    fn info(&self) -> &TargetInfo {
        &self.info
    }

    fn capabilities(&self) -> BackupCaps {
        BackupCaps::new(false, true).with_incremental()
    }

    async fn create(&self, cx: &Cx, request: BackupRequest, out: Arc<dyn ArtifactSink>) -> Result<Manifest> {
        cx.check("back files up")?;
        let at = SystemClock.now();
        let base = self.base(cx, &request).await?;
        let work = cx.child();
        let shared = Arc::new(Shared { cx: work.clone(), config: self.config.clone(), problems: Problems::default() });
        let run = Run { target: self, cx: &work, request: &request, sink: &out, shared: &shared };
        let outcome = run.all(base).await;
        work.cancel();
        let detail = match outcome {
            Ok(done) => done,
            Err(e) => {
                cx.check("back files up")?;
                return Err(e);
            }
        };
        let (contents, detail) = detail;
        let source = SourceIdentity {
            server_version: system_version(),
            system_identifier: None,
            database: None,
            location: self.info.location.clone(),
            facts: BTreeMap::new(),
        };
        let consistency = ConsistencyPoint { at, lsn: None, snapshot: None };
        let mut manifest = Manifest::new(request.id, self.info.component.clone(), "files", source, consistency);
        manifest.contents = contents;
        manifest.skipped = shared.problems.judge(&self.config)?;
        manifest.details = serde_json::to_value(detail)
            .map_err(|e| Error::new(ErrorKind::Unexpected, "manifest details as JSON").with_source(e))?;
        Ok(manifest)
    }

    async fn check(&self, cx: &Cx) -> Result<Report> {
        super::check::check(cx, &self.config, &self.roots, &self.excludes).await
    }

    fn recipe(&self, manifest: &Manifest) -> String {
        super::recipe::write(manifest)
    }
}

/// The kernel's name and release.
fn system_version() -> String {
    let name = rustix::system::uname();
    format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy())
}

impl FilesTarget {
    /// The backup to build on, unless it is time for a full one.
    async fn base(&self, cx: &Cx, request: &BackupRequest) -> Result<Option<(Base, FullMark)>> {
        let Some(offered) = &request.base else { return Ok(None) };
        if offered.manifest.engine != "files" {
            return Ok(None);
        }
        let Some(base) = Base::open(cx, offered, self.config.state_dir.as_deref()).await? else { return Ok(None) };
        let mark = FullMark { full: base.detail.full.clone(), increments: base.detail.increments + 1 };
        let age = request.id.started_at() - mark.full.started_at();
        let too_old = age.to_std().is_ok_and(|age| age > self.config.effective_full_after());
        if mark.increments > self.config.effective_full_every() || too_old {
            tracing::info!(since = %mark.full, increments = mark.increments, "a full backup is due");
            return Ok(None);
        }
        Ok(Some((base, mark)))
    }
}

/// Where a chain of backups began.
struct FullMark {
    full: veza_dr_core::BackupId,
    increments: u32,
}

struct Run<'a> {
    target: &'a FilesTarget,
    cx: &'a Cx,
    request: &'a BackupRequest,
    sink: &'a Arc<dyn ArtifactSink>,
    shared: &'a Arc<Shared>,
}

impl Run<'_> {
    async fn all(
        &self,
        base: Option<(Base, FullMark)>,
    ) -> Result<(Vec<veza_dr_core::manifest::ContentRecord>, FilesDetail)> {
        let id = &self.request.id;
        let state_dir = self.target.config.state_dir.as_deref();
        let names = (format!("index-{id}.tsv"), format!("tree-{id}.tar"));
        let collector = Collector::begin(
            self.cx,
            self.sink,
            &self.shared.problems,
            &self.target.roots,
            (&names.0, &names.1),
            state_dir,
        );
        let collector = collector.await?;
        let (mut base, mark) = base.map_or((None, None), |(base, mark)| (Some(base), Some(mark)));
        let old = base.as_ref().map(|b| b.detail.clone());
        if let (Some(base), Some(dir)) = (&mut base, state_dir)
            && let Err(e) = base.keep(&copy_path(dir, &self.target.info.component, &base.detail.index.clone()))
        {
            tracing::warn!(dir = %dir.display(), error = %e, "no copy of the index is kept");
        }
        let (joined, collector) = match self.read(base, old.as_ref(), collector).await {
            (Ok(joined), collector) => (joined, collector),
            (Err(e), collector) => {
                collector.abort().await;
                return Err(e);
            }
        };
        if let Err(e) = self.still_fine() {
            collector.abort().await;
            return Err(e);
        }
        let copy_to = state_dir.map(|dir| copy_path(dir, &self.target.info.component, &names.0));
        let (collected, index, tree) = match &old {
            Some(old) if joined.same => {
                let collected = collector.abort().await;
                self.sink.reuse(self.cx, &old.index).await?;
                self.sink.reuse(self.cx, &old.tree).await?;
                (collected, old.index.clone(), old.tree.clone())
            }
            _ => (collector.finish(copy_to).await?, names.0, names.1),
        };
        if let Some(dir) = state_dir {
            forget_copies(dir, &self.target.info.component, &[&index, old.as_ref().map_or("", |o| &o.index)]);
        }
        let Collected { roots, contents, kinds, mut segments, index_digest } = collected;
        self.take_over(old.as_ref(), &joined, &mut segments).await?;
        let (full, increments) = mark.map_or((id.clone(), 0), |m| (m.full, m.increments));
        let detail = FilesDetail {
            index,
            index_digest,
            tree,
            roots,
            segments,
            kinds,
            exclude: self.target.config.exclude.clone(),
            excluded: joined.excluded,
            mounts: joined.mounts,
            read: joined.read,
            full,
            increments,
            read_until: SystemClock.now(),
        };
        Ok((contents, detail))
    }

    /// Before anything more is stored: a backup that will be refused need not be finished.
    fn still_fine(&self) -> Result<()> {
        self.cx.check("back files up")
    }

    /// Makes the base's segments that still hold something part of this backup.
    async fn take_over(
        &self,
        old: Option<&FilesDetail>,
        joined: &Joined,
        segments: &mut Vec<SegmentRecord>,
    ) -> Result<()> {
        for (short, (live, live_bytes)) in &joined.reused {
            let record = old.and_then(|o| o.segments.iter().find(|s| s.name == *short)).ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, format!("the base's index names segment {short}, its manifest does not"))
            })?;
            self.sink.reuse(self.cx, &segment_object(short)).await?;
            segments.push(SegmentRecord { live: *live, live_bytes: *live_bytes, ..record.clone() });
        }
        segments.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(())
    }

    /// Runs the walk, the readers and the writers. All have ended when this returns.
    async fn read<'c>(
        &self,
        base: Option<Base>,
        old: Option<&FilesDetail>,
        mut collector: Collector<'c>,
    ) -> (Result<Joined>, Collector<'c>) {
        self.cx.report(Progress::Begin { phase: PHASE, total: 0, unit: Unit::Bytes });
        let jobs = self.target.config.effective_jobs();
        let (job_in, job_out) = std_mpsc::sync_channel(jobs);
        let job_out = Arc::new(Mutex::new(job_out));
        let (item_in, item_out) = mpsc::unbounded_channel();
        let budget = Arc::new(Budget::new(WAITING));
        let mut readers = Vec::new();
        let mut writers = Vec::new();
        for _ in 0..jobs {
            let (piece_in, piece_out) = mpsc::channel(QUEUE);
            let (shared, job_out) = (self.shared.clone(), job_out.clone());
            readers.push(tokio::task::spawn_blocking(move || {
                stopping(&shared, segment::read_jobs(&shared, &job_out, piece_in))
            }));
            let (shared, sink) = (self.shared.clone(), self.sink.clone());
            writers.push(tokio::spawn(async move {
                stopping(&shared, segment::write_jobs(&shared.cx, sink.as_ref(), piece_out).await)
            }));
        }
        drop(job_out);
        let walker = {
            let (shared, budget, id) = (self.shared.clone(), budget.clone(), self.request.id.clone());
            let (roots, excludes) = (self.target.roots.clone(), self.target.excludes.clone());
            // What is mostly dead is stored anew, so that it can be let go of.
            let dead = |s: &&SegmentRecord| s.live_bytes * 2 < s.bytes || s.live * 2 < s.members;
            let repack: HashSet<String> =
                old.iter().flat_map(|o| o.segments.iter().filter(dead).map(|s| s.name.clone())).collect();
            tokio::task::spawn_blocking(move || {
                let walk = || {
                    let lines = base.map(Base::lines).transpose()?;
                    let joiner = Joiner::new(&shared, &id, lines, repack, job_in, item_in, &budget);
                    joiner.run(&roots, &excludes)
                };
                let done = walk();
                stopping(&shared, done)
            })
        };
        let collected = stopping(self.shared, collector.run(item_out, &budget).await);
        let died = |e| Error::new(ErrorKind::Unexpected, "a thread that reads files died").with_source(e);
        let walked = walker.await.unwrap_or_else(|e| Err(died(e)));
        let read = join_all(readers).await.into_iter().map(|r| r.unwrap_or_else(|e| Err(died(e))));
        let mut failed: Vec<Error> = read.filter_map(Result::err).collect();
        let wrote = join_all(writers).await.into_iter().map(|r| r.unwrap_or_else(|e| Err(died(e))));
        failed.extend(wrote.filter_map(Result::err));
        failed.extend(collected.err());
        self.cx.report(Progress::End { phase: PHASE });
        let outcome = match walked {
            Ok(joined) => cause(failed).map_or(Ok(joined), Err),
            Err(e) => {
                failed.insert(0, e);
                Err(cause(failed).unwrap_or_else(|| Error::new(ErrorKind::Unexpected, "nothing failed")))
            }
        };
        (outcome, collector)
    }
}

/// A part that fails stops the others.
fn stopping<T>(shared: &Shared, outcome: Result<T>) -> Result<T> {
    if outcome.is_err() {
        shared.problems.stop();
        shared.cx.cancel();
    }
    outcome
}

/// The failure that made the others stop, not their being stopped.
fn cause(failed: Vec<Error>) -> Option<Error> {
    let mut failed = failed.into_iter();
    let first = failed.next()?;
    if first.kind() != ErrorKind::Cancelled {
        return Some(first);
    }
    Some(failed.find(|e| e.kind() != ErrorKind::Cancelled).unwrap_or(first))
}

/// Removes this host's copies of other indexes of the component.
fn forget_copies(dir: &std::path::Path, component: &ComponentName, keep: &[&str]) {
    let prefix = format!("{component}-index-");
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let kept = keep.iter().any(|index| name == format!("{component}-{index}.zst"));
        if name.starts_with(&prefix)
            && !kept
            && let Err(e) = std::fs::remove_file(entry.path())
        {
            tracing::warn!(path = %entry.path().display(), error = %e, "an old copy of an index stays");
        }
    }
}
