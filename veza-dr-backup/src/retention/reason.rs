//! Why a backup stays or goes, for people and programs.

use std::fmt;

use serde::Serialize;
use veza_dr_core::BackupId;

use crate::Level;

/// Why a backup stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeepReason {
    /// The policy deletes nothing.
    NoRule,
    /// It is no older than so many days.
    Days(u32),
    /// It is among the newest so many.
    Last(u32),
    /// It is the newest of its hour.
    Hourly,
    /// It is the newest of its day.
    Daily,
    /// It is the newest of its week.
    Weekly,
    /// It is the newest of its month.
    Monthly,
    /// It is the newest of its year.
    Yearly,
    /// It is the newest complete one.
    Newest,
    /// It is the newest that was proven to this level.
    NewestProven(Level),
    /// So few are left.
    Few(u32),
    /// It began later than now: a clock was or is wrong, and no age can be told.
    Future,
    /// A backup that stays has objects in it.
    UsedBy(BackupId),
    /// A restore is reading it.
    Restoring,
    /// More than this share of all would go at once; it goes next time.
    Share(u8),
    /// The newest backup is less than half as large as those before it: until that is understood, nothing goes.
    Shrunk,
    /// Its manifest cannot be read.
    Unreadable,
    /// A newer backup whose manifest cannot be read may have objects in it.
    MayBeUsedBy(BackupId),
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRule => f.write_str("no retention is configured"),
            Self::Days(n) => write!(f, "within {n} days of the newest"),
            Self::Last(n) => write!(f, "one of the last {n}"),
            Self::Hourly => f.write_str("newest of its hour"),
            Self::Daily => f.write_str("newest of its day"),
            Self::Weekly => f.write_str("newest of its week"),
            Self::Monthly => f.write_str("newest of its month"),
            Self::Yearly => f.write_str("newest of its year"),
            Self::Newest => f.write_str("newest complete backup"),
            Self::NewestProven(level) => write!(f, "newest proven: {level}"),
            Self::Few(n) => write!(f, "at least {n} always stay"),
            Self::Future => f.write_str("it is from the future: a clock was or is wrong"),
            Self::UsedBy(id) => write!(f, "{id} has objects in it"),
            Self::Restoring => f.write_str("a restore is reading it"),
            Self::Share(percent) => write!(f, "no more than {percent} % go at once"),
            Self::Shrunk => f.write_str("the newest backup is less than half as large as those before it"),
            Self::Unreadable => f.write_str("its manifest cannot be read"),
            Self::MayBeUsedBy(id) => write!(f, "{id}, whose manifest cannot be read, may have objects in it"),
        }
    }
}

/// Why a backup goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeleteReason {
    /// No rule wants it any more.
    NoRuleKeepsIt {
        /// How much older than the newest it is, in hours.
        hours_older_than_newest: i64,
    },
}

impl fmt::Display for DeleteReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::NoRuleKeepsIt { hours_older_than_newest: hours } = self;
        write!(f, "{} d {} h older than the newest, and no rule keeps it", hours / 24, hours % 24)
    }
}

/// What becomes of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It stays, for these reasons.
    Keep(Vec<KeepReason>),
    /// It goes.
    Delete(DeleteReason),
}
