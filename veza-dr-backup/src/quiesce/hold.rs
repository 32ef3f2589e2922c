//! Locks between processes that end with their holder, however it ends.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};
use veza_dr_core::{Cx, Error, ErrorKind, Result};

const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A held lock. The kernel releases it when the process ends.
#[derive(Debug)]
pub(super) struct Hold {
    path: PathBuf,
    // Open means held.
    _file: File,
}

impl Hold {
    /// Takes the lock if it is free.
    pub(super) fn try_take(path: &Path) -> Result<Option<Self>> {
        let failed = |e: io::Error| {
            Error::new(ErrorKind::Unexpected, format!("the lock {} cannot be taken", path.display())).with_source(e)
        };
        loop {
            let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
            let file = file.map_err(failed)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(e) => return Err(failed(e.into())),
            }
            // Whoever held it before may have removed the file after it was opened here: then this is no lock at all.
            let ours = file.metadata().map_err(failed)?;
            match std::fs::metadata(path) {
                Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {
                    return Ok(Some(Self { path: path.to_owned(), _file: file }));
                }
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(failed(e)),
            }
        }
    }

    /// Waits for the lock.
    pub(super) async fn take(cx: &Cx, path: &Path) -> Result<Self> {
        cx.run("wait for another backup that rests the same service", async {
            loop {
                if let Some(hold) = Self::try_take(path)? {
                    return Ok(hold);
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        })
        .await
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // While it is still held. One that stays behind is empty and taken again.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_holds_it_and_the_next_gets_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let first = Hold::try_take(&path).unwrap().unwrap();
        assert!(Hold::try_take(&path).unwrap().is_none());
        let (waiting, cx) = (path.clone(), Cx::background());
        let second = tokio::spawn(async move { Hold::take(&cx, &waiting).await });
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(first);
        let second = second.await.unwrap().unwrap();
        assert!(Hold::try_take(&path).unwrap().is_none(), "the file that was removed is not taken for the lock");
        drop(second);
        assert!(!path.exists());
    }
}
