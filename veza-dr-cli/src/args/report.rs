//! How a report is asked for, and `veza-dr report`.

use std::path::PathBuf;

use chrono::NaiveDate;
use clap::{Args, Subcommand, ValueEnum};
use veza_dr_failover::report::{FindingSeverity, Language, Outcome};

/// The form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// A page, complete in itself
    Html,
    /// Markdown
    Md,
    /// JSON
    Json,
}

/// In which language, and where to.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReportPlace {
    /// The language of the report: en or fr
    #[arg(long, value_name = "LANGUAGE", default_value = "en", value_parser = language)]
    pub(crate) language: Language,
    /// Write the report to this file; else it goes to standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

fn language(text: &str) -> Result<Language, String> {
    text.parse().map_err(|e: veza_dr_core::Error| match e.help() {
        Some(help) => format!("{e}; {help}"),
        None => e.to_string(),
    })
}

#[derive(Debug, Args)]
pub(crate) struct Reports {
    #[command(subcommand)]
    pub(crate) command: ReportCommand,
}

/// Which report: any revision of it leads to its newest one.
#[derive(Debug, Clone, Args)]
pub(crate) struct OneReport {
    /// Which report: its name, its run or drill, or the newest
    #[arg(value_name = "ID|latest")]
    pub(crate) report: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReportCommand {
    /// List the reports of recoveries and drills that this host keeps, revisions included
    List,
    /// Show the newest revision of one
    Show {
        #[command(flatten)]
        one: OneReport,
        /// The form of the report
        #[arg(long, value_enum, value_name = "FORM", default_value = "md")]
        format: ReportFormat,
        #[command(flatten)]
        place: ReportPlace,
    },
    /// List what is to be mended: who does it, by when, what is overdue
    Findings,
    /// Add something to be mended that no tool saw
    Find {
        #[command(flatten)]
        one: OneReport,
        /// A short name for it, unlike that of the report's other findings
        #[arg(long, value_name = "NAME")]
        finding: String,
        /// How much it matters
        #[arg(long, value_enum, value_name = "SEVERITY")]
        severity: SeverityName,
        /// What was found
        #[arg(long)]
        text: String,
    },
    /// Say who mends a finding, and by when
    Assign {
        #[command(flatten)]
        one: OneReport,
        /// The finding's name
        #[arg(long, value_name = "NAME")]
        finding: String,
        /// Who mends it
        #[arg(long, value_name = "WHO")]
        owner: String,
        /// By this day
        #[arg(long, value_name = "YYYY-MM-DD")]
        due: NaiveDate,
    },
    /// Tell in a report what was seen of an earlier one's finding: mended, or not
    Retest {
        #[command(flatten)]
        one: OneReport,
        /// The report that has the finding; the same one by default
        #[arg(long, value_name = "ID")]
        of: Option<String>,
        /// The finding's name
        #[arg(long, value_name = "NAME")]
        finding: String,
        /// What the second look came to: only `passed` closes the finding
        #[arg(long, value_enum, value_name = "OUTCOME")]
        outcome: RetestOutcome,
        /// What was seen
        #[arg(long)]
        text: String,
    },
    /// Add what was learnt, or what changes in the plan
    Note {
        #[command(flatten)]
        one: OneReport,
        /// What was learnt
        #[arg(long, value_name = "TEXT", required_unless_present = "plan_change")]
        lesson: Option<String>,
        /// What changes in the plan
        #[arg(long, value_name = "TEXT", conflicts_with = "lesson")]
        plan_change: Option<String>,
    },
    /// Stand behind a report as it is now; its hash is noted with the signature
    Sign {
        #[command(flatten)]
        one: OneReport,
        /// Who signs
        #[arg(long)]
        name: String,
        /// In which role
        #[arg(long)]
        role: String,
        /// What they say of it
        #[arg(long, value_name = "TEXT")]
        statement: Option<String>,
    },
    /// Whether any report was changed, lost or put in between
    Verify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SeverityName {
    /// Worth knowing
    Info,
    /// To be mended some day
    Low,
    /// To be mended before the next drill
    Medium,
    /// The objectives are at risk
    High,
    /// A recovery would fail, or lose data
    Critical,
}

impl From<SeverityName> for FindingSeverity {
    fn from(name: SeverityName) -> Self {
        match name {
            SeverityName::Info => Self::Info,
            SeverityName::Low => Self::Low,
            SeverityName::Medium => Self::Medium,
            SeverityName::High => Self::High,
            SeverityName::Critical => Self::Critical,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RetestOutcome {
    /// It is mended
    Passed,
    /// It is not
    Failed,
    /// It could not be told
    Unknown,
}

impl From<RetestOutcome> for Outcome {
    fn from(name: RetestOutcome) -> Self {
        match name {
            RetestOutcome::Passed => Self::Passed,
            RetestOutcome::Failed => Self::Failed,
            RetestOutcome::Unknown => Self::Unknown,
        }
    }
}
