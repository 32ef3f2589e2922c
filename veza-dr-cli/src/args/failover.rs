//! `veza-dr failover`.

use std::{path::PathBuf, time::Duration};

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use veza_dr_failover::runbook::Rule;

use super::{ReportFormat, ReportPlace};

#[derive(Debug, Args)]
pub(crate) struct Failover {
    #[command(subcommand)]
    pub(crate) command: FailoverCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FailoverCommand {
    /// Show what would be done, how long it takes, and the hash that `run --plan-sha` takes
    Plan(Which),
    /// Run a plan
    Run(Run),
    /// Count what the newest failover lost, on the old site's own database, while the other site serves
    Count(Decisions),
    /// Run the way back to the primary
    Back(Decisions),
    /// Take up a run that was stopped, failed or waits for somebody; or undo it, or give it up
    Resume(Resume),
    /// Show how a run stands, or write its report
    Status(RunStatusArgs),
    /// Say that the names stay where they lead now, before the switch is taken back by itself; as `dns confirm`
    Confirm,
}

/// Which plan.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The plan of this scenario: database, backend, infrastructure, security; or one of the `runbooks` folder
    #[arg(long, value_name = "S", default_value = "infrastructure", conflicts_with = "file")]
    pub(crate) scenario: String,
    /// The plan in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) which: Which,
    #[command(flatten)]
    pub(crate) decisions: Decisions,
}

#[derive(Debug, Args)]
pub(crate) struct OneRun {
    /// The run; the newest when none is named
    #[arg(value_name = "RUN")]
    pub(crate) run: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RunStatusArgs {
    #[command(flatten)]
    pub(crate) run: OneRun,
    /// Write the report of the run in this form; that of a run which has ended is kept and sealed
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) report: Option<ReportFormat>,
    #[command(flatten)]
    pub(crate) place: ReportPlace,
    /// Check that none of this host's reports was changed, lost or put in between, of recoveries and of drills
    #[arg(long, conflicts_with_all = ["run", "report"])]
    pub(crate) verify_chain: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    pub(crate) run: OneRun,
    /// Whether a step of unknown outcome took place, as somebody saw; may be repeated
    #[arg(long, value_name = "STEP=yes|no", value_parser = yes_no)]
    pub(crate) took_place: Vec<(String, bool)>,
    /// Undo what was done, the last first
    #[arg(long, conflicts_with = "abandon")]
    pub(crate) rollback: bool,
    /// Give the run up as it stands
    #[arg(long, requires = "reason")]
    pub(crate) abandon: bool,
    #[command(flatten)]
    pub(crate) decisions: Decisions,
}

/// What the operator decides.
#[derive(Debug, Args)]
pub(crate) struct Decisions {
    /// Only the plan of this hash
    #[arg(long, value_name = "HASH")]
    pub(crate) plan_sha: Option<String>,
    /// From now on only what is critical; a run that is under way is told so
    #[arg(long)]
    pub(crate) ungraceful: bool,
    /// Agree to a step that waits for approval, also of a run that is under way; may be repeated
    #[arg(long, value_name = "STEP")]
    pub(crate) approve: Vec<String>,
    /// Who agrees to it, where you only enter it; kept in the journal with your name and --reason
    #[arg(long, value_name = "NAME", requires = "approve")]
    pub(crate) by: Option<String>,
    /// Wait so long for approvals that are given elsewhere (`failover resume --approve`), instead of resting: 30m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) wait_for_approval: Option<Duration>,
    /// Leave a step out; may be repeated
    #[arg(long, value_name = "STEP", requires = "reason")]
    pub(crate) skip: Vec<String>,
    /// Go on without a safety rule; may be repeated
    #[arg(long = "override", value_name = "RULE", requires = "reason", value_parser = rule)]
    pub(crate) overrides: Vec<Rule>,
    /// Why: kept in the journal with your name
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Declare that the other site takes no writes, and why: two different people must; may be repeated
    #[arg(long, value_name = "NAME=STATEMENT", value_parser = attestation)]
    pub(crate) attest: Vec<(String, String)>,
    /// Go back to this time: what is restored is the newest backup that shows it or an earlier one
    #[arg(long, value_name = "TIME", value_parser = super::time)]
    pub(crate) at: Option<DateTime<Utc>>,
    /// When the outage began, if it is known
    #[arg(long, value_name = "TIME", value_parser = super::time)]
    pub(crate) outage_began: Option<DateTime<Utc>>,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

fn rule(text: &str) -> Result<Rule, String> {
    text.parse().map_err(|e: veza_dr_core::Error| match e.help() {
        Some(help) => format!("{e}; {help}"),
        None => e.to_string(),
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    veza_dr_core::parse_duration(text).map_err(|e| e.to_string())
}

fn yes_no(text: &str) -> Result<(String, bool), String> {
    match text.split_once('=') {
        Some((step, "yes")) if !step.is_empty() => Ok((step.to_owned(), true)),
        Some((step, "no")) if !step.is_empty() => Ok((step.to_owned(), false)),
        _ => Err("write it as STEP=yes or STEP=no".to_owned()),
    }
}

fn attestation(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((by, what)) if !by.trim().is_empty() && !what.trim().is_empty() => {
            Ok((by.trim().to_owned(), what.trim().to_owned()))
        }
        _ => Err("write it as NAME=what was done".to_owned()),
    }
}
