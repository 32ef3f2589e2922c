//! What a site's container engine says of a service.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio::sync::Mutex;
use veza_dr_core::{Cx, Error, ErrorKind, Observation, Result, ServiceProbe};

use super::{
    PATIENCE,
    look::{Contact, Seen, Stop, look},
};
use crate::site::{ServiceState, SiteControl};

/// An answer this young serves all the probes of one assessment.
const FRESH: Duration = Duration::from_secs(1);

/// The containers of one site, asked for once however many services are looked at.
#[derive(Debug)]
pub struct Containers {
    site: Arc<dyn SiteControl>,
    last: Mutex<Option<(Instant, Answer)>>,
}

#[derive(Debug, Clone)]
enum Answer {
    States(Vec<ServiceState>),
    Failed { kind: ErrorKind, text: String, help: Option<String> },
}

impl Containers {
    /// Those of a site.
    #[must_use]
    pub fn new(site: Arc<dyn SiteControl>) -> Arc<Self> {
        Arc::new(Self { site, last: Mutex::new(None) })
    }

    /// A probe for one of its services.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use veza_dr_failover::site::SiteControl;
    /// # fn f(site: Arc<dyn SiteControl>) {
    /// use veza_dr_failover::probe::Containers;
    /// let containers = Containers::new(site);
    /// let probes = [containers.probe("veza-backend-api"), containers.probe("postgres")];
    /// # }
    /// ```
    #[must_use]
    pub fn probe(self: &Arc<Self>, service: impl Into<String>) -> ContainerProbe {
        let service = service.into();
        let name = format!("container {service} on {}", self.site.name());
        ContainerProbe { name, service, containers: self.clone(), patience: PATIENCE }
    }

    async fn states(&self, cx: &Cx) -> Result<Vec<ServiceState>> {
        // Whoever comes while another asks waits here, and takes that one's answer.
        let mut last = self.last.lock().await;
        let answer = match &*last {
            Some((at, answer)) if at.elapsed() < FRESH => answer.clone(),
            _ => {
                let answer = match self.site.services(cx).await {
                    Ok(states) => Answer::States(states),
                    Err(e) => {
                        // Something that the site itself lacks does not mean that it has no such service.
                        let kind = if e.kind() == ErrorKind::NotFound { ErrorKind::Unavailable } else { e.kind() };
                        Answer::Failed { kind, text: e.chain(), help: e.help().map(str::to_owned) }
                    }
                };
                *last = Some((Instant::now(), answer.clone()));
                answer
            }
        };
        match answer {
            Answer::States(states) => Ok(states),
            Answer::Failed { kind, text, help: Some(help) } => Err(Error::new(kind, text).with_help(help)),
            Answer::Failed { kind, text, help: None } => Err(Error::new(kind, text)),
        }
    }
}

/// Says what the container engine of a site says: healthy, degraded (restarting, unhealthy) or down. An engine that
/// cannot be asked is an error: it says nothing about the service.
#[derive(Debug, Clone)]
pub struct ContainerProbe {
    name: String,
    service: String,
    containers: Arc<Containers>,
    patience: Duration,
}

impl ContainerProbe {
    /// How long it waits; 5 s by default.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    async fn ask(&self, cx: &Cx) -> Result<Seen, Stop> {
        let states = self.containers.states(cx).await?;
        let Some(state) = states.into_iter().find(|s| s.service == self.service) else {
            let site = self.containers.site.name();
            let text = format!("the compose project of site {site} has no service {}", self.service);
            return Err(Error::new(ErrorKind::NotFound, text).into());
        };
        let mut text = state.state.clone();
        if let Some(since) = state.since {
            text.push_str(&format!(" since {}", since.format("%Y-%m-%d %H:%M:%S UTC")));
        }
        if let Some(code) = state.exit_code.filter(|_| state.state != "running") {
            text.push_str(&format!(", exit code {code}"));
        }
        if state.restarts > 0 {
            text.push_str(&format!(", restarted {} times", state.restarts));
        }
        Ok(Seen::of(state.health, text))
    }
}

#[async_trait]
impl ServiceProbe for ContainerProbe {
    fn name(&self) -> &str {
        &self.name
    }

    async fn observe(&self, cx: &Cx) -> Result<Observation> {
        let contact = Contact::default();
        let seen = look(cx, &self.name, self.patience, &contact, self.ask(cx)).await?;
        if !seen.reached {
            // Time that ran out is the engine's, not the service's.
            let text = format!("{}: the container engine did not answer in time", self.name);
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        Ok(seen)
    }
}
