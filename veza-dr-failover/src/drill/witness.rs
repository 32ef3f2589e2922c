//! What is looked at to show that a drill changed nothing of production.

use std::{fmt::Debug, sync::Arc};

use async_trait::async_trait;
use veza_dr_core::{BackupStore, ComponentName, Cx, DnsProvider, RecordKey, Result};

use crate::site::SiteControl;

/// One fact about production.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fact {
    /// What a drill alone could change: it must be the same afterwards.
    Fixed {
        /// Its name, unique within the witness.
        name: String,
        /// What it is; compared as it stands, so never a secret.
        value: String,
    },
    /// One of several that stay as they are, and to which production adds others: a backup.
    Growing {
        /// Its name.
        name: String,
        /// What it is.
        value: String,
    },
    /// What production's own work moves; it is told when it moved.
    Moving {
        /// Its name.
        name: String,
        /// What it is.
        value: String,
    },
    /// How many records a table, a key space or a tree has, by the name that manifests give it. It moves too.
    Records {
        /// The name.
        name: String,
        /// How many.
        count: u64,
    },
}

impl Fact {
    /// A fact that must be the same afterwards.
    #[must_use]
    pub fn fixed(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::Fixed { name: name.into(), value: value.into() }
    }

    /// A fact that stays, beside others that may come.
    #[must_use]
    pub fn growing(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::Growing { name: name.into(), value: value.into() }
    }

    /// A fact that production moves.
    #[must_use]
    pub fn moving(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::Moving { name: name.into(), value: value.into() }
    }

    /// So many records.
    #[must_use]
    pub fn records(name: impl Into<String>, count: u64) -> Self {
        Self::Records { name: name.into(), count }
    }
}

/// Looks at a part of production, without changing it.
#[async_trait]
pub trait Witness: Debug + Send + Sync + 'static {
    /// What it looks at, for people.
    fn what(&self) -> String;

    /// The component whose records it counts.
    fn component(&self) -> Option<&ComponentName> {
        None
    }

    /// Looks. Reads only.
    ///
    /// # Errors
    /// When it could not look: that is unknown then, never unchanged.
    async fn look(&self, cx: &Cx) -> Result<Vec<Fact>>;
}

/// The services of a site: their containers, states, restarts and images.
#[derive(Debug)]
pub struct SiteWitness(Arc<dyn SiteControl>);

impl SiteWitness {
    /// Looks at `site`.
    #[must_use]
    pub fn new(site: Arc<dyn SiteControl>) -> Self {
        Self(site)
    }
}

#[async_trait]
impl Witness for SiteWitness {
    fn what(&self) -> String {
        format!("services of site {}", self.0.name())
    }

    async fn look(&self, cx: &Cx) -> Result<Vec<Fact>> {
        let services = self.0.services(cx).await?;
        let each = services.into_iter().map(|s| {
            let container = s.container.as_deref().unwrap_or("no container");
            let image = s.image.as_deref().unwrap_or("no image");
            let since = s.since.map(|t| t.to_rfc3339()).unwrap_or_default();
            let value = format!("{container}, {}, since {since}, {} restarts, {image}", s.state, s.restarts);
            Fact::fixed(s.service, value)
        });
        Ok(each.collect())
    }
}

/// Records of a DNS provider.
#[derive(Debug)]
pub struct DnsWitness {
    provider: Arc<dyn DnsProvider>,
    keys: Vec<RecordKey>,
}

impl DnsWitness {
    /// Looks at these records.
    #[must_use]
    pub fn new(provider: Arc<dyn DnsProvider>, keys: Vec<RecordKey>) -> Self {
        Self { provider, keys }
    }
}

#[async_trait]
impl Witness for DnsWitness {
    fn what(&self) -> String {
        format!("DNS records of {}", self.provider.name())
    }

    async fn look(&self, cx: &Cx) -> Result<Vec<Fact>> {
        let mut facts = Vec::new();
        for key in &self.keys {
            let found = self.provider.read(cx, key).await?;
            let value = found.map_or_else(
                || "no record".to_owned(),
                |set| serde_json::to_string(&set.sorted()).unwrap_or_else(|e| format!("cannot be shown: {e}")),
            );
            facts.push(Fact::fixed(
                format!("{} {:?} {}", key.name, key.kind, key.set_id.as_deref().unwrap_or("")),
                value,
            ));
        }
        Ok(facts)
    }
}

/// The backups of one component in one store: none may go; new ones may come.
#[derive(Debug)]
pub struct StoreWitness {
    store: Arc<dyn BackupStore>,
    component: ComponentName,
}

impl StoreWitness {
    /// Looks at the manifests of `component`.
    #[must_use]
    pub fn new(store: Arc<dyn BackupStore>, component: ComponentName) -> Self {
        Self { store, component }
    }
}

#[async_trait]
impl Witness for StoreWitness {
    fn what(&self) -> String {
        format!("backups of {} in store {}", self.component, self.store.info().name)
    }

    async fn look(&self, cx: &Cx) -> Result<Vec<Fact>> {
        let objects = self.store.list(cx, self.component.as_str()).await?;
        let manifests = objects.into_iter().filter(|o| o.key.as_str().ends_with("/manifest.json"));
        Ok(manifests.map(|o| Fact::growing(o.key.as_str(), format!("{} bytes, {}", o.bytes, o.tag.0))).collect())
    }
}
