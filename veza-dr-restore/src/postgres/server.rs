//! The server restored to: who it is, what this role may do there, how its sessions are tuned for a bulk load.

use std::net::IpAddr;

use veza_dr_backup::postgres::{Connection, Endpoint, quote_ident, tool_options};
use veza_dr_core::{Cx, Error, ErrorKind, Result};

/// Facts about the target server.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) version: u32,
    pub(crate) superuser: bool,
    pub(crate) create_db: bool,
    pub(crate) standby: bool,
    pub(crate) maintenance_mem_kib: u64,
}

impl Server {
    pub(crate) async fn ask(cx: &Cx, on: &Connection) -> Result<Self> {
        let sql = "SELECT rolsuper, rolcreatedb OR rolsuper, pg_catalog.pg_is_in_recovery(), \
                (SELECT setting::int8 FROM pg_catalog.pg_settings WHERE name = 'maintenance_work_mem'), \
                (SELECT setting::int8 * 8 FROM pg_catalog.pg_settings WHERE name = 'shared_buffers'), \
                host(pg_catalog.inet_server_addr()) \
             FROM pg_catalog.pg_roles WHERE rolname = current_user";
        let row = on.query_one(cx, "ask what this role may do", sql, &[]).await?;
        let configured = u64::try_from(row.get::<_, i64>(3)).unwrap_or(65_536);
        let buffers = u64::try_from(row.get::<_, i64>(4)).unwrap_or(131_072);
        let address: Option<IpAddr> = row.get::<_, Option<String>>(5).and_then(|a| a.parse().ok());
        Ok(Self {
            version: on.version_number(cx).await?,
            superuser: row.get(0),
            create_db: row.get(1),
            standby: row.get(2),
            maintenance_mem_kib: maintenance_memory(configured, buffers, address.is_none_or(|a| a.is_loopback())),
        })
    }

    pub(crate) fn major(&self) -> u32 {
        self.version / 10_000
    }

    /// `PGOPTIONS` for the sessions that build indexes. A crash loses the staging database at the worst, which is
    /// begun anew: commits need not wait for the disk.
    pub(crate) fn build_options(&self, parallel: usize) -> String {
        format!(
            "{} -c maintenance_work_mem={}kB -c synchronous_commit=off -c max_parallel_maintenance_workers={parallel}",
            tool_options(self.major()),
            self.maintenance_mem_kib
        )
    }
}

/// How much memory one index build may take: never less than the server's own setting. On this very machine an eighth
/// of what is free, up to 2 GiB; elsewhere half of `shared_buffers`, the one number that tells how large the server
/// was meant to be, up to 1 GiB.
fn maintenance_memory(configured_kib: u64, shared_buffers_kib: u64, local: bool) -> u64 {
    let wish = match local.then(available_kib).flatten() {
        Some(free) => (free / 8).min(2 << 20),
        None => (shared_buffers_kib / 2).min(1 << 20),
    };
    wish.max(configured_kib)
}

fn available_kib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?.split_whitespace().next()?.parse().ok()
}

/// A connection to a database that stays out of the way of the one that is renamed.
pub(crate) async fn maintenance(cx: &Cx, endpoint: &Endpoint) -> Result<Connection> {
    let mut last = None;
    for name in ["postgres", "template1"] {
        if endpoint.database() == name {
            continue;
        }
        match endpoint.with_database(name).connect(cx, "restore").await {
            Ok(connection) => return Ok(connection),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Denied) => last = Some(e),
            Err(e) => return Err(e),
        }
    }
    let error = Error::new(ErrorKind::Denied, "neither `postgres` nor `template1` can be connected to");
    let error = error.with_help("a restore needs a second database to stand on: CREATE DATABASE postgres");
    Err(match last {
        Some(e) => error.with_source(e),
        None => error,
    })
}

/// Whether a database of this name exists.
pub(crate) async fn exists(cx: &Cx, on: &Connection, name: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1";
    Ok(!on.query(cx, "look for a database", sql, &[&name]).await?.is_empty())
}

/// Drops a database, ending the sessions that are still in it. Its subscriptions, which would forbid that, go first;
/// the slots that they use on the publisher are left alone, they may serve the live database.
pub(crate) async fn drop_database(cx: &Cx, endpoint: &Endpoint, on: &Connection, name: &str) -> Result<()> {
    let sql = "SELECT pg_catalog.quote_ident(s.subname) FROM pg_catalog.pg_subscription s \
         JOIN pg_catalog.pg_database d ON d.oid = s.subdbid WHERE d.datname = $1";
    // Only superusers may look; without subscriptions there is nothing to see.
    let subscriptions = on.query(cx, "look for subscriptions", sql, &[&name]).await.unwrap_or_default();
    if !subscriptions.is_empty() {
        let inside = endpoint.with_database(name).connect(cx, "restore").await?;
        for row in &subscriptions {
            let s: String = row.get(0);
            let what = format!("drop subscription {s}");
            inside.execute(cx, &what, &format!("ALTER SUBSCRIPTION {s} DISABLE")).await?;
            inside.execute(cx, &what, &format!("ALTER SUBSCRIPTION {s} SET (slot_name = NONE)")).await?;
            inside.execute(cx, &what, &format!("DROP SUBSCRIPTION {s}")).await?;
        }
    }
    let sql = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datname = $1";
    on.query(cx, "end sessions", sql, &[&name]).await?;
    on.execute(
        cx,
        &format!("drop database {name}"),
        &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quote_ident(name)),
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_never_below_the_servers_own_setting() {
        assert_eq!(maintenance_memory(4 << 20, 131_072, false), 4 << 20);
        assert_eq!(maintenance_memory(65_536, 8 << 20, false), 1 << 20);
        assert_eq!(maintenance_memory(65_536, 131_072, false), 65_536);
    }
}
