//! Builds the tree beside the live one: folders first, then contents in parallel, then all else, folders' times last.

use std::{
    collections::VecDeque,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    fs::{AtFlags, OFlags, ftruncate, linkat},
    io::{Errno, pwrite},
};
use veza_dr_backup::files::{Entry, FilesDetail, IndexLine, Kind, Root, Tree};
use veza_dr_core::{Cx, Error, ErrorKind, Progress, Result, Unit};

use super::{
    feed::Source,
    index::Index,
    members::Members,
    place::{self, Shortfalls, failed},
    selection::{Needed, Want, Wanted, need, no_members},
};

const PHASE: &str = "write files";
const PIECE: u64 = 1 << 20;

/// Where the trees of a restore are built: one for each root.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) trees: Vec<(Root, Tree)>,
}

impl Stage {
    /// Trees that each lie as `tree` in a folder of their own.
    pub(crate) fn beside(roots: &[Root], folders: &[PathBuf]) -> Result<Self> {
        let tree = |(root, folder): (&Root, &PathBuf)| {
            let tree = Tree::at(folder, b"tree", root.member.clone());
            Ok((root.clone(), tree.map_err(|e| failed("open", folder.as_os_str().as_encoded_bytes(), e))?))
        };
        Ok(Self { trees: roots.iter().zip(folders).map(tree).collect::<Result<_>>()? })
    }

    /// Trees that lie below one folder, each at its own path.
    pub(crate) fn under(roots: &[Root], folder: &Path) -> Result<Self> {
        let tree = |root: &Root| {
            let place = folder.join(root.path.strip_prefix("/").unwrap_or(&root.path));
            let (parent, name) = match (place.parent(), place.file_name()) {
                (Some(parent), Some(name)) if place != folder => (parent.to_owned(), name.as_encoded_bytes().to_vec()),
                _ => (folder.to_owned(), b".".to_vec()),
            };
            let made = std::fs::create_dir_all(&parent).and_then(|()| Tree::at(&parent, &name, root.member.clone()));
            Ok((root.clone(), made.map_err(|e| failed("make", &root.member, e))?))
        };
        Ok(Self { trees: roots.iter().map(tree).collect::<Result<_>>()? })
    }

    /// The tree that a member is in.
    pub(crate) fn tree_of(&self, member: &[u8]) -> Result<&Tree> {
        let found = self.trees.iter().find(|(root, _)| root.below(member).is_some());
        found.map(|(_, tree)| tree).ok_or_else(|| {
            let text = format!("the backup holds /{}, outside of its own roots", String::from_utf8_lossy(member));
            Error::new(ErrorKind::Corrupt, text)
        })
    }

    fn parent(&self, member: &[u8]) -> Result<(OwnedFd, Vec<u8>)> {
        self.tree_of(member)?.parent(member).map_err(|e| failed("open the folder of", member, e))
    }
}

/// What is restored.
pub(crate) struct Order<'a> {
    pub(crate) source: &'a Source,
    pub(crate) detail: &'a FilesDetail,
    pub(crate) only: &'a [String],
    pub(crate) jobs: usize,
    pub(crate) short: &'a Shortfalls,
}

/// Builds everything that is wanted. Returns how many entries were made.
pub(crate) fn build(stage: &Stage, order: &Order<'_>) -> Result<u64> {
    let needed = folders(stage, order)?;
    contents(stage, order, &needed)?;
    the_rest(stage, order)
}

/// Calls `with` for every entry that is to be made, its folders before it.
fn each_wanted(order: &Order<'_>, mut with: impl FnMut(&IndexLine<'_>, Want) -> Result<()>) -> Result<()> {
    let mut wanted = Wanted::new(order.only, order.detail, order.source)?;
    let everything = wanted.everything();
    let mut index = Index::open(order.source, order.detail)?;
    // Folders on the way that nothing was wanted in so far.
    let mut way: Vec<Vec<u8>> = Vec::new();
    while let Some(line) = index.next()? {
        let want = wanted.want(line.path());
        if !everything {
            way.retain(|text| IndexLine::parse(text).is_ok_and(|dir| is_below(dir.path(), line.path())));
            if want == Want::No {
                if line.kind()? == Kind::Dir {
                    way.push(line.text().to_vec());
                }
                continue;
            }
            for text in std::mem::take(&mut way) {
                with(&IndexLine::parse(&text)?, Want::Partner)?;
            }
        }
        with(&line, want)?;
    }
    Ok(())
}

fn is_below(dir: &[u8], path: &[u8]) -> bool {
    dir == b"." || path.strip_prefix(dir).is_some_and(|rest| rest.first() == Some(&b'/'))
}

fn folders(stage: &Stage, order: &Order<'_>) -> Result<Needed> {
    let mut needed = no_members(order.detail)?;
    let mut bytes = 0;
    each_wanted(order, |line, _| {
        match line.kind()? {
            Kind::Dir => {
                let (dir, name) = stage.parent(line.path())?;
                match place::folder(&dir, &name, line.path()) {
                    // The top of a tree may be there already.
                    Err(_) if name == b"." => Ok(()),
                    other => other,
                }
            }
            Kind::File => {
                bytes += line.size()?;
                need(&mut needed, line)
            }
            _ => stage.tree_of(line.path()).map(drop),
        }
    })?;
    order.source.cx.report(Progress::Begin { phase: PHASE, total: bytes, unit: Unit::Bytes });
    Ok(needed)
}

