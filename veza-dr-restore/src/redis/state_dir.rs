//! The state directory of one component: the journal of a restore under way, and copies of what restores replaced.
//!
//! Everything in it is for its owner alone: the copies are the data, and the journal holds settings of the target
//! that are to be put back, its `masterauth` among them.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use veza_dr_core::{BackupId, ComponentName, Error, ErrorKind, Result, manifest::ContentRecord};

const JOURNAL: &str = "journal.json";
const LOCK: &str = "lock";
const STAMP: &str = "%Y%m%dT%H%M%S%3fZ";

/// How far a restore came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Nothing of the target was changed.
    Prepared,
    /// The target's settings may have been changed, and it may be replicating from us.
    Replicating,
    /// It loaded all, and may be a replica still.
    Loaded,
    /// It is its own master again; settings may be missing.
    Promoted,
    /// Keys are being restored over those that are there.
    Restoring,
    /// Spare databases are being filled.
    Filling,
    /// Spare databases are being swapped in.
    Swapping,
    /// The server's files are being replaced while it is stopped.
    Placing,
}

/// Settings of the target by name, as they were. Never shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings(pub(crate) BTreeMap<String, String>);

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What another run must know when this one is killed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Journal {
    pub(crate) format: u32,
    /// Where the target is, without credentials.
    pub(crate) target: String,
    pub(crate) backup: Option<BackupId>,
    pub(crate) since: DateTime<Utc>,
    pub(crate) phase: Phase,
    /// What the target's settings were before they were changed.
    #[serde(default)]
    pub(crate) settings: Settings,
    /// The host and port that the target was told to replicate from.
    #[serde(default)]
    pub(crate) master: Option<(String, u16)>,
    /// What it was told before that, in the same restore.
    #[serde(default)]
    pub(crate) masters_before: Vec<(String, u16)>,
    /// What the sentinels' patience was before it was stretched.
    #[serde(default)]
    pub(crate) sentinels: Vec<Patience>,
    /// The name of the copy of what the target held.
    #[serde(default)]
    pub(crate) safety: Option<String>,
    /// Databases that were empty and are being filled.
    #[serde(default)]
    pub(crate) spare: Vec<u64>,
}

/// One sentinel's `down-after-milliseconds` for the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Patience {
    /// Where the sentinel is, without credentials.
    pub(crate) sentinel: String,
    /// The name that it knows the server by.
    pub(crate) master: String,
    /// As it was.
    pub(crate) milliseconds: String,
}

impl Journal {
    /// Whether this is what the target was told to replicate from.
    pub(crate) fn is_ours(&self, host: &str, port: u16) -> bool {
        self.master.iter().chain(&self.masters_before).any(|(h, p)| h == host && *p == port)
    }

    /// Notes what the target is about to be told to replicate from.
    pub(crate) fn set_master(&mut self, host: &str, port: u16) {
        self.masters_before.extend(self.master.replace((host.to_owned(), port)));
    }

    pub(crate) fn new(target: &str, backup: Option<&BackupId>, now: DateTime<Utc>) -> Self {
        Self {
            format: 1,
            target: target.to_owned(),
            backup: backup.cloned(),
            since: now,
            phase: Phase::Prepared,
            settings: Settings::default(),
            master: None,
            masters_before: Vec::new(),
            sentinels: Vec::new(),
            safety: None,
            spare: Vec::new(),
        }
    }
}

/// What is known of a kept copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The server it was taken from, without credentials.
    pub(crate) target: String,
    /// When.
    pub(crate) since: DateTime<Utc>,
    /// The backup that replaced it; absent when a rollback did.
    pub(crate) replaced_by: Option<BackupId>,
    /// Keys in it.
    pub(crate) keys: u64,
    pub(crate) bytes: u64,
    /// What it must contain: it is proven before it is used.
    pub(crate) contents: Vec<ContentRecord>,
}

/// The folder of one component.
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    path: PathBuf,
}

/// Holds the folder for one run; released when dropped, and by the kernel when the process ends.
#[derive(Debug)]
pub(crate) struct Held {
    _file: File,
}

