//! How names are led to a site, as plans say it.

use std::{fmt::Debug, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use veza_dr_core::Result;

use super::Work;

/// By what users are led to a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LeadBy {
    /// A flag that the standby serves and that a health check watches: no provider is called.
    Flag,
    /// Records that are changed at the provider.
    Records,
}

/// What a `dns` step asks for besides the site.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leading {
    /// By what; as the configuration has it where it is left out.
    pub by: Option<LeadBy>,
    /// Only this share of users, by weights.
    pub percent: Option<u8>,
    /// Taken back unless somebody confirms it within this time.
    pub confirm_within: Option<Duration>,
}

/// Leads the names of the configuration to sites, and changes how long answers are kept.
pub trait Names: Debug + Send + Sync + 'static {
    /// The work that leads users to the site of this name.
    ///
    /// # Errors
    /// `Config` when the configuration has nothing for it.
    fn lead(&self, site: &str, how: &Leading) -> Result<Arc<dyn Work>>;

    /// The work that lowers TTLs to so many seconds, or with `None` puts back what they were.
    ///
    /// # Errors
    /// As [`lead`](Self::lead).
    fn ttl(&self, lower_to: Option<u32>) -> Result<Arc<dyn Work>>;
}
