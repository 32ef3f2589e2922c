//! Compares a tree on disk with what a backup says, entry by entry, every byte read back.

use std::{
    cmp::Ordering,
    io,
    os::fd::OwnedFd,
    sync::{Mutex, PoisonError, mpsc},
};

use rustix::fs::{OFlags, readlinkat};
use veza_dr_backup::files::{
    Entry, FilesDetail, Found, IndexLine, Kind, Patterns, Root, Seen, Tree, TreeDigest, Walk, described, hash_file,
    path_order, xattrs_at,
};
use veza_dr_core::{Cx, Error, ErrorKind, Manifest, Progress, Result, Unit, Verification, manifest::ContentRecord};

use super::{
    feed::Source,
    index::Index,
    place::{failed, is_privileged, is_root},
    selection::{Want, Wanted},
    stage::{Order, Stage},
};

const PHASE: &str = "verify files";
/// So many differences are told one by one.
const TOLD: usize = 100;

fn shown(path: &[u8]) -> String {
    let mut text = b"/".to_vec();
    veza_dr_backup::files::escape(path, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// What differs, from several threads.
#[derive(Default)]
struct Differences {
    told: Mutex<(Vec<(String, String)>, u64)>,
}

impl Differences {
    fn add(&self, path: &[u8], why: impl Into<String>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.0.len() < TOLD {
            told.0.push((shown(path), why.into()));
        } else {
            told.1 += 1;
        }
    }

    fn into_findings(self, out: &mut Verification) {
        let (mut told, more) = self.told.into_inner().unwrap_or_else(PoisonError::into_inner);
        told.sort();
        for (what, why) in told {
            out.differs(what, why);
        }
        if more > 0 {
            out.differs(format!("{more} more"), "as those above");
        }
    }
}

/// A file whose content is to be read.
struct Job {
    file: io::Result<OwnedFd>,
    path: Vec<u8>,
    size: u64,
    digest: u128,
}

/// Reads jobs until there are no more.
fn hash(cx: &Cx, jobs: &Mutex<mpsc::Receiver<Job>>, out: &Differences) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        if cx.is_cancelled() {
            continue;
        }
        match job.file.and_then(|fd| hash_file(&fd)) {
            Ok((digest, size)) if digest == job.digest && size == job.size => {}
            Ok((_, size)) if size != job.size => {
                out.add(&job.path, format!("{size} bytes could be read of {}", job.size));
            }
            Ok(_) => out.add(&job.path, "its content is another"),
            Err(e) => out.add(&job.path, format!("its content cannot be read: {e}")),
        }
        cx.report(Progress::Advance { phase: PHASE, by: job.size });
    }
}

/// Compares what was built with the index, and the index with the manifest's contents.
pub(crate) fn staged(stage: &Stage, order: &Order<'_>, manifest: &Manifest) -> Result<Verification> {
    let mut out = Verification::default();
    let differences = Differences::default();
    let cx = &order.source.cx;
    cx.report(Progress::Begin { phase: PHASE, total: order.detail.bytes(), unit: Unit::Bytes });
    let (to_hash, jobs) = mpsc::sync_channel(256);
    let jobs = Mutex::new(jobs);
    let mut compare = Compare::new(order, &differences, to_hash)?;
    let walked = std::thread::scope(|scope| {
        for _ in 0..order.jobs {
            scope.spawn(|| hash(cx, &jobs, &differences));
        }
        let walk = |compare: &mut Compare<'_, '_>| {
            for (_, tree) in &stage.trees {
                Walk::new(tree).run(compare)?;
            }
            compare.pass_over_until(None)
        };
        let walked = walk(&mut compare);
        compare.hashing = None;
        walked
    });
    walked?;
    cx.check(PHASE)?;
    cx.report(Progress::End { phase: PHASE });
    if order.only.is_empty() {
        let found = compare.digests(&stage.trees);
        contents(&found, &manifest.contents, &mut out);
    } else if compare.wanted_seen == 0 {
        let text = format!("no path of backup {} matches {}", manifest.id, order.only.join(", "));
        return Err(Error::new(ErrorKind::NotFound, text)
            .with_help("write absolute paths such as /etc/veza/*.yml, or names without a slash"));
    } else {
        out.pass(compare.wanted_seen);
    }
    differences.into_findings(&mut out);
    Ok(out)
}

