//! `veza-dr drill`.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use veza_dr_core::{BackupId, ScenarioKind};

use super::{ReportFormat, ReportPlace};

#[derive(Debug, Args)]
pub(crate) struct Drill {
    #[command(subcommand)]
    pub(crate) command: DrillCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DrillCommand {
    /// Bring the newest backups back in isolation, destroy that, bring them back again, compare, measure, remove
    Run(DrillRun),
    /// List the drills that the stores have records of
    List {
        /// Only this scenario's
        #[arg(long, value_enum, value_name = "S")]
        scenario: Option<ScenarioName>,
    },
    /// Show one drill's record, or write its report
    Report {
        /// Which drill
        #[arg(value_name = "ID|latest", value_parser = which)]
        drill: WhichDrill,
        /// Write the report in this form
        #[arg(long, value_enum, value_name = "FORM")]
        format: Option<ReportFormat>,
        #[command(flatten)]
        place: ReportPlace,
    },
    /// Remove what drills of this host left that were killed, or could not remove it
    Clean {
        /// Give up what cannot be removed: it is told as leaked and not tried again
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DrillRun {
    /// What to rehearse; the scenario that needs most components by default
    #[arg(long, value_enum, value_name = "S")]
    pub(crate) scenario: Option<ScenarioName>,
    /// From the newest backups that show this time or an earlier one, instead of the newest
    #[arg(long, value_name = "TIME", value_parser = super::time)]
    pub(crate) at: Option<DateTime<Utc>>,
    /// Try damaged copies first, which must fail; else every few drills, see drills.negative_control_every
    #[arg(long)]
    pub(crate) negative_control: bool,
    /// From an empty folder with the store, the key and stock tools alone, by the recipe beside each backup
    #[arg(long, conflicts_with = "negative_control")]
    pub(crate) cold_start: bool,
    /// In a copy of this site's Compose project, its services included: own name, empty volumes, no way out
    #[arg(long, value_name = "SITE", conflicts_with = "cold_start")]
    pub(crate) compose: Option<String>,
}

/// A drill, as the operator names it.
#[derive(Debug, Clone)]
pub(crate) enum WhichDrill {
    Latest,
    Id(BackupId),
}

fn which(text: &str) -> Result<WhichDrill, String> {
    match text {
        "latest" => Ok(WhichDrill::Latest),
        id => id.parse().map(WhichDrill::Id).map_err(|_| {
            format!("`{id}` is not the id of a drill; give one that `veza-dr drill list` prints, or `latest`")
        }),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScenarioName {
    /// The database is lost
    Database,
    /// Backend services are down
    Backend,
    /// The whole site is down
    Infrastructure,
    /// Data was tampered with
    Security,
}

impl From<ScenarioName> for ScenarioKind {
    fn from(name: ScenarioName) -> Self {
        match name {
            ScenarioName::Database => Self::Database,
            ScenarioName::Backend => Self::Backend,
            ScenarioName::Infrastructure => Self::Infrastructure,
            ScenarioName::Security => Self::Security,
        }
    }
}
