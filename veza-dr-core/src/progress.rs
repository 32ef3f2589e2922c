//! How far a piece of work has come, told to whoever wants to show it.

use std::fmt::Debug;

/// What the numbers of a [`Progress`] count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// Bytes of plain data.
    Bytes,
    /// Tables, indexes, objects: whole things.
    Items,
}

/// One piece of news about a phase.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// A phase begins; `total` is 0 where it is not known.
    Begin {
        /// The phase, such as `copy out`.
        phase: &'static str,
        /// How much there is to do.
        total: u64,
        /// What is counted.
        unit: Unit,
    },
    /// More of the phase is done.
    Advance {
        /// The phase.
        phase: &'static str,
        /// How much more.
        by: u64,
    },
    /// What is being worked on right now.
    Note {
        /// The phase.
        phase: &'static str,
        /// A short text for the operator.
        text: String,
    },
    /// The phase is over.
    End {
        /// The phase.
        phase: &'static str,
    },
}

/// Receives progress. Called often and from several tasks: must be quick and must not block.
pub trait ProgressSink: Debug + Send + Sync + 'static {
    /// Takes one piece of news.
    fn report(&self, progress: Progress);
}

/// Throws progress away.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl ProgressSink for NoProgress {
    fn report(&self, _: Progress) {}
}
