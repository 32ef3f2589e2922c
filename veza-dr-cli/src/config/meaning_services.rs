//! What the settings of services, network and disks must also say.

use std::collections::BTreeMap;

use super::{DiskSettings, ProbeSettings, Text, meaning::Meaning, shape::nearest};

impl Meaning<'_> {
    pub(super) fn services(&mut self) {
        let config = self.config;
        let mut aliases: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, service) in &config.services {
            let path = format!("services.{name}");
            if let Some(alias) = &service.alias {
                let other = aliases
                    .insert(alias, name)
                    .or_else(|| config.services.get_key_value(alias).map(|(k, _)| k.as_str()).filter(|k| k != name));
                if let Some(other) = other {
                    self.say(&format!("{path}.alias"), format!("`{alias}` means service `{other}` already"), None);
                }
            }
            for (at, site) in service.sites.iter().flatten().enumerate() {
                if !config.sites.contains_key(site) {
                    let near = nearest(site, config.sites.keys().map(String::as_str));
                    let help = near.map(|near| format!("did you mean `{near}`?"));
                    self.say(&format!("{path}.sites[{at}]"), format!("there is no site `{site}` under `sites`"), help);
                }
            }
            for (at, probe) in service.probes.iter().enumerate() {
                self.probe(&format!("{path}.probes[{at}]"), probe);
            }
        }
        for (at, disk) in config.disks.iter().enumerate() {
            for (key, text) in [("free", &disk.free), ("inodes", &disk.inodes)] {
                if let Some(Err(e)) = text.as_deref().map(DiskSettings::room) {
                    self.say(&format!("disks[{at}].{key}"), e, None);
                }
            }
        }
    }

    fn probe(&mut self, path: &str, probe: &ProbeSettings) {
        let place = |url: bool, port: Option<u16>, at: Option<&Text>| match (url, port) {
            (true, Some(_)) => Some("has url and port: only one of them can count"),
            (true, None) if at.is_some() => Some("has url and path: the path belongs into the url"),
            (false, None) => Some("needs a url or a port"),
            _ => None,
        };
        let (kind, wrong) = match probe {
            ProbeSettings::Docker(_) => return self.feature(path, "docker"),
            ProbeSettings::Tcp(_) => return,
            ProbeSettings::Http(h) => ("http", place(h.url.is_some(), h.port, h.path.as_ref())),
            ProbeSettings::Websocket(w) => ("websocket", place(w.url.is_some(), w.port, w.path.as_ref())),
            ProbeSettings::Postgres(p) => {
                self.feature(path, "postgres");
                let ways = [
                    ("password", p.password.is_some()),
                    ("password_file", p.password_file.is_some()),
                    ("password_command", p.password_command.is_some()),
                ];
                return self.at_most_one(&format!("{path}.postgres"), &ways);
            }
            ProbeSettings::Redis(r) => {
                self.feature(path, "redis");
                let ways = [
                    ("password", r.password.is_some()),
                    ("password_file", r.password_file.is_some()),
                    ("password_command", r.password_command.is_some()),
                ];
                return self.at_most_one(&format!("{path}.redis"), &ways);
            }
        };
        if let Some(wrong) = wrong {
            self.say(&format!("{path}.{kind}"), wrong, None);
        }
    }
}
