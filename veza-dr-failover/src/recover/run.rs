//! Carrying a recovery out.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use serde::Serialize;
use veza_dr_core::{Cx, Error, ErrorKind, Health, Outcome, Report, Result, ScenarioKind};

use super::{
    budget::{Budget, Record, Spent},
    evidence::{Evidence, json},
    plan::{RecoverPlan, Restarted, plan},
};
use crate::site::{Job, ServiceState, SiteControl};

/// How one service is brought back.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RecoverOptions {
    /// Where this machine keeps restarts, states and logs.
    pub folder: PathBuf,
    /// How often one service may be restarted.
    pub budget: Budget,
    /// How long services may take to end before they are killed.
    pub grace: Duration,
    /// How long each service may take to be healthy.
    pub healthy_within: Duration,
    /// Why, in the words of whoever asked.
    pub reason: String,
}

impl RecoverOptions {
    /// Three restarts in half an hour, 10 s to end, 2 minutes to be healthy.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            budget: Budget::default(),
            grace: Duration::from_secs(10),
            healthy_within: Duration::from_secs(120),
            reason: String::new(),
        }
    }
}

/// How a recovery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RecoverOutcome {
    /// The service, and everything that needs it, is healthy.
    Recovered,
    /// It was restarted and is not healthy, or something that needs it is not.
    Failed,
    /// Nothing was restarted: it was restarted too often already.
    Escalate,
}

/// What was done, also kept as `report.json` beside the evidence.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct RecoverReport {
    /// The site.
    pub site: String,
    /// The service that was asked for.
    pub service: String,
    /// How it ended.
    pub outcome: RecoverOutcome,
    /// Why, in the words of whoever asked.
    pub reason: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// How long it took.
    pub took: Duration,
    /// What was restarted, in order, each with its reason.
    pub restarted: Vec<Restarted>,
    /// Each step.
    pub steps: Report,
    /// What was seen before.
    pub before: Vec<ServiceState>,
    /// What was seen after; empty when it could not be looked at.
    pub after: Vec<ServiceState>,
    /// The restarts of this service within the budget's window, this one included.
    pub budget: Spent,
    /// The kind of disaster to treat it as, unless it recovered.
    pub escalates_to: Option<ScenarioKind>,
    /// Where the states, logs and this report are kept.
    pub kept_in: PathBuf,
}

/// Brings one service back: keeps what is seen, restarts what it needs and is not healthy, then the service, then what
/// needs it and was hurt; each is waited for.
///
/// When the service's budget is spent nothing is restarted, and the report names the scenario to turn to. Cancelling
/// leaves done what was done; the restart stays on record.
///
/// # Errors
/// `NotFound` when the site has no such service, `Conflict` when it is being recovered already or the site is fenced;
/// those of the site before anything was restarted. A restart that fails is a report that says so.
///
/// ```no_run
/// # async fn doc(site: &dyn veza_dr_failover::site::SiteControl) -> veza_dr_core::Result<()> {
/// use veza_dr_core::Cx;
/// use veza_dr_failover::recover::{RecoverOptions, RecoverOutcome, recover};
/// let options = RecoverOptions::new("/var/lib/veza-dr/recover");
/// let report = recover(&Cx::background(), site, "veza-backend-api", &options).await?;
/// assert_eq!(report.outcome, RecoverOutcome::Recovered);
/// # Ok(()) }
/// ```
pub async fn recover(
    cx: &Cx,
    site: &dyn SiteControl,
    service: &str,
    options: &RecoverOptions,
) -> Result<RecoverReport> {
    let (began, now) = (Instant::now(), Utc::now());
    let folder = options.folder.join(site.name());
    let plan = plan(cx, site, service).await?;
    if let Some(epoch) = site.fenced(cx).await? {
        let text = format!("site {} is fenced (by run number {epoch}): nothing of it may be started", site.name());
        return Err(Error::new(ErrorKind::Conflict, text).with_help("a fail-back lifts it: veza-dr failover back"));
    }
    let mut record = Record::open(&folder, service)?;
    let evidence = Evidence::keep(cx, site, &plan, &folder, now).await?;
    let spent = record.spent(options.budget, now);
    let mut run = Run { cx, site, options, plan: &plan, steps: Report::default(), restarted: Vec::new() };
    let outcome = if spent.exhausted {
        let text = format!(
            "{service} was restarted {} times within {}: restarting does not help",
            spent.at.len(),
            minutes(options.budget.within)
        );
        run.steps.push("budget", Outcome::Failed, text, Duration::ZERO);
        RecoverOutcome::Escalate
    } else {
        record.add(options.budget, now)?;
        run.all(&evidence).await?
    };
    let after = site.services(cx).await.unwrap_or_else(|e| {
        run.steps.push_error("look again", &e);
        Vec::new()
    });
    let Run { steps, restarted, .. } = run;
    let report = RecoverReport {
        site: plan.site.clone(),
        service: plan.service.clone(),
        outcome,
        reason: options.reason.clone(),
        started_at: now,
        took: began.elapsed(),
        restarted,
        steps,
        after,
        budget: record.spent(options.budget, now),
        escalates_to: (outcome != RecoverOutcome::Recovered).then_some(plan.escalates_to),
        kept_in: evidence.folder().to_owned(),
        before: plan.before.clone(),
    };
    evidence.write("report.json", &json(&report)?)?;
    Ok(report)
}

