//! One file per command: parse, one library call, render.

mod afterwards;
mod assess;
mod backup;
mod check;
mod check_daemon;
mod check_store;
mod dns;
mod drill;
mod failover;
mod failover_watch;
mod init;
mod list;
mod meta;
mod prune;
mod recover;
mod report;
mod restore;
mod restore_rows;
mod serve;
mod serve_alarms;
mod serve_dns;
mod serve_drills;
mod serve_parts;
mod serve_site;
mod session;
mod show;
mod status;
mod status_readiness;
mod validate;
mod verify;
#[cfg(feature = "postgres")]
mod wal;

pub(crate) use afterwards::{release, rollback};
pub(crate) use assess::assess;
pub(crate) use backup::{BackupRun, backup};
pub(crate) use check::{Checked, check};
pub(crate) use dns::dns;
pub(crate) use drill::{Rehearsed, drill};
pub(crate) use failover::failover;
pub(crate) use init::init;
pub(crate) use list::list;
pub(crate) use meta::{completions, man, schema};
pub(crate) use prune::{Pruned, prune};
pub(crate) use recover::{Recover, recover};
pub(crate) use report::report;
pub(crate) use restore::restore;
pub(crate) use restore_rows::restore_rows;
pub(crate) use serve::serve;
pub(crate) use session::Session;
pub(crate) use show::show;
pub(crate) use status::status;
pub(crate) use status_readiness::{Readiness, ScenarioReady};
pub(crate) use validate::validate;
pub(crate) use verify::{Verified, verify};
#[cfg(feature = "postgres")]
pub(crate) use wal::wal;
