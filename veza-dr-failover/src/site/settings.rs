//! What a site is made of.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// What a site is for while nothing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SiteRole {
    /// It serves.
    Primary,
    /// It takes over.
    Standby,
}

/// A machine that the system's `ssh` reaches without asking anything. No secret is in it: keys are named by their files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ssh {
    /// A name, an address, or an alias of the user's ssh configuration.
    pub host: String,
    /// The port; what the ssh configuration says, else 22, where it is left out.
    pub port: Option<u16>,
    /// The user there; the same as here where it is left out.
    pub user: Option<String>,
    /// The private key. Only this one is offered then.
    pub key_file: Option<PathBuf>,
    /// The only file whose host keys are believed; the usual ones where it is left out. A key that is not in it is
    /// refused.
    pub known_hosts_file: Option<PathBuf>,
    /// How long connecting may take. Rounded up to whole seconds.
    pub connect_timeout: Duration,
    /// How often a connection is asked for a sign of life. It is given up after three without an answer. Rounded up to
    /// whole seconds.
    pub alive_interval: Duration,
}

impl Ssh {
    /// A machine with the usual settings: 5 s to connect, and a sign of life every 2 s.
    ///
    /// ```
    /// use veza_dr_failover::site::Ssh;
    /// assert_eq!(Ssh::new("backup-server").connect_timeout.as_secs(), 5);
    /// ```
    #[must_use]
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port: None,
            user: None,
            key_file: None,
            known_hosts_file: None,
            connect_timeout: Duration::from_secs(5),
            alive_interval: Duration::from_secs(2),
        }
    }
}

/// A Docker Compose project on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ComposeProject {
    /// The site's name.
    pub name: String,
    /// The address under which its services answer, whatever DNS says.
    pub address: Option<String>,
    /// The Compose file, an absolute path on the site's machine.
    pub file: String,
    /// The project's name.
    pub project: String,
    /// Where Docker listens on the site's machine: `unix:///PATH`. On this machine DOCKER_HOST and the usual places
    /// where it is left out, on another one `/var/run/docker.sock`.
    pub docker_host: Option<String>,
    /// How its machine is reached; this machine where it is left out.
    pub ssh: Option<Ssh>,
    /// Where its machine keeps the record of the work that it was given.
    pub jobs_dir: String,
    /// Where its machine keeps the mark of a fence.
    pub fence_dir: String,
    /// A shell command on its machine that closes it off as well. Must be safe to repeat.
    pub fence_command: Option<String>,
    /// The shell command that opens it again. Must be safe to repeat.
    pub unfence_command: Option<String>,
}

impl ComposeProject {
    /// A project of this machine, with its records below `/var/lib/veza-dr`.
    ///
    /// ```
    /// use veza_dr_failover::site::{ComposeProject, Ssh};
    /// let mut standby = ComposeProject::new("standby", "/opt/veza/disaster-recovery.yml", "veza");
    /// standby.ssh = Some(Ssh::new("backup-server"));
    /// assert_eq!(standby.fence_dir, "/var/lib/veza-dr/fence");
    /// ```
    #[must_use]
    pub fn new(name: impl Into<String>, file: impl Into<String>, project: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            address: None,
            file: file.into(),
            project: project.into(),
            docker_host: None,
            ssh: None,
            jobs_dir: "/var/lib/veza-dr/jobs".to_owned(),
            fence_dir: "/var/lib/veza-dr/fence".to_owned(),
            fence_command: None,
            unfence_command: None,
        }
    }

    /// The mark of a fence, on the site's machine.
    #[must_use]
    pub fn fence_mark(&self) -> String {
        format!("{}/{}", self.fence_dir, self.project)
    }
}
