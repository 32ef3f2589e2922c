//! `veza-dr recover`: one service is brought back, with what it needs and what was hurt.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use veza_dr_core::{Error, ErrorKind, Report, Result};
use veza_dr_failover::recover::{
    Budget, RecoverOptions, RecoverOutcome, RecoverPlan, RecoverReport, plan, recover as run,
};

use super::Session;
use crate::{
    Exit,
    config::Span,
    render::{Paint, steps_json, steps_text},
    wiring_sites::Site,
};

/// The short names of the services that an operator has in mind in the night.
const ALIASES: [(&str, &str); 5] = [
    ("api", "veza-backend-api"),
    ("chat", "veza-chat-server"),
    ("stream", "veza-stream-server"),
    ("db", "postgres"),
    ("redis", "redis"),
];

#[derive(Debug, Args)]
pub(crate) struct Recover {
    /// The Compose service, its alias of the configuration, or one of api, chat, stream, db, redis
    #[arg(value_name = "SERVICE")]
    pub(crate) service: String,
    /// On which site; the primary by default
    #[arg(long, value_name = "NAME")]
    pub(crate) site: Option<String>,
    /// Show what would be restarted, and do nothing
    #[arg(long)]
    pub(crate) plan: bool,
    /// Why; kept with the record
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
    /// How long each service may take to be healthy
    #[arg(long, value_name = "SPAN", default_value = "2m", value_parser = span)]
    pub(crate) within: Span,
    /// How long a service may take to end before it is killed
    #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = span)]
    pub(crate) grace: Span,
    /// How often the service may be restarted within half an hour before restarting counts as no help
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) budget: u32,
}

pub(crate) async fn recover(session: &Session, args: &Recover) -> Result<Exit> {
    let wiring = session.wiring()?;
    let site = wiring.site(args.site.as_deref())?;
    let known = wiring.services();
    let named = known.iter().find(|(_, s)| s.alias.as_deref() == Some(args.service.as_str()));
    let wanted = named.map_or(args.service.as_str(), |(name, _)| name.as_str());
    let service = service(session, &site, wanted).await?;
    if args.plan {
        let plan = plan(&session.cx, site.control.as_ref(), &service).await?;
        session.out.result(|| json!({ "plan": plan, "applied": false }), |_| plan_text(&plan));
        return Ok(Exit::Ok);
    }
    let mut options = RecoverOptions::new(wiring.state_dir()?.join("recover"));
    options.budget = Budget::new(args.budget as usize, Duration::from_secs(1800));
    options.healthy_within = args.within.0;
    options.grace = args.grace.0;
    options.reason = args.reason.clone();
    let report = run(&session.cx, site.control.as_ref(), &service, &options).await?;
    let next = next(&report);
    session.out.result(|| report_json(&report, &next), |paint| report_text(&report, &next, paint));
    Ok(match report.outcome {
        RecoverOutcome::Recovered => Exit::Ok,
        RecoverOutcome::Escalate => Exit::NeedsHuman,
        _ => Exit::Unavailable,
    })
}

/// The Compose service that is meant: one that is there by that very name wins over an alias.
async fn service(session: &Session, site: &Site, wanted: &str) -> Result<String> {
    let services = site.control.services(&session.cx).await?;
    let has = |name: &str| services.iter().any(|s| s.service == name);
    if has(wanted) {
        return Ok(wanted.to_owned());
    }
    if let Some((_, full)) = ALIASES.iter().find(|(alias, full)| *alias == wanted && has(full)) {
        return Ok((*full).to_owned());
    }
    let names: Vec<&str> = services.iter().map(|s| s.service.as_str()).collect();
    let text = format!("site {} has no service `{wanted}`", site.name);
    Err(Error::new(ErrorKind::NotFound, text).with_help(format!("its services are {}", names.join(", "))))
}

fn next(report: &RecoverReport) -> String {
    match report.escalates_to {
        None => "veza-dr assess".to_owned(),
        Some(kind) => format!("veza-dr failover plan --scenario {kind}"),
    }
}

fn plan_text(plan: &RecoverPlan) -> String {
    let mut text = format!("on site {}, in this order:\n", plan.site);
    for one in &plan.restart {
        text.push_str(&format!("  restart {} ({})\n", one.service, one.why));
    }
    if !plan.watched.is_empty() {
        text.push_str(&format!("  then look at {}, and restart what was hurt\n", plan.watched.join(", ")));
    }
    format!("{text}next: veza-dr recover {} --site {}", plan.service, plan.site)
}

fn report_json(report: &RecoverReport, next: &str) -> serde_json::Value {
    let mut document = serde_json::to_value(report).unwrap_or_default();
    document["took"] = json!(report.took.as_secs_f64());
    document["steps"] = json!(steps_json(&report.steps));
    document["next"] = json!(next);
    document
}

fn report_text(report: &RecoverReport, next: &str, paint: Paint) -> String {
    let steps: &Report = &report.steps;
    let ended = match report.outcome {
        RecoverOutcome::Recovered => paint.good("recovered"),
        RecoverOutcome::Escalate => paint.bad("not restarted again"),
        _ => paint.bad("NOT RECOVERED"),
    };
    format!(
        "{}{} on site {}: {ended} in {:.1} s (restart {} of {} within half an hour)\nkept in {}\nnext: {next}",
        steps_text(steps, paint),
        report.service,
        report.site,
        report.took.as_secs_f64(),
        report.budget.at.len(),
        report.budget.of,
        report.kept_in.display()
    )
}

fn span(text: &str) -> std::result::Result<Span, String> {
    veza_dr_core::parse_duration(text).map(Span).map_err(|e| e.to_string())
}
