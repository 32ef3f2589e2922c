//! Walks a tree in the order of the index, one folder's names in memory at a time for each level.

use std::{
    collections::HashMap,
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, openat, statat};
use veza_dr_core::Result;

use super::{
    beneath,
    entry::Kind,
    meta::Meta,
    roots::{Patterns, Root, is_aside},
};

/// Folders this far up the way are closed meanwhile, so that depth costs no file descriptors.
const OPEN_LEVELS: usize = 32;
/// How many names are looked at in one go.
const CHUNK: usize = 1024;
const LARGE_CHUNK: usize = 8192;

/// Something that the walk came by.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its member path.
    pub path: Vec<u8>,
    /// What it is.
    pub meta: Meta,
    /// The path at which the same file was found before, for another name of it.
    pub first: Option<Vec<u8>>,
}

/// Takes what a walk comes by.
pub trait Seen {
    /// Takes the next entry, in order.
    ///
    /// # Errors
    /// Any; ends the walk.
    fn found(&mut self, tree: &Tree, found: Found) -> Result<()>;
    /// Something could not be looked at.
    ///
    /// # Errors
    /// Any; ends the walk.
    fn unreadable(&mut self, path: &[u8], doing: &str, error: &io::Error) -> Result<()>;
    /// Something is passed over.
    fn passed_over(&mut self, path: &[u8], why: &str);
    /// Something is left out by a pattern.
    fn excluded(&mut self, path: &[u8]);
    /// Another file system begins here.
    fn mount(&mut self, path: &[u8]);
}

/// One tree on disk: its top lies as `name` in the folder `base`, and is `member` in the index.
#[derive(Debug)]
pub struct Tree {
    base: OwnedFd,
    name: Vec<u8>,
    member: Vec<u8>,
}

impl Tree {
    /// The tree of a root, where it is. Symbolic links on the way to the root's folder are followed, the root itself
    /// is not.
    ///
    /// # Errors
    /// Those of the system.
    pub fn of_root(root: &Root) -> io::Result<Self> {
        match (root.path.parent(), root.path.file_name()) {
            (Some(parent), Some(name)) => {
                Self::at(parent, std::os::unix::ffi::OsStrExt::as_bytes(name), root.member.clone())
            }
            _ => Self::at(&root.path, b".", root.member.clone()),
        }
    }

    /// The tree of `member` that lies as `name` in the folder `base`.
    ///
    /// # Errors
    /// Those of the system.
    pub fn at(base: &Path, name: &[u8], member: Vec<u8>) -> io::Result<Self> {
        let base = openat(CWD, base, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { base, name: name.to_vec(), member })
    }

    /// Opens a member of this tree, never through a link.
    ///
    /// # Errors
    /// Those of [`beneath::open`].
    pub fn open(&self, member: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        beneath::open(&self.base, &self.relative(member), flags, Mode::empty())
    }

    /// Opens the folder that a member is in, and gives the member's name in it.
    ///
    /// # Errors
    /// Those of [`beneath::open`].
    pub fn parent(&self, member: &[u8]) -> io::Result<(OwnedFd, Vec<u8>)> {
        let relative = self.relative(member);
        let (dir, name) = beneath::parent(&self.base, &relative)?;
        Ok((dir, name.to_vec()))
    }

    /// The path below the tree's folder.
    fn relative(&self, member: &[u8]) -> Vec<u8> {
        let rest = if self.member == b"." {
            if member == b"." { &[][..] } else { member }
        } else {
            member.get(self.member.len() + 1..).unwrap_or_default()
        };
        match (&*self.name, rest) {
            (name, []) => name.to_vec(),
            (b".", rest) => rest.to_vec(),
            (name, rest) => [name, b"/", rest].concat(),
        }
    }
}

/// A walk over one tree.
#[derive(Debug)]
pub struct Walk<'a> {
    tree: &'a Tree,
    excludes: Option<&'a Patterns>,
    one_file_system: bool,
    threads: usize,
    links: HashMap<(u64, u64), (Vec<u8>, u64)>,
}

/// Names of one folder, in one piece of memory.
#[derive(Debug, Default)]
struct Names {
    bytes: Vec<u8>,
    spans: Vec<(u32, u16)>,
}

impl Names {
    fn get(&self, i: usize) -> &[u8] {
        let (at, len) = self.spans[i];
        &self.bytes[at as usize..at as usize + usize::from(len)]
    }

    fn read(dir: &OwnedFd, buffer: &mut Vec<MaybeUninit<u8>>) -> io::Result<Self> {
        buffer.resize(64 * 1024, MaybeUninit::uninit());
        let mut names = Self::default();
        let mut entries = RawDir::new(dir, buffer.as_mut_slice());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let at = u32::try_from(names.bytes.len()).map_err(|_| io::Error::other("more names than fit in memory"))?;
            names.spans.push((at, name.len().min(usize::from(u16::MAX)) as u16));
            names.bytes.extend_from_slice(name);
        }
        let bytes = &names.bytes;
        let name = |(at, len): &(u32, u16)| &bytes[*at as usize..*at as usize + usize::from(*len)];
        names.spans.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        // A folder that changes while it is listed may give a name twice; the index has each path once.
        names.spans.dedup_by(|a, b| name(a) == name(b));
        names.spans.shrink_to_fit();
        Ok(names)
    }
}

struct Level {
    path: Vec<u8>,
    dev: u64,
    fd: Option<OwnedFd>,
    names: Names,
    next: usize,
    /// What was found out about the names before `next + metas.len()`, last first.
    metas: Vec<rustix::io::Result<Meta>>,
}

impl<'a> Walk<'a> {
    /// A walk over everything.
    #[must_use]
    pub fn new(tree: &'a Tree) -> Self {
        Self { tree, excludes: None, one_file_system: false, threads: 1, links: HashMap::new() }
    }

