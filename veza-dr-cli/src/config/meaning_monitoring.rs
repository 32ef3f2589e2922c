//! What scenarios, metrics, alerts, probes and levels of escalation must also say.

use std::time::Duration;

use veza_dr_failover::alerts::{BUILT_IN, MetricInfo, MetricUnit as Unit};

use super::{Channel, Config, MetricUnit, UserProbeSettings, expand::has_variables, meaning::Meaning, shape::nearest};

/// The metrics that conditions can speak of: those that are measured, and those that the file declares.
pub(crate) fn metrics(config: &Config) -> Vec<MetricInfo> {
    let mut all = BUILT_IN.to_vec();
    for metric in &config.metrics {
        if !all.iter().any(|m| m.name == metric.name) {
            all.push(MetricInfo::declared(metric.name.clone(), unit(metric.unit)));
        }
    }
    all
}

fn unit(unit: MetricUnit) -> Unit {
    match unit {
        MetricUnit::Seconds => Unit::Seconds,
        MetricUnit::Records => Unit::Records,
        MetricUnit::Bytes => Unit::Bytes,
        MetricUnit::Percentage => Unit::Percent,
        MetricUnit::Count => Unit::Count,
    }
}

impl Meaning<'_> {
    pub(super) fn monitoring(&mut self) {
        self.metrics();
        self.alerts();
        self.scenarios();
        self.availability();
        self.escalation();
    }

    fn metrics(&mut self) {
        let config = self.config;
        for (at, metric) in config.metrics.iter().enumerate() {
            let known = BUILT_IN.iter().find(|m| m.name == metric.name);
            if let Some(known) = known.filter(|m| m.unit != unit(metric.unit)) {
                let text = format!("`{}` counts {}", metric.name, known.unit);
                self.say(&format!("metrics[{at}].unit"), text, None);
            }
        }
    }

    fn alerts(&mut self) {
        let config = self.config;
        let known = metrics(config);
        for (at, alert) in config.alerts.iter().enumerate() {
            if let Err(e) = alert.condition.expression().check(&known) {
                let path = format!("alerts[{at}].condition");
                self.say(&path, e.to_string(), e.help().map(str::to_owned));
            }
            if config.alerts[..at].iter().any(|other| other.name == alert.name) {
                self.say(&format!("alerts[{at}].name"), format!("another alert is called `{}`", alert.name), None);
            }
            for (n, channel) in alert.channels.iter().flatten().enumerate() {
                self.channel(&format!("alerts[{at}].channels[{n}]"), channel);
            }
        }
    }

    fn channel(&mut self, path: &str, name: &str) {
        let notify = &self.config.notify;
        if !notify.contains_key(name) {
            let near = nearest(name, notify.keys().map(String::as_str));
            let help = near.map(|near| format!("did you mean `{near}`?"));
            self.say(path, format!("there is no channel `{name}` under `notify`"), help);
        }
    }

    fn scenarios(&mut self) {
        let config = self.config;
        let scenarios = &config.scenarios;
        for (kind, scenario) in [
            ("database", &scenarios.database),
            ("backend", &scenarios.backend),
            ("infrastructure", &scenarios.infrastructure),
            ("security", &scenarios.security),
        ] {
            let needs = scenario.iter().flat_map(|s| s.needs.iter().flatten()).enumerate();
            for (at, name) in needs.filter(|(_, name)| !config.sources.contains_key(*name)) {
                let path = format!("scenarios.{kind}.needs[{at}]");
                self.say(&path, format!("there is no source `{name}` under `sources`"), None);
            }
        }
    }

    fn availability(&mut self) {
        let config = self.config;
        let s = &config.availability;
        let rates = Duration::from_millis(50)..=Duration::from_secs(10);
        if s.every.is_some_and(|every| !rates.contains(&every.0)) {
            self.say("availability.every", "is not between 50ms and 10s", None);
        }
        if s.window.is_some_and(|w| w.0 < Duration::from_secs(60) || w.0 > Duration::from_secs(400 * 86_400)) {
            self.say("availability.window", "is not between 1m and 400d", None);
        }
        for (at, probe) in s.probes.iter().enumerate() {
            if let UserProbeSettings::Http(http) = probe
                && !has_variables(http.url.raw())
                && let Err(e) = veza_dr_failover::probe::HttpProbe::new(http.url.raw())
            {
                self.say(&format!("availability.probes[{at}].http.url"), e.to_string(), e.help().map(str::to_owned));
            }
        }
    }

    fn escalation(&mut self) {
        let config = self.config;
        let s = &config.escalation;
        for (name, contact) in &s.contacts {
            let path = format!("escalation.contacts.{name}");
            for (at, channel) in contact.channels.iter().enumerate() {
                self.channel(&format!("{path}.channels[{at}]"), channel);
            }
            let channels = contact.channels.iter().filter_map(|c| config.notify.get(c));
            let mails = channels.filter(|n| matches!(n.channel, Channel::Smtp(_))).count();
            if contact.mail.is_some() && mails == 0 {
                let help = "add a channel of kind smtp to `channels`".to_owned();
                self.say(&format!("{path}.mail"), "none of the channels sends mail", help);
            }
        }
        for (at, level) in s.levels.iter().flatten().enumerate() {
            let path = format!("escalation.levels[{at}]");
            if level.after.is_none() && level.rto_share.is_none() && !level.on_predicted_breach {
                let help = "add `after`, `rto_share` or `on_predicted_breach`".to_owned();
                self.say(&path, "never begins", help);
            }
            for (n, name) in level.contacts.iter().enumerate().filter(|(_, name)| !s.contacts.contains_key(*name)) {
                let near = nearest(name, s.contacts.keys().map(String::as_str));
                let help = near.map(|near| format!("did you mean `{near}`?"));
                let text = format!("there is no contact `{name}` under `escalation.contacts`");
                self.say(&format!("{path}.contacts[{n}]"), text, help);
            }
        }
        if s.levels.as_ref().is_some_and(Vec::is_empty) {
            self.say("escalation.levels", "is empty: nobody would be called", None);
        }
    }
}
