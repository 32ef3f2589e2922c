//! What can be seen of a server from outside, to tell later whether something was changed.

use std::collections::BTreeMap;

use veza_dr_core::{Cx, Result};

use super::{Endpoint, RedisConfig};

/// A server at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerLook {
    /// Tells this run of the server from every other.
    pub run_id: String,
    /// `master` or `slave`, and of whom.
    pub role: String,
    /// Databases that have keys, and how many.
    pub databases: BTreeMap<u64, u64>,
}

/// Asks a server who it is and what it holds. Reads only.
///
/// ```no_run
/// # async fn f() -> veza_dr_core::Result<()> {
/// use veza_dr_backup::redis::{RedisConfig, look};
/// use veza_dr_core::Cx;
/// let seen = look(&Cx::background(), &RedisConfig::new("redis://localhost:6379")).await?;
/// println!("{} databases in use", seen.databases.len());
/// # Ok(()) }
/// ```
///
/// # Errors
/// `Unavailable`, `Denied` as met.
pub async fn look(cx: &Cx, config: &RedisConfig) -> Result<ServerLook> {
    let control = Endpoint::parse(config)?.control(cx).await?;
    let info = control.info(cx).await?;
    let role = match info.get("master_host") {
        "" => info.get("role").to_owned(),
        host => format!("{} of {host}:{}", info.get("role"), info.get("master_port")),
    };
    Ok(ServerLook { run_id: info.get("run_id").to_owned(), role, databases: info.databases() })
}
