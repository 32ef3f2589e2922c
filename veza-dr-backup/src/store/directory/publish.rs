//! From a temporary file to an object: fsync, then one atomic rename, then fsync of every folder above it.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};
use veza_dr_core::{Cx, Effect, Error, ErrorKind, Result};

use super::{
    io_errors::io_error,
    temp_file::{TEMP_DIR, TempFile},
};

/// How often a folder may be pruned by a delete between our making it and our using it.
const PRUNED_LIMIT: u32 = 64;

/// Held while a condition is looked at and acted on; excludes other threads and other processes.
#[derive(Debug)]
pub(super) struct StoreLock(#[allow(dead_code, reason = "held for its lock, which goes when it is closed")] File);

impl StoreLock {
    /// Waits for the lock, as long as `cx` allows.
    pub(super) fn acquire(cx: &Cx, root: &Path) -> Result<Self> {
        let what = || format!("lock store {}", root.display());
        let dir = root.join(TEMP_DIR);
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(|e| io_error(e, what()))?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join("lock"))
            .map_err(|e| io_error(e, what()))?;
        let mut pause = Duration::from_micros(200);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                // Polled, because a blocking lock would outlive a cancelled call.
                Err(std::fs::TryLockError::WouldBlock) => {
                    cx.check(&what())?;
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(5));
                }
                Err(std::fs::TryLockError::Error(e)) => return Err(io_error(e, what())),
            }
        }
    }
}

/// Whether an existing object may be replaced.
#[derive(Debug)]
pub(super) enum Replace<'a> {
    /// Never: fails with `Conflict`.
    No,
    /// The caller decided so while holding the lock.
    Yes(#[expect(dead_code, reason = "proof that the lock is held")] &'a StoreLock),
}

/// Makes `temp` the object at `target`, durably. Returns the open file.
pub(super) fn publish(cx: &Cx, root: &Path, temp: TempFile, target: &Path, replace: &Replace<'_>) -> Result<File> {
    let what = || format!("store {}", target.display());
    let fail = |e: io::Error| match e.kind() {
        io::ErrorKind::AlreadyExists => Error::new(ErrorKind::Conflict, format!("{} exists already", target.display())),
        _ => io_error(e, what()),
    };
    temp.file().sync_all().map_err(fail)?;
    // The last moment at which stopping leaves nothing behind.
    cx.check(&what())?;
    let mut tries = 0;
    loop {
        make_folders(root, target).map_err(fail)?;
        let moved = match replace {
            Replace::Yes(_) => std::fs::rename(temp.path(), target),
            Replace::No => move_unless_present(cx, root, temp.path(), target)?,
        };
        match moved {
            Ok(()) => break,
            Err(e) if e.kind() == io::ErrorKind::NotFound && tries < PRUNED_LIMIT => tries += 1,
            Err(e) => return Err(fail(e)),
        }
    }
    let unsure = |e: io::Error| io_error(e, format!("make {} durable", target.display())).with_effect(Effect::Unknown);
    let file = temp.published().map_err(unsure)?;
    sync_folders(root, target).map_err(unsure)?;
    Ok(file)
}

/// The outer error ends the attempt; the inner one is the move's own.
fn move_unless_present(cx: &Cx, root: &Path, from: &Path, to: &Path) -> Result<io::Result<()>> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        done => return Ok(done.map_err(io::Error::from)),
    }
    let linked = std::fs::hard_link(from, to);
    match linked.as_ref().err().and_then(Errno::from_io_error) {
        None => return Ok(linked.and_then(|()| std::fs::remove_file(from))),
        Some(Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        Some(_) => return Ok(linked),
    }
    // A file system with neither (FAT, some network mounts): the lock makes looking and renaming one step.
    let _lock = StoreLock::acquire(cx, root)?;
    Ok(match to.symlink_metadata() {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => std::fs::rename(from, to),
        Err(e) => Err(e),
    })
}

fn make_folders(root: &Path, target: &Path) -> io::Result<()> {
    let dir = target.parent().unwrap_or(root);
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Syncs every folder from the object's own to the root: another writer may have made any of them and not be done.
fn sync_folders(root: &Path, target: &Path) -> io::Result<()> {
    for dir in target.ancestors().skip(1) {
        sync_folder(dir)?;
        if dir == root {
            break;
        }
    }
    Ok(())
}

fn sync_folder(dir: &Path) -> io::Result<()> {
    match File::open(dir).and_then(|d| d.sync_all()) {
        // Some file systems refuse to sync a folder: they keep no order to ask for.
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::INVAL | Errno::OPNOTSUPP)) => Ok(()),
        done => done,
    }
}

/// Removes an object and the folders that become empty. `false` when there was no such object.
pub(super) fn remove(root: &Path, target: &Path) -> io::Result<bool> {
    match std::fs::symlink_metadata(target) {
        Ok(found) if found.is_file() => std::fs::remove_file(target)?,
        Ok(_) => return Ok(false),
        Err(e) if super::io_errors::is_absent(&e) => return Ok(false),
        Err(e) => return Err(e),
    }
    for dir in target.ancestors().skip(1) {
        // Fails on a folder that is not empty, which is all the safety that pruning needs.
        if dir == root || std::fs::remove_dir(dir).is_err() {
            match sync_folder(dir) {
                // Another delete pruned further than we did.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                done => done?,
            }
            break;
        }
    }
    Ok(true)
}

/// Makes the root and what is missing above it, each durably.
pub(super) fn make_root(root: &Path) -> io::Result<()> {
    let missing: Vec<PathBuf> = root.ancestors().take_while(|p| !p.exists()).map(Path::to_owned).collect();
    for dir in missing.iter().rev() {
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            done => done?,
        }
        if let Some(parent) = dir.parent() {
            sync_folder(parent)?;
        }
    }
    Ok(())
}
