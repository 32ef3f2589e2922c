//! Sites, from the configuration to what can be asked of them.

#[cfg(feature = "docker")]
use std::path::Path;
use std::{path::PathBuf, sync::Arc};

use veza_dr_core::{Error, ErrorKind, Result};
#[cfg(feature = "docker")]
use veza_dr_failover::site::{ComposeProject, ComposeSite, Ssh, Watchdog};
use veza_dr_failover::site::{DutySettings, SiteControl, SiteRole};

#[cfg(feature = "docker")]
use crate::config::{SiteSettings, SshSettings};
use crate::{config::SiteRoleName, wiring::Wiring};

/// A site of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) name: String,
    pub(crate) role: SiteRole,
    pub(crate) control: Arc<dyn SiteControl>,
}

impl Wiring {
    /// Every site, the primary first. Nothing is connected yet.
    pub(crate) fn sites(&self) -> Result<Vec<Site>> {
        let mut sites = Vec::new();
        for (name, settings) in &self.loaded.config.sites {
            let role = match settings.role {
                SiteRoleName::Primary => SiteRole::Primary,
                SiteRoleName::Standby => SiteRole::Standby,
            };
            sites.push(Site { name: name.clone(), role, control: self.control(name)? });
        }
        sites.sort_by_key(|s| s.role != SiteRole::Primary);
        Ok(sites)
    }

    /// The site that is named, or the primary, or the only one.
    pub(crate) fn site(&self, wanted: Option<&str>) -> Result<Site> {
        let sites = self.sites()?;
        let names: Vec<String> = sites.iter().map(|s| s.name.clone()).collect();
        let file = self.loaded.file.display();
        let found = match wanted {
            Some(name) => sites.into_iter().find(|s| s.name == name),
            None if sites.len() == 1 => sites.into_iter().next(),
            None => sites.into_iter().find(|s| s.role == SiteRole::Primary),
        };
        found.ok_or_else(|| {
            let text = match wanted {
                Some(name) => format!("{file} has no site `{name}`"),
                None if names.is_empty() => format!("{file} names no site"),
                None => format!("{file} has no primary site"),
            };
            let help = match names.as_slice() {
                [] => "say where the services run: sites: { primary: { role: primary, compose: { file: …, project: … } } }".to_owned(),
                names => format!("its sites are {}", names.join(", ")),
            };
            Error::new(ErrorKind::Config, text).with_help(help)
        })
    }

    /// How the site of this machine keeps its right to serve.
    #[cfg(feature = "docker")]
    pub(crate) fn duty(&self, name: &str) -> Result<DutySettings> {
        let at = format!("sites.{name}");
        let site = &self.loaded.config.sites[name];
        let project = self.compose_project(name, &at, site)?;
        let lease = site.fence.lease.clone().unwrap_or_default();
        let mut duty = DutySettings::new(lease, self.duty_folder()?);
        if let Some(time) = site.fence.lease_time {
            duty.ttl = time.0;
        }
        let host = project.docker_host.as_ref().map(|host| format!(" -H {}", shell_quoted(host))).unwrap_or_default();
        let label = shell_quoted(&format!("label=com.docker.compose.project={}", project.project));
        // What the engine would start by itself when it or the machine is started anew stays down, too: as by a fence.
        let stop = format!(
            "d() {{ docker{host} \"$@\"; }}\n\
             ids=$(d ps -q --filter {label}) && {{ [ -z \"$ids\" ] || d stop -t 1 $ids; }} || exit 92\n\
             ids=$(d ps -aq --no-trunc --filter {label}) || exit 92\n\
             for c in $ids; do\n\
             \x20   r='{{{{.HostConfig.RestartPolicy.Name}}}} {{{{.HostConfig.RestartPolicy.MaximumRetryCount}}}}'\n\
             \x20   r=$(d inspect -f \"$r\" \"$c\") || exit 92\n\
             \x20   [ \"$r\" = 'no 0' ] && continue\n\
             \x20   grep -q \"^$c \" \"$m.policies\" 2>/dev/null || echo \"$c $r\" >> \"$m.policies\" || exit 92\n\
             \x20   d update --restart=no \"$c\" > /dev/null || exit 92\n\
             done"
        );
        duty.watchdog = Some(Watchdog::new(stop, project.fence_mark()));
        Ok(duty)
    }

