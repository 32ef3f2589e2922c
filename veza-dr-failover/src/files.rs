//! Files that processes of this host share.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::{FlockOperation, flock};
use veza_dr_core::{Error, ErrorKind, Result};

/// A lock that ends with the process at the latest.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not read")] File);

impl Lock {
    /// Waits until it is free.
    pub(crate) fn wait(path: &Path) -> Result<Self> {
        Self::take(path, FlockOperation::LockExclusive)?
            .ok_or_else(|| Error::new(ErrorKind::Unexpected, "a lock that was waited for is not there"))
    }

    /// `None`: another holds it.
    pub(crate) fn attempt(path: &Path) -> Result<Option<Self>> {
        Self::take(path, FlockOperation::NonBlockingLockExclusive)
    }

    fn take(path: &Path, how: FlockOperation) -> Result<Option<Self>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
        let file = file.map_err(|e| cannot("opened", path, e))?;
        match flock(&file, how) {
            Ok(()) => Ok(Some(Self(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(cannot("locked", path, e.into())),
        }
    }
}

pub(crate) fn cannot(what: &str, path: &Path, e: std::io::Error) -> Error {
    let kind = match e.kind() {
        std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        std::io::ErrorKind::StorageFull => ErrorKind::Full,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{} cannot be {what}", path.display())).with_source(e)
}
