//! `veza-dr validate`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// The site, by its own address whatever DNS says; without one this machine, or what each check names
    #[arg(long, value_name = "NAME")]
    pub(crate) site: Option<String>,
    /// Only this check; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Also write the result as JUnit XML
    #[arg(long, value_name = "FILE", conflicts_with = "plan")]
    pub(crate) junit: Option<PathBuf>,
    /// Show the checks and what passes, and ask nobody
    #[arg(long)]
    pub(crate) plan: bool,
}