    #[cfg(not(feature = "docker"))]
    pub(crate) fn duty(&self, name: &str) -> Result<DutySettings> {
        self.control(name)?;
        Ok(DutySettings::new(name, self.duty_folder()?))
    }

    /// Where the daemon keeps what the next one must know of the site.
    pub(crate) fn duty_folder(&self) -> Result<PathBuf> {
        Ok(self.state_dir()?.join("site"))
    }

    #[cfg(not(feature = "docker"))]
    fn control(&self, name: &str) -> Result<Arc<dyn SiteControl>> {
        Err(Error::new(ErrorKind::Unsupported, format!("site {name}: this build has no support for docker"))
            .with_help("enable the cargo feature: cargo install veza-dr-cli --features docker"))
    }

    #[cfg(feature = "docker")]
    fn control(&self, name: &str) -> Result<Arc<dyn SiteControl>> {
        let at = format!("sites.{name}");
        let settings = &self.loaded.config.sites[name];
        let project = self.compose_project(name, &at, settings)?;
        let site = ComposeSite::new(project).map_err(|e| self.at(&at, e))?;
        Ok(Arc::new(site))
    }

    #[cfg(feature = "docker")]
    pub(crate) fn compose_project(&self, name: &str, at: &str, s: &SiteSettings) -> Result<ComposeProject> {
        let text = |key: &str, t: &crate::config::Text| self.text(&format!("{at}.{key}"), t);
        // On this machine a path begins at the file's folder; on another one it is that machine's matter.
        let path = |key: &str, t: &crate::config::Text| {
            let path = text(key, t)?;
            Ok::<_, Error>(if s.ssh.is_some() { path } else { self.loaded.resolve(&path).display().to_string() })
        };
        let file = path("compose.file", &s.compose.file)?;
        let mut project = ComposeProject::new(name, file, text("compose.project", &s.compose.project)?);
        project.address = s.address.as_ref().map(|t| text("address", t)).transpose()?;
        project.docker_host = s.compose.docker_host.as_ref().map(|t| text("compose.docker_host", t)).transpose()?;
        project.ssh = s.ssh.as_ref().map(|ssh| self.ssh(&format!("{at}.ssh"), ssh)).transpose()?;
        if let Some(dir) = &s.jobs_dir {
            project.jobs_dir = path("jobs_dir", dir)?;
        }
        if let Some(dir) = &s.fence.dir {
            project.fence_dir = path("fence.dir", dir)?;
        }
        project.fence_command = s.fence.command.as_ref().map(|t| text("fence.command", t)).transpose()?;
        project.unfence_command = s.fence.undo.as_ref().map(|t| text("fence.undo", t)).transpose()?;
        for (key, dir) in [("jobs_dir", &project.jobs_dir), ("fence.dir", &project.fence_dir)] {
            if !Path::new(dir).is_absolute() {
                let text = format!("`{dir}` is not an absolute path");
                return Err(self.at(&format!("{at}.{key}"), Error::new(ErrorKind::Config, text)));
            }
        }
        Ok(project)
    }

    #[cfg(feature = "docker")]
    fn ssh(&self, at: &str, s: &SshSettings) -> Result<Ssh> {
        let text = |key: &str, t: &crate::config::Text| self.text(&format!("{at}.{key}"), t);
        let mut ssh = Ssh::new(text("host", &s.host)?);
        ssh.port = s.port;
        ssh.user = s.user.as_ref().map(|t| text("user", t)).transpose()?;
        let file = |key: &str, t: &crate::config::Text| text(key, t).map(|path| self.loaded.resolve(&path));
        ssh.key_file = s.key_file.as_ref().map(|t| file("key_file", t)).transpose()?;
        ssh.known_hosts_file = s.known_hosts_file.as_ref().map(|t| file("known_hosts_file", t)).transpose()?;
        if let Some(limit) = s.connect_timeout {
            ssh.connect_timeout = limit.0;
        }
        Ok(ssh)
    }
}

#[cfg(feature = "docker")]
fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
