//! Opens what lies below a folder, without ever following a symbolic link or leaving it.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags, openat, openat2},
    io::Errno,
};

/// Longest path handed to the kernel in one piece.
const PIECE: usize = 3900;

/// Opens `path` below `base`; `.` is `base` itself.
///
/// # Errors
/// Those of the system: `ELOOP` for a symbolic link on the way or at the end (at the end, `O_PATH | O_NOFOLLOW` opens
/// the link itself), `EXDEV` for a path that leaves `base`.
pub fn open(base: impl AsFd, path: &[u8], flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let mut holder: Option<OwnedFd> = None;
    let mut rest = path;
    while rest.len() > PIECE {
        let cut = rest[..PIECE].iter().rposition(|b| *b == b'/').ok_or(Errno::NAMETOOLONG)?;
        let at = holder.as_ref().map_or(base.as_fd(), AsFd::as_fd);
        holder = Some(one(at, &rest[..cut], OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?);
        rest = &rest[cut + 1..];
    }
    one(holder.as_ref().map_or(base.as_fd(), AsFd::as_fd), rest, flags, mode)
}

fn one(at: BorrowedFd<'_>, path: &[u8], flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    loop {
        match openat2(at, path, flags, mode, resolve) {
            Ok(fd) => return Ok(fd),
            // Kernels before 5.6.
            Err(Errno::NOSYS) => return step_by_step(at, path, flags, mode),
            // Sandboxes that do not know the call; with NOATIME it may also be said of another's file.
            Err(Errno::PERM) if !flags.contains(OFlags::NOATIME) => return step_by_step(at, path, flags, mode),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// One part after the other, none of them a link.
fn step_by_step(at: BorrowedFd<'_>, path: &[u8], flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let mut holder: Option<OwnedFd> = None;
    let mut parts = path.split(|b| *b == b'/').peekable();
    while let Some(part) = parts.next() {
        if part.is_empty() || part == b".." {
            return Err(Errno::XDEV.into());
        }
        let here = holder.as_ref().map_or(at, AsFd::as_fd);
        if parts.peek().is_none() {
            return Ok(openat(here, part, flags, mode)?);
        }
        let way = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        holder = Some(openat(here, part, way, Mode::empty())?);
    }
    Err(Errno::NOENT.into())
}

/// Opens the folder that `path` lies in, below `base`, and gives the last part of `path`.
///
/// # Errors
/// As [`open`].
pub fn parent(base: impl AsFd, path: &[u8]) -> io::Result<(OwnedFd, &[u8])> {
    let (dir, name) = match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&b"."[..], path),
    };
    Ok((open(base, dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_climbing_are_refused_and_long_paths_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("near")).unwrap();
        let base = std::fs::File::open(dir.path()).unwrap();
        let read = |p: &str| open(&base, p.as_bytes(), OFlags::RDONLY, Mode::empty());
        assert!(read("real").is_ok() && read(".").is_ok());
        for bad in ["link/secret", "near/.", "link", "../x", "real/../../x", "/etc/passwd"] {
            assert!(read(bad).is_err(), "{bad}");
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
            let slowly = step_by_step(base.as_fd(), bad.as_bytes(), flags, Mode::empty());
            assert!(slowly.is_err(), "{bad}, step by step");
        }
        // Deeper than a path may be long.
        let mut path = b"real".to_vec();
        for _ in 0..60 {
            path.push(b'/');
            path.extend([b'd'; 100]);
            let (at, name) = parent(&base, &path).unwrap();
            rustix::fs::mkdirat(&at, name, Mode::RWXU).unwrap();
        }
        assert!(path.len() > 4096 && open(&base, &path, OFlags::RDONLY, Mode::empty()).is_ok());
    }
}
