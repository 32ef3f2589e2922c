//! What a drill made on this host, noted durably before it is made.
//!
//! `<state>/drills/<id>/ledger.jsonl` holds a JSON document a line; a last line without its end is what a crash leaves,
//! and nothing was made because of it. `<state>/drills/lock` is held while a drill, or its removal, is under way: the
//! kernel lets it go when the process ends, however it ends.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use veza_dr_core::{BackupId, Clock, Effect, Error, ErrorKind, Result, ScenarioKind, SystemClock};

use super::{
    ground::cannot,
    model::{CleanUpState, DrillKind, DrillRecord},
    platform::DrillMachine,
};

const LEDGER: &str = "ledger.jsonl";
const DRAFT: &str = "record.json";

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// The drill begins.
    Begun { id: BackupId, kind: DrillKind, scenario: ScenarioKind, by: String, at: DateTime<Utc> },
    /// This folder is about to be made.
    Folder { path: PathBuf },
    /// This project of containers is about to be made; where it is another machine, there, with a folder.
    Project {
        name: String,
        engine: Option<String>,
        // Ledgers of before drills left their own machine have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        machine: Option<DrillMachine>,
    },
    /// It is about to do this.
    Phase { name: String, at: DateTime<Utc> },
    /// How far the removal is.
    State { state: CleanUpState, at: DateTime<Utc>, why: String },
    /// The record is in this store.
    Published { store: String },
}

/// The ledger of one drill.
#[derive(Debug)]
pub(super) struct Ledger {
    folder: PathBuf,
    file: File,
}

/// The right to run or remove drills on this host. Ends when dropped, and with the process.
#[derive(Debug)]
pub struct DrillLock {
    _file: File,
}

/// Takes the right to run or remove drills of this host.
///
/// # Errors
/// `Conflict` when another process of this host has it; `Denied`, `Full` when `state_dir` cannot be written to.
pub fn lock(state_dir: &Path) -> Result<DrillLock> {
    let folder = home(state_dir);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|e| cannot("made", &folder, &e))?;
    let path = folder.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.map_err(|e| cannot("opened", &path, &e))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(DrillLock { _file: file }),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(Error::new(ErrorKind::Conflict, "a drill, or the removal of one, is under way on this host")
                .with_help("wait for it to end; see: veza-dr drill list"))
        }
        Err(e) => Err(cannot("locked", &path, &e.into())),
    }
}

pub(super) fn home(state_dir: &Path) -> PathBuf {
    state_dir.join("drills")
}

impl Ledger {
    /// A new one, with its first line.
    pub(super) fn begin(state_dir: &Path, first: Line, id: &BackupId) -> Result<Self> {
        let folder = home(state_dir).join(id.as_str());
        DirBuilder::new().mode(0o700).create(&folder).map_err(|e| cannot("made", &folder, &e))?;
        let mut ledger = Self::at(folder)?;
        ledger.note(&first)?;
        // The names must survive a crash of the machine as well.
        for folder in [&ledger.folder, &home(state_dir)] {
            File::open(folder).and_then(|f| f.sync_all()).map_err(|e| cannot("made durable", folder, &e))?;
        }
        Ok(ledger)
    }

    fn at(folder: PathBuf) -> Result<Self> {
        let path = folder.join(LEDGER);
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        Ok(Self { file: file.map_err(|e| cannot("opened", &path, &e))?, folder })
    }

