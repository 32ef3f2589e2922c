//! From `alerts:`, `escalation:` and `availability:` to the desk, the watchman and the prober.

use std::{path::PathBuf, sync::Arc, time::Duration};

use veza_dr_backup::store::Holder;
use veza_dr_core::{Clock, Cx, Error, EventSink, Result, ServiceProbe, Severity, SystemClock};
use veza_dr_failover::{
    alarm::{Desk, Links, Watchman},
    alerts::{AlertRule, OnMissing, contradictions},
    escalation::{AckKey, Contact, EscalationPolicy, Level},
    measure::{AvailabilityLog, Objectives, Prober, Recorder, RecoveryHistory, Vantage},
    probe::{HttpProbe, TcpProbe, Trust},
    runbook::Journals,
};

use crate::{
    config::{Channel, ContactSettings, MissingName, PhaseName, UserProbeSettings, metrics},
    wiring::{Access, Wiring},
};

const DAY: Duration = Duration::from_secs(86_400);

/// The desk, what links to it are signed with, and what could not be set up.
#[derive(Debug)]
pub(crate) struct Desked {
    pub(crate) desk: Arc<Desk>,
    pub(crate) key: Option<AckKey>,
    pub(crate) failed: Vec<Error>,
}

/// What looks at the service, and its memory.
#[derive(Debug)]
pub(crate) struct Probing {
    pub(crate) prober: Prober,
    pub(crate) log: Arc<AvailabilityLog>,
    pub(crate) folder: PathBuf,
}

impl Wiring {
    pub(crate) fn host(&self) -> String {
        Holder::this_process("").host
    }

    /// The desk with every rule, channel and contact of the configuration. A channel that cannot be set up does not keep
    /// the others from being told.
    pub(crate) async fn desk(&self, cx: &Cx, logs: Vec<Arc<dyn EventSink>>) -> Result<Desked> {
        let config = &self.loaded.config;
        let state = self.state_dir()?;
        let mut desk = Desk::open(&state)?.with_rules(self.alert_rules(), &metrics(config))?;
        desk = desk.with_policy(self.escalation_policy());
        let mut failed = Vec::new();
        for (name, notification) in &config.notify {
            // One that is told of chosen phases only is told of alerts when failures are among them.
            let wanted = notification.phases.as_ref().is_none_or(|p| p.contains(&PhaseName::Failed));
            match self.channel(cx, name, &notification.channel).await {
                Ok(sink) if wanted => {
                    let severity = notification.severity.unwrap_or(Severity::High);
                    desk = desk.with_channel(name, sink, severity, notification.recovery);
                }
                Ok(sink) => desk = desk.with_way(name, sink),
                Err(e) => failed.push(e),
            }
        }
        for (name, contact) in &config.escalation.contacts {
            match self.mails(cx, name, contact).await {
                Ok(mails) => desk = mails.into_iter().fold(desk, |desk, (way, sink)| desk.with_way(way, sink)),
                Err(e) => failed.push(e),
            }
        }
        desk = logs.into_iter().fold(desk, Desk::with_log);
        let key = match &config.serve.public_url {
            Some(url) => {
                let key = AckKey::open(&Desk::key_file(&state))?;
                desk = desk.with_links(Links::new(self.text("serve.public_url", url)?, key.clone()));
                Some(key)
            }
            None => None,
        };
        Ok(Desked { desk: Arc::new(desk), key, failed })
    }

    fn alert_rules(&self) -> Vec<AlertRule> {
        let rule = |a: &crate::config::Alert| {
            let mut rule = AlertRule::new(&a.name, a.condition.expression().clone(), a.severity);
            rule.hold = a.hold.map(|h| h.0).unwrap_or_default();
            rule.on_missing = match a.missing {
                None | Some(MissingName::Tell) => OnMissing::Tell,
                Some(MissingName::Fire) => OnMissing::Fire,
                Some(MissingName::Ignore) => OnMissing::Ignore,
            };
            (rule.channels, rule.help) = (a.channels.clone(), a.help.clone());
            rule
        };
        self.loaded.config.alerts.iter().map(rule).collect()
    }

