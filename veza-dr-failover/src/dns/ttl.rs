//! Remembers the TTLs of normal times while lowered ones are in force.

use std::collections::BTreeMap;

use veza_dr_core::{RecordKey, Result};

use super::{Goal, SwitchedRecord, saved::Folder};

const FILE: &str = "ttl.json";

/// The TTL that each lowered record had.
#[derive(Debug, Clone, Default)]
pub(super) struct Remembered(BTreeMap<String, u32>);

impl Remembered {
    pub(super) fn load(folder: &Folder) -> Result<Self> {
        Ok(Self(folder.read(FILE)?.unwrap_or_default()))
    }

    pub(super) fn of(&self, key: &RecordKey) -> Option<u32> {
        self.0.get(&name(key)).copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps what will be lost when these records are set: written before they are.
    pub(super) fn keep(mut self, folder: &Folder, goal: Goal, records: &[SwitchedRecord]) -> Result<()> {
        if !matches!(goal, Goal::LowerTtl(_)) {
            return Ok(());
        }
        for record in records {
            if let Some(before) = &record.before {
                // Lowered twice: the first is the one of normal times.
                self.0.entry(name(&record.key)).or_insert(before.ttl);
            }
        }
        folder.write(FILE, &self.0)
    }

    /// Forgets what was put back; the other way round when that is itself taken back.
    pub(super) fn settle(mut self, folder: &Folder, goal: Goal, records: &[SwitchedRecord], back: bool) -> Result<()> {
        let forget = match goal {
            Goal::LowerTtl(_) if back => true,
            Goal::RestoreTtl => !back,
            _ => return Ok(()),
        };
        for record in records {
            match (&record.after, forget) {
                (_, true) => {
                    self.0.remove(&name(&record.key));
                }
                (Some(after), false) => {
                    self.0.insert(name(&record.key), after.ttl);
                }
                (None, false) => {}
            }
        }
        folder.write(FILE, &self.0)
    }
}

fn name(key: &RecordKey) -> String {
    format!("{}/{key}", key.zone)
}