fn contents(stage: &Stage, order: &Order<'_>, needed: &Needed) -> Result<()> {
    let mut jobs: Vec<_> =
        order.detail.segments.iter().filter(|s| needed.get(&s.name).is_some_and(|n| n.any())).collect();
    // The longest first: nobody waits for it alone at the end.
    jobs.sort_by_key(|s| std::cmp::Reverse(s.bytes));
    let queue = Mutex::new(VecDeque::from(jobs));
    let failure = Mutex::new(None::<Error>);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..order.jobs.min(order.detail.segments.len()) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(segment) = next else { return };
                    let worker = Worker { stage, order, stop: &stop, last: None };
                    if let Err(e) = worker.segment(&segment.object(), needed.get(&segment.name)) {
                        stop.store(true, Ordering::Relaxed);
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
                    }
                }
            });
        }
    });
    order.source.cx.report(Progress::End { phase: PHASE });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

struct Worker<'a> {
    stage: &'a Stage,
    order: &'a Order<'a>,
    stop: &'a AtomicBool,
    /// The folder that the last file was made in.
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl Worker<'_> {
    fn segment(mut self, object: &str, needed: Option<&super::selection::Bits>) -> Result<()> {
        let mut members = Members::new(self.order.source.open(object)?);
        let mut n = 0u32;
        while let Some(member) = members.next()? {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            if needed.is_some_and(|bits| bits.get(n)) {
                self.file(&member.entry, &member.pieces, &mut members)?;
            }
            n = n
                .checked_add(1)
                .ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("{object}: too many members")))?;
        }
        Ok(())
    }

    fn file(&mut self, entry: &Entry, pieces: &[(u64, u64)], members: &mut Members) -> Result<()> {
        if entry.kind != Kind::File || !veza_dr_backup::files::stays_below(&entry.path) {
            let text = format!("an archive holds {}, which no segment does", String::from_utf8_lossy(&entry.path));
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        let at = entry.path.iter().rposition(|b| *b == b'/').unwrap_or(0);
        let (folder, name) = (&entry.path[..at], &entry.path[at + usize::from(at > 0)..]);
        let is_top = self.stage.trees.iter().any(|(root, _)| root.member == entry.path);
        if is_top {
            let (dir, name) = self.stage.parent(&entry.path)?;
            return self.write(&dir, &name, entry, pieces, members);
        }
        if self.last.as_ref().is_none_or(|(last, _)| last != folder) {
            let (dir, _) = self.stage.parent(&entry.path)?;
            self.last = Some((folder.to_vec(), dir));
        }
        match &self.last {
            Some((_, dir)) => self.write(dir, name, entry, pieces, members),
            None => Ok(()),
        }
    }

    fn write(
        &self,
        dir: &OwnedFd,
        name: &[u8],
        entry: &Entry,
        pieces: &[(u64, u64)],
        members: &mut Members,
    ) -> Result<()> {
        let cx: &Cx = &self.order.source.cx;
        let fd = place::file(dir, name, &entry.path)?;
        for (at, len) in pieces {
            let mut done = 0;
            while done < *len {
                cx.check(PHASE)?;
                let mut data = members.data((len - done).min(PIECE))?;
                cx.report(Progress::Advance { phase: PHASE, by: data.len() as u64 });
                while !data.is_empty() {
                    match pwrite(&fd, &data, at + done) {
                        Ok(n) => {
                            done += n as u64;
                            data = data.split_off(n);
                        }
                        Err(Errno::INTR) => {}
                        Err(e) => return Err(failed("write", &entry.path, e)),
                    }
                }
            }
        }
        let written = pieces.iter().filter(|p| p.1 > 0).map(|p| p.0 + p.1).max().unwrap_or(0);
        if written < entry.size {
            ftruncate(&fd, entry.size).map_err(|e| failed("write", &entry.path, e))?;
        }
        place::finish(&fd, entry, self.order.short)
    }
}

/// Links, pipes, devices; and each folder's own description once all that is in it was made.
fn the_rest(stage: &Stage, order: &Order<'_>) -> Result<u64> {
    let mut open: Vec<Entry> = Vec::new();
    let mut made = 0;
    let close = |entry: &Entry| {
        let tree = stage.tree_of(&entry.path)?;
        let fd =
            tree.open(&entry.path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(|e| failed("open", &entry.path, e))?;
        place::finish(&fd, entry, order.short)
    };
    each_wanted(order, |line, _| {
        order.source.cx.check(PHASE)?;
        while let Some(dir) = open.pop_if(|dir| !is_below(&dir.path, line.path())) {
            close(&dir)?;
        }
        made += 1;
        let kind = line.kind()?;
        if kind == Kind::File {
            return Ok(());
        }
        let entry = line.entry()?;
        match kind {
            Kind::Dir => open.push(entry),
            Kind::Hardlink => {
                let (from, from_name) = stage.parent(&entry.link)?;
                let (to, to_name) = stage.parent(&entry.path)?;
                linkat(&from, &*from_name, &to, &*to_name, AtFlags::empty())
                    .map_err(|e| failed("link", &entry.path, e))?;
            }
            _ => {
                let (dir, name) = stage.parent(&entry.path)?;
                place::special(&dir, &name, &entry, order.short)?;
            }
        }
        Ok(())
    })?;
    while let Some(dir) = open.pop() {
        close(&dir)?;
    }
    Ok(made)
}
