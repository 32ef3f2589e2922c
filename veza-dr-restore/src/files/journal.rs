//! The record of a swap: written before the first rename, so that whoever comes after a crash knows what to finish.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use veza_dr_core::{BackupId, ComponentName, Error, ErrorKind, Result};

const NAME: &str = "journal.json";
/// A copy on its way.
const FRESH: &str = "journal.new";

/// How far a swap is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Some of the exchanges may have been made.
    Swapping,
    /// All were made; what was replaced is kept.
    Kept,
}

/// One thing that changes places: what is live at `member`, and what lies at the same path aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exchange {
    /// Which root.
    pub(crate) root: usize,
    /// Escaped as in the index.
    pub(crate) member: String,
    /// The inode that is to become live; none when nothing is to be there.
    pub(crate) incoming: Option<u64>,
    /// The inode that is to go aside; none when nothing was there.
    pub(crate) outgoing: Option<u64>,
}

/// One root of a swap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Its member path, escaped as in the index.
    pub(crate) member: String,
    /// The folder of this swap; what is aside lies below it as `tree`.
    pub(crate) folder: PathBuf,
    /// For a root that stays where it is: index lines of what it is to be, and of what it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) top: Option<(String, String)>,
}

/// The record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Journal {
    pub(crate) version: u32,
    pub(crate) component: ComponentName,
    pub(crate) backup: BackupId,
    pub(crate) since: DateTime<Utc>,
    /// Grows with every change: the highest of several copies is the true one.
    pub(crate) sequence: u64,
    pub(crate) phase: Phase,
    pub(crate) places: Vec<Place>,
    pub(crate) exchanges: Vec<Exchange>,
}

/// What the system answered when we were `doing` something to `path`.
pub(super) fn failed(doing: &str, path: &Path, e: io::Error) -> Error {
    let kind = match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{doing} {}", path.display())).with_source(e)
}

/// Makes the names in a folder survive a crash of the machine.
pub(crate) fn sync_folder(path: &Path) -> Result<()> {
    File::open(path).and_then(|f| f.sync_all()).map_err(|e| failed("make durable", path, e))
}

impl Journal {
    /// Stores a copy in the folder of every root, durably.
    pub(crate) fn write(&self) -> Result<()> {
        let text = serde_json::to_vec(self)
            .map_err(|e| Error::new(ErrorKind::Unexpected, "the journal as JSON").with_source(e))?;
        for place in &self.places {
            let (path, fresh) = (place.folder.join(NAME), place.folder.join(FRESH));
            let write = || {
                let mut options = OpenOptions::new();
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
                let mut file = options.write(true).create(true).truncate(true).open(&fresh)?;
                file.write_all(&text)?;
                file.sync_all()?;
                std::fs::rename(&fresh, &path)
            };
            write().map_err(|e| failed("write", &path, e))?;
            sync_folder(&place.folder)?;
        }
        Ok(())
    }

    /// The copy in a folder, if there is one.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(NAME);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed("read", &path, e)),
        };
        let read: Self = serde_json::from_slice(&text).map_err(|e| {
            Error::new(ErrorKind::Corrupt, format!("{} cannot be read", path.display()))
                .with_source(e)
                .with_help("what a restore replaced lies beside it, in the folder `tree`")
        })?;
        if read.version != 1 {
            let text = format!("{} was written by a newer veza-dr", path.display());
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        Ok(Some(read))
    }

    /// Removes every copy, durably.
    pub(crate) fn remove(&self) -> Result<()> {
        for place in &self.places {
            for name in [NAME, FRESH] {
                let path = place.folder.join(name);
                match std::fs::remove_file(&path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &path, e)),
                    _ => {}
                }
            }
            if place.folder.is_dir() {
                sync_folder(&place.folder)?;
            }
        }
        Ok(())
    }

    /// Whether what was restored is what is live, or is becoming it: each way takes two numbers.
    pub(crate) fn is_in(&self) -> bool {
        self.sequence.div_ceil(2) % 2 == 1
    }

    /// The same exchanges the other way round.
    pub(crate) fn reversed(&self) -> Self {
        let mut back = self.clone();
        back.sequence += 1;
        back.phase = Phase::Swapping;
        for exchange in &mut back.exchanges {
            std::mem::swap(&mut exchange.incoming, &mut exchange.outgoing);
        }
        for place in &mut back.places {
            if let Some((to, was)) = &mut place.top {
                std::mem::swap(to, was);
            }
        }
        back
    }
}
