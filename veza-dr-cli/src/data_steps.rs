//! Work of runbooks with data: each step is one call of the backup or restore library, and what it found for the journal.

mod backup;
mod compare;
mod count;
#[cfg(feature = "postgres")]
mod differences;
mod restore;
mod verify;

use std::sync::Arc;

use veza_dr_core::ComponentName;

pub(crate) use backup::BackupStep;
pub(crate) use compare::CompareStep;
pub(crate) use count::CountStep;
pub(crate) use restore::RestoreStep;
pub(crate) use verify::VerifyStep;

use crate::wiring::Wiring;

/// A component, in its own place or where a site keeps it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) wiring: Arc<Wiring>,
    pub(crate) component: ComponentName,
    pub(crate) site: Option<String>,
}

impl Place {
    fn site(&self) -> Option<&str> {
        self.site.as_deref()
    }

    /// `database`, or `database of standby`.
    fn named(&self) -> String {
        match &self.site {
            Some(site) => format!("{} of {site}", self.component),
            None => self.component.to_string(),
        }
    }
}
