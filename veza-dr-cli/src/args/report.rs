//! How a report is asked for.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use veza_dr_failover::report::Language;

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
