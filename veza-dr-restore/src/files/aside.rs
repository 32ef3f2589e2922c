//! The work folders of restores: made beside a root, found again, locked, swept.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::fd::OwnedFd,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, flock, fstat, openat, removexattr, statat},
    io::Errno,
};
use veza_dr_backup::files::{Root, stays_below, unescape};
use veza_dr_core::{BackupId, Clock, Error, ErrorKind, Result, SystemClock};

use super::{
    journal::{Journal, failed},
    surroundings::{asides, mounts_in},
};

/// Makes a folder for our own eyes. What the folder around it would have given to what is made in it is taken off.
pub(crate) fn make(path: &Path) -> Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            open_own(path)?;
        }
        Err(e) => return Err(failed("make", path, e)),
    }
    for name in ["system.posix_acl_default", "system.posix_acl_access"] {
        // Most have none.
        let _ = removexattr(path, name);
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).map_err(|e| failed("protect", path, e))
}

/// Opens a work folder: only a real one, of this very user, that nobody else may enter. Whoever may write to a live tree
/// could otherwise plant one and have this process rename and delete what the planter may not. `None` when there is none.
pub(crate) fn open_own(path: &Path) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match openat(CWD, path, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        // A link, a file; or the root itself is a file and has nothing in it.
        Err(e @ (Errno::NOTDIR | Errno::LOOP)) => {
            return match std::fs::symlink_metadata(path) {
                Ok(_) => Err(foreign(path, "is no folder")),
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
                Err(_) => Err(failed("open", path, e.into())),
            };
        }
        Err(e) => return Err(failed("open", path, e.into())),
    };
    let stat = fstat(&fd).map_err(|e| failed("look at", path, e.into()))?;
    let me = rustix::process::geteuid().as_raw();
    if stat.st_uid != me {
        return Err(foreign(path, &format!("belongs to user {}, this is user {me}", stat.st_uid)));
    }
    if stat.st_mode & 0o077 != 0 {
        return Err(foreign(path, &format!("has mode {:04o}, others may enter it", stat.st_mode & 0o7777)));
    }
    Ok(Some(fd))
}

fn foreign(path: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("{} is no work folder of a restore: it {why}", path.display()))
        .with_help("look at what it is and move it away, or run as the user whose restore made it")
}

/// A name for the folder of one restore.
pub(crate) fn generation(backup: &BackupId) -> String {
    format!("{backup}-{}", SystemClock.now().format("%Y%m%dT%H%M%S%3f"))
}

/// Whether a name is one that [`generation`] gives: nothing else in a work folder is ever touched.
fn is_generation(name: &[u8]) -> bool {
    let Some((id, at)) = std::str::from_utf8(name).ok().and_then(|name| name.rsplit_once('-')) else { return false };
    let stamp = |(i, c): (usize, u8)| if i == 8 { c == b'T' } else { c.is_ascii_digit() };
    at.len() == 18 && at.bytes().enumerate().all(stamp) && id.parse::<BackupId>().is_ok()
}

/// A lock on a work folder; ends with the process.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
    folder: PathBuf,
}

impl Lock {
    /// Makes the folder where needed and locks it.
    pub(crate) fn take(folder: &Path) -> Result<Self> {
        make(folder)?;
        let file = File::open(folder).map_err(|e| failed("open", folder, e))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            Error::new(
                ErrorKind::Conflict,
                format!("another restore, rollback or release works in {}", folder.display()),
            )
            .with_help("wait for it to end")
        })?;
        Ok(Self { _file: file, folder: folder.to_owned() })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Only an empty one goes.
        let _ = std::fs::remove_dir(&self.folder);
    }
}

/// Every swap that left something, oldest first; of several copies of a journal the newest.
///
/// # Errors
/// `Conflict` for a work folder that is not this user's own, and for a journal that reaches beyond `roots`.
pub(crate) fn journals(roots: &[Root]) -> Result<Vec<Journal>> {
    let mut found: BTreeMap<(chrono::DateTime<chrono::Utc>, String), Journal> = BTreeMap::new();
    for (folder, journal) in read_all(roots)? {
        believe(&journal, &folder, roots)?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let key = (journal.since, name);
        if found.get(&key).is_none_or(|known| known.sequence < journal.sequence) {
            found.insert(key, journal);
        }
    }
    Ok(found.into_values().collect())
}

