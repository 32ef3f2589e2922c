//! Planner statistics of a restored database.

use veza_dr_backup::postgres::Connection;
use veza_dr_core::{Cx, ErrorKind, Result};

/// Statistics of what was not analyzed while rows came in: partitioned tables, materialized views, small tables.
pub(crate) async fn analyze_rest(cx: &Cx, on: &Connection) -> Result<()> {
    let sql = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'm', 'p') AND c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\\_toast%' \
           AND n.nspname NOT IN ('information_schema', 'veza_dr') \
           AND (c.relkind <> 'm' OR c.relispopulated) \
           AND pg_catalog.pg_stat_get_last_analyze_time(c.oid) IS NULL AND n.nspname <> 'pg_catalog'";
    on.execute(cx, "settings", ALLOW_ANALYZE).await?;
    for row in on.query(cx, "list what lacks statistics", sql, &[]).await? {
        analyze(cx, on, row.get(0)).await?;
    }
    Ok(())
}

/// ANALYZE of a partitioned table looks into its foreign partitions, which our sessions otherwise refuse to touch.
const ALLOW_ANALYZE: &str = "SELECT pg_catalog.set_config(name, '', false) FROM pg_catalog.pg_settings \
     WHERE name = 'restrict_nonsystem_relation_kind'";

/// Statistics that cannot be collected (a foreign partition whose server is away, a function in an index that fails)
/// make queries slower, not data wrong: a warning.
pub(crate) async fn analyze(cx: &Cx, on: &Connection, name: &str) -> Result<()> {
    match on.execute(cx, "collect statistics", &format!("ANALYZE {name}")).await {
        Err(e) if matches!(e.kind(), ErrorKind::Cancelled | ErrorKind::Unavailable | ErrorKind::Full) => Err(e),
        Err(e) => {
            tracing::warn!(table = name, why = %e.chain(), "no statistics");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}
