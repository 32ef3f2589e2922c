//! `veza-dr assess`.

use std::time::Duration;

use clap::Args;
use veza_dr_core::parse_duration;

#[derive(Debug, Args)]
pub(crate) struct Assess {
    /// Only this site
    #[arg(long, value_name = "NAME")]
    pub(crate) site: Option<String>,
    /// An attack is suspected: plan for the security scenario, whatever the probes say
    #[arg(long)]
    pub(crate) suspect_compromise: bool,
    /// How long each probe may take; the whole takes hardly longer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = span)]
    pub(crate) deadline: Duration,
}

fn span(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(span) if span.is_zero() => Err("a probe needs some time".to_owned()),
        Ok(span) => Ok(span),
        Err(e) => Err(format!("{e}; {}", e.help().unwrap_or_default())),
    }
}