impl StateDir {
    /// The folder of a component's target below `root`; nothing is made.
    pub(crate) fn new(root: &Path, component: &ComponentName, target: &str) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '_' };
        let place: String = target.chars().map(plain).collect();
        Self { path: root.join("redis").join(component.as_str()).join(place) }
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder and takes it for this run.
    ///
    /// # Errors
    /// `Conflict` when another run holds it.
    pub(crate) fn take(&self) -> Result<Held> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path).map_err(|e| self.failed("make", e))?;
        let path = self.path.join(LOCK);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(&path).map_err(|e| self.failed("lock", e))?;
        match file.try_lock() {
            Ok(()) => Ok(Held { _file: file }),
            Err(std::fs::TryLockError::WouldBlock) => {
                let text = format!("another restore, rollback or release holds {}", path.display());
                Err(Error::new(ErrorKind::Conflict, text).with_help("wait until it has ended"))
            }
            Err(std::fs::TryLockError::Error(e)) => Err(self.failed("lock", e)),
        }
    }

    /// The journal that a run before left behind.
    pub(crate) fn journal(&self) -> Result<Option<Journal>> {
        let Some(journal) = self.read::<Journal>(JOURNAL)? else { return Ok(None) };
        if journal.format != 1 {
            let text = format!("{} has format {}", self.path.join(JOURNAL).display(), journal.format);
            return Err(Error::new(ErrorKind::Unsupported, text).with_help("use the veza-dr that wrote it"));
        }
        Ok(Some(journal))
    }

    /// Writes the journal, on disk when this returns.
    pub(crate) fn note(&self, journal: &Journal) -> Result<()> {
        self.write(JOURNAL, journal)
    }

    /// The restore is over.
    pub(crate) fn close(&self) -> Result<()> {
        self.remove(JOURNAL)
    }

    /// A new name for a copy.
    pub(crate) fn fresh(&self, now: DateTime<Utc>) -> String {
        format!("{}-{:04x}", now.format(STAMP), rand::random::<u16>())
    }

    /// The data of a copy.
    pub(crate) fn rdb(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.rdb"))
    }

    /// A file for data that are on their way; swept by the next run when this one is killed.
    pub(crate) fn temporary(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.partial"))
    }

    /// Makes a finished file a kept copy, on disk when this returns.
    pub(crate) fn keep(&self, name: &str, from: &Path, kept: &Kept) -> Result<()> {
        let failed = |e| self.failed("keep a copy in", e);
        File::open(from).and_then(|f| f.sync_all()).map_err(failed)?;
        std::fs::rename(from, self.rdb(name)).map_err(failed)?;
        self.write(&format!("{name}.json"), kept)
    }

    /// The kept copies, oldest first.
    pub(crate) fn kept(&self) -> Result<Vec<(String, Kept)>> {
        let mut found = Vec::new();
        for name in self.names()? {
            let Some(name) = name.strip_suffix(".json").filter(|n| *n != "journal") else { continue };
            if let Some(kept) = self.read::<Kept>(&format!("{name}.json"))?
                && self.rdb(name).exists()
            {
                found.push((name.to_owned(), kept));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    /// Deletes a kept copy: first what makes it one.
    pub(crate) fn forget(&self, name: &str) -> Result<()> {
        self.remove(&format!("{name}.json"))?;
        self.remove(&format!("{name}.rdb"))
    }

    /// Deletes what runs that were killed left unfinished.
    pub(crate) fn sweep(&self) -> Result<()> {
        let names = self.names()?;
        for name in &names {
            let orphan = name.strip_suffix(".rdb").is_some_and(|n| !names.contains(&format!("{n}.json")));
            if name.ends_with(".partial") || orphan {
                self.remove(name)?;
            }
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(self.failed("list", e)),
        };
        entries
            .map(|e| e.map(|e| e.file_name().to_string_lossy().into_owned()).map_err(|e| self.failed("list", e)))
            .collect()
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = self.path.join(name);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(self.failed("read", e)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|e| {
            Error::new(ErrorKind::Corrupt, format!("{} cannot be read", path.display()))
                .with_source(e)
                .with_help("look at it; the target may be in the middle of a restore")
        })
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_vec_pretty(value)
            .map_err(|e| Error::new(ErrorKind::Unexpected, format!("{name} cannot be written")).with_source(e))?;
        let temporary = self.path.join(format!("{name}.partial"));
        let write = || {
            let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&temporary, self.path.join(name))?;
            self.sync()
        };
        write().map_err(|e| self.failed("write to", e))
    }

    fn remove(&self, name: &str) -> Result<()> {
        match std::fs::remove_file(self.path.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(self.failed("delete from", e)),
            _ => self.sync().map_err(|e| self.failed("write to", e)),
        }
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn failed(&self, what: &str, e: io::Error) -> Error {
        let kind = match e.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
            _ => ErrorKind::Unexpected,
        };
        Error::new(kind, format!("cannot {what} the state directory {}", self.path.display()))
            .with_source(e)
            .with_help("it holds the journal and the copy of what a restore replaces; choose another: state_dir")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use veza_dr_core::{Clock, SystemClock};

    use super::*;

    fn kept() -> Kept {
        Kept {
            target: "redis://a:1".into(),
            since: SystemClock.now(),
            replaced_by: None,
            keys: 3,
            bytes: 4,
            contents: Vec::new(),
        }
    }

    #[test]
    fn what_is_written_is_the_owners_alone_and_one_run_holds_it() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::new(&root.path().join("new"), &"redis".parse().unwrap(), "redis://a:1");
        assert_eq!(dir.journal().unwrap(), None);
        let held = dir.take().unwrap();
        assert_eq!(dir.take().unwrap_err().kind(), ErrorKind::Conflict);
        let mut journal = Journal::new("redis://a:1", None, SystemClock.now());
        journal.settings.0.insert("masterauth".into(), "canary-91".into());
        dir.note(&journal).unwrap();
        assert!(!format!("{journal:?}").contains("canary"));
        assert_eq!(dir.journal().unwrap(), Some(journal));
        assert!(dir.path.ends_with("redis/redis/redis___a_1"));
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir.path.join(JOURNAL)), 0o600);
        assert_eq!(mode(&dir.path), 0o700);
        drop(held);
        dir.take().unwrap();
        dir.close().unwrap();
        assert_eq!(dir.journal().unwrap(), None);
    }

    #[test]
    fn copies_are_listed_in_order_and_leftovers_swept() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::new(root.path(), &"redis".parse().unwrap(), "redis://a:1");
        let _held = dir.take().unwrap();
        for name in ["20260102-1", "20260101-1"] {
            std::fs::write(dir.temporary(name), b"x").unwrap();
            dir.keep(name, &dir.temporary(name), &kept()).unwrap();
        }
        std::fs::write(dir.temporary("cut"), b"x").unwrap();
        std::fs::write(dir.rdb("orphan"), b"x").unwrap();
        dir.sweep().unwrap();
        let names: Vec<String> = dir.kept().unwrap().into_iter().map(|k| k.0).collect();
        assert_eq!(names, ["20260101-1", "20260102-1"]);
        assert!(!dir.temporary("cut").exists() && !dir.rdb("orphan").exists());
        dir.forget("20260101-1").unwrap();
        assert_eq!(dir.kept().unwrap().len(), 1);
    }
}
