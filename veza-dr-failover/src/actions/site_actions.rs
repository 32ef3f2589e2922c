//! Steps that start, stop and wait for the services of a site.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use veza_dr_core::{Cx, Effect, Error, ErrorKind, Result};

use super::parameters::{Part, ServicesSay};
use crate::{
    runbook::{Applied, Done, Effects, Safety, StepAction, StepContext},
    site::{Job, JobResult, ServiceState, SiteControl},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Up,
    Start,
    Stop,
    WaitHealthy,
}

#[derive(Debug)]
pub(super) struct SiteStep {
    pub(super) deed: Deed,
    pub(super) site: Arc<dyn SiteControl>,
    pub(super) says: ServicesSay,
    /// The services that hold the site's data.
    pub(super) data: Vec<String>,
}

/// A name for remote work that is the same for the same try, so that a cut connection finds it again.
fn job(step: &StepContext) -> Job {
    Job(format!("{}-{}-{}", step.run, step.step, step.attempt))
}

/// A job that ended as it should.
pub(super) fn succeeded(what: &str, result: &JobResult) -> Result<()> {
    if result.code == 0 {
        return Ok(());
    }
    let lines: Vec<&str> = result.output.lines().collect();
    let tail = lines[lines.len().saturating_sub(5)..].join(" / ");
    Err(Error::new(ErrorKind::Unavailable, format!("{what} ended with {}: {tail}", result.code)))
}

pub(super) fn is_up(state: &ServiceState) -> bool {
    state.state == "running" || state.finished
}

impl SiteStep {
    fn named(&self) -> String {
        match self.says.part {
            Some(Part::Data) => self.data.join(", "),
            Some(Part::Apps) => format!("all services but {}", self.data.join(", ")),
            None if self.says.services.is_empty() => "all services".to_owned(),
            None => self.says.services.join(", "),
        }
    }

    fn wanted(&self, service: &String) -> bool {
        match self.says.part {
            Some(Part::Data) => self.data.contains(service),
            Some(Part::Apps) => !self.data.contains(service),
            None => self.says.services.is_empty() || self.says.services.contains(service),
        }
    }

    /// What the site is asked for; none named means all.
    async fn names(&self, cx: &Cx) -> Result<Vec<String>> {
        match self.says.part {
            Some(Part::Data) => Ok(self.data.clone()),
            Some(Part::Apps) => {
                let order = self.site.order(cx).await?;
                let names: Vec<String> = order.into_iter().map(|(s, _)| s).filter(|s| self.wanted(s)).collect();
                if names.is_empty() {
                    let text = format!("site {} has no services but those of its data", self.site.name());
                    return Err(Error::new(ErrorKind::Config, text));
                }
                Ok(names)
            }
            None => Ok(self.says.services.clone()),
        }
    }

    async fn states(&self, cx: &Cx) -> Result<Vec<ServiceState>> {
        let all = self.site.services(cx).await?;
        Ok(all.into_iter().filter(|s| self.wanted(&s.service)).collect())
    }
}

#[async_trait]
impl StepAction for SiteStep {
    fn commands(&self) -> Vec<String> {
        let (site, named, says) = (self.site.name(), self.named(), &self.says);
        vec![match self.deed {
            Deed::Up if says.services.is_empty() && says.part.is_none() => format!("on {site}: docker compose up -d"),
            Deed::Up => format!("on {site}: docker compose up -d, only {named}"),
            Deed::Start => format!("on {site}: start {named}, dependencies first"),
            Deed::Stop => format!("on {site}: stop {named}, dependents first, {} s each", says.grace.as_secs()),
            Deed::WaitHealthy => {
                format!("on {site}: wait until {named} are healthy, up to {} s", says.within.as_secs())
            }
        }]
    }

    fn effects(&self) -> Effects {
        match self.deed {
            Deed::Up | Deed::Start => Effects::Probeable,
            Deed::Stop => Effects::Idempotent,
            Deed::WaitHealthy => Effects::Pure,
        }
    }

