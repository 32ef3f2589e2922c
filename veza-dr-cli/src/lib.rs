//! The `veza-dr` command line as a library: what the program does, testable without a process.
//!
//! ```
//! use veza_dr_cli::{Exit, Io, run};
//! let (io, output) = Io::captured();
//! assert_eq!(run(["veza-dr", "schema"], io), Exit::Ok);
//! assert!(output.stdout().starts_with("{"));
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

mod app;
mod args;
mod choose;
mod commands;
pub mod config;
mod data_steps;
mod exit;
mod io;
mod logging;
mod open_folder;
mod render;
mod secrets;
mod signals;
mod wiring;
mod wiring_alarms;
mod wiring_approval;
mod wiring_assess;
mod wiring_dns;
mod wiring_drill;
mod wiring_drill_checks;
#[cfg(feature = "docker")]
mod wiring_drill_compose;
mod wiring_drill_places;
#[cfg(feature = "docker")]
mod wiring_drill_plan;
mod wiring_drill_witnesses;
mod wiring_failover;
#[cfg(feature = "files")]
mod wiring_files;
mod wiring_forecast;
mod wiring_names;
mod wiring_notify;
#[cfg(feature = "postgres")]
mod wiring_postgres;
mod wiring_probes;
mod wiring_quiesce;
#[cfg(feature = "redis")]
mod wiring_redis;
#[cfg(feature = "redis")]
mod wiring_redis_restore;
mod wiring_report;
mod wiring_s3;
mod wiring_scenarios;
mod wiring_site_data;
#[cfg(feature = "files")]
mod wiring_site_files;
mod wiring_sites;
mod wiring_status;
mod wiring_validation;
mod wiring_validation_data;

pub use app::run;
pub use args::command;
pub use exit::Exit;
pub use io::{Captured, Environment, Io};
