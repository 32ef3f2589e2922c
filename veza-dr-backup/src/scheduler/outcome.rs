//! How a run ended, and whether it is worth trying again.

use chrono::{DateTime, Utc};
use veza_dr_core::{Error, ErrorKind};

/// How one component's run ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A backup was published; the text names the stores that lack it.
    Made {
        lacking: Option<String>,
    },
    /// Another daemon made it.
    ByAnother,
    /// Another run holds the component.
    Held(Error),
    Failed(Error),
    /// The scheduler is stopping.
    Stopped,
}

/// A component that is to be backed up, and for which run of its schedule; `None`: somebody asked.
#[derive(Debug, Clone)]
pub(super) struct Due<C> {
    pub(super) component: C,
    pub(super) run: Option<DateTime<Utc>>,
}

/// Whether the same run may succeed a minute later, with nobody doing anything about it.
pub(super) fn may_pass_later(e: &Error) -> bool {
    !matches!(e.kind(), ErrorKind::Config | ErrorKind::Unsupported | ErrorKind::Denied | ErrorKind::Cancelled)
}
