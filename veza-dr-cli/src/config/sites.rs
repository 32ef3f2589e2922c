//! `sites:` where the services run.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{PostgresSource, RedisSource, Span, Text};

/// One place where the services run: a Docker Compose project, on this machine or behind SSH.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SiteSettings {
    /// What the site is for while nothing is wrong.
    pub role: SiteRoleName,
    /// The address or name under which its services answer, whatever DNS says of them; probes and validation use it.
    #[serde(default)]
    pub address: Option<Text>,
    /// Its Compose project.
    pub compose: ComposeSettings,
    /// How to reach its machine; this machine where it is left out.
    #[serde(default)]
    pub ssh: Option<SshSettings>,
    /// Where it keeps each component: what a failover restores to, and what is backed up while it serves.
    #[serde(default)]
    pub data: BTreeMap<String, SiteDataSettings>,
    /// How it is kept from coming back while the other site serves.
    #[serde(default)]
    pub fence: FenceSettings,
    /// Where its machine keeps the record of remote work, so that a cut connection finds it again;
    /// `/var/lib/veza-dr/jobs` by default.
    #[serde(default)]
    pub jobs_dir: Option<Text>,
}

/// What a site is for while nothing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SiteRoleName {
    /// It serves.
    Primary,
    /// It takes over.
    Standby,
}

/// A Compose project.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ComposeSettings {
    /// The Compose file, on the site's machine.
    pub file: Text,
    /// The project's name: what `docker compose -p` is given, and what its containers are labelled with.
    pub project: Text,
    /// Where Docker listens on the site's machine: `unix:///var/run/docker.sock` by default (DOCKER_HOST counts for
    /// this machine only).
    #[serde(default)]
    pub docker_host: Option<Text>,
}

/// Where a site keeps one component. Passwords are its own: those of `sources` are never offered to it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SiteDataSettings {
    /// The Compose services that hold it. They are started before it is restored, and all others after that. Files have
    /// none: nothing runs while they are exchanged.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub services: Vec<Text>,
    /// The database, for a component that is one. The primary's is the source itself where it is left out.
    #[serde(default)]
    pub postgres: Option<Box<PostgresSource>>,
    /// The server, for a component that is one. The primary's is the source itself where it is left out.
    #[serde(default)]
    pub redis: Option<Box<RedisSource>>,
    /// Where its trees go, for a component of files: `{}` for the paths that they were backed up from. The primary's are
    /// there where it is left out.
    #[serde(default)]
    pub files: Option<SiteFilesSettings>,
}

/// Where a site keeps the trees of a files component.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SiteFilesSettings {
    /// A folder of the site's machine that they go below, each with its whole path; it must be there. They go to the paths
    /// that they were backed up from where it is left out.
    #[serde(default)]
    pub root: Option<Text>,
}

impl SiteFilesSettings {
    /// Whether trees can go below this: it is absolute, and climbs nowhere.
    pub(crate) fn is_root(text: &str) -> bool {
        text.starts_with('/') && !text.split('/').any(|part| part == "..")
    }
}

/// How to reach a machine with the system's `ssh`. It asks nothing: the key has no passphrase or is in an agent, and
/// the machine's host key is known beforehand.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SshSettings {
    /// The machine: a name, an address, or an alias of the user's ssh configuration.
    pub host: Text,
    /// Its port; 22, or what the ssh configuration says.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The user there: may use Docker, and write to `jobs_dir` and `fence.dir`.
    #[serde(default)]
    pub user: Option<Text>,
    /// The private key; only this one is offered then.
    #[serde(default)]
    pub key_file: Option<Text>,
    /// The file with the machine's host key, and the only one that is believed; the user's and the system's
    /// `known_hosts` where it is left out. A key that is not in it is refused, never added.
    #[serde(default)]
    pub known_hosts_file: Option<Text>,
    /// How long connecting may take; 5s by default.
    #[serde(default)]
    pub connect_timeout: Option<Span>,
}

/// How a site is kept from coming back.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FenceSettings {
    /// Where its machine keeps the mark that start scripts look for; `/var/lib/veza-dr/fence` by default.
    #[serde(default)]
    pub dir: Option<Text>,
    /// A shell command on its machine that also closes it off, as a firewall does; it must be safe to repeat.
    #[serde(default)]
    pub command: Option<Text>,
    /// The shell command that opens it again; it must be safe to repeat.
    #[serde(default)]
    pub undo: Option<Text>,
    /// The name of the lease that the site's own daemon renews while the site may serve (`serve.site` in its file); a
    /// failover that can reach nothing at the site waits it out. It is kept in the store of the runs.
    #[serde(default)]
    pub lease: Option<String>,
    /// How long that lease lasts without being renewed; 60s.
    #[serde(default)]
    pub lease_time: Option<Span>,
    /// A shell command on this machine that closes the site off when its own cannot be reached: a security group, the
    /// power. It must be safe to repeat, and end with 0 only once nobody can write there.
    #[serde(default)]
    pub hook: Option<Text>,
    /// The shell command on this machine that opens it again; it must be safe to repeat.
    #[serde(default)]
    pub hook_undo: Option<Text>,
}
