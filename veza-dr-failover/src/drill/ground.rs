//! The folder that everything of a drill lies in, and its removal with every process that works in it.

use std::{
    fs::{DirBuilder, Permissions},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use veza_dr_core::{BackupId, Error, ErrorKind, Result};

use super::model::Unseen;

/// Every drill's folder and project of containers begins like this; what does not is never removed.
pub(super) const NAME: &str = "veza-dr-drill-";
const GRACE: Duration = Duration::from_secs(5);

/// Where a drill with this id works.
pub(super) fn folder_of(scratch: &Path, id: &BackupId) -> PathBuf {
    scratch.join(format!("{NAME}{id}"))
}

/// Makes the folder. Others may pass through it and see nothing: servers of another user work below it.
pub(super) fn make(folder: &Path) -> Result<()> {
    let made = DirBuilder::new().mode(0o711).create(folder).and_then(|()| {
        // The umask had its say.
        std::fs::set_permissions(folder, Permissions::from_mode(0o711))
    });
    made.map_err(|e| cannot("made", folder, &e))
}

/// Makes a folder below it that only its owner may enter.
pub(super) fn make_private(folder: &Path) -> Result<()> {
    let made = DirBuilder::new().mode(0o700).create(folder);
    made.map_err(|e| cannot("made", folder, &e))
}

pub(super) fn cannot(what: &str, path: &Path, e: &std::io::Error) -> Error {
    let kind = match e.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        std::io::ErrorKind::AlreadyExists => ErrorKind::Conflict,
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{} cannot be {what}", path.display())).with_source(e.to_string())
}

/// Ends every process that works in `folder` and removes it. Returns what was removed and what is left; both are
/// looked up afterwards, not believed.
pub(super) fn clear(folder: &Path) -> (Vec<String>, Vec<Unseen>) {
    let (mut removed, mut left) = (Vec::new(), Vec::new());
    let shown = folder.display().to_string();
    let unseen = |what: String, why: String| Unseen { what, why };
    let ours = folder.file_name().is_some_and(|n| n.as_bytes().starts_with(NAME.as_bytes()));
    if !ours || !folder.is_absolute() {
        left.push(unseen(shown, "this is no folder of a drill: it is not touched".to_owned()));
        return (removed, left);
    }
    match end_processes(folder) {
        Ok(ended) => removed.extend(ended),
        Err(e) => left.push(unseen(format!("processes in {shown}"), e)),
    }
    if folder.symlink_metadata().is_ok() {
        match std::fs::remove_dir_all(folder) {
            Ok(()) => removed.push(format!("folder {shown}")),
            Err(e) => left.push(unseen(format!("folder {shown}"), e.to_string())),
        }
    }
    // Looked up, not believed.
    match processes(folder) {
        Ok(still) => {
            let still = still.into_iter().map(|(pid, name)| {
                unseen(format!("process {} ({name})", pid.as_raw_nonzero()), format!("it still works in {shown}"))
            });
            left.extend(still);
        }
        Err(e) => left.push(unseen(format!("processes in {shown}"), e)),
    }
    if folder.symlink_metadata().is_ok() && left.is_empty() {
        left.push(unseen(format!("folder {shown}"), "it is there again".to_owned()));
    }
    (removed, left)
}

fn end_processes(folder: &Path) -> std::result::Result<Vec<String>, String> {
    let mut ended = Vec::new();
    for signal in [Signal::INT, Signal::KILL] {
        let found = processes(folder)?;
        for (pid, name) in &found {
            let _ = kill_process(*pid, signal);
            let told = format!("process {} ({name})", pid.as_raw_nonzero());
            if !ended.contains(&told) {
                ended.push(told);
            }
        }
        let until = Instant::now() + GRACE;
        while !processes(folder)?.is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(ended)
}

/// The processes whose working directory is in `folder`, or whose command line names it. This one is not among them.
pub(super) fn processes(folder: &Path) -> std::result::Result<Vec<(Pid, String)>, String> {
    let entries = std::fs::read_dir("/proc").map_err(|e| format!("/proc cannot be read: {e}"))?;
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        let Some(pid) = Pid::from_raw(pid) else { continue };
        if pid == rustix::process::getpid() {
            continue;
        }
        let place = entry.path();
        let here = std::fs::read_link(place.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
        let line = std::fs::read(place.join("cmdline")).unwrap_or_default();
        if here || contains(&line, folder.as_os_str().as_bytes()) {
            // One that has ended and was not waited for has no memory left: its command line is empty.
            let name = std::fs::read_to_string(place.join("comm")).unwrap_or_default();
            found.push((pid, name.trim().to_owned()));
        }
    }
    Ok(found)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|w| w == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_in_the_folder_go_before_it_and_other_folders_are_not_touched() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join(format!("{NAME}x"));
        make(&folder).unwrap();
        let mut inside = std::process::Command::new("sleep").arg("600").current_dir(&folder).spawn().unwrap();
        let mut outside = std::process::Command::new("sleep").arg("600").current_dir(scratch.path()).spawn().unwrap();
        let waiter = std::thread::spawn(move || inside.wait().unwrap());
        let (removed, left) = clear(&folder);
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(removed.len(), 2, "{removed:?}");
        assert!(!waiter.join().unwrap().success() && !folder.exists());
        assert!(outside.try_wait().unwrap().is_none());
        outside.kill().unwrap();
        outside.wait().unwrap();
        let other = scratch.path().join("production");
        std::fs::create_dir(&other).unwrap();
        let (removed, left) = clear(&other);
        assert!(removed.is_empty() && left.len() == 1 && other.exists());
    }
}
