//! `veza-dr wal`: what a server's archive_command and restore_command call.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use veza_dr_backup::postgres::wal::WalName;
use veza_dr_core::ComponentName;

#[derive(Debug, Args)]
pub(crate) struct Wal {
    #[command(subcommand)]
    pub(crate) command: WalCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WalCommand {
    /// Store a file of write-ahead log: archive_command = 'veza-dr wal push %p %f'
    Push {
        /// The file, as %p gives it
        #[arg(value_name = "PATH")]
        path: PathBuf,
        /// Its name, as %f gives it
        #[arg(value_name = "NAME", value_parser = name)]
        name: WalName,
        #[command(flatten)]
        of: Of,
    },
    /// Bring a file of write-ahead log back: restore_command = 'veza-dr wal fetch %f %p'
    Fetch {
        /// Its name, as %f gives it
        #[arg(value_name = "NAME", value_parser = name)]
        name: WalName,
        /// Where it goes, as %p gives it
        #[arg(value_name = "PATH")]
        path: PathBuf,
        #[command(flatten)]
        of: Of,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Of {
    /// Whose log it is, where the configuration names several PostgreSQL sources
    #[arg(long, value_name = "COMPONENT")]
    pub(crate) component: Option<ComponentName>,
}

fn name(text: &str) -> Result<WalName, String> {
    text.parse().map_err(|e: veza_dr_core::Error| match e.help() {
        Some(help) => format!("{e}; {help}"),
        None => e.to_string(),
    })
}