    fn safety(&self) -> Vec<Safety> {
        match self.deed {
            Deed::Up | Deed::Start => vec![Safety::Writes, Safety::Production],
            Deed::Stop => vec![Safety::Production],
            Deed::WaitHealthy => Vec::new(),
        }
    }

    fn site(&self) -> Option<&str> {
        Some(self.site.name())
    }

    async fn prepare(&self, cx: &Cx, _: &StepContext) -> Result<Value> {
        if self.deed == Deed::WaitHealthy {
            return Ok(Value::Null);
        }
        let states = self.states(cx).await?;
        let up: Vec<&str> = states.iter().filter(|s| is_up(s)).map(|s| s.service.as_str()).collect();
        Ok(json!({ "up": up }))
    }

    async fn act(&self, cx: &Cx, step: &StepContext, _: &Value) -> Result<Done> {
        let (site, says) = (&self.site, &self.says);
        let names = self.names(cx).await?;
        match self.deed {
            // It ran to its end and said so: what it did of it is for the next try, which is safe to make.
            Deed::Up => succeeded("docker compose up", &site.up(cx, &job(step), &names).await?)?,
            Deed::Start => site.start(cx, &names).await.map_err(part)?,
            Deed::Stop => site.stop(cx, &names, says.grace).await.map_err(part)?,
            Deed::WaitHealthy => {
                site.wait_healthy(cx, &names, says.within).await?;
            }
        }
        let states = self.states(cx).await.map_err(part)?;
        let text = match self.deed {
            Deed::Up | Deed::Start => {
                let up = states.iter().filter(|s| is_up(s)).count();
                format!("{up} of {} services run on {}", states.len(), site.name())
            }
            Deed::Stop => format!("{} stopped on {}", self.named(), site.name()),
            Deed::WaitHealthy => format!("{} healthy on {}", self.named(), site.name()),
        };
        let shown: Vec<Value> =
            states.iter().map(|s| json!({ "service": s.service, "state": s.state, "image": s.image })).collect();
        Ok(Done::new(text, json!({ "site": site.name(), "services": shown })))
    }

    async fn probe(&self, cx: &Cx, _: &StepContext, _: &Value) -> Result<Applied> {
        let states = self.states(cx).await?;
        let up = states.iter().filter(|s| is_up(s)).count();
        // Half of it is as good as none of it: starting again what runs already changes nothing.
        let all = !states.is_empty() && up == states.len();
        Ok(if all { Applied::Yes(json!({ "site": self.site.name(), "up": up })) } else { Applied::No })
    }

    fn can_undo(&self) -> bool {
        self.deed != Deed::WaitHealthy
    }

    fn undo_lets_write(&self) -> bool {
        self.deed == Deed::Stop
    }

    async fn undo(&self, cx: &Cx, _: &StepContext, before: &Value) -> Result<Done> {
        let was_up = |s: &str| before["up"].as_array().is_some_and(|up| up.iter().any(|u| u == s));
        let states = self.states(cx).await?;
        if self.deed == Deed::Stop {
            let stopped: Vec<String> =
                states.iter().filter(|s| !is_up(s) && was_up(&s.service)).map(|s| s.service.clone()).collect();
            // A fenced site refuses; None named would mean all.
            if !stopped.is_empty() {
                self.site.start(cx, &stopped).await?;
            }
            return Ok(Done::new(
                format!("started again on {}: {}", self.site.name(), stopped.join(", ")),
                Value::Null,
            ));
        }
        let started: Vec<String> =
            states.iter().filter(|s| is_up(s) && !was_up(&s.service)).map(|s| s.service.clone()).collect();
        // None named would mean all.
        if !started.is_empty() {
            self.site.stop(cx, &started, self.says.grace).await?;
        }
        Ok(Done::new(format!("stopped again on {}: {}", self.site.name(), started.join(", ")), Value::Null))
    }
}

/// Some of the services may be done, whatever the error says.
fn part(e: Error) -> Error {
    e.with_effect(Effect::Unknown)
}
