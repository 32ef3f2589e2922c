//! What the settings of the daemon, its notifications and its hooks must also say.

use std::time::Duration;

use veza_dr_core::ComponentName;

use super::{
    Channel, ContainerSettings, QuiesceSettings, QuiesceStep, ServeSettings, SmtpSettings, expand::has_variables,
    meaning::Meaning, shape::nearest,
};

/// A look that is older than three of these is taken for one that hangs.
const LONGEST_REFRESH: Duration = Duration::from_secs(300);

impl Meaning<'_> {
    pub(super) fn daemon(&mut self) {
        self.serve();
        self.notify();
        let config = self.config;
        for (name, policy) in &config.backup {
            if let Some(ping) = &policy.ping {
                self.one_address(&format!("backup.{name}.ping"), ping.url.is_some(), ping.url_file.is_some());
            }
            if let Some(quiesce) = &policy.quiesce {
                self.quiesce(&format!("backup.{name}.quiesce"), quiesce);
            }
        }
    }

    fn serve(&mut self) {
        let s = &self.config.serve;
        let given = [
            ("token", s.token.is_some()),
            ("token_file", s.token_file.is_some()),
            ("token_command", s.token_command.is_some()),
        ];
        self.at_most_one("serve", &given);
        if s.refresh.is_some_and(|r| r.0 > LONGEST_REFRESH) {
            self.say("serve.refresh", "is longer than 5m: what /healthz says would be about the past", None);
        }
        let Some(listen) = s.listen.as_ref().filter(|l| !has_variables(l.raw())) else { return };
        match ServeSettings::address(listen.raw()) {
            Err(why) => self.say("serve.listen", why, None),
            Ok(at) if !at.ip().is_loopback() && !given.iter().any(|(_, is)| *is) => {
                let help = "add `token_file`, or listen on 127.0.0.1".to_owned();
                self.say("serve.listen", format!("{at} can be reached from other machines and has no token"), help);
            }
            Ok(_) => {}
        }
    }

    fn notify(&mut self) {
        let config = self.config;
        for (name, notification) in &config.notify {
            let path = format!("notify.{name}");
            // The same rule as for components: the name is a label of metrics and printed in logs.
            if let Err(e) = name.parse::<ComponentName>() {
                self.say(&path, e.to_string().replace("component name", "channel name"), None);
            }
            match &notification.channel {
                Channel::Webhook(s) => {
                    let path = format!("{path}.webhook");
                    self.one_address(&path, s.url.is_some(), s.url_file.is_some());
                    self.at_most_one(
                        &path,
                        &[("secret", s.secret.is_some()), ("secret_file", s.secret_file.is_some())],
                    );
                }
                Channel::Slack(s) => {
                    self.one_address(&format!("{path}.slack"), s.url.is_some(), s.url_file.is_some());
                }
                Channel::Smtp(s) => self.smtp(&format!("{path}.smtp"), s),
                Channel::Command(words) if words.is_empty() => {
                    self.say(&format!("{path}.command"), "names no program", None);
                }
                Channel::Command(_) => {}
            }
            for (at, wanted) in notification.components.iter().flatten().enumerate() {
                if !config.sources.contains_key(wanted) {
                    let near = nearest(wanted, config.sources.keys().map(String::as_str));
                    let help = near.map(|near| format!("did you mean `{near}`?"));
                    let path = format!("{path}.components[{at}]");
                    self.say(&path, format!("there is no source `{wanted}` under `sources`"), help);
                }
            }
        }
    }

    fn smtp(&mut self, path: &str, s: &SmtpSettings) {
        let given = [
            ("password", s.password.is_some()),
            ("password_file", s.password_file.is_some()),
            ("password_command", s.password_command.is_some()),
        ];
        self.at_most_one(path, &given);
        if s.username.is_some() != given.iter().any(|(_, is)| *is) {
            self.say(path, "a user name and a password come together: one of them is missing", None);
        }
    }

    fn one_address(&mut self, path: &str, url: bool, file: bool) {
        self.at_most_one(path, &[("url", url), ("url_file", file)]);
        if !url && !file {
            self.say(path, "`url` or `url_file` is missing", None);
        }
    }

    fn quiesce(&mut self, path: &str, settings: &QuiesceSettings) {
        for (n, step) in settings.steps.iter().enumerate() {
            let at = format!("{path}.steps[{n}]");
            match step {
                QuiesceStep::Stop(s) => self.containers(&format!("{at}.stop"), s),
                QuiesceStep::Pause(s) => self.containers(&format!("{at}.pause"), s),
                QuiesceStep::Command(s) if s.before.is_empty() && s.after.is_empty() => {
                    self.say(&format!("{at}.command"), "names neither a command before nor one after", None);
                }
                QuiesceStep::Command(_) => {}
            }
        }
    }

    fn containers(&mut self, path: &str, s: &ContainerSettings) {
        self.feature(path, "docker");
        if s.name.is_none() && s.service.is_none() && s.project.is_none() && s.label.is_none() {
            self.say(path, "names no container", "give a name, a service, a project or a label".to_owned());
        }
    }
}
