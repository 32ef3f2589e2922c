//! What an errno of a file operation means for a backup.

use std::io;

use rustix::io::Errno;
use veza_dr_core::{Error, ErrorKind};

/// Classifies the failure of `what`, a fragment that names the operation and its object.
pub(super) fn io_error(e: io::Error, what: impl Into<String>) -> Error {
    let what = what.into();
    let (kind, help) = match Errno::from_io_error(&e) {
        Some(Errno::NOSPC | Errno::DQUOT) => {
            (ErrorKind::Full, Some("free some room there, or apply retention: veza-dr prune"))
        }
        Some(Errno::FBIG) => (ErrorKind::Full, Some("the file system or the process limit forbids a file this large")),
        Some(Errno::ROFS) => (ErrorKind::Denied, Some("the file system is mounted read-only")),
        Some(Errno::ACCESS | Errno::PERM) => {
            (ErrorKind::Denied, Some("give the user that runs this read and write permission there"))
        }
        Some(Errno::NOENT) => (ErrorKind::NotFound, None),
        Some(Errno::EXIST) => (ErrorKind::Conflict, None),
        Some(Errno::ISDIR | Errno::NOTDIR) => {
            (ErrorKind::Conflict, Some("an object and a group of objects cannot share a name in a directory"))
        }
        Some(Errno::NAMETOOLONG) => (ErrorKind::Config, Some("the file system allows no name this long")),
        Some(Errno::XDEV) => (
            ErrorKind::Unsupported,
            Some("a folder below the store is another file system; make each file system a store of its own"),
        ),
        Some(Errno::MFILE | Errno::NFILE) => (ErrorKind::Unavailable, Some("raise the limit of open files: ulimit -n")),
        Some(
            Errno::IO | Errno::STALE | Errno::TIMEDOUT | Errno::NOTCONN | Errno::HOSTDOWN | Errno::NODEV | Errno::NXIO,
        ) => (ErrorKind::Unavailable, Some("look for disk or mount errors in the kernel's log")),
        Some(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) => {
            (ErrorKind::Unsupported, Some("put the store on a local file system"))
        }
        _ => (ErrorKind::Unexpected, None),
    };
    let error = Error::new(kind, what).with_source(e);
    match help {
        Some(help) => error.with_help(help),
        None => error,
    }
}

/// True for a path that has nothing under it: absent, or below something that is a file.
pub(super) fn is_absent(e: &io::Error) -> bool {
    matches!(Errno::from_io_error(e), Some(Errno::NOENT | Errno::NOTDIR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_forbidden_one_are_told_apart() {
        let of = |errno: Errno| io_error(errno.into(), "write x").kind();
        assert_eq!(of(Errno::NOSPC), ErrorKind::Full);
        assert_eq!(of(Errno::DQUOT), ErrorKind::Full);
        assert_eq!(of(Errno::ACCESS), ErrorKind::Denied);
        assert_eq!(of(Errno::ROFS), ErrorKind::Denied);
        assert_eq!(of(Errno::IO), ErrorKind::Unavailable);
        assert!(io_error(Errno::NOSPC.into(), "write x").help().is_some());
    }
}
