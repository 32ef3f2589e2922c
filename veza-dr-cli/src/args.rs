//! The command line: the only code that knows clap.

mod assess;
mod dns;
mod drill;
mod failover;
mod report;
mod validate;
#[cfg(feature = "postgres")]
mod wal;

use std::path::PathBuf;

use chrono::{DateTime, Local, NaiveDate, NaiveDateTime, TimeZone, Utc};
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};
use veza_dr_backup::{Level, Selector};
use veza_dr_core::ComponentName;

pub(crate) use assess::Assess;
pub(crate) use dns::{Dns, DnsCommand, DnsSwitch};
pub(crate) use drill::{Drill, DrillCommand, DrillRun, WhichDrill};
pub(crate) use failover::{Decisions, Failover, FailoverCommand, OneRun, Resume, RunStatusArgs, Which as WhichPlan};
pub(crate) use report::{ReportCommand, ReportFormat, ReportPlace, Reports};
pub(crate) use validate::Validate;
#[cfg(feature = "postgres")]
pub(crate) use wal::{Wal, WalCommand};

/// Backs up PostgreSQL, proves that the backups restore, and brings them back.
#[derive(Debug, Parser)]
#[command(name = "veza-dr", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 2 usage or configuration, others in docs/exit-codes.md.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The configuration file [default: ./veza-dr.yml, else /etc/veza-dr/veza-dr.yml]
    #[arg(long, global = true, value_name = "FILE", env = "VEZA_DR_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Print one JSON document on standard output, errors included
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Use only this store
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) store: Option<String>,
    /// Print nothing but results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Print more of what is going on; twice for even more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Show no progress
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a commented veza-dr.yml and its JSON Schema
    Init(Init),
    /// Validate the configuration, connections, permissions and versions
    Check,
    /// Back up now
    Backup(Backup),
    /// List the backups that the stores hold
    List(List),
    /// Show one backup's manifest
    Show(Show),
    /// Prove that backups are whole, and keep the proof beside them
    Verify(Verify),
    /// Restore a backup: beside the live data, proven, then swapped in
    Restore(Restore),
    /// Bring single rows back from a backup into the live database
    RestoreRows(RestoreRows),
    /// Apply retention: delete old backups, and say for each why it stays or goes
    Prune(Prune),
    /// Bring one service back, with what it needs and what was hurt
    Recover(crate::commands::Recover),
    /// Put back what the last restore replaced
    Rollback(Afterwards),
    /// Let go of what the last restore replaced; cannot be undone
    Release(Afterwards),
    /// Lead users to the other site: show, switch, take back
    Dns(Dns),
    /// Look at services, network, disks and backups: what is wrong, what it looks like, what to do
    Assess(Assess),
    /// Show how well each component is protected
    Status(Status),
    /// Keep backups coming: schedule, metrics, health page, notifications
    Serve(Serve),
    /// Keep a PostgreSQL server's write-ahead log, and give it back: point-in-time recovery
    #[cfg(feature = "postgres")]
    Wal(Wal),
    /// Move to the other site by a plan: show it, run it, take it up again, undo it
    Failover(Box<Failover>),
    /// Prove that a site does what users need: named checks with tolerances
    Validate(Validate),
    /// Rehearse a recovery in isolation, measure it, and remove everything again
    Drill(Drill),
    /// Reports of recoveries and drills: what is to be mended and by whom, signatures, whether they are whole
    Report(Reports),
    /// Print the JSON Schema of the configuration file
    Schema,
    /// Print the completion script of a shell
    Completions(Completions),
    /// Print the manual page
    Man,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Where to write the configuration; the schema goes beside it
    #[arg(value_name = "FILE", default_value = "veza-dr.yml")]
    pub(crate) file: PathBuf,
    /// Overwrite files that exist
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// What to back up; all components when none is named
    #[arg(value_name = "COMPONENT")]
    pub(crate) components: Vec<ComponentName>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only this component's backups
    #[arg(value_name = "COMPONENT")]
    pub(crate) component: Option<ComponentName>,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Which backup
    #[arg(value_name = "ID|latest", value_parser = selector)]
    pub(crate) backup: Selector,
    /// Only among this component's backups
    #[arg(long, value_name = "COMPONENT")]
    pub(crate) component: Option<ComponentName>,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Whose backup; all components when none is named
    #[arg(value_name = "COMPONENT")]
    pub(crate) component: Option<ComponentName>,
    /// Which backup, in every store that holds it
    #[arg(long, value_name = "ID|latest", default_value = "latest", value_parser = selector)]
    pub(crate) backup: Selector,
    /// How thoroughly: `objects` reads every stored byte, `structure` also opens the archives and counts rows,
    /// `restore` restores into a scratch database and compares everything
    #[arg(long, value_name = "LEVEL", default_value = "objects", value_parser = clap::builder::PossibleValuesParser::new(["objects", "structure", "restore"]))]
    level: String,
}

