//! Notification channels and pings out of the configuration.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use veza_dr_core::{ComponentName, Cx, Error, ErrorKind, Event, EventSink, Phase, Result, RetryPolicy};
use veza_dr_failover::notify::{
    CommandChannel, DeliveryRecord, Filter, HookUrl, Ping, Queued, Slack, Smtp, SmtpConfig, SmtpTls, Webhook,
};

use crate::{
    config::{Channel, Notification, PhaseName, SmtpSettings, SmtpTlsName},
    secrets::Given,
    wiring::Wiring,
};

/// A receiver that is away for some minutes still hears of everything.
fn patience() -> RetryPolicy {
    RetryPolicy::default().with_attempts(12).with_first(Duration::from_secs(1)).with_max(Duration::from_secs(120))
}

impl Wiring {
    /// Every channel and ping, started.
    pub(crate) async fn channels(&self, cx: &Cx, records: &[Arc<dyn DeliveryRecord>]) -> Result<Vec<Arc<Queued>>> {
        let mut all = Vec::new();
        for (name, notification) in &self.loaded.config.notify {
            let sink = self.channel(cx, name, &notification.channel).await?;
            let filter = self.filter(notification);
            all.push(Arc::new(Queued::start(name, sink, filter, patience(), records.to_vec())));
        }
        for component in self.components() {
            let Some(ping) = self.ping(cx, &component).await? else { continue };
            // It chooses for itself; what it does not ping about it still keeps as the tail of the log.
            let phases = vec![Phase::Started, Phase::Succeeded, Phase::Retrying, Phase::Failed, Phase::Missed];
            let filter = Filter::default().with_phases(phases).with_repeat(Duration::ZERO);
            let filter = filter.with_components(vec![component.clone()]);
            let name = format!("ping-{component}");
            all.push(Arc::new(Queued::start(name, Arc::new(ping), filter, patience(), records.to_vec())));
        }
        Ok(all)
    }

    /// Each channel and ping, set up and let go of: are their settings complete, can their secrets be read?
    pub(crate) async fn try_channels(&self, cx: &Cx) -> Vec<(String, Result<()>)> {
        let mut tried = Vec::new();
        for (name, notification) in &self.loaded.config.notify {
            tried.push((name.clone(), self.channel(cx, name, &notification.channel).await.map(drop)));
        }
        for component in self.components() {
            match self.ping(cx, &component).await {
                Ok(None) => {}
                other => tried.push((format!("ping-{component}"), other.map(drop))),
            }
        }
        tried
    }

    fn filter(&self, n: &Notification) -> Filter {
        let mut filter = Filter::default().with_recovery(n.recovery);
        if let Some(severity) = n.severity {
            filter = filter.with_severity(severity);
        }
        if let Some(phases) = &n.phases {
            let phase = |p: &PhaseName| match p {
                PhaseName::Started => Phase::Started,
                PhaseName::Succeeded => Phase::Succeeded,
                PhaseName::Retrying => Phase::Retrying,
                PhaseName::Failed => Phase::Failed,
                PhaseName::Missed => Phase::Missed,
            };
            filter = filter.with_phases(phases.iter().map(phase).collect());
        }
        if let Some(components) = &n.components {
            filter = filter.with_components(components.iter().filter_map(|c| c.parse().ok()).collect());
        }
        match n.repeat {
            Some(span) => filter.with_repeat(span.0),
            None => filter,
        }
    }

    pub(crate) async fn channel(&self, cx: &Cx, name: &str, channel: &Channel) -> Result<Arc<dyn EventSink>> {
        let at = |key: &str| format!("notify.{name}.{key}");
        Ok(match channel {
            Channel::Webhook(s) => {
                let given = Given { text: s.url.as_ref(), file: s.url_file.as_ref(), command: None };
                let mut webhook = Webhook::new(self.hook(cx, &at("webhook.url"), given).await?)?;
                let key = Given { text: s.secret.as_ref(), file: s.secret_file.as_ref(), command: None };
                if let Some(key) = self.secret(cx, &at("webhook.secret"), key).await? {
                    webhook = webhook.signed_with(key);
                }
                Arc::new(webhook)
            }
            Channel::Slack(s) => {
                let given = Given { text: s.url.as_ref(), file: s.url_file.as_ref(), command: None };
                Arc::new(Slack::new(self.hook(cx, &at("slack.url"), given).await?)?)
            }
            Channel::Smtp(s) => Arc::new(self.smtp(cx, &at("smtp"), s, None).await?),
            Channel::Command(words) => {
                let path = at("command");
                let words = words.iter().map(|w| self.text(&path, w)).collect::<Result<Vec<_>>>()?;
                Arc::new(CommandChannel::new(words).map_err(|e| self.at(&path, e))?)
            }
        })
    }

    /// Mail to the receivers of the settings, or to this one instead.
    pub(crate) async fn smtp(&self, cx: &Cx, path: &str, s: &SmtpSettings, only: Option<String>) -> Result<Smtp> {
        let at = |key: &str| format!("{path}.{key}");
        let to = match only {
            Some(one) => vec![one],
            None => s.to.iter().map(|t| self.text(&at("to"), t)).collect::<Result<Vec<_>>>()?,
        };
        let mut config = SmtpConfig::new(self.text(&at("host"), &s.host)?, self.text(&at("from"), &s.from)?, to);
        config.port = s.port;
        config.tls = match s.tls {
            None | Some(SmtpTlsName::Starttls) => SmtpTls::StartTls,
            Some(SmtpTlsName::Tls) => SmtpTls::Tls,
            Some(SmtpTlsName::None) => SmtpTls::None,
        };
        let given = Given::of(&s.password, &s.password_file, &s.password_command);
        let password = self.secret(cx, &at("password"), given).await?;
        if let (Some(user), Some(password)) = (&s.username, password) {
            config.login = Some((self.text(&at("username"), user)?, password));
        }
        Smtp::new(config).map_err(|e| self.at(path, e))
    }

    async fn ping(&self, cx: &Cx, component: &ComponentName) -> Result<Option<Ping>> {
        let policy = self.loaded.config.backup.get(component.as_str());
        let Some(s) = policy.and_then(|p| p.ping.as_ref()) else { return Ok(None) };
        let given = Given { text: s.url.as_ref(), file: s.url_file.as_ref(), command: None };
        let url = self.hook(cx, &format!("backup.{component}.ping.url"), given).await?;
        Ping::new(component.clone(), url).map(Some)
    }

    async fn hook(&self, cx: &Cx, path: &str, given: Given<'_>) -> Result<HookUrl> {
        let url = self.secret(cx, path, given).await?;
        let url = url.ok_or_else(|| Error::new(ErrorKind::Config, format!("{path} is missing")))?;
        HookUrl::parse(url).map_err(|e| self.at(path, e))
    }
}

/// A channel that is set up when something is told: one whose secret cannot be read must not stop a recovery that it
/// was only to tell of.
#[derive(Debug)]
pub(crate) struct WhenTold {
    pub(crate) wiring: Arc<Wiring>,
    pub(crate) name: String,
}

#[async_trait]
impl EventSink for WhenTold {
    async fn tell(&self, cx: &Cx, event: &Event) -> Result<()> {
        let name = &self.name;
        let notification = self.wiring.loaded.config.notify.get(name);
        let notification =
            notification.ok_or_else(|| Error::new(ErrorKind::Config, format!("there is no channel `{name}`")))?;
        self.wiring.channel(cx, name, &notification.channel).await?.tell(cx, event).await
    }
}
