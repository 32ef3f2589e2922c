//! Puts what is on disk beside what the last backup has: unchanged entries are taken over, all else becomes work.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    sync::{Arc, mpsc as std_mpsc},
};

use rustix::fs::readlinkat;
use tokio::sync::{mpsc, oneshot};
use veza_dr_core::{BackupId, Error, ErrorKind, Result};

use super::{
    base_index::{BaseLine, BaseLines},
    budget::Budget,
    content::{described, given_up},
    entry::Kind,
    index_line::IndexLine,
    meta::{Meta, xattrs_at},
    problems::{Why, shown},
    roots::{Patterns, Root},
    segment::{Done, Job, Shared},
    walk::{Found, Seen, Tree, Walk},
};

/// So many files go into one segment at most, however small.
const FILES: usize = 10_000;
/// Items are handed on in lots of this many.
const LOT: usize = 256;
/// What a file that is not read yet costs of the budget.
const PENDING: usize = 256;

/// One entry on its way into the index, or news about where the next ones come from.
pub(crate) enum Item {
    /// The next root begins.
    Root,
    /// A line of the base that still holds.
    Same(Vec<u8>),
    /// A new line, with its line feed.
    New(Vec<u8>),
    /// A new line of a hard link, and the path that it shares its file with.
    Link(Vec<u8>, Vec<u8>),
    /// A segment was begun; this is where its lines will come from.
    Segment(oneshot::Receiver<Done>),
    /// The next file of that segment.
    File { segment: usize, index: usize, path: Vec<u8>, links: bool },
}

impl Item {
    pub(crate) fn cost(&self) -> usize {
        match self {
            Self::Same(text) | Self::New(text) => text.len() + 32,
            Self::Link(text, first) => text.len() + first.len() + 64,
            Self::File { path, .. } => PENDING + path.len(),
            Self::Root | Self::Segment(_) => 0,
        }
    }
}

/// What the joiner found, besides the items.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    /// Files and bytes of the base's segments that are used again.
    pub(crate) reused: BTreeMap<String, (u64, u64)>,
    /// Whether every entry of the base is still there and unchanged, and nothing else is.
    pub(crate) same: bool,
    pub(crate) mounts: Vec<String>,
    pub(crate) excluded: u64,
    /// Files that were given to the workers.
    pub(crate) read: u64,
}

pub(crate) struct Joiner<'a> {
    shared: &'a Shared,
    id: &'a BackupId,
    base: Option<BaseLines>,
    /// Segments of the base that are mostly dead: what lives in them is stored anew.
    repack: HashSet<String>,
    jobs: std_mpsc::SyncSender<Job>,
    items: mpsc::UnboundedSender<Vec<Item>>,
    budget: &'a Budget,
    lot: Vec<Item>,
    open: Option<Job>,
    segments: usize,
    joined: Joined,
}

impl<'a> Joiner<'a> {
    pub(crate) fn new(
        shared: &'a Shared,
        id: &'a BackupId,
        base: Option<BaseLines>,
        repack: HashSet<String>,
        jobs: std_mpsc::SyncSender<Job>,
        items: mpsc::UnboundedSender<Vec<Item>>,
        budget: &'a Budget,
    ) -> Self {
        let joined = Joined { same: base.is_some(), ..Joined::default() };
        let lot = Vec::with_capacity(LOT);
        Self { shared, id, base, repack, jobs, items, budget, lot, open: None, segments: 0, joined }
    }

    /// Walks all roots.
    pub(crate) fn run(mut self, roots: &[Root], excludes: &Patterns) -> Result<Joined> {
        for root in roots {
            self.push(Item::Root)?;
            let tree = Tree::of_root(root).map_err(|e| missing_root(root, e))?;
            let tree = Arc::new(tree);
            let walk = Walk::new(&tree).with(excludes, self.shared.config.one_file_system);
            let mut seen = RootSeen { joiner: &mut self, tree: tree.clone(), root };
            walk.with_threads(seen.joiner.shared.config.effective_jobs()).run(&mut seen)?;
            self.dispatch()?;
        }
        if let Some(base) = &mut self.base {
            base.finish()?;
            self.joined.same &= base.passed == 0;
        }
        self.hand_on()?;
        Ok(self.joined)
    }

    fn push(&mut self, item: Item) -> Result<()> {
        let cost = item.cost();
        if cost > 0 && !self.budget.try_take(cost) {
            // The files that are waited for must be on their way before this waits.
            self.dispatch()?;
            self.hand_on()?;
            if !self.budget.take(cost, &self.shared.problems) {
                return Err(given_up());
            }
        }
        self.lot.push(item);
        if self.lot.len() >= LOT {
            self.hand_on()?;
        }
        Ok(())
    }

    fn hand_on(&mut self) -> Result<()> {
        let lot = std::mem::replace(&mut self.lot, Vec::with_capacity(LOT));
        self.items.send(lot).map_err(|_| given_up())
    }

    /// Gives the open segment to a worker.
    fn dispatch(&mut self) -> Result<()> {
        match self.open.take() {
            Some(open) => self.jobs.send(open).map_err(|_| given_up()),
            None => Ok(()),
        }
    }

