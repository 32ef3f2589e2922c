//! What the settings of sites must also say.

use std::time::Duration;

use veza_dr_core::ComponentName;

use super::{
    SiteDataSettings, SiteFilesSettings, SiteRoleName, SiteSettings, Source, Text, expand::has_variables,
    meaning::Meaning, shape::nearest,
};

/// Others count a lease as ended a third of its time after its end: until then everything must have stopped.
const SHORTEST_LEASE: Duration = Duration::from_secs(15);

impl Meaning<'_> {
    pub(super) fn served_site(&mut self) {
        let config = self.config;
        let Some(name) = &config.serve.site else { return };
        match config.sites.get(name) {
            None => {
                let known: Vec<&str> = config.sites.keys().map(String::as_str).collect();
                let help = format!("the sites are {}", known.join(", "));
                self.say("serve.site", format!("there is no site `{name}`"), help);
            }
            Some(site) if site.ssh.is_some() => {
                let help = "the daemon runs on the site's machine, with a file of its own".to_owned();
                self.say("serve.site", format!("site `{name}` is on another machine"), help);
            }
            Some(site) if site.fence.lease.is_none() => {
                let help = format!("sites: {{ {name}: {{ fence: {{ lease: site-{name} }} }} }}");
                self.say("serve.site", format!("site `{name}` has no lease to renew"), help);
            }
            Some(_) => {}
        }
    }

    pub(super) fn sites(&mut self) {
        let config = self.config;
        let mut primary: Option<&str> = None;
        for (name, site) in &config.sites {
            let path = format!("sites.{name}");
            // The same rule as for components: the name is typed at `--site` and printed in tables.
            if let Err(e) = name.parse::<ComponentName>() {
                self.say(&path, e.to_string().replace("component name", "site name"), None);
            }
            self.feature(&format!("{path}.compose"), "docker");
            match (site.role, primary) {
                (SiteRoleName::Primary, Some(other)) => {
                    let help = "exactly one site may accept writes; make one of them `standby`".to_owned();
                    self.say(&format!("{path}.role"), format!("`{other}` is the primary already"), help);
                }
                (SiteRoleName::Primary, None) => primary = Some(name),
                (SiteRoleName::Standby, _) => {}
            }
            self.site(&path, site);
            for (component, data) in &site.data {
                self.site_data(&format!("{path}.data.{component}"), component, site.role, data);
                self.site_files(&format!("{path}.data.{component}.files"), name, site, data);
            }
            if site.fence.hook.is_none() && site.fence.hook_undo.is_some() {
                self.say(&format!("{path}.fence.hook_undo"), "there is no `hook` that it undoes", None);
            }
        }
        self.served_site();
    }

    fn site_data(&mut self, path: &str, component: &str, role: SiteRoleName, data: &SiteDataSettings) {
        let sources = &self.config.sources;
        let Some(source) = sources.get(component) else {
            let near = nearest(component, sources.keys().map(String::as_str));
            let help = near.map(|near| format!("did you mean `{near}`?"));
            return self.say(path, format!("there is no source `{component}` under `sources`"), help);
        };
        let engine = source.engine();
        let given =
            [("postgres", data.postgres.is_some()), ("redis", data.redis.is_some()), ("files", data.files.is_some())];
        match (source, data.services.is_empty()) {
            (Source::Files(_), false) => {
                let help = "leave it out: nothing runs while files are exchanged".to_owned();
                self.say(&format!("{path}.services"), format!("no service holds `{component}`: they are files"), help);
            }
            (Source::Files(_), true) | (_, false) => {}
            (_, true) => {
                let help = "name them: services: [postgres]".to_owned();
                self.say(path, format!("does not say which services hold `{component}`"), help);
            }
        }
        for (key, _) in given.iter().filter(|(key, given)| *given && *key != engine) {
            self.say(&format!("{path}.{key}"), format!("`{component}` is a {engine} source"), None);
        }
        let own = given.iter().any(|(key, given)| *given && *key == engine);
        if !own && role == SiteRoleName::Standby {
            let what = if engine == "files" { "{}" } else { "{ url: … }" };
            let help = format!("add `{engine}: {what}`: only the primary's place is the source's own");
            self.say(path, format!("does not say where the standby keeps `{component}`"), help);
        }
        let of_postgres = data
            .postgres
            .as_ref()
            .map(|s| ("postgres", s.password.is_some(), s.password_file.is_some(), s.password_command.is_some()));
        let of_redis = data
            .redis
            .as_ref()
            .map(|s| ("redis", s.password.is_some(), s.password_file.is_some(), s.password_command.is_some()));
        for (key, text, file, command) in of_postgres.into_iter().chain(of_redis) {
            let given = [("password", text), ("password_file", file), ("password_command", command)];
            self.at_most_one(&format!("{path}.{key}"), &given);
        }
    }

    /// Two sites on one machine must not keep their files at the same paths.
    fn site_files(&mut self, path: &str, name: &str, site: &SiteSettings, data: &SiteDataSettings) {
        let Some(files) = &data.files else { return };
        let Some(root) = &files.root else {
            let here = |s: &SiteSettings| s.ssh.is_none();
            let other = self.config.sites.iter().find(|(n, s)| *n != name && here(s) && s.role != site.role);
            if let Some((other, _)) = other.filter(|_| here(site) && site.role == SiteRoleName::Standby) {
                let help = "give them a folder of their own: files: { root: /srv/standby }".to_owned();
                self.say(
                    path,
                    format!("site `{other}` is on this machine, too: its files lie at the same paths"),
                    help,
                );
            }
            return;
        };
        let raw = root.raw();
        if !has_variables(raw) && !SiteFilesSettings::is_root(raw) {
            let help = "write it out: root: /srv/standby".to_owned();
            self.say(&format!("{path}.root"), format!("`{raw}` is not an absolute path"), help);
        }
    }

    fn site(&mut self, path: &str, site: &SiteSettings) {
        if let Some(lease) = &site.fence.lease {
            let taken = lease == "failover" || self.config.sources.contains_key(lease);
            if taken || lease.parse::<ComponentName>().is_err() {
                let help = "small letters, digits, `-` and `_`, and no component's name: site-primary".to_owned();
                self.say(&format!("{path}.fence.lease"), format!("`{lease}` cannot be the name of this lease"), help);
            }
        }
        if site.fence.lease_time.is_some_and(|t| t.0 < SHORTEST_LEASE) {
            let help = "a third of it is all the time that services have to stop".to_owned();
            self.say(&format!("{path}.fence.lease_time"), "is shorter than 15s", help);
        }
        let project = site.compose.project.raw();
        // Compose's own rule; it would lower or strip the others, and the labels would be another project's.
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let first = project.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        let named = first && project.chars().all(fits);
        if !has_variables(project) && !named {
            let help = "small letters, digits, `-` and `_`, beginning with a letter or digit".to_owned();
            self.say(&format!("{path}.compose.project"), format!("`{project}` is not a project name"), help);
        }
        if let Some(host) = &site.compose.docker_host {
            let raw = host.raw();
            if !has_variables(raw) && !raw.starts_with("unix:///") {
                let help = "give a socket of the site's machine; another machine is reached with `ssh`".to_owned();
                self.say(&format!("{path}.compose.docker_host"), format!("`{raw}` is not unix:///PATH"), help);
            }
        }
        if site.ssh.is_none() {
            return;
        }
        let places = [
            ("compose.file", Some(&site.compose.file)),
            ("fence.dir", site.fence.dir.as_ref()),
            ("jobs_dir", site.jobs_dir.as_ref()),
        ];
        let relative = |text: &Text| !has_variables(text.raw()) && !text.raw().starts_with('/');
        for (key, text) in places.into_iter().filter_map(|(key, text)| Some((key, text?))) {
            if relative(text) {
                let message = format!("`{}` is not an absolute path, and it is on another machine", text.raw());
                self.say(&format!("{path}.{key}"), message, None);
            }
        }
        if let Some(host) = site.ssh.as_ref().map(|s| s.host.raw()).filter(|h| h.starts_with('-')) {
            self.say(&format!("{path}.ssh.host"), format!("`{host}` is not the name of a machine"), None);
        }
    }
}