struct Run<'a> {
    cx: &'a Cx,
    site: &'a dyn SiteControl,
    options: &'a RecoverOptions,
    plan: &'a RecoverPlan,
    steps: Report,
    restarted: Vec<Restarted>,
}

impl Run<'_> {
    async fn all(&mut self, evidence: &Evidence) -> Result<RecoverOutcome> {
        for one in &self.plan.restart {
            if !self.restart(one, evidence.folder()).await? {
                return Ok(RecoverOutcome::Failed);
            }
        }
        // What was healthy may have lost its connections for good.
        let hurt = self.hurt().await?;
        for one in &hurt {
            if !self.restart(one, evidence.folder()).await? {
                return Ok(RecoverOutcome::Failed);
            }
        }
        Ok(RecoverOutcome::Recovered)
    }

    async fn hurt(&mut self) -> Result<Vec<Restarted>> {
        let began = Instant::now();
        let seen = self.site.services(self.cx).await?;
        let watched = &self.plan.watched;
        let hurt = seen.into_iter().filter(|s| watched.contains(&s.service) && s.health != Health::Healthy);
        let hurt: Vec<Restarted> = hurt
            .map(|s| Restarted {
                why: format!("it is {} since {} was restarted", s.state, self.plan.service),
                service: s.service,
            })
            .collect();
        if !watched.is_empty() {
            let text = if hurt.is_empty() { "as healthy as before" } else { "hurt" };
            self.steps.push("dependents", Outcome::Ok, format!("{}: {text}", watched.join(", ")), began.elapsed());
        }
        Ok(hurt)
    }

    /// Whether it is healthy again.
    async fn restart(&mut self, one: &Restarted, folder: &Path) -> Result<bool> {
        let (cx, site, service) = (self.cx, self.site, &one.service);
        let began = Instant::now();
        self.restarted.push(one.clone());
        let absent = self.plan.before.iter().any(|s| s.service == *service && s.container.is_none());
        let names = std::slice::from_ref(service);
        let work = async {
            if absent {
                // Each recovery is work of its own: its folder names it.
                let stamp = folder.file_name().unwrap_or_default().to_string_lossy();
                let up = site.up(cx, &Job(format!("recover-{stamp}-{service}-up")), names).await?;
                if up.code != 0 {
                    let text = format!("compose up ended with code {}", up.code);
                    return Err(Error::new(ErrorKind::Unavailable, text).with_source(up.output));
                }
            } else {
                site.stop(cx, names, self.options.grace).await?;
                site.start(cx, names).await?;
            }
            site.wait_healthy(cx, names, self.options.healthy_within).await.map(drop)
        };
        match work.await {
            Ok(()) => {
                self.steps.push(service.clone(), Outcome::Ok, format!("healthy ({})", one.why), began.elapsed());
                Ok(true)
            }
            Err(e) if e.kind() == ErrorKind::Cancelled => Err(e),
            Err(e) => {
                self.steps.push_error(service.clone(), &e);
                Ok(false)
            }
        }
    }
}

fn minutes(span: Duration) -> String {
    match span.as_secs() {
        s if s >= 120 => format!("{} minutes", s / 60),
        s => format!("{s} seconds"),
    }
}
