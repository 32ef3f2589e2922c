//! How often one service may be restarted before restarting counts as no help. Kept in a file: a restart that is not
//! on record cannot happen.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, Write},
    path::Path,
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use veza_dr_core::{Error, ErrorKind, Result};

/// So many restarts within so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Budget {
    /// How many.
    pub restarts: usize,
    /// Within how long.
    pub within: Duration,
}

impl Budget {
    /// A budget of `restarts` within `within`.
    #[must_use]
    pub fn new(restarts: usize, within: Duration) -> Self {
        Self { restarts, within }
    }
}

impl Default for Budget {
    /// Three in half an hour.
    fn default() -> Self {
        Self::new(3, Duration::from_secs(1800))
    }
}

/// How much of a budget is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Spent {
    /// When the service was restarted, within the window, oldest first.
    pub at: Vec<DateTime<Utc>>,
    /// How many restarts the budget has.
    pub of: usize,
    /// Whether none is left.
    pub exhausted: bool,
}

/// The record of one service, locked while it is open: a second recovery of the same service waits for nobody, it is
/// refused.
#[derive(Debug)]
pub(super) struct Record {
    file: File,
    path: String,
    all: Vec<DateTime<Utc>>,
}

impl Record {
    pub(super) fn open(folder: &Path, service: &str) -> Result<Self> {
        let failed = |what: &str, e: std::io::Error| {
            Error::new(ErrorKind::Unavailable, format!("the record of restarts {what}")).with_source(e)
        };
        std::fs::create_dir_all(folder).map_err(|e| failed(&format!("has no folder {}", folder.display()), e))?;
        let path = folder.join(format!("{service}.restarts"));
        let told = path.display().to_string();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| failed(&format!("{told} cannot be opened"), e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let text = format!("{service} is being recovered by another veza-dr on this machine");
                return Err(Error::new(ErrorKind::Conflict, text).with_help("wait for its end"));
            }
            Err(std::fs::TryLockError::Error(e)) => return Err(failed(&format!("{told} cannot be locked"), e)),
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|e| failed(&format!("{told} cannot be read"), e))?;
        let time = |line: &str| {
            DateTime::parse_from_rfc3339(line).map(|t| t.to_utc()).map_err(|_| {
                Error::new(ErrorKind::Corrupt, format!("{told}: `{line}` is not a time"))
                    .with_help("remove the file to begin with a full budget")
            })
        };
        // The last line may be half-written when the machine went down: the restart it stands for never began.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let all = whole.lines().map(time).collect::<Result<_>>()?;
        Ok(Self { file, path: told, all })
    }

    pub(super) fn spent(&self, budget: Budget, now: DateTime<Utc>) -> Spent {
        let since = now - chrono::Duration::from_std(budget.within).unwrap_or(chrono::Duration::MAX);
        // A clock that was set back does not refill a budget.
        let at: Vec<DateTime<Utc>> = self.all.iter().copied().filter(|at| *at > since).collect();
        Spent { exhausted: at.len() >= budget.restarts, of: budget.restarts, at }
    }

    /// Puts a restart on record, on disk for good.
    pub(super) fn add(&mut self, budget: Budget, now: DateTime<Utc>) -> Result<()> {
        let mut keep = self.spent(budget, now).at;
        keep.push(now);
        let text: String = keep.iter().map(|at| format!("{}\n", at.to_rfc3339())).collect();
        // Longer by one line or shorter: written in place, so that the lock stays with the file.
        let mut write = || {
            self.file.rewind()?;
            self.file.write_all(text.as_bytes())?;
            self.file.set_len(text.len() as u64)?;
            self.file.sync_all()
        };
        write().map_err(|e| {
            Error::new(ErrorKind::Unavailable, format!("the record of restarts {} cannot be written", self.path))
                .with_source(e)
        })?;
        self.all = keep;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_once_and_refills_with_time() {
        let dir = tempfile::tempdir().unwrap();
        let budget = Budget::new(2, Duration::from_secs(60));
        let start: DateTime<Utc> = "2026-11-23T10:00:00Z".parse().unwrap();
        let at = |seconds| start + chrono::Duration::seconds(seconds);
        for second in [0, 10] {
            let mut record = Record::open(dir.path(), "api").unwrap();
            assert!(!record.spent(budget, at(second)).exhausted);
            record.add(budget, at(second)).unwrap();
        }
        let record = Record::open(dir.path(), "api").unwrap();
        assert!(record.spent(budget, at(20)).exhausted);
        assert_eq!(Record::open(dir.path(), "api").unwrap_err().kind(), ErrorKind::Conflict);
        assert!(!Record::open(dir.path(), "chat").unwrap().spent(budget, at(20)).exhausted);
        assert!(!record.spent(budget, at(61)).exhausted);
    }
}