    /// Where alerts, levels and objectives contradict each other; levels only where the file says something of recovery.
    pub(crate) fn contradictions(&self) -> Vec<String> {
        let config = &self.loaded.config;
        let guide = config.escalation.levels.is_none() && config.availability.probes.is_empty();
        let policy = if guide { EscalationPolicy::new(Vec::new()) } else { self.escalation_policy() };
        contradictions(&self.alert_rules(), &policy, &self.objectives(), self.availability_window())
    }

    pub(crate) fn escalation_policy(&self) -> EscalationPolicy {
        let s = &self.loaded.config.escalation;
        let mut policy = match &s.levels {
            None => EscalationPolicy::guide(),
            Some(levels) => EscalationPolicy::new(
                levels
                    .iter()
                    .map(|l| {
                        let mut level = Level::after(&l.name, Duration::ZERO);
                        level.after = l.after.map(|a| a.0);
                        level.rto_share = l.rto_share.map(f64::from);
                        level.on_predicted_breach = l.on_predicted_breach;
                        level.authority.clone_from(&l.authority);
                        let of = |name: &String| Some(self.contact(name, s.contacts.get(name)?));
                        level.calling(l.contacts.iter().filter_map(of).collect())
                    })
                    .collect(),
            ),
        };
        if let Some(repeat) = s.repeat {
            policy = policy.with_repeat(repeat.0);
        }
        if let Some(time) = s.acknowledged_for {
            policy = policy.with_acknowledged_for(time.0);
        }
        policy
    }

    fn contact(&self, name: &str, s: &ContactSettings) -> Contact {
        let ways = s.channels.iter().map(|channel| match self.writes_to(s, channel) {
            true => format!("{name}@{channel}"),
            false => channel.clone(),
        });
        let contact = Contact::new(name, ways);
        match &s.role {
            Some(role) => contact.with_role(role),
            None => contact,
        }
    }

    fn writes_to(&self, contact: &ContactSettings, channel: &str) -> bool {
        let kind = self.loaded.config.notify.get(channel).map(|n| &n.channel);
        contact.mail.is_some() && matches!(kind, Some(Channel::Smtp(_)))
    }

    /// The mail channels of a contact, each to their own address.
    async fn mails(&self, cx: &Cx, name: &str, s: &ContactSettings) -> Result<Vec<(String, Arc<dyn EventSink>)>> {
        let mut mails: Vec<(String, Arc<dyn EventSink>)> = Vec::new();
        let Some(mail) = &s.mail else { return Ok(mails) };
        let address = self.text(&format!("escalation.contacts.{name}.mail"), mail)?;
        for channel in &s.channels {
            if let Some(Channel::Smtp(smtp)) = self.loaded.config.notify.get(channel).map(|n| &n.channel) {
                let path = format!("notify.{channel}.smtp");
                let smtp = self.smtp(cx, &path, smtp, Some(address.clone())).await?;
                mails.push((format!("{name}@{channel}"), Arc::new(smtp)));
            }
        }
        Ok(mails)
    }

    /// What measures the runs of this host.
    pub(crate) fn recorder(&self) -> Result<Recorder> {
        let state = self.state_dir()?;
        let mut recorder = Recorder::new(Journals::new(&state), self.host());
        for scenario in self.scenarios() {
            let objectives = Objectives::new(scenario.rto.0, scenario.rpo.0);
            recorder = recorder.with_objectives(scenario.kind.to_string(), objectives);
        }
        if !self.loaded.config.availability.probes.is_empty() {
            recorder = recorder.with_probes(self.availability_folder()?);
        }
        Ok(recorder)
    }

    fn availability_folder(&self) -> Result<PathBuf> {
        Ok(self.state_dir()?.join("availability"))
    }

    /// The window that availability is told of.
    pub(crate) fn availability_window(&self) -> Duration {
        self.loaded.config.availability.window.map_or(30 * DAY, |w| w.0)
    }

