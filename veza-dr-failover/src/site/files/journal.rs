//! The record of one exchange, kept on the machine: written before the first rename, so that whoever comes after a crash
//! knows what to finish.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use veza_dr_core::{BackupId, Clock, ComponentName, Error, ErrorKind, Result, SystemClock};

use super::{place::Place, scripts::Desk};

/// Which of the two is to be live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Way {
    /// What was restored.
    In,
    /// What was there before.
    Back,
}

/// One tree of an exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exchanged {
    #[serde(flatten)]
    pub(super) place: Place,
    /// Whether anything was there before.
    pub(super) had: bool,
    /// What the restored one must contain, in entries.
    pub(super) rows: u64,
}

/// The record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Journal {
    pub(super) format: u32,
    pub(super) component: ComponentName,
    pub(super) backup: BackupId,
    /// Later ones come later in order.
    pub(super) generation: String,
    pub(super) since: DateTime<Utc>,
    pub(super) way: Way,
    /// Every rename of this way was made.
    pub(super) done: bool,
    /// Owners are part of what was proven.
    pub(super) owners: bool,
    pub(super) trees: Vec<Exchanged>,
}

/// A name for one exchange.
pub(super) fn generation(backup: &BackupId) -> String {
    format!("{}-{backup}", SystemClock.now().format("%Y%m%dT%H%M%S%3fZ"))
}

impl Journal {
    /// The file's name.
    pub(super) fn file(generation: &str) -> String {
        format!("{generation}.json")
    }

    /// The file's name once what was set aside is being removed: nothing is put back any more.
    pub(super) fn going(generation: &str) -> String {
        format!("{generation}.going")
    }

    /// The file with what the tree of that number is made of.
    pub(super) fn inventory(&self, desk: &Desk, number: usize) -> String {
        format!("{}/{}.{number}", desk.folder, self.generation)
    }

    pub(super) fn to_line(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|e| {
            Error::new(ErrorKind::Unexpected, "the record of an exchange cannot be written").with_source(e)
        })
    }

    /// Reads what the machine kept.
    pub(super) fn of_line(desk: &Desk, line: &str) -> Result<Self> {
        let broken = |why: String| {
            let text = desk.what(&format!("a record in {} on {} {why}", desk.folder, desk.machine.name()));
            Error::new(ErrorKind::Corrupt, text).with_help("look which tree is live and which lies beside it, by hand")
        };
        let read: Self = serde_json::from_str(line).map_err(|e| broken(format!("cannot be read: {e}")))?;
        if read.format != 1 {
            return Err(broken(format!("has format {}: use a newer veza-dr", read.format)));
        }
        let strange = |name: &str| name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if strange(&read.generation) {
            return Err(broken(format!("names {:?}, which is no exchange", read.generation)));
        }
        Ok(read)
    }

    /// The same, on the way to the other one.
    pub(super) fn reversed(mut self) -> Self {
        self.way = if self.way == Way::In { Way::Back } else { Way::In };
        self.done = false;
        self
    }
}
