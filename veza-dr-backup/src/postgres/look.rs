//! What can be seen of a server from outside, to tell later whether something was changed.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use veza_dr_core::{Cx, Result};

use super::{Endpoint, PostgresConfig};

/// A database and its server at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatabaseLook {
    /// When the server was started, as it tells it.
    pub server_started: String,
    /// The databases of the server, sorted.
    pub databases: Vec<String>,
    /// The roles of the server, sorted.
    pub roles: Vec<String>,
    /// SHA-256 of every relation with its kind, owner, columns, constraints and indexes.
    pub catalogue: String,
    /// Rows of each table, by the name that manifests give it; empty when they were not to be counted.
    pub rows: BTreeMap<String, u64>,
}

const CATALOGUE: &str = "\
SELECT pg_catalog.format('%I.%I %s %s ', n.nspname, c.relname, c.relkind, pg_catalog.pg_get_userbyid(c.relowner)) \
  || COALESCE((SELECT pg_catalog.string_agg(pg_catalog.format('%I %s %s', a.attname, \
       pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull), ',' ORDER BY a.attnum) \
       FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '') \
  || COALESCE((SELECT pg_catalog.string_agg(pg_catalog.pg_get_constraintdef(k.oid), ',' ORDER BY k.oid) \
       FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid), '') \
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1";

const TABLES: &str = "\
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) \
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
WHERE c.relkind = 'r' AND c.relpersistence IN ('p', 'u') \
  AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' \
  AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
                    AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1";

/// Looks at a database in one read-only snapshot. `count`: also count the rows of every table, which reads all of them.
///
/// ```no_run
/// # async fn f() -> veza_dr_core::Result<()> {
/// use veza_dr_backup::postgres::{PostgresConfig, look};
/// use veza_dr_core::Cx;
/// let config = PostgresConfig::new("postgres://veza_user@localhost:5432/veza_db");
/// let seen = look(&Cx::background(), &config, true).await?;
/// println!("{} tables", seen.rows.len());
/// # Ok(()) }
/// ```
///
/// # Errors
/// `Unavailable`, `Denied` as met; a table that may not be read is an error, not a count of nothing.
pub async fn look(cx: &Cx, config: &PostgresConfig, count: bool) -> Result<DatabaseLook> {
    let on = Endpoint::parse(config)?.connect(cx, "look").await?;
    let begin = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = ''; \
                 SET LOCAL row_security = off";
    on.execute(cx, "begin to look", begin).await?;
    let strings = async |what: &str, sql: &str| -> Result<Vec<String>> {
        Ok(on.query(cx, what, sql, &[]).await?.iter().map(|r| r.get(0)).collect())
    };
    let started = strings("ask when the server started", "SELECT pg_catalog.pg_postmaster_start_time()::text").await?;
    let databases =
        strings("list the databases", "SELECT datname::text FROM pg_catalog.pg_database ORDER BY 1").await?;
    let roles = strings("list the roles", "SELECT rolname::text FROM pg_catalog.pg_roles ORDER BY 1").await?;
    let mut catalogue = Sha256::new();
    for line in strings("read the catalogue", CATALOGUE).await? {
        catalogue.update(line);
        catalogue.update("\n");
    }
    let mut rows = BTreeMap::new();
    if count {
        for table in strings("list the tables", TABLES).await? {
            let sql = format!("SELECT count(*) FROM ONLY {table}");
            let found: i64 = on.query_one(cx, &format!("count {table}"), &sql, &[]).await?.get(0);
            rows.insert(table, u64::try_from(found).unwrap_or(0));
        }
    }
    on.execute(cx, "end the look", "COMMIT").await?;
    Ok(DatabaseLook {
        server_started: started.into_iter().next().unwrap_or_default(),
        databases,
        roles,
        catalogue: hex::encode(catalogue.finalize()),
        rows,
    })
}