/// The counts and digests of each root, against those of the manifest.
fn contents(found: &[(String, TreeDigest)], wanted: &[ContentRecord], out: &mut Verification) {
    for content in wanted {
        let Some((_, digest)) = found.iter().find(|(name, _)| *name == content.name) else {
            out.differs(&content.name, "it is not there");
            continue;
        };
        if digest.entries != content.rows {
            out.differs(&content.name, format!("{} entries instead of {}", digest.entries, content.rows));
        } else if let Some(expected) = &content.digest {
            if digest.to_text() == *expected {
                out.pass(content.rows);
            } else {
                out.differs(&content.name, "its entries are others than those that were backed up");
            }
        } else {
            out.unverified(&content.name, "the backup has no digest of it");
        }
    }
}

struct Compare<'a, 'b> {
    order: &'a Order<'b>,
    differences: &'a Differences,
    index: Index,
    /// The entry that the index has next, where it was read ahead.
    next: Option<Entry>,
    ended: bool,
    roots: Vec<Root>,
    wanted: Wanted,
    wanted_seen: u64,
    digests: Vec<TreeDigest>,
    hashing: Option<mpsc::SyncSender<Job>>,
    root: bool,
}

impl<'a, 'b> Compare<'a, 'b> {
    fn new(order: &'a Order<'b>, differences: &'a Differences, hashing: mpsc::SyncSender<Job>) -> Result<Self> {
        let source: &Source = order.source;
        Ok(Self {
            order,
            differences,
            index: Index::open(source, order.detail)?,
            next: None,
            ended: false,
            roots: super::selection::roots(order.detail)?,
            wanted: Wanted::new(order.only, order.detail, source)?,
            wanted_seen: 0,
            digests: vec![TreeDigest::default(); order.detail.roots.len()],
            hashing: Some(hashing),
            root: is_root(),
        })
    }

    /// Takes the index's next line in, counting it.
    fn advance(&mut self) -> Result<()> {
        self.next = None;
        if self.ended {
            return Ok(());
        }
        let Some(line) = self.index.next()? else {
            self.ended = true;
            return Ok(());
        };
        if let Some(i) = self.roots.iter().position(|root| root.below(line.path()).is_some()) {
            self.digests[i].add(&line);
        }
        self.next = Some(line.entry()?);
        Ok(())
    }

    /// Passes over entries before `path`; those that are wanted are missing on disk.
    fn pass_over_until(&mut self, path: Option<&[u8]>) -> Result<()> {
        loop {
            if self.next.is_none() {
                self.advance()?;
            }
            let Some(entry) = &self.next else { return Ok(()) };
            if path.is_some_and(|path| path_order(&entry.path, path) != Ordering::Less) {
                return Ok(());
            }
            if self.wanted.want(&entry.path) == Want::Yes {
                self.differences.add(&entry.path, "it was not restored");
            }
            self.next = None;
        }
    }

    fn digests(&self, trees: &[(Root, Tree)]) -> Vec<(String, TreeDigest)> {
        let roots = trees.iter().zip(&self.digests);
        roots.map(|((root, _), digest)| (root.path.display().to_string(), *digest)).collect()
    }