    /// Leaving these out, and staying on one file system where asked for.
    #[must_use]
    pub fn with(mut self, excludes: &'a Patterns, one_file_system: bool) -> Self {
        (self.excludes, self.one_file_system) = (Some(excludes), one_file_system);
        self
    }

    /// Looks at the names of large folders with this many threads.
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Walks. The tree's top comes first.
    ///
    /// # Errors
    /// Those of `seen`.
    pub fn run(mut self, seen: &mut impl Seen) -> Result<()> {
        let mut stack: Vec<Level> = Vec::new();
        let mut buffer = Vec::new();
        let top = self.tree.member.clone();
        let looked = self.tree.parent(&top).and_then(|(dir, name)| look(&dir, &name).map_err(Into::into));
        match looked {
            Ok(meta) => self.take(top, meta, meta.dev, &mut stack, &mut buffer, seen)?,
            Err(e) => return seen.unreadable(&top, "look at", &e),
        }
        while let Some(level) = stack.last_mut() {
            if level.next == level.names.spans.len() {
                stack.pop();
                continue;
            }
            if level.metas.is_empty()
                && let Err(e) = self.look_ahead(level)
            {
                let path = level.path.clone();
                stack.pop();
                seen.unreadable(&path, "open", &e)?;
                continue;
            }
            let name = level.names.get(level.next);
            level.next += 1;
            let path = if level.path == b"." { name.to_vec() } else { [&level.path, &b"/"[..], name].concat() };
            let aside = is_aside(name);
            let dev = level.dev;
            let looked = level.metas.pop();
            if aside {
                seen.passed_over(&path, "what a restore works on or keeps");
            } else if self.excludes.is_some_and(|e| e.matches(&path)) {
                seen.excluded(&path);
            } else {
                match looked {
                    Some(Ok(meta)) => self.take(path, meta, dev, &mut stack, &mut buffer, seen)?,
                    // Gone between the listing and this look: it was never there.
                    Some(Err(rustix::io::Errno::NOENT)) | None => {}
                    Some(Err(e)) => seen.unreadable(&path, "look at", &e.into())?,
                }
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        path: Vec<u8>,
        meta: Meta,
        parent_dev: u64,
        stack: &mut Vec<Level>,
        buffer: &mut Vec<MaybeUninit<u8>>,
        seen: &mut impl Seen,
    ) -> Result<()> {
        if meta.kind == Kind::Socket {
            seen.passed_over(&path, "a socket: its service makes it anew");
            return Ok(());
        }
        let first = self.first_name(&path, &meta);
        let dir = (meta.kind == Kind::Dir).then(|| path.clone());
        seen.found(self.tree, Found { path, meta, first })?;
        let Some(path) = dir else { return Ok(()) };
        if meta.dev != parent_dev {
            seen.mount(&path);
            if self.one_file_system {
                seen.passed_over(&path, "a mount point: what is on it is not backed up (one_file_system)");
                return Ok(());
            }
        }
        let opened = self.open_dir(&path).and_then(|fd| Ok((Names::read(&fd, buffer)?, fd)));
        match opened {
            Ok((names, fd)) => {
                stack.push(Level { path, dev: meta.dev, fd: Some(fd), names, next: 0, metas: Vec::new() });
                if let Some(far) = stack.len().checked_sub(OPEN_LEVELS + 1) {
                    stack[far].fd = None;
                }
                Ok(())
            }
            Err(e) => seen.unreadable(&path, "list", &e),
        }
    }

    fn open_dir(&self, path: &[u8]) -> io::Result<OwnedFd> {
        self.tree.open(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// Where the same file was met before, if it was.
    fn first_name(&mut self, path: &[u8], meta: &Meta) -> Option<Vec<u8>> {
        if meta.kind != Kind::File || meta.links < 2 {
            return None;
        }
        let key = (meta.dev, meta.ino);
        match self.links.get_mut(&key) {
            Some((first, left)) => {
                let first = first.clone();
                *left = left.saturating_sub(1);
                if *left == 0 {
                    self.links.remove(&key);
                }
                Some(first)
            }
            None => {
                self.links.insert(key, (path.to_vec(), meta.links - 1));
                None
            }
        }
    }

    fn look_ahead(&self, level: &mut Level) -> io::Result<()> {
        if level.fd.is_none() {
            level.fd = Some(self.open_dir(&level.path)?);
        }
        let Some(fd) = &level.fd else { return Ok(()) };
        let left = level.names.spans.len() - level.next;
        let names = &level.names;
        if self.threads > 1 && left >= LARGE_CHUNK {
            let per = LARGE_CHUNK.div_ceil(self.threads);
            let start = level.next;
            let parts: Vec<Vec<_>> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..self.threads)
                    .map(|t| {
                        let range = start + (t * per).min(LARGE_CHUNK)..start + ((t + 1) * per).min(LARGE_CHUNK);
                        scope.spawn(move || range.map(|i| look(fd, names.get(i))).collect())
                    })
                    .collect();
                threads.into_iter().map(|t| t.join().unwrap_or_default()).collect()
            });
            level.metas = parts.into_iter().flatten().collect();
            if level.metas.len() != LARGE_CHUNK {
                return Err(io::Error::other("a thread that looks at files died"));
            }
        } else {
            let chunk = left.min(CHUNK);
            level.metas.extend((level.next..level.next + chunk).map(|i| look(fd, names.get(i))));
        }
        level.metas.reverse();
        Ok(())
    }
}

fn look(dir: impl AsFd, name: &[u8]) -> rustix::io::Result<Meta> {
    statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map(|s| Meta::of(&s))
}
