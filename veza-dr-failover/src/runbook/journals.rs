//! The journals of this host, read: for whoever watches and does not run.

use std::path::{Path, PathBuf};

use veza_dr_core::{Error, ErrorKind, Result};

use super::{Plan, RunReport, read_journal, state::State};

/// The journals that an [`Engine`](super::Engine) keeps below a state folder. Needs no store and no actions.
#[derive(Debug, Clone)]
pub struct Journals {
    folder: PathBuf,
}

impl Journals {
    /// Those below `state_dir`.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self { folder: state_dir.into().join("failover") }
    }

    /// The folder that they are in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The names of all runs, the oldest first.
    ///
    /// # Errors
    /// When the folder cannot be read; that there is none yet is no error.
    pub fn runs(&self) -> Result<Vec<String>> {
        let cannot =
            |e| Error::new(ErrorKind::Unavailable, format!("{} cannot be read", self.folder.display())).with_source(e);
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(cannot(e)),
        };
        let mut runs = Vec::new();
        for entry in entries {
            let name = entry.map_err(cannot)?.file_name();
            runs.extend(name.to_str().and_then(|n| n.strip_suffix(".journal")).map(str::to_owned));
        }
        runs.sort();
        Ok(runs)
    }

    /// How a run stands, and its plan.
    ///
    /// # Errors
    /// `NotFound` without such a run, or when it was killed before its first line; `Corrupt` when its journal is damaged.
    pub fn read(&self, run: &str) -> Result<(RunReport, Plan)> {
        let state = State::of(&read_journal(&self.path(run))?)?;
        Ok((RunReport::of(&state), state.plan))
    }

    /// The journal of a run.
    #[must_use]
    pub fn path(&self, run: &str) -> PathBuf {
        // A name that climbs is nobody's run.
        let name = Path::new(run).file_name().map_or_else(|| run.into(), |n| n.to_string_lossy());
        self.folder.join(format!("{name}.journal"))
    }
}
