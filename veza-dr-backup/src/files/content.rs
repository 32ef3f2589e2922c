//! Reads one file into a segment: whole, at one state, or not at all.

use std::{
    io,
    os::fd::OwnedFd,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::{
    buffer::spare_capacity,
    fs::{OFlags, SeekFrom, fstat, seek},
    io::{Errno, pread, read},
};
use veza_dr_core::{ErrorKind, Result};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::{
    entry::{Entry, Kind, Time},
    meta::{Meta, xattrs_of},
    problems::Why,
    segment::{Out, Shared},
    tar_header::{padding, sparse_map},
    walk::Tree,
};

/// A file up to this size is read whole before anything of it is written.
const SMALL: u64 = 1 << 20;
const PIECE: usize = 256 * 1024;
const SMALL_TRIES: u32 = 3;
const LARGE_TRIES: u32 = 2;
/// More pieces than this, and the holes are not worth keeping.
const PIECES: usize = 10_000;
/// A file changed so shortly before it was read may change again without its times telling: some file systems keep times
/// in steps of one or two seconds, and a server's clock may lag behind this machine's by as much.
const TOO_FRESH: Duration = Duration::from_secs(2);

/// What became of one attempt.
enum Attempt {
    Stored(Entry),
    /// It was not the same before and after; what was stored of it is not to be used.
    Changed(String),
    /// Named already.
    Failed,
}

/// Stores the content of `path`. `None` when it could not be, which is then named among the problems.
pub(crate) fn store(shared: &Shared, tree: &Tree, path: &[u8], out: &mut Out) -> Result<Option<Entry>> {
    let mut tries = 0;
    loop {
        tries += 1;
        shared.cx.check("read files")?;
        let (attempt, limit) = try_once(shared, tree, path, out, tries)?;
        match attempt {
            Attempt::Stored(entry) => return Ok(Some(entry)),
            Attempt::Failed => return Ok(None),
            Attempt::Changed(_) if tries < limit => {}
            Attempt::Changed(how) => {
                shared.problems.add(Why::Changed, path, how);
                return Ok(None);
            }
        }
    }
}

fn open(tree: &Tree, path: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    match tree.open(path, flags | OFlags::NOATIME) {
        // Only its owner may leave the time of the last read as it is.
        Err(e) if e.raw_os_error() == Some(Errno::PERM.raw_os_error()) => tree.open(path, flags),
        other => other,
    }
}

fn try_once(shared: &Shared, tree: &Tree, path: &[u8], out: &mut Out, tries: u32) -> Result<(Attempt, u32)> {
    let failed = |doing: &str, e: io::Error| {
        shared.problems.add_io(path, doing, &e);
        Ok((Attempt::Failed, 0))
    };
    let fd = match open(tree, path) {
        Ok(fd) => fd,
        Err(e) => return failed("open", e),
    };
    let before = match fstat(&fd) {
        Ok(stat) => Meta::of(&stat),
        Err(e) => return failed("look at", e.into()),
    };
    if before.kind != Kind::File {
        return Ok((Attempt::Changed(format!("became a {} while it was backed up", before.kind.as_str())), 0));
    }
    let xattrs = match xattrs_of(&fd) {
        Ok(xattrs) => xattrs,
        Err(e) => return failed("read attributes", e),
    };
    let mut entry = described(path, &before, Kind::File);
    entry.xattrs = xattrs;
    let pieces = if before.allocated + 4096 <= before.size { data_pieces(&fd, before.size) } else { None };
    if pieces.is_none() && before.size <= SMALL {
        return Ok((small(shared, &fd, &before, entry, out, tries == SMALL_TRIES)?, SMALL_TRIES));
    }
    Ok((large(shared, &fd, &before, entry, pieces.as_deref(), out)?, LARGE_TRIES))
}

/// An entry with everything that `stat` tells.
#[must_use]
pub fn described(path: &[u8], meta: &Meta, kind: Kind) -> Entry {
    let mut entry = Entry::new(path.to_vec(), kind);
    entry.identity = (if is_fresh(meta.ctime) { 0 } else { meta.ino }, meta.ctime);
    if kind == Kind::Hardlink {
        return entry;
    }
    (entry.mode, entry.uid, entry.gid, entry.mtime) = (meta.mode, meta.uid, meta.gid, meta.mtime);
    if kind == Kind::File {
        entry.size = meta.size;
    }
    if matches!(kind, Kind::CharDevice | Kind::BlockDevice) {
        entry.device = meta.device;
    }
    entry
}

/// The digest of an open file's content, from its beginning to its end, and how many bytes that is.
///
/// # Errors
/// Those of the system.
pub fn hash_file(fd: &OwnedFd) -> io::Result<(u128, u64)> {
    let mut hash = Xxh3::new();
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    loop {
        match pread(fd, &mut *buffer, at) {
            Ok(0) => return Ok((hash.digest128(), at)),
            Ok(n) => {
                hash.update(&buffer[..n]);
                at += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

fn is_fresh(ctime: Time) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let changed = Duration::new(u64::try_from(ctime.sec).unwrap_or(0), ctime.nsec);
    changed + TOO_FRESH > now
}

fn difference(before: &Meta, fd: &OwnedFd, read: u64) -> Result<Option<String>> {
    let after = match fstat(fd) {
        Ok(stat) => Meta::of(&stat),
        Err(e) => return Ok(Some(format!("could not be looked at again: {e}"))),
    };
    Ok(if read < before.size || after.size < before.size {
        Some(format!("shrank from {} bytes while it was read", before.size))
    } else if after.size > before.size {
        Some(format!("grew while it was read: its first {} bytes, as when it was opened", before.size))
    } else if after.mtime != before.mtime {
        Some("was written to while it was read".to_owned())
    } else if after.ctime != before.ctime {
        // Written to through a mapping or with its time put back, or given other rights: none can be told apart.
        Some("was changed while it was read".to_owned())
    } else {
        None
    })
}

fn small(shared: &Shared, fd: &OwnedFd, before: &Meta, mut entry: Entry, out: &mut Out, last: bool) -> Result<Attempt> {
    let size = usize::try_from(before.size).unwrap_or(usize::MAX);
    let mut content: Vec<u8> = Vec::with_capacity(size + 1);
    loop {
        match read(fd, spare_capacity(&mut content)) {
            Ok(0) => break,
            Ok(_) if content.len() > size => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => {
                shared.problems.add_io(&entry.path, "read", &e.into());
                return Ok(Attempt::Failed);
            }
        }
    }
    let changed = difference(before, fd, content.len() as u64)?;
    if let Some(how) = changed {
        if !(shared.config.allow_changed && last) {
            return Ok(Attempt::Changed(how));
        }
        shared.problems.add(Why::Changed, &entry.path, how);
    }
    content.truncate(size);
    entry.size = content.len() as u64;
    entry.digest = xxh3_128(&content);
    out.member(&entry, entry.size, false)?;
    out.push(&content)?;
    out.zeros(padding(entry.size))?;
    entry.segment = Some(out.place());
    Ok(Attempt::Stored(entry))
}

/// Where a file has data, with its end; `None` when it has no holes or too many.
fn data_pieces(fd: &OwnedFd, size: u64) -> Option<Vec<(u64, u64)>> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match seek(fd, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(_) => return None,
        };
        let end = seek(fd, SeekFrom::Hole(start)).ok()?.min(size);
        if start >= size || end <= start {
            break;
        }
        pieces.push((start, end - start));
        if pieces.len() > PIECES {
            return None;
        }
        at = end;
    }
    if pieces == [(0, size)] {
        return None;
    }
    // As tar does: the last piece says where the file ends.
    pieces.push((size, 0));
    Some(pieces)
}

fn large(
    shared: &Shared,
    fd: &OwnedFd,
    before: &Meta,
    mut entry: Entry,
    pieces: Option<&[(u64, u64)]>,
    out: &mut Out,
) -> Result<Attempt> {
    let map = pieces.map(sparse_map).unwrap_or_default();
    let whole = [(0, before.size)];
    let parts = pieces.unwrap_or(&whole);
    let stored = map.len() as u64 + parts.iter().map(|p| p.1).sum::<u64>();
    out.member(&entry, stored, pieces.is_some())?;
    out.push(&map)?;
    let mut hash = Xxh3::new();
    let mut hashed = 0;
    let mut missing = 0;
    let mut broken = None;
    for (at, len) in parts {
        zeros(&mut hash, at - hashed);
        let mut done = 0;
        while done < *len && broken.is_none() && missing == 0 {
            shared.cx.check("read files")?;
            let want = PIECE.min(usize::try_from(len - done).unwrap_or(PIECE));
            match out.fill(want, |buf| pread(fd, buf, at + done)) {
                Ok([]) => missing = len - done,
                Ok(got) => {
                    hash.update(got);
                    done += got.len() as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => broken = Some(e),
            }
            out.flush_if_full()?;
        }
        // The member is completed in any event: an archive must stay one.
        let left = len - done;
        out.long_zeros(left)?;
        hashed = at + len;
    }
    out.zeros(padding(stored))?;
    let place = out.place();
    if let Some(e) = broken {
        shared.problems.add_io(&entry.path, "read", &e);
        return Ok(Attempt::Failed);
    }
    if let Some(how) = difference(before, fd, before.size - missing)? {
        if missing > 0 || !shared.config.allow_changed {
            return Ok(Attempt::Changed(how));
        }
        shared.problems.add(Why::Changed, &entry.path, how);
    }
    entry.digest = hash.digest128();
    entry.segment = Some(place);
    Ok(Attempt::Stored(entry))
}

/// The digest of a file's content, taken piece by piece.
#[derive(Default)]
pub struct ContentHash {
    hash: Box<Xxh3>,
    at: u64,
}

impl std::fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContentHash").field("at", &self.at).finish_non_exhaustive()
    }
}

impl ContentHash {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.at += bytes.len() as u64;
    }

    /// Adds the zeros of a hole that ends at this offset.
    pub fn zeros_until(&mut self, end: u64) {
        zeros(&mut self.hash, end.saturating_sub(self.at));
        self.at = self.at.max(end);
    }

    /// The digest.
    #[must_use]
    pub fn digest(&self) -> u128 {
        self.hash.digest128()
    }
}

fn zeros(hash: &mut Xxh3, mut count: u64) {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    while count > 0 {
        let n = usize::try_from(count).unwrap_or(ZEROS.len()).min(ZEROS.len());
        hash.update(&ZEROS[..n]);
        count -= n as u64;
    }
}

/// What a failure of the reading side says when the cause lies with the storing side.
pub(crate) fn given_up() -> veza_dr_core::Error {
    veza_dr_core::Error::new(ErrorKind::Cancelled, "reading files: given up")
}