impl Verify {
    pub(crate) fn level(&self) -> Level {
        // The parser lets nothing else through.
        self.level.parse().unwrap_or(Level::Objects)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// What to restore
    #[arg(value_name = "COMPONENT")]
    pub(crate) component: ComponentName,
    #[command(flatten)]
    pub(crate) which: Which,
    /// Restore to another place: the name of another database, or a URL (its password in VEZA_DR_TO_PASSWORD)
    #[arg(long, value_name = "URL|PATH")]
    pub(crate) to: Option<String>,
    /// Restore where this site keeps it, instead of the component's own place
    #[arg(long, value_name = "NAME", conflicts_with = "to")]
    pub(crate) site: Option<String>,
    /// Only this table, with what it depends on; may be repeated
    #[arg(long = "table", value_name = "T")]
    pub(crate) tables: Vec<String>,
    /// Only keys that match; may be repeated (Redis)
    #[arg(long, value_name = "GLOB")]
    pub(crate) keys: Vec<String>,
    /// Only paths that match; may be repeated (files)
    #[arg(long = "path", value_name = "GLOB")]
    pub(crate) paths: Vec<String>,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

/// Which backup to restore from.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Which backup
    #[arg(long, value_name = "ID|latest", value_parser = selector, conflicts_with = "at")]
    backup: Option<Selector>,
    /// The newest backup that shows this time or an earlier one: 2026-11-23T10:45:00Z, or local `2026-11-23 10:45`
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<DateTime<Utc>>,
}

/// A backup, as the operator names it.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    Backup(Selector),
    At(DateTime<Utc>),
}

impl Which {
    pub(crate) fn wanted(&self) -> Wanted {
        match self.at {
            Some(at) => Wanted::At(at),
            None => Wanted::Backup(self.backup.clone().unwrap_or(Selector::Latest)),
        }
    }
}

/// Whether to go ahead.
#[derive(Debug, Args)]
pub(crate) struct Consent {
    /// Show what would be done, and do nothing
    #[arg(long, conflicts_with = "yes")]
    pub(crate) plan: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreRows {
    /// Whose rows
    #[arg(value_name = "COMPONENT")]
    pub(crate) component: ComponentName,
    /// The table
    #[arg(long, value_name = "T")]
    pub(crate) table: String,
    /// An SQL condition on its columns: "room_id = '…' AND created_at >= '2024-01-01'"
    #[arg(long = "where", value_name = "SQL")]
    pub(crate) condition: String,
    /// Also every row that refers to one of them, and so on
    #[arg(long)]
    pub(crate) with_children: bool,
    /// Also every row that they refer to, and so on
    #[arg(long)]
    pub(crate) with_parents: bool,
    /// What happens to rows that the live database has under the same key
    #[arg(long, value_enum, value_name = "POLICY", default_value = "skip")]
    pub(crate) on_conflict: Policy,
    #[command(flatten)]
    pub(crate) which: Which,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Policy {
    /// The live row stays
    Skip,
    /// The live row becomes what the backup has
    Update,
    /// Nothing at all is changed
    Fail,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Only this component
    #[arg(value_name = "COMPONENT")]
    pub(crate) component: Option<ComponentName>,
    /// Say that somebody takes care of an incident or an alert: nobody else is called for a while
    #[arg(long, value_name = "ID", conflicts_with = "component")]
    pub(crate) acknowledge: Option<String>,
    /// In whose name [default: the user's]
    #[arg(long, value_name = "NAME", requires = "acknowledge")]
    pub(crate) by: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where /metrics and /healthz are served, instead of what the configuration says
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,
    /// How the log is written; --json means json
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "plain")]
    pub(crate) log: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    Plain,
    /// One JSON document a line
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Whose backups; those of all components when none is named
    #[arg(value_name = "COMPONENT")]
    pub(crate) component: Option<ComponentName>,
    /// Also show, day by day, what would be left if backups stopped now; deletes nothing
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=36500), conflicts_with = "yes")]
    pub(crate) simulate_days: Option<u32>,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, Args)]
pub(crate) struct Afterwards {
    /// What was restored
    #[arg(value_name = "COMPONENT")]
    pub(crate) component: ComponentName,
    /// Where this site keeps it, instead of the component's own place
    #[arg(long, value_name = "NAME")]
    pub(crate) site: Option<String>,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// The whole command line as clap knows it, for completions, the manual and documentation tests.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

fn selector(text: &str) -> Result<Selector, String> {
    text.parse().map_err(|e: veza_dr_core::Error| match e.help() {
        Some(help) => format!("{e}; {help}"),
        None => e.to_string(),
    })
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(at.to_utc());
    }
    let formats = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"];
    let naive = formats
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        // A day alone means all of it: the newest backup made on that day.
        .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().and_then(|day| day.and_hms_opt(23, 59, 59)))
        .ok_or_else(|| "write it as 2026-11-23T10:45:00Z, or in local time as 2026-11-23 10:45".to_owned())?;
    let local = Local.from_local_datetime(&naive);
    // An hour that daylight saving repeats or skips: the operator must say which is meant.
    let at = local.single().ok_or_else(|| format!("{text} is not one single instant in local time; add the offset"))?;
    Ok(at.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        command().debug_assert();
    }

    #[test]
    fn times_are_read_with_and_without_an_offset() {
        assert_eq!(time("2026-11-23T10:45:00Z").unwrap().to_rfc3339(), "2026-11-23T10:45:00+00:00");
        assert_eq!(time("2026-11-23T10:45:00+02:00").unwrap().to_rfc3339(), "2026-11-23T08:45:00+00:00");
        let local = Local.with_ymd_and_hms(2026, 11, 23, 10, 45, 0).unwrap().to_utc();
        assert_eq!(time("2026-11-23 10:45").unwrap(), local);
        assert_eq!(time("2026-11-23T10:45:00").unwrap(), local);
        let day = time("2026-11-23").unwrap();
        assert_eq!(day, Local.with_ymd_and_hms(2026, 11, 23, 23, 59, 59).unwrap().to_utc());
        assert!(time("yesterday").unwrap_err().contains("2026-11-23T10:45:00Z"));
    }

    #[test]
    fn a_backup_and_a_time_exclude_each_other() {
        let both = ["veza-dr", "restore", "db", "--backup", "latest", "--at", "2026-11-23"];
        assert!(Cli::try_parse_from(both).unwrap_err().to_string().contains("cannot be used with"));
    }
}