    fn compare(&mut self, tree: &Tree, found: &Found, wanted: &Entry) -> Result<()> {
        let path = &found.path;
        let different = |why: String| self.differences.add(path, why);
        if let Some(first) = &found.first {
            if wanted.kind != Kind::Hardlink || wanted.link != *first {
                different(format!("it shares its file with {}", shown(first)));
            }
            return Ok(());
        }
        if wanted.kind != found.meta.kind {
            different(format!("it is a {} instead of a {}", found.meta.kind.as_str(), wanted.kind.as_str()));
            return Ok(());
        }
        let is = described(path, &found.meta, found.meta.kind);
        if is.mode != wanted.mode && wanted.kind != Kind::Symlink {
            different(format!("its mode is {:o} instead of {:o}", is.mode, wanted.mode));
        }
        if self.root && (is.uid, is.gid) != (wanted.uid, wanted.gid) {
            different(format!("it belongs to {}:{} instead of {}:{}", is.uid, is.gid, wanted.uid, wanted.gid));
        }
        if is.mtime != wanted.mtime {
            let (a, b) = (is.mtime, wanted.mtime);
            different(format!("its time is {}.{:09} instead of {}.{:09}", a.sec, a.nsec, b.sec, b.nsec));
        }
        if is.device != wanted.device {
            different("it is another device".to_owned());
        }
        let (dir, name) = tree.parent(path).map_err(|e| failed("open the folder of", path, e))?;
        if wanted.kind == Kind::Symlink {
            let link = readlinkat(&dir, &*name, Vec::new()).map_err(|e| failed("read", path, e))?;
            if link.as_bytes() != wanted.link {
                different(format!("it points to {} instead of {}", shown(link.as_bytes()), shown(&wanted.link)));
            }
        }
        let mut xattrs = xattrs_at(&dir, &name).map_err(|e| failed("read the attributes of", path, e))?;
        let mut expected = wanted.xattrs.clone();
        if !self.root {
            xattrs.retain(|(name, _)| !is_privileged(name));
            expected.retain(|(name, _)| !is_privileged(name));
        }
        expected.sort();
        if xattrs != expected {
            different("its attributes are others".to_owned());
        }
        if wanted.kind == Kind::File {
            if is.size != wanted.size {
                different(format!("it has {} bytes instead of {}", is.size, wanted.size));
            } else if let Some(to) = &self.hashing {
                let file = tree.open(path, OFlags::RDONLY | OFlags::NONBLOCK);
                let job = Job { file, path: path.clone(), size: wanted.size, digest: wanted.digest };
                to.send(job).map_err(|_| Error::new(ErrorKind::Unexpected, "the readers of the proof died"))?;
            }
        }
        Ok(())
    }
}

impl Seen for Compare<'_, '_> {
    fn found(&mut self, tree: &Tree, found: Found) -> Result<()> {
        self.order.source.cx.check(PHASE)?;
        self.pass_over_until(Some(&found.path))?;
        match self.next.take() {
            Some(entry) if entry.path == found.path => {
                if self.wanted.want(&entry.path) == Want::Yes {
                    self.wanted_seen += 1;
                }
                self.compare(tree, &found, &entry)
            }
            other => {
                self.next = other;
                self.differences.add(&found.path, "it is not in the backup");
                Ok(())
            }
        }
    }

    fn unreadable(&mut self, path: &[u8], doing: &str, error: &io::Error) -> Result<()> {
        if error.kind() == io::ErrorKind::NotFound {
            return Ok(());
        }
        self.differences.add(path, format!("{doing}: {error}"));
        Ok(())
    }

    fn passed_over(&mut self, path: &[u8], why: &str) {
        self.differences.add(path, why);
    }

    fn excluded(&mut self, _path: &[u8]) {}

    fn mount(&mut self, _path: &[u8]) {}
}