    fn read(&mut self, tree: &Arc<Tree>, path: Vec<u8>, meta: Meta) -> Result<()> {
        let limit = self.shared.config.effective_segment_bytes();
        let alone = meta.size >= limit;
        if self.open.as_ref().is_some_and(|o| !o.files.is_empty() && (alone || o.bytes + meta.size > limit)) {
            self.dispatch()?;
        }
        if self.open.is_none() {
            let (done, receiver) = oneshot::channel();
            self.segments += 1;
            let short = format!("{}-{:05}", self.id, self.segments);
            let job = Job { short, tree: tree.clone(), files: Vec::new(), bytes: 0, done };
            self.open = Some(job);
            self.push(Item::Segment(receiver))?;
        }
        self.joined.read += 1;
        self.joined.same = false;
        let index = self.open.as_ref().map_or(0, |o| o.files.len());
        let item = Item::File { segment: self.segments, index, path: path.clone(), links: meta.links > 1 };
        let mut full = false;
        if let Some(job) = &mut self.open {
            job.bytes += meta.size;
            job.files.push((path, meta));
            full = alone || job.files.len() >= FILES || job.bytes >= limit;
        }
        self.push(item)?;
        if full { self.dispatch() } else { Ok(()) }
    }
}

fn missing_root(root: &Root, e: io::Error) -> Error {
    let path = root.path.display();
    let kind = match e.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        _ => ErrorKind::Unavailable,
    };
    let help = match kind {
        ErrorKind::NotFound => "create it, or take it out of the component's include list",
        _ => "see what this user may read: veza-dr check",
    };
    Error::new(kind, format!("included path {path} cannot be looked at")).with_source(e).with_help(help)
}

/// Whether the entry is what the base has.
fn unchanged(line: &BaseLine, found: &Found) -> bool {
    let meta = &found.meta;
    if line.ino == 0 || line.ino != meta.ino || line.ctime != meta.ctime {
        return false;
    }
    match (&found.first, line.kind) {
        (Some(first), Kind::Hardlink) => *first == line.link,
        (None, Kind::File) => meta.kind == Kind::File && line.size == meta.size && line.mtime == meta.mtime,
        (None, kind) => kind == meta.kind && line.mtime == meta.mtime,
        (Some(_), _) => false,
    }
}

struct RootSeen<'a, 'b> {
    joiner: &'a mut Joiner<'b>,
    tree: Arc<Tree>,
    root: &'a Root,
}

impl Seen for RootSeen<'_, '_> {
    fn found(&mut self, tree: &Tree, found: Found) -> Result<()> {
        let joiner = &mut *self.joiner;
        if joiner.shared.problems.stopped() {
            return Err(given_up());
        }
        if found.path == self.root.member && found.meta.kind == Kind::Symlink {
            let to = std::fs::read_link(&self.root.path).unwrap_or_default();
            let text = format!("included path {} is a symbolic link to {}", self.root.path.display(), to.display());
            return Err(Error::new(ErrorKind::Config, text).with_help("include what it points to"));
        }
        let old = match &mut joiner.base {
            Some(base) => base.find(&found.path)?,
            None => None,
        };
        if let Some(line) = old
            && unchanged(&line, &found)
            && line.segment.as_ref().is_none_or(|s| !joiner.repack.contains(s))
        {
            if let Some(segment) = line.segment {
                let (files, bytes) = joiner.joined.reused.entry(segment).or_default();
                *files += 1;
                *bytes += line.size;
            }
            return match found.first {
                // The file itself may be read anew, and be lost.
                Some(first) => {
                    let mut text = line.text;
                    text.push(b'\n');
                    joiner.push(Item::Link(text, first))
                }
                None => joiner.push(Item::Same(line.text)),
            };
        }
        joiner.joined.same = false;
        if let Some(first) = found.first {
            let mut entry = described(&found.path, &found.meta, Kind::Hardlink);
            entry.link.clone_from(&first);
            let mut text = Vec::new();
            IndexLine::write(&entry, &mut text);
            return joiner.push(Item::Link(text, first));
        }
        if found.meta.kind == Kind::File {
            return joiner.read(&self.tree, found.path, found.meta);
        }
        let mut entry = described(&found.path, &found.meta, found.meta.kind);
        let read = tree.parent(&found.path).and_then(|(dir, name)| {
            if found.meta.kind == Kind::Symlink {
                entry.link = readlinkat(&dir, &*name, Vec::new())?.into_bytes();
            }
            entry.xattrs = xattrs_at(&dir, &name)?;
            Ok(())
        });
        if let Err(e) = read {
            joiner.shared.problems.add_io(&found.path, "read", &e);
            // A folder's own description is a small loss beside that of what is in it, and is named all the same.
            if found.meta.kind != Kind::Dir {
                return Ok(());
            }
        }
        let mut text = Vec::new();
        IndexLine::write(&entry, &mut text);
        joiner.push(Item::New(text))
    }

    fn unreadable(&mut self, path: &[u8], doing: &str, error: &io::Error) -> Result<()> {
        if path == self.root.member {
            return Err(missing_root(self.root, io::Error::new(error.kind(), error.to_string())));
        }
        self.joiner.joined.same = false;
        self.joiner.shared.problems.add_io(path, doing, error);
        Ok(())
    }

    fn passed_over(&mut self, path: &[u8], why: &str) {
        self.joiner.shared.problems.add(Why::ByDesign, path, why);
    }

    fn excluded(&mut self, _path: &[u8]) {
        self.joiner.joined.excluded += 1;
    }

    fn mount(&mut self, path: &[u8]) {
        self.joiner.joined.mounts.push(shown(path));
    }
}
