//! What lies around a root: mounts, room, rights, and whether it is what a plan saw.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, AtFlags, CWD, accessat, statat, statvfs};
use veza_dr_backup::files::{ASIDE, Meta, Root, is_aside};

/// What is at a path; `None` when nothing is.
pub(crate) fn look(path: &Path) -> io::Result<Option<Meta>> {
    match statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(Meta::of(&stat))),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The mount points at or below a path.
///
/// # Errors
/// Those of reading the table of mounts: what is not known must not be taken for none.
pub(crate) fn mounts_in(path: &Path) -> io::Result<Vec<PathBuf>> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut found = Vec::new();
    for line in table.split(|b| *b == b'\n') {
        let Some(field) = line.split(|b| *b == b' ').nth(4) else { continue };
        let Some(point) = veza_dr_backup::files::unescape(field) else { continue };
        let point = PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&point));
        if point.starts_with(&real) {
            found.push(point);
        }
    }
    Ok(found)
}

/// Where the work folder of a root lies, and how the root is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// In the folder that the root is in: the root is replaced as a whole.
    Beside(PathBuf),
    /// In the root, which cannot be renamed: what is in it is replaced, one by one.
    Inside(PathBuf),
    /// Nowhere, and why.
    Blocked(String),
}

fn may_write(path: &Path) -> bool {
    accessat(CWD, path, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}

/// How a root can be replaced.
pub(crate) fn way(root: &Root) -> Way {
    let path = &root.path;
    let mounts = match mounts_in(path) {
        Ok(mounts) => mounts,
        Err(e) => {
            return Way::Blocked(format!(
                "what is mounted in {} cannot be told: /proc/self/mountinfo cannot be read: {e}",
                path.display()
            ));
        }
    };
    let itself = mounts.iter().any(|m| std::fs::canonicalize(path).is_ok_and(|real| real == *m));
    let below: Vec<String> = mounts
        .iter()
        .filter(|m| std::fs::canonicalize(path).is_ok_and(|real| real != **m))
        .map(|m| m.display().to_string())
        .collect();
    if !below.is_empty() {
        return Way::Blocked(format!(
            "other file systems are mounted in {}: {}: unmount them, or restore to another folder with --to",
            path.display(),
            below.join(", ")
        ));
    }
    let inside = || Way::Inside(path.join(ASIDE));
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return inside() };
    if itself {
        return inside();
    }
    if look(path).ok().flatten().is_some_and(|m| m.kind == veza_dr_backup::files::Kind::Symlink) {
        return Way::Blocked(format!("{} is a symbolic link: include what it points to", path.display()));
    }
    if !parent.is_dir() {
        return Way::Blocked(format!("the folder {} does not exist: create it, or use --to", parent.display()));
    }
    if may_write(parent) {
        let mut aside = std::ffi::OsString::from(".");
        aside.push(name);
        aside.push(ASIDE);
        return Way::Beside(parent.join(aside));
    }
    if path.is_dir() && may_write(path) {
        return inside();
    }
    Way::Blocked(format!("{} may not be written to by this user: restore as its owner, or use --to", parent.display()))
}

/// Both places where a root's work folder may lie.
pub(crate) fn asides(root: &Root) -> Vec<PathBuf> {
    let mut places = vec![root.path.join(ASIDE)];
    if let (Some(parent), Some(name)) = (root.path.parent(), root.path.file_name()) {
        let mut aside = std::ffi::OsString::from(".");
        aside.push(name);
        aside.push(ASIDE);
        places.insert(0, parent.join(aside));
    }
    places
}

/// Bytes that are free where `path` is, or will be.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let there = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    let stat = statvfs(there)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// A mark of what the roots are: they themselves, and what is directly in them. What grows within is not part of it,
/// or no log could ever be restored while its service runs.
pub(crate) fn fingerprint(roots: &[Root]) -> io::Result<String> {
    let mut hash = DefaultHasher::new();
    for root in roots {
        root.member.hash(&mut hash);
        let Some(top) = look(&root.path)? else {
            "absent".hash(&mut hash);
            continue;
        };
        (top.ino, top.mode, top.uid, top.gid, top.kind.letter()).hash(&mut hash);
        let mut names = Vec::new();
        if top.kind == veza_dr_backup::files::Kind::Dir {
            for entry in std::fs::read_dir(&root.path)? {
                let entry = entry?;
                let name = entry.file_name();
                if !is_aside(name.as_encoded_bytes()) {
                    names.push((name, std::os::unix::fs::DirEntryExt::ino(&entry)));
                }
            }
        }
        names.sort();
        names.hash(&mut hash);
    }
    Ok(format!("{:016x}", hash.finish()))
}