/// Compares what is live with the manifest's contents, reading every file.
pub(crate) fn live(
    cx: &Cx,
    roots: &[Root],
    detail: &FilesDetail,
    manifest: &Manifest,
    one_file_system: bool,
    threads: usize,
) -> Result<Verification> {
    let excludes = Patterns::new(&detail.exclude)?;
    let mut found = Vec::new();
    let mut out = Verification::default();
    cx.report(Progress::Begin { phase: PHASE, total: detail.bytes(), unit: Unit::Bytes });
    for root in roots {
        // As the manifest has it, wherever the tree lies now.
        let name = Root::of_member(root.member.clone()).path.display().to_string();
        let Ok(tree) = Tree::of_root(root) else { continue };
        let sum = Mutex::new(TreeDigest::default());
        let problems = Mutex::new(Vec::new());
        let (send, receive) = mpsc::sync_channel::<Entry>(256);
        let receive = Mutex::new(receive);
        let walked = std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(|| digest_entries(cx, &tree, &receive, &sum, &problems));
            }
            let mut live = Live { cx, send, problems: &problems };
            Walk::new(&tree).with(&excludes, one_file_system).run(&mut live)
        });
        walked?;
        cx.check(PHASE)?;
        for (path, why) in problems.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().take(TOLD) {
            out.unverified(path, why);
        }
        let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
        if sum.entries > 0 {
            found.push((name, sum));
        }
    }
    cx.report(Progress::End { phase: PHASE });
    contents(&found, &manifest.contents, &mut out);
    Ok(out)
}

type Problems = Mutex<Vec<(String, String)>>;

fn digest_entries(
    cx: &Cx,
    tree: &Tree,
    entries: &Mutex<mpsc::Receiver<Entry>>,
    sum: &Mutex<TreeDigest>,
    problems: &Problems,
) {
    let mut own = TreeDigest::default();
    let mut text = Vec::new();
    loop {
        let entry = entries.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut entry) = entry else { break };
        if cx.is_cancelled() {
            continue;
        }
        if let Err(e) = complete(tree, &mut entry) {
            problems.lock().unwrap_or_else(PoisonError::into_inner).push((shown(&entry.path), e.to_string()));
            continue;
        }
        text.clear();
        IndexLine::write(&entry, &mut text);
        text.pop();
        if let Ok(line) = IndexLine::parse(&text) {
            own.add(&line);
        }
        cx.report(Progress::Advance { phase: PHASE, by: entry.size });
    }
    sum.lock().unwrap_or_else(PoisonError::into_inner).merge(own);
}

/// Adds what only opening the thing tells.
fn complete(tree: &Tree, entry: &mut Entry) -> io::Result<()> {
    if entry.kind == Kind::Hardlink {
        return Ok(());
    }
    let (dir, name) = tree.parent(&entry.path)?;
    entry.xattrs = xattrs_at(&dir, &name)?;
    match entry.kind {
        Kind::Symlink => entry.link = readlinkat(&dir, &*name, Vec::new())?.into_bytes(),
        Kind::File => {
            let fd = tree.open(&entry.path, OFlags::RDONLY | OFlags::NONBLOCK)?;
            (entry.digest, entry.size) = hash_file(&fd)?;
        }
        _ => {}
    }
    Ok(())
}

struct Live<'a> {
    cx: &'a Cx,
    send: mpsc::SyncSender<Entry>,
    problems: &'a Problems,
}

impl Seen for Live<'_> {
    fn found(&mut self, _tree: &Tree, found: Found) -> Result<()> {
        self.cx.check(PHASE)?;
        let kind = if found.first.is_some() { Kind::Hardlink } else { found.meta.kind };
        let mut entry = described(&found.path, &found.meta, kind);
        if let Some(first) = found.first {
            entry.link = first;
        }
        self.send.send(entry).map_err(|_| Error::new(ErrorKind::Unexpected, "the readers of the proof died"))
    }

    fn unreadable(&mut self, path: &[u8], doing: &str, error: &io::Error) -> Result<()> {
        if error.kind() != io::ErrorKind::NotFound {
            let problem = (shown(path), format!("{doing}: {error}"));
            self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
        }
        Ok(())
    }

    fn passed_over(&mut self, _path: &[u8], _why: &str) {}

    fn excluded(&mut self, _path: &[u8]) {}

    fn mount(&mut self, _path: &[u8]) {}
}
