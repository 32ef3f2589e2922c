//! Files that are not objects yet: hidden, locked by their writer while it lives, gone when it is dropped.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};

/// Where temporary files live below the root; no object key can begin with a dot.
pub(super) const TEMP_DIR: &str = ".tmp";
const SUFFIX: &str = ".part";

/// An unpublished file. Dropping it removes it.
#[derive(Debug)]
pub(super) struct TempFile {
    file: File,
    path: PathBuf,
    owned: bool,
}

impl TempFile {
    /// A fresh, empty file, locked so that no sweep takes it while this process lives.
    pub(super) fn create(root: &Path) -> io::Result<Self> {
        let dir = root.join(TEMP_DIR);
        loop {
            let path = dir.join(format!("{:016x}{SUFFIX}", rand::random::<u64>()));
            let opened = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
            let file = match opened {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
                    continue;
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(e),
            };
            let temp = Self { file, path, owned: true };
            // Where locks are not supported, a sweep has the file's age alone to go by.
            if temp.file.lock().is_ok() && temp.file.metadata()?.nlink() == 0 {
                // A sweep came between creation and lock.
                continue;
            }
            return Ok(temp);
        }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Says that the path is no longer a temporary file: it was renamed.
    pub(super) fn published(mut self) -> io::Result<File> {
        self.owned = false;
        self.file.try_clone()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if self.owned {
            // What cannot be removed now is what a sweep is for.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Removes temporary files last written before `before` whose writer is gone. Returns how many.
pub(super) fn sweep(root: &Path, before: DateTime<Utc>) -> io::Result<u64> {
    let entries = match std::fs::read_dir(root.join(TEMP_DIR)) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(e),
    };
    let mut swept = 0;
    for entry in entries {
        let path = entry?.path();
        if path.to_str().is_some_and(|p| p.ends_with(SUFFIX)) && sweep_one(&path, before)? {
            swept += 1;
        }
    }
    Ok(swept)
}

fn sweep_one(path: &Path, before: DateTime<Utc>) -> io::Result<bool> {
    let gone = |e: io::Error| if e.kind() == io::ErrorKind::NotFound { Ok(false) } else { Err(e) };
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(e) => return gone(e),
    };
    if DateTime::<Utc>::from(file.metadata()?.modified()?) >= before {
        return Ok(false);
    }
    // A live writer holds the lock, in this process or another.
    if let Err(std::fs::TryLockError::WouldBlock) = file.try_lock() {
        return Ok(false);
    }
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) => gone(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_dead_writers_are_swept() {
        let root = tempfile::tempdir().unwrap();
        let live = TempFile::create(root.path()).unwrap();
        let orphan = root.path().join(TEMP_DIR).join("0123456789abcdef.part");
        std::fs::write(&orphan, b"half").unwrap();
        let other = root.path().join(TEMP_DIR).join("lock");
        std::fs::write(&other, b"").unwrap();

        let hour = chrono::TimeDelta::hours(1);
        assert_eq!(sweep(root.path(), Utc::now() - hour).unwrap(), 0);
        assert!(orphan.exists(), "a young file is left alone");
        assert_eq!(sweep(root.path(), Utc::now() + hour).unwrap(), 1);
        assert!(!orphan.exists());
        assert!(live.path().exists() && other.exists());

        let path = live.path().to_owned();
        drop(live);
        assert!(!path.exists());
    }

    #[test]
    fn nothing_to_sweep_is_not_an_error() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(sweep(root.path(), Utc::now()).unwrap(), 0);
    }
}
