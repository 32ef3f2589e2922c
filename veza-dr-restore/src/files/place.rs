//! Makes files below a folder and gives them what the index says, never through a link.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Mutex,
};

use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod, fchown,
        fsetxattr, futimens, lsetxattr, makedev, mkdirat, mknodat, openat, symlinkat, utimensat,
    },
    io::Errno,
};
use veza_dr_backup::files::{Entry, Kind, Time};
use veza_dr_core::{Error, ErrorKind, Result};

/// What could not be given back because only root can.
#[derive(Debug, Default)]
pub(crate) struct Shortfalls {
    state: Mutex<(u64, u64)>,
}

impl Shortfalls {
    pub(crate) fn owner(&self) {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0 += 1;
    }

    pub(crate) fn attribute(&self) {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner).1 += 1;
    }

    /// Owners, attributes.
    pub(crate) fn counts(&self) -> (u64, u64) {
        *self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Whether this process may give files away, make devices and set every attribute.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether an attribute can only be set by root.
pub(crate) fn is_privileged(name: &[u8]) -> bool {
    name.starts_with(b"security.") || name.starts_with(b"trusted.")
}

/// An error with the place that it happened at.
pub(crate) fn failed(doing: &str, path: &[u8], e: impl Into<io::Error>) -> Error {
    let e: io::Error = e.into();
    let kind = match e.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => ErrorKind::Full,
        Some(Errno::ACCESS | Errno::PERM) => ErrorKind::Denied,
        Some(Errno::LOOP | Errno::XDEV | Errno::EXIST | Errno::NOTDIR | Errno::NOENT) => ErrorKind::Conflict,
        Some(Errno::OPNOTSUPP) => ErrorKind::Unsupported,
        _ => ErrorKind::Unavailable,
    };
    let mut shown = Vec::new();
    veza_dr_backup::files::escape(path, &mut shown);
    Error::new(kind, format!("{doing} /{}", String::from_utf8_lossy(&shown))).with_source(e)
}

fn stamp(t: Time) -> Timespec {
    Timespec { tv_sec: t.sec, tv_nsec: t.nsec.into() }
}

fn stamps(t: Time) -> Timestamps {
    Timestamps { last_access: stamp(t), last_modification: stamp(t) }
}

/// Makes a folder that only its owner may enter until it is finished.
pub(crate) fn folder(dir: &OwnedFd, name: &[u8], path: &[u8]) -> Result<()> {
    mkdirat(dir, name, Mode::RWXU).map_err(|e| failed("make folder", path, e))
}

/// Opens a new file.
pub(crate) fn file(dir: &OwnedFd, name: &[u8], path: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::RUSR | Mode::WUSR).map_err(|e| failed("make file", path, e))
}

/// Gives an open file or folder its owner, attributes, mode and time, in the order in which none undoes another.
pub(crate) fn finish(fd: &OwnedFd, entry: &Entry, short: &Shortfalls) -> Result<()> {
    if is_root() || (entry.uid, entry.gid) != own() {
        match fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid))) {
            Ok(()) => {}
            Err(Errno::PERM) if !is_root() => short.owner(),
            Err(e) => return Err(failed("give an owner to", &entry.path, e)),
        }
    }
    for (name, value) in &entry.xattrs {
        attribute(fsetxattr(fd, &**name, value, XattrFlags::empty()), name, entry, short)?;
    }
    fchmod(fd, Mode::from_raw_mode(entry.mode)).map_err(|e| failed("set the mode of", &entry.path, e))?;
    futimens(fd, &stamps(entry.mtime)).map_err(|e| failed("set the time of", &entry.path, e))
}

fn own() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

fn attribute(done: rustix::io::Result<()>, name: &[u8], entry: &Entry, short: &Shortfalls) -> Result<()> {
    match done {
        Ok(()) => Ok(()),
        Err(Errno::PERM | Errno::ACCESS) if !is_root() && is_privileged(name) => {
            short.attribute();
            Ok(())
        }
        Err(e) => {
            let doing = format!("set the attribute {} of", String::from_utf8_lossy(name));
            Err(failed(&doing, &entry.path, e))
        }
    }
}

/// Makes what has no content, with everything it has: symbolic links, pipes, devices.
pub(crate) fn special(dir: &OwnedFd, name: &[u8], entry: &Entry, short: &Shortfalls) -> Result<()> {
    let mode = Mode::from_raw_mode(entry.mode);
    let device = makedev(entry.device.0, entry.device.1);
    let made = match entry.kind {
        Kind::Symlink => symlinkat(&*entry.link, dir, name),
        Kind::Fifo => mknodat(dir, name, FileType::Fifo, mode, 0),
        Kind::CharDevice => mknodat(dir, name, FileType::CharacterDevice, mode, device),
        Kind::BlockDevice => mknodat(dir, name, FileType::BlockDevice, mode, device),
        _ => return Err(failed("make a thing of its kind at", &entry.path, Errno::INVAL)),
    };
    made.map_err(|e| {
        let error = failed(&format!("make the {}", entry.kind.as_str()), &entry.path, e);
        if e == Errno::PERM {
            error.with_help("only root can make devices: restore as root, or leave them out with --path")
        } else {
            error
        }
    })?;
    if is_root() || (entry.uid, entry.gid) != own() {
        let owner = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
        match chownat(dir, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::PERM) if !is_root() => short.owner(),
            Err(e) => return Err(failed("give an owner to", &entry.path, e)),
        }
    }
    if !entry.xattrs.is_empty() {
        let mut path = format!("/proc/self/fd/{}/", dir.as_fd().as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        for (key, value) in &entry.xattrs {
            attribute(lsetxattr(&*path, &**key, value, XattrFlags::empty()), key, entry, short)?;
        }
    }
    if entry.kind != Kind::Symlink {
        // The umask had its say when it was made. Nobody else can reach into the folder: the name is what it was.
        rustix::fs::chmodat(dir, name, mode, AtFlags::empty())
            .map_err(|e| failed("set the mode of", &entry.path, e))?;
    }
    utimensat(dir, name, &stamps(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| failed("set the time of", &entry.path, e))
}