    /// One that another process left, with its whole lines.
    pub(super) fn open(folder: &Path) -> Result<(Self, Vec<Line>)> {
        let path = folder.join(LEDGER);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            // Killed between the folder and its first line: nothing was made.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(cannot("read", &path, &e)),
        };
        let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let mut lines = Vec::new();
        for (n, line) in text[..whole].split(|b| *b == b'\n').enumerate().filter(|(_, l)| !l.is_empty()) {
            lines.push(serde_json::from_slice(line).map_err(|e| {
                Error::new(ErrorKind::Corrupt, format!("{}:{}: the line cannot be read", path.display(), n + 1))
                    .with_source(e)
                    .with_help("see what is left of the drill with: ps, ls; then remove the folder of the ledger")
            })?);
        }
        let ledger = Self::at(folder.to_owned())?;
        let cut = ledger.file.set_len(u64::try_from(whole).unwrap_or(0)).and_then(|()| ledger.file.sync_all());
        cut.map_err(|e| cannot("shortened to its last whole line", &path, &e))?;
        Ok((ledger, lines))
    }

    /// Adds a line; it is durable when this returns.
    pub(super) fn note(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_vec(line)
            .map_err(|e| Error::new(ErrorKind::Unexpected, "a ledger line cannot be written").with_source(e))?;
        text.push(b'\n');
        let written = self.file.write_all(&text).and_then(|()| self.file.sync_data());
        written.map_err(|e| cannot("written to", &self.folder.join(LEDGER), &e).with_effect(Effect::Unknown))
    }

    pub(super) fn phase(&mut self, name: &str) -> Result<()> {
        self.note(&Line::Phase { name: name.to_owned(), at: SystemClock.now() })
    }

    pub(super) fn state(&mut self, state: CleanUpState, why: &str) -> Result<()> {
        self.note(&Line::State { state, at: SystemClock.now(), why: why.to_owned() })
    }

    /// Keeps the record here until it is in a store.
    pub(super) fn draft(&self, record: &DrillRecord) -> Result<()> {
        let json = serde_json::to_vec_pretty(record)
            .map_err(|e| Error::new(ErrorKind::Unexpected, "the record as JSON").with_source(e))?;
        let (path, fresh) = (self.folder.join(DRAFT), self.folder.join("record.new"));
        let write = || {
            let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&fresh)?;
            file.write_all(&json)?;
            file.sync_all()?;
            std::fs::rename(&fresh, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|e| cannot("written", &path, &e))
    }

    /// The record that is kept here.
    pub(super) fn drafted(&self) -> Result<Option<DrillRecord>> {
        let path = self.folder.join(DRAFT);
        match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(cannot("read", &path, &e)),
            Ok(json) => serde_json::from_slice(&json).map(Some).map_err(|e| {
                Error::new(ErrorKind::Corrupt, format!("{} is no drill record", path.display())).with_source(e)
            }),
        }
    }

    /// Nothing is left and the record is in a store: the ledger has done its duty.
    pub(super) fn close(self) -> Result<()> {
        std::fs::remove_dir_all(&self.folder).map_err(|e| cannot("removed", &self.folder, &e))
    }
}

/// The ledgers that are there, oldest first.
pub(super) fn all(state_dir: &Path) -> Result<Vec<PathBuf>> {
    let folder = home(state_dir);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(cannot("listed", &folder, &e)),
    };
    let is_one = |path: &PathBuf| {
        path.is_dir() && path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.parse::<BackupId>().is_ok())
    };
    let mut found: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(is_one).collect();
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_dropped_and_a_second_drill_is_refused() {
        let state = tempfile::tempdir().unwrap();
        let held = lock(state.path()).unwrap();
        assert_eq!(lock(state.path()).unwrap_err().kind(), ErrorKind::Conflict);
        drop(held);
        let _held = lock(state.path()).unwrap();
        let id = BackupId::new(&SystemClock);
        let begun = Line::Begun {
            id: id.clone(),
            kind: DrillKind::Processes,
            scenario: ScenarioKind::Database,
            by: "test".to_owned(),
            at: SystemClock.now(),
        };
        let mut ledger = Ledger::begin(state.path(), begun, &id).unwrap();
        ledger.phase("one").unwrap();
        drop(ledger);
        let [folder] = all(state.path()).unwrap().try_into().unwrap();
        let path = folder.join(LEDGER);
        let mut text = std::fs::read(&path).unwrap();
        text.extend_from_slice(b"{\"phase\":{\"na");
        std::fs::write(&path, &text).unwrap();
        let (mut ledger, lines) = Ledger::open(&folder).unwrap();
        assert_eq!(lines.len(), 2);
        ledger.phase("two").unwrap();
        assert_eq!(Ledger::open(&folder).unwrap().1.len(), 3);
        std::fs::write(&path, "nonsense\n").unwrap();
        assert!(Ledger::open(&folder).unwrap_err().to_string().contains("ledger.jsonl:1:"));
        ledger.close().unwrap();
        assert!(all(state.path()).unwrap().is_empty());
    }

    #[test]
    fn how_another_machine_is_reached_is_kept_and_lines_without_it_are_read() {
        use crate::site::Ssh;
        let project = |machine| Line::Project { name: "a".to_owned(), engine: None, machine };
        let old = r#"{"project":{"name":"a","engine":null}}"#;
        assert_eq!(serde_json::from_str::<Line>(old).unwrap(), project(None));
        assert_eq!(serde_json::to_string(&project(None)).unwrap(), old);
        let mut ssh = Ssh::new("far");
        ssh.key_file = Some("/etc/key".into());
        let line = project(Some(DrillMachine::new(ssh, "/jobs/a")));
        let text = serde_json::to_string(&line).unwrap();
        assert!(text.contains("/etc/key") && text.contains("/jobs/a"), "{text}");
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
    }
}
