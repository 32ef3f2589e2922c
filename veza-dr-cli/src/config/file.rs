//! The whole configuration file.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Alert, AvailabilitySettings, BackupPolicy, CheckSettings, DiskSettings, DnsSettings, DrillSettings,
    EscalationSettings, FailoverSettings, Metric, NetworkSettings, Notification, Scenarios, ServeSettings,
    ServiceSettings, SiteSettings, Source, Store, Text,
};

/// What `veza-dr.yml` holds.
///
/// Secrets in it are never shown: its `Debug` form and every error about it leave them out.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Veza DR configuration")]
#[non_exhaustive]
pub struct Config {
    /// What is protected: a name of your choice and how to reach it.
    #[serde(default)]
    pub sources: BTreeMap<String, Source>,
    /// Where backups go. A component goes to all of them unless its `backup` entry names some.
    #[serde(default)]
    pub stores: BTreeMap<String, Store>,
    /// When each source is backed up, and for how long backups are kept.
    #[serde(default)]
    pub backup: BTreeMap<String, BackupPolicy>,
    /// Where this host keeps what a crash must not lose: safety copies of what a restore replaces, hooks that were
    /// begun, the daemon's record. `/var/lib/veza-dr` for root, else `~/.local/state/veza-dr`.
    #[serde(default)]
    pub state_dir: Option<Text>,
    /// How `veza-dr serve` runs.
    #[serde(default)]
    pub serve: ServeSettings,
    /// Who is told when something happens: a name of your choice for each channel.
    #[serde(default)]
    pub notify: BTreeMap<String, Notification>,
    /// Where the services run: a name of your choice for each site. At most one is the primary.
    #[serde(default)]
    pub sites: BTreeMap<String, SiteSettings>,
    /// The names that lead users to a site, and who serves them.
    #[serde(default)]
    pub dns: Option<DnsSettings>,
    /// What runs there and how it is looked at, by its name in the Compose file; the guide's five services, by their
    /// containers, where it is left out.
    #[serde(default)]
    pub services: BTreeMap<String, ServiceSettings>,
    /// How this machine sees whether it reaches the world.
    #[serde(default)]
    pub network: Vec<NetworkSettings>,
    /// File systems of this machine that must have room.
    #[serde(default)]
    pub disks: Vec<DiskSettings>,
    /// What recovery must achieve, per kind of disaster.
    #[serde(default)]
    pub scenarios: Scenarios,
    /// What is measured during a recovery.
    #[serde(default)]
    pub metrics: Vec<Metric>,
    /// When to raise the alarm.
    #[serde(default)]
    pub alerts: Vec<Alert>,
    /// What users see, looked at all the time by the daemon.
    #[serde(default)]
    pub availability: AvailabilitySettings,
    /// Who is called about an outage or a recovery, and when.
    #[serde(default)]
    pub escalation: EscalationSettings,
    /// What must be true of a site before users are led to it: named checks. Those for the guide's services where it is
    /// left out.
    #[serde(default)]
    pub validation: Vec<CheckSettings>,
    /// How recoveries are rehearsed, and when.
    #[serde(default)]
    pub drills: DrillSettings,
    /// How runbooks are run.
    #[serde(default)]
    pub failover: FailoverSettings,
}
