//! What an assessment looks at.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use veza_dr_core::ServiceProbe;

use crate::{probe::PATIENCE, site::SiteRole};

/// What a service is for: it decides which disaster its loss looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServiceKind {
    /// It serves users and keeps no data.
    Backend,
    /// It keeps the data.
    Database,
    /// It keeps what can be made again.
    Cache,
}

/// One service of a site, with all the ways in which it is looked at.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServiceUnit {
    /// The compose service.
    pub service: String,
    /// What `recover` calls it.
    pub alias: Option<String>,
    /// What it is for.
    pub kind: ServiceKind,
    /// The ways in which it is looked at.
    pub probes: Vec<Arc<dyn ServiceProbe>>,
}

impl ServiceUnit {
    /// A service without probes yet.
    #[must_use]
    pub fn new(service: impl Into<String>, kind: ServiceKind) -> Self {
        Self { service: service.into(), alias: None, kind, probes: Vec::new() }
    }

    /// A short name.
    #[must_use]
    pub fn with_alias(mut self, alias: impl Into<String>) -> Self {
        self.alias = Some(alias.into());
        self
    }

    /// One more way to look at it.
    #[must_use]
    pub fn with_probe(mut self, probe: Arc<dyn ServiceProbe>) -> Self {
        self.probes.push(probe);
        self
    }
}

/// One site.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SiteUnit {
    /// Its name.
    pub site: String,
    /// What it is for while nothing is wrong.
    pub role: SiteRole,
    /// Its services.
    pub services: Vec<ServiceUnit>,
}

impl SiteUnit {
    /// A site without services yet.
    #[must_use]
    pub fn new(site: impl Into<String>, role: SiteRole) -> Self {
        Self { site: site.into(), role, services: Vec::new() }
    }

    /// One more service.
    #[must_use]
    pub fn with_service(mut self, service: ServiceUnit) -> Self {
        self.services.push(service);
        self
    }
}

/// What can be done about TTLs: lowering helps only once the old ones have run out, so it is done when trouble shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TtlAdvice {
    /// They are longer than this many seconds: lower them while something is wrong.
    Lower(u32),
    /// They were lowered: put them back once all is well.
    Restore,
}

/// An assessment to be made.
#[derive(Debug, Clone)]
pub struct Assess {
    pub(super) sites: Vec<SiteUnit>,
    pub(super) network: Vec<Arc<dyn ServiceProbe>>,
    pub(super) disks: Vec<Arc<dyn ServiceProbe>>,
    pub(super) backups: Vec<Arc<dyn ServiceProbe>>,
    pub(super) deadline: Duration,
    pub(super) compromised: bool,
    pub(super) ttl: Option<TtlAdvice>,
}

impl Default for Assess {
    fn default() -> Self {
        Self::new()
    }
}

impl Assess {
    /// Looks at nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            sites: Vec::new(),
            network: Vec::new(),
            disks: Vec::new(),
            backups: Vec::new(),
            deadline: PATIENCE,
            compromised: false,
            ttl: None,
        }
    }

    /// One more site.
    #[must_use]
    pub fn with_site(mut self, site: SiteUnit) -> Self {
        self.sites.push(site);
        self
    }

    /// Probes that show whether this machine sees the world at all.
    #[must_use]
    pub fn with_network(mut self, probes: Vec<Arc<dyn ServiceProbe>>) -> Self {
        self.network = probes;
        self
    }

    /// Probes of this machine's disks.
    #[must_use]
    pub fn with_disks(mut self, probes: Vec<Arc<dyn ServiceProbe>>) -> Self {
        self.disks = probes;
        self
    }

    /// Probes of what could be recovered from.
    #[must_use]
    pub fn with_backups(mut self, probes: Vec<Arc<dyn ServiceProbe>>) -> Self {
        self.backups = probes;
        self
    }

    /// What is not told by then is unknown; 5 s by default, for each probe.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The operator suspects an attack: no probe can see one.
    #[must_use]
    pub fn suspecting_compromise(mut self, suspected: bool) -> Self {
        self.compromised = suspected;
        self
    }

    /// What can be done about how long resolvers keep the names of the sites; nothing by default.
    #[must_use]
    pub fn with_ttl_advice(mut self, advice: Option<TtlAdvice>) -> Self {
        self.ttl = advice;
        self
    }
}