    /// What looks at the service; `None` without `availability.probes`.
    pub(crate) fn probing(&self) -> Result<Option<Probing>> {
        let s = &self.loaded.config.availability;
        if s.probes.is_empty() {
            return Ok(None);
        }
        let patience = s.patience.map_or(Duration::from_secs(5), |p| p.0);
        let mut service: Vec<Arc<dyn ServiceProbe>> = Vec::new();
        for (at, probe) in s.probes.iter().enumerate() {
            service.push(self.user_probe(at, probe, patience)?);
        }
        let network = self.loaded.config.network.iter().enumerate();
        let control = network.map(|(at, probe)| self.network_probe(at, probe, patience)).collect::<Result<Vec<_>>>()?;
        let folder = self.availability_folder()?;
        // A recovery's own time may lie before the window.
        let keep = self.availability_window().max(30 * DAY);
        let after = s.outage_after.map_or(Duration::from_secs(30), |a| a.0);
        let log = AvailabilityLog::open(&folder, keep, SystemClock.now())?
            .with_outages(after, s.good_in_a_row.unwrap_or(3))
            .with_vantage_points(vec![self.host()]);
        let log = Arc::new(log);
        let every = s.every.map_or(Duration::from_secs(1), |e| e.0);
        let vantage = Vantage::new(self.host(), service).with_control(control);
        let prober = Prober::new(vec![vantage], every, log.clone())?.with_patience(patience);
        Ok(Some(Probing { prober, log, folder }))
    }

    fn user_probe(&self, at: usize, probe: &UserProbeSettings, patience: Duration) -> Result<Arc<dyn ServiceProbe>> {
        let path = |key: &str| format!("availability.probes[{at}].{key}");
        Ok(match probe {
            UserProbeSettings::Tcp(tcp) => {
                let host = self.text(&path("tcp.host"), &tcp.host)?;
                Arc::new(TcpProbe::new(host, tcp.port).with_patience(patience))
            }
            UserProbeSettings::Http(http) => {
                let url = self.text(&path("http.url"), &http.url)?;
                let probe = HttpProbe::new(&url).map_err(|e| self.at(&path("http.url"), e))?;
                let mut probe = probe.with_patience(patience);
                if let Some(status) = http.status {
                    probe = probe.with_status(status);
                }
                if let Some(contains) = &http.contains {
                    probe = probe.with_body(self.text(&path("http.contains"), contains)?);
                }
                if let Some(file) = &http.ca_file {
                    let file = self.loaded.resolve(&self.text(&path("http.ca_file"), file)?);
                    probe = probe.with_trust(Trust::of_file(&file).map_err(|e| self.at(&path("http.ca_file"), e))?);
                } else if url.starts_with("https:") {
                    // Read once, not at every look.
                    probe = probe.with_trust(Trust::system()?);
                }
                Arc::new(probe)
            }
        })
    }

    /// The watchman over this host's runs, and what looks at the service for it.
    pub(crate) fn watchman(&self, desk: Arc<Desk>) -> Result<(Watchman, Option<Probing>)> {
        let mut watchman = Watchman::new(desk, self.recorder()?, self.host());
        let probing = self.probing()?;
        if let Some(probing) = &probing {
            watchman = watchman.with_probes(probing.log.clone(), self.availability_window());
        }
        Ok((watchman, probing))
    }

    /// The history of recoveries and drills.
    pub(crate) async fn history(&self, cx: &Cx, only: Option<&str>) -> Result<RecoveryHistory> {
        Ok(RecoveryHistory::new(self.failover_store(cx, only, Access::Write).await?.store().clone()))
    }

    /// The same, without making a store that is missing.
    pub(crate) async fn history_read(&self, cx: &Cx, only: Option<&str>) -> Result<RecoveryHistory> {
        Ok(RecoveryHistory::new(self.failover_store(cx, only, Access::Read).await?.store().clone()))
    }
}

impl Probing {
    /// Looks until `cx` is cancelled, as the only process of this host that does.
    pub(crate) async fn run(&self, cx: &Cx) {
        let mut told = false;
        while !cx.is_cancelled() {
            match AvailabilityLog::lock_folder(&self.folder) {
                Ok(Some(_alone)) => {
                    if let Err(e) = self.log.reload(SystemClock.now()) {
                        tracing::warn!(error = %e.chain(), "what was seen before is not known");
                    }
                    return self.prober.run(cx).await;
                }
                Ok(None) => {}
                Err(e) if !std::mem::replace(&mut told, true) => {
                    tracing::error!(error = %e.chain(), "the service is not looked at");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = cx.token().cancelled() => {}
                () = tokio::time::sleep(Duration::from_secs(5)) => {}
            }
        }
    }
}
