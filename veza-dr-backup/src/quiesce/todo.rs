//! What has to be put back, on disk before anything is touched.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use veza_dr_core::{ComponentName, Error, ErrorKind, Result};

const FORMAT: u32 = 1;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Undo {
    /// A container that was running and is, or may be, stopped.
    Start {
        /// Its id.
        id: String,
        /// For people.
        name: String,
        /// By then it has stopped, or was never told to.
        settled_at: DateTime<Utc>,
    },
    /// A container that was running and is, or may be, paused.
    Unpause {
        /// Its id.
        id: String,
        /// For people.
        name: String,
        /// By then it is paused, or was never told to be.
        settled_at: DateTime<Utc>,
    },
    /// A command whose counterpart was, or may have been, run.
    Command {
        /// Program and arguments.
        words: Vec<String>,
        /// How long it may take, in milliseconds.
        timeout_ms: u64,
    },
}

impl std::fmt::Display for Undo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Start { name, .. } => write!(f, "start container {name}"),
            Self::Unpause { name, .. } => write!(f, "unpause container {name}"),
            Self::Command { words, .. } => write!(f, "run {}", words.first().map_or("nothing", String::as_str)),
        }
    }
}

/// The file `<component>.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Todo {
    format: u32,
    pub(super) component: ComponentName,
    pub(super) since: DateTime<Utc>,
    pub(super) docker_host: Option<String>,
    /// In the order in which things were stopped.
    pub(super) undo: Vec<Undo>,
}

impl Todo {
    pub(super) fn new(component: ComponentName, since: DateTime<Utc>, docker_host: Option<String>) -> Self {
        Self { format: FORMAT, component, since, docker_host, undo: Vec::new() }
    }

    pub(super) fn path(folder: &Path, component: &ComponentName) -> PathBuf {
        folder.join(format!("{component}.json"))
    }

    /// Reads what a process that is gone left behind.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let text = match fs::read(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|e| failed(path, e))?,
        };
        let unreadable = |why: String| {
            Error::new(ErrorKind::Corrupt, format!("the to-do file {} cannot be read", path.display()))
                .with_source(why)
                .with_help("it names services that a backup stopped: start them by hand, then delete the file")
        };
        let todo: Self = serde_json::from_slice(&text).map_err(|e| unreadable(e.to_string()))?;
        if todo.format != FORMAT {
            return Err(unreadable(format!("it has format {}, this build reads {FORMAT}", todo.format)));
        }
        Ok(Some(todo))
    }

    /// Makes the file say what is left: durable when this returns. With nothing left there is no file.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let path = Self::path(folder, &self.component);
        let wrote = if self.undo.is_empty() {
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _ => Ok(()),
            }
        } else {
            let beside = path.with_extension("json.new");
            let write = || {
                let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
                file.write_all(&serde_json::to_vec_pretty(self)?)?;
                file.sync_all()?;
                fs::rename(&beside, &path)
            };
            write()
        };
        wrote.and_then(|()| File::open(folder)?.sync_all()).map_err(|e| failed(&path, e))
    }
}

fn failed(path: &Path, e: io::Error) -> Error {
    let kind = match e.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        io::ErrorKind::StorageFull => ErrorKind::Full,
        _ => ErrorKind::Unexpected,
    };
    Error::new(kind, format!("the to-do file {} cannot be kept", path.display())).with_source(e)
}
