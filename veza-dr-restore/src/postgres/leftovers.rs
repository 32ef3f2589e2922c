//! What a restore that died left behind: taken over by the next restore of the same backup, dropped by any other.

use std::{collections::BTreeMap, time::Duration};

use veza_dr_backup::postgres::{Connection, Endpoint};
use veza_dr_core::{ComponentName, Cx, Error, ErrorKind, Result};

use super::{
    kept::{self, Role},
    server,
    staging::{self, Progress},
};

/// How long a session may take to end after it was told to.
const ENDING: Duration = Duration::from_secs(10);

/// Objects whose rows are in, and the partitioned tables that some of them went through.
pub(crate) type Loaded = BTreeMap<String, Option<String>>;

/// Makes a half-loaded staging database fit to go on with, and tells what it holds.
///
/// Sessions of the dead run may still be at work in it: a client tool outlives the process that started it, and the
/// server finishes a statement whose client is gone. They are ended first. What they built on the tables goes too,
/// since only the rows are recorded: a second build of the same index would fail.
pub(crate) async fn take_over(cx: &Cx, maintenance: &Connection, endpoint: &Endpoint) -> Result<Loaded> {
    end_sessions(cx, maintenance, endpoint.database()).await?;
    let on = endpoint.connect(cx, "restore").await?;
    for list in [BUILT_CONSTRAINTS, BUILT_INDEXES] {
        for row in on.query(cx, "look for what was built", list, &[]).await? {
            on.execute(cx, "drop what was built", row.get(0)).await?;
        }
    }
    let rows = on.query(cx, "read the record", "SELECT object, root FROM veza_dr.chunks", &[]).await?;
    Ok(rows.iter().map(|r| (r.get(0), r.get(1))).collect())
}

/// Keys and exclusions: no definition before the rows makes one, but those of extensions.
const BUILT_CONSTRAINTS: &str = "SELECT pg_catalog.format('ALTER TABLE %I.%I DROP CONSTRAINT %I', n.nspname, c.relname, k.conname) \
     FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE k.contype IN ('p', 'u', 'x') AND k.conparentid = 0 AND n.nspname NOT LIKE 'pg\\_%' \
       AND n.nspname NOT IN ('information_schema', 'veza_dr') \
       AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
                         AND d.objid = c.oid AND d.deptype = 'e')";

const BUILT_INDEXES: &str = "SELECT pg_catalog.format('DROP INDEX %I.%I', n.nspname, x.relname) \
     FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid \
     JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace \
     WHERE NOT x.relispartition AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT IN ('information_schema', 'veza_dr') \
       AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
                         AND d.objid = i.indrelid AND d.deptype = 'e')";

async fn end_sessions(cx: &Cx, on: &Connection, database: &str) -> Result<()> {
    let sql = "SELECT pg_catalog.pg_terminate_backend(pid), pid FROM pg_catalog.pg_stat_activity WHERE datname = $1";
    let started = std::time::Instant::now();
    loop {
        let left = on.query(cx, "end the sessions of a restore that died", sql, &[&database]).await?;
        if left.is_empty() {
            return Ok(());
        }
        if started.elapsed() > ENDING {
            let pids: Vec<String> = left.iter().map(|r| r.get::<_, i32>(1).to_string()).collect();
            let text = format!("sessions in {database} do not end: {}", pids.join(", "));
            return Err(Error::new(ErrorKind::Conflict, text).with_help("end them, then restore again"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Drops what restores of other backups left unfinished. The caller holds the restore lock of `live`, so none of them
/// is under way. Returns the names; what cannot be dropped stays for the next time.
pub(crate) async fn tidy(cx: &Cx, on: &Connection, live: &Endpoint, component: &ComponentName) -> Result<Vec<String>> {
    let mut stale: Vec<String> = kept::find(cx, on, component, live.database())
        .await?
        .into_iter()
        .filter(|f| f.mark.role == Role::Staging && f.name != live.database())
        .map(|f| f.name)
        .collect();
    let sql = "SELECT datname::text FROM pg_catalog.pg_database \
         WHERE pg_catalog.shobj_description(oid, 'pg_database') IS NULL";
    for row in on.query(cx, "look for databases without a mark", sql, &[]).await? {
        let name: String = row.get(0);
        if kept::is_staging_name(live.database(), &name)
            && staging::unmarked(cx, &live.with_database(&name)).await? == Progress::Stale
        {
            stale.push(name);
        }
    }
    let mut dropped = Vec::new();
    for name in stale {
        match server::drop_database(cx, live, on, &name).await {
            Ok(()) => dropped.push(name),
            Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
            Err(e) => tracing::warn!(database = name, error = %e.chain(), "an unfinished restore stays behind"),
        }
    }
    Ok(dropped)
}
