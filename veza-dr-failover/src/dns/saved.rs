//! What a crash must not lose: the switch under way with what was there before, kept in files of this host.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use veza_dr_core::{ChangeId, Error, ErrorKind, OperationId, Result};

use super::{Goal, SwitchPlan, SwitchedRecord};

/// How far a switch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SwitchPhase {
    /// About to be submitted, or submitted without an answer: the records tell.
    Begun,
    /// The provider accepted it.
    Submitted,
    /// The provider says that all its servers have it.
    InSync,
    /// An operator said that it stays.
    Confirmed,
    /// It is being taken back.
    RollingBack,
    /// It was taken back.
    RolledBack,
}

/// The last switch of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedSwitch {
    /// The format of this document: 1.
    pub format: u32,
    /// Its own name.
    pub id: String,
    /// What it was for.
    pub goal: Goal,
    /// Each record set as it was and as it was set.
    pub records: Vec<SwitchedRecord>,
    /// How far it has come.
    pub phase: SwitchPhase,
    /// What the provider calls it.
    pub change: Option<ChangeId>,
    /// When it was begun.
    pub begun_at: DateTime<Utc>,
    /// When all servers of the provider had it.
    pub in_sync_at: Option<DateTime<Utc>>,
    /// When it is taken back unless somebody confirms it.
    pub confirm_by: Option<DateTime<Utc>>,
}

impl SavedSwitch {
    pub(super) fn new(plan: &SwitchPlan, confirm_by: Option<DateTime<Utc>>) -> Self {
        Self {
            format: 1,
            id: OperationId::random().to_string(),
            goal: plan.goal,
            records: plan.records.iter().filter(|r| r.changes()).cloned().collect(),
            phase: SwitchPhase::Begun,
            change: None,
            begun_at: Utc::now(),
            in_sync_at: None,
            confirm_by,
        }
    }

    /// A shift by weights goes in steps: until it is confirmed, going back means to where the first step began.
    pub(super) fn continuing(mut self, previous: &Self) -> Self {
        let open = matches!(previous.phase, SwitchPhase::Submitted | SwitchPhase::InSync);
        if !open || !matches!(previous.goal, Goal::Shift { .. }) {
            return self;
        }
        for old in &previous.records {
            match self.records.iter_mut().find(|r| r.key == old.key) {
                Some(next) if next.before == old.after => next.before.clone_from(&old.before),
                Some(_) => {}
                None => self.records.push(old.clone()),
            }
        }
        self
    }

    /// Whether it counts on a confirmation that has not come.
    #[must_use]
    pub fn awaits_confirmation(&self) -> bool {
        let open = matches!(self.phase, SwitchPhase::Begun | SwitchPhase::Submitted | SwitchPhase::InSync);
        open && self.confirm_by.is_some()
    }

    /// Whether its time ran out without a confirmation.
    #[must_use]
    pub fn is_overdue(&self, now: DateTime<Utc>) -> bool {
        self.awaits_confirmation() && self.confirm_by.is_some_and(|by| by <= now)
    }
}

/// The folder with the files.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

/// Held while records are changed; a second one on the same host is refused.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Folder {
    pub(super) fn of(state_dir: &Path) -> Self {
        Self(state_dir.join("dns"))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn lock(&self) -> Result<Lock> {
        fs::create_dir_all(&self.0).map_err(|e| io_error("make", &self.0, e))?;
        let path = self.path("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|e| io_error("open", &path, e))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            Error::new(ErrorKind::Conflict, "another change of DNS by this host is under way")
                .with_help("wait for it; veza-dr dns show tells how far it has come")
        })?;
        Ok(Lock { _file: file })
    }

    pub(super) fn load(&self) -> Result<Option<SavedSwitch>> {
        let saved: Option<SavedSwitch> = self.read("switch.json")?;
        if let Some(saved) = saved.as_ref().filter(|s| s.format != 1) {
            let text = format!("{} has format {}", self.path("switch.json").display(), saved.format);
            return Err(Error::new(ErrorKind::Unsupported, text).with_help("use the veza-dr that wrote it"));
        }
        Ok(saved)
    }

    pub(super) fn save(&self, saved: &SavedSwitch) -> Result<()> {
        self.write("switch.json", saved)
    }

    /// Forgets a switch that did not take place.
    pub(super) fn put_back(&self, previous: Option<&SavedSwitch>) -> Result<()> {
        match previous {
            Some(previous) => self.save(previous),
            None => {
                let path = self.path("switch.json");
                fs::remove_file(&path).map_err(|e| io_error("remove", &path, e))
            }
        }
    }

    pub(super) fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = self.path(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io_error("read", &path, e)),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|e| {
            Error::new(ErrorKind::Corrupt, format!("{} is not what was written there", path.display()))
                .with_source(e)
                .with_help("compare the records with docs/dns.md by hand, then move the file away")
        })
    }

    /// Written aside, synced, then put in place: after a crash the file is the old one or the new one.
    pub(super) fn write(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let (path, aside) = (self.path(name), self.path(&format!("{name}.new")));
        let bytes = serde_json::to_vec_pretty(value)
            .map_err(|e| Error::new(ErrorKind::Unexpected, format!("write {}", path.display())).with_source(e))?;
        let put = || {
            fs::create_dir_all(&self.0)?;
            let mut file = File::create(&aside)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&aside, &path)?;
            File::open(&self.0)?.sync_all()
        };
        put().map_err(|e| io_error("write", &path, e))
    }
}

fn io_error(verb: &str, path: &Path, e: std::io::Error) -> Error {
    let kind = match e.kind() {
        std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        std::io::ErrorKind::StorageFull => ErrorKind::Full,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{verb} {}", path.display()))
        .with_source(e)
        .with_help("what was there before a switch must be kept: give state_dir a folder that can be written")
}