fn read_all(roots: &[Root]) -> Result<Vec<(PathBuf, Journal)>> {
    let mut found = Vec::new();
    for folder in generations(roots)? {
        if let Some(journal) = Journal::read(&folder)? {
            found.push((folder, journal));
        }
    }
    Ok(found)
}

/// A journal may only speak of its own folders and of what lies in the roots.
fn believe(journal: &Journal, folder: &Path, roots: &[Root]) -> Result<()> {
    let refuse = |why: String| {
        let text = format!("the journal in {} {why}", folder.display());
        Err(Error::new(ErrorKind::Conflict, text)
            .with_help("include every path that the restore replaced, or move that folder away if no restore made it"))
    };
    let path =
        |escaped: &str| unescape(escaped.as_bytes()).map(std::borrow::Cow::into_owned).filter(|m| stays_below(m));
    let name = folder.file_name().unwrap_or_default();
    let mut places = Vec::new();
    for place in &journal.places {
        let Some(member) = path(&place.member).filter(|m| roots.iter().any(|r| r.below(m).is_some())) else {
            return refuse(format!("names /{}, which is not among the included paths", place.member));
        };
        let root = Root::of_member(member);
        let Some(aside) = asides(&root).into_iter().find(|aside| place.folder == aside.join(name)) else {
            return refuse(format!("names the folder {}, which is not one of its own", place.folder.display()));
        };
        open_own(&aside)?;
        places.push(root);
    }
    for exchange in &journal.exchanges {
        let root = places.get(exchange.root);
        let inside = path(&exchange.member).zip(root).is_some_and(|(member, root)| root.below(&member).is_some());
        if !inside {
            return refuse(format!("names /{}, which is not in what it replaces", exchange.member));
        }
    }
    Ok(())
}

/// Every folder of a swap, finished or not.
pub(crate) fn generations(roots: &[Root]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for aside in roots.iter().flat_map(asides) {
        let Some(fd) = open_own(&aside)? else { continue };
        let list = |e: Errno| failed("list", &aside, e.into());
        for entry in Dir::read_from(&fd).map_err(list)? {
            let entry = entry.map_err(list)?;
            let name = entry.file_name();
            if !is_generation(name.to_bytes()) {
                continue;
            }
            let stat = statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(list)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                found.push(aside.join(std::ffi::OsStr::from_bytes(name.to_bytes())));
            }
        }
    }
    Ok(found)
}

/// Removes what restores that never came to their swap left. Returns what was removed.
pub(crate) fn sweep(roots: &[Root]) -> Result<Vec<PathBuf>> {
    let read = read_all(roots)?;
    let mut known: Vec<PathBuf> = read.iter().flat_map(|(_, j)| &j.places).map(|p| p.folder.clone()).collect();
    known.extend(read.into_iter().map(|(folder, _)| folder));
    let mut swept = Vec::new();
    for folder in generations(roots)? {
        if !known.contains(&folder) {
            without_mounts(&folder)?;
            remove(&folder)?;
            swept.push(folder);
        }
    }
    Ok(swept)
}

/// Refuses to remove a folder that something is mounted in: what is mounted there is not ours.
pub(crate) fn without_mounts(folder: &Path) -> Result<()> {
    let mounts = mounts_in(folder).map_err(|e| failed("read the table of mounts for", folder, e))?;
    if mounts.is_empty() {
        return Ok(());
    }
    let mounts = mounts.iter().map(|m| m.display().to_string()).collect::<Vec<_>>().join(", ");
    let text = format!("{} is not removed: file systems are mounted in it: {mounts}", folder.display());
    Err(Error::new(ErrorKind::Conflict, text).with_help("unmount them, then run this again"))
}

/// Removes a folder with all that is in it, also what its modes forbid.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
        Err(e) => return Err(failed("remove", folder, e)),
    }
    let mut open = vec![folder.to_owned()];
    while let Some(dir) = open.pop() {
        // What this cannot open, the second attempt names.
        let _ = std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700));
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                open.push(entry.path());
            }
        }
    }
    std::fs::remove_dir_all(folder).map_err(|e| failed("remove", folder, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_restore_gives_are_its_folders() {
        let made = generation(&BackupId::new(&SystemClock));
        assert!(is_generation(made.as_bytes()), "{made}");
        for other in ["x", "tree", "20261101T000000Z-000000", ".ssh", "20261101T000000Z-000000-20261101T00000000x", "-"]
        {
            assert!(!is_generation(other.as_bytes()), "{other}");
        }
    }
}
