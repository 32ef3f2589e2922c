//! One instant for the whole backup: locks first, then the snapshot, then proof that nothing slipped between.

use chrono::{DateTime, Utc};
use veza_dr_core::{Cx, Error, ErrorKind, Result, manifest::Skipped};

use super::{
    Connection, Endpoint, PostgresConfig,
    catalog::{self, SourceTable},
};

/// Rounds of "list, lock, list again" before a database that keeps changing is given up.
const ROUNDS: u32 = 20;
/// As long as one LOCK statement may become, as in pg_dump.
const LOCK_STATEMENT: usize = 100 * 1024;

/// The transaction that holds every lock and the exported snapshot.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) connection: Connection,
    pub(crate) snapshot: String,
    pub(crate) tables: Vec<SourceTable>,
    pub(crate) skipped: Vec<Skipped>,
    pub(crate) lsn: Option<String>,
    pub(crate) at: DateTime<Utc>,
    pub(crate) server: Server,
}

/// What must be the same for every connection of one backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) version: u32,
    pub(crate) version_text: String,
    pub(crate) standby: bool,
    pub(crate) system_identifier: Option<String>,
    pub(crate) started: String,
    pub(crate) encoding: String,
    pub(crate) superuser: bool,
}

impl Server {
    pub(crate) async fn ask(cx: &Cx, on: &Connection) -> Result<Self> {
        let version = on.version_number(cx).await?;
        let sql = "SELECT pg_catalog.current_setting('server_version'), pg_catalog.pg_is_in_recovery(), \
             pg_catalog.pg_postmaster_start_time()::text, pg_catalog.current_setting('server_encoding'), \
             pg_catalog.current_setting('is_superuser') = 'on'";
        let row = on.query_one(cx, "ask who the server is", sql, &[]).await?;
        // Not every managed service lets this function be called; the start time still tells servers apart. A
        // lost or cancelled answer is no refusal: taken for one, it would make the same server look like another.
        let sql = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()";
        let identifier = match on.query_one(cx, "ask for the system identifier", sql, &[]).await {
            Ok(row) => row.get(0),
            Err(e) if matches!(e.kind(), ErrorKind::Cancelled | ErrorKind::Unavailable) => return Err(e),
            Err(_) => None,
        };
        Ok(Self {
            version,
            version_text: row.get(0),
            standby: row.get(1),
            started: row.get(2),
            encoding: row.get(3),
            superuser: row.get(4),
            system_identifier: identifier,
        })
    }

    pub(crate) fn major(&self) -> u32 {
        self.version / 10_000
    }
}

/// Connects, locks every table in ACCESS SHARE mode and only then takes and exports the snapshot: a TRUNCATE or a
/// rewriting ALTER TABLE between the two would otherwise make the snapshot show empty tables.
///
/// # Errors
/// `Denied` naming what cannot be read, unless the configuration allows it to be skipped; `Conflict` when tables come
/// and go faster than they can be locked.
pub(crate) async fn hold(cx: &Cx, endpoint: &Endpoint, config: &PostgresConfig) -> Result<Holder> {
    let connection = endpoint.connect(cx, "backup").await?;
    let server = Server::ask(cx, &connection).await?;
    if server.version < 120_000 {
        let text = format!("PostgreSQL {} is too old", server.version_text);
        return Err(Error::new(ErrorKind::Unsupported, text).with_help("versions 12 and later are supported"));
    }
    if server.encoding == "SQL_ASCII" {
        refuse_unreadable_names(cx, &connection).await?;
    }
    for _ in 0..ROUNDS {
        let (tables, mut skipped) = readable(cx, &connection, config).await?;
        connection.execute(cx, "begin", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        match lock_all(cx, &connection, &tables).await {
            Ok(()) => {}
            // Dropped, renamed or replaced since it was listed: list again.
            Err(e) if is_gone(&e) => {
                connection.execute(cx, "roll back", "ROLLBACK").await?;
                continue;
            }
            Err(e) => return Err(explain_locks(e, tables.len())),
        }
        let sql = "SELECT pg_catalog.pg_export_snapshot(), CASE WHEN pg_catalog.pg_is_in_recovery() \
             THEN pg_catalog.pg_last_wal_replay_lsn()::text ELSE pg_catalog.pg_current_wal_lsn()::text END, pg_catalog.now()";
        let row = connection.query_one(cx, "export the snapshot", sql, &[]).await?;
        let (snapshot, lsn, at) = (row.get(0), row.get(1), row.get(2));
        let (seen, _) = readable(cx, &connection, config).await?;
        // A rewrite between listing and locking changed the file and nothing else: the snapshot, taken later, knows it.
        let same = |(a, b): (&SourceTable, &SourceTable)| {
            SourceTable { relfilenode: 0, ..a.clone() } == SourceTable { relfilenode: 0, ..b.clone() }
        };
        if seen.len() != tables.len() || !seen.iter().zip(&tables).all(same) {
            connection.execute(cx, "roll back", "ROLLBACK").await?;
            continue;
        }
        let tables = seen;
        refuse_rewritten(cx, &connection, &tables).await?;
        skipped.extend(catalog::skipped(cx, &connection, server.standby).await?);
        let tables = tables.into_iter().filter(|t| !(server.standby && t.unlogged)).collect();
        return Ok(Holder { connection, snapshot, tables, skipped, lsn, at, server });
    }
    let text = format!("tables were created or dropped during each of {ROUNDS} attempts to lock them all");
    Err(Error::new(ErrorKind::Conflict, text)
        .with_retry(veza_dr_core::Retry::Later { after: None })
        .with_help("run the backup again when the migration is over"))
}

/// In a database without an encoding a name may be any bytes; the driver's protocol and the manifest are UTF-8.
async fn refuse_unreadable_names(cx: &Cx, on: &Connection) -> Result<()> {
    let sql = "SELECT DISTINCT pg_catalog.convert_to(x.name, 'SQL_ASCII') FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped, \
         LATERAL (VALUES (c.relname::text), (n.nspname::text), (a.attname::text)) AS x (name) \
         WHERE c.oid >= 16384 AND x.name IS NOT NULL";
    let rows = on.query(cx, "read the names", sql, &[]).await?;
    let bad: Vec<String> = rows
        .iter()
        .map(|r| r.get::<_, Vec<u8>>(0))
        .filter(|name| std::str::from_utf8(name).is_err())
        .map(|name| format!("'{}'", name.escape_ascii()))
        .collect();
    if bad.is_empty() {
        return Ok(());
    }
    let text = format!("names that are not UTF-8 in a SQL_ASCII database: {}", bad.join(", "));
    Err(Error::new(ErrorKind::Unsupported, text)
        .with_help("rename them (ALTER … RENAME); any bytes in the rows are fine (docs/postgres.md, trap T9)"))
}

/// The tables that this role can read, and those it cannot when that is allowed.
async fn readable(cx: &Cx, on: &Connection, config: &PostgresConfig) -> Result<(Vec<SourceTable>, Vec<Skipped>)> {
    let all = catalog::tables(cx, on).await?;
    let (mut kept, mut skipped) = (Vec::new(), Vec::new());
    for table in all {
        let why = if !table.readable {
            "this role may not read it"
        } else if table.row_security_hides {
            "row-level security hides rows of it from this role"
        } else {
            kept.push(table);
            continue;
        };
        skipped.push(Skipped { what: table.qualified, why: why.to_owned() });
    }
    for sequence in catalog::sequences(cx, on).await? {
        let why = if sequence.owner.is_some_and(|o| skipped.iter().any(|s: &Skipped| s.what == o)) {
            "it belongs to a table that this role may not read"
        } else if !sequence.readable {
            "this role may not read the sequence"
        } else {
            continue;
        };
        skipped.push(Skipped { what: sequence.qualified, why: why.to_owned() });
    }
    if !skipped.is_empty() && !config.allow_unreadable {
        let names: Vec<String> = skipped.iter().map(|s| format!("{} ({})", s.what, s.why)).collect();
        let text = format!(
            "{} of the database's tables and sequences cannot be backed up: {}",
            skipped.len(),
            names.join(", ")
        );
        return Err(Error::new(ErrorKind::Denied, text).with_help(
            "grant SELECT (and BYPASSRLS), back up as the owner, or accept the gap with allow_unreadable: true",
        ));
    }
    Ok((kept, skipped))
}

async fn lock_all(cx: &Cx, on: &Connection, tables: &[SourceTable]) -> Result<()> {
    let mut statement = String::new();
    for table in tables {
        let first = statement.is_empty();
        statement.push_str(if first { "LOCK TABLE ONLY " } else { ", ONLY " });
        statement.push_str(&table.qualified);
        if statement.len() > LOCK_STATEMENT {
            statement.push_str(" IN ACCESS SHARE MODE");
            on.execute(cx, "lock the tables", &statement).await?;
            statement.clear();
        }
    }
    if !statement.is_empty() {
        statement.push_str(" IN ACCESS SHARE MODE");
        on.execute(cx, "lock the tables", &statement).await?;
    }
    Ok(())
}

fn is_gone(error: &Error) -> bool {
    ["(SQLSTATE 42P01)", "(SQLSTATE 42809)", "(SQLSTATE 3F000)", "(SQLSTATE XX000)"]
        .iter()
        .any(|code| error.to_string().contains(code))
}

fn explain_locks(error: Error, tables: usize) -> Error {
    if error.kind() != ErrorKind::Full {
        return error;
    }
    let text = format!("{tables} tables cannot be locked at once");
    // Each worker and both pg_dump runs lock every table too.
    let need = tables.div_ceil(64) * 64;
    Error::new(ErrorKind::Unsupported, text)
        .with_source(error)
        .with_help(format!("set max_locks_per_transaction = {} on the server and restart it", need.max(128)))
}

/// A rewrite that slipped between listing and locking would show in a file number that the snapshot does not know.
async fn refuse_rewritten(cx: &Cx, on: &Connection, tables: &[SourceTable]) -> Result<()> {
    let sizes = catalog::sizes(cx, on).await?;
    for table in tables {
        let now = sizes.get(&table.oid).map(|s| s.2);
        if table.relfilenode != 0 && now != Some(table.relfilenode) {
            let text = format!("{} was rewritten while the snapshot was taken", table.qualified);
            return Err(Error::new(ErrorKind::Conflict, text)
                .with_retry(veza_dr_core::Retry::Later { after: None })
                .with_help("run the backup again"));
        }
    }
    Ok(())
}

impl Holder {
    /// Fails unless the holding transaction is still open and sound.
    pub(crate) async fn still_holds(&self, cx: &Cx) -> Result<()> {
        self.connection.execute(cx, "check the snapshot's transaction", "SELECT 1").await
    }
}

/// Another session that sees the holder's snapshot, on the same server, checked.
pub(crate) async fn join(
    cx: &Cx,
    endpoint: &Endpoint,
    snapshot: &str,
    server: &Server,
    role: &str,
) -> Result<Connection> {
    let connection = endpoint.connect(cx, role).await?;
    let here = Server::ask(cx, &connection).await?;
    if here != *server {
        let text = "two connections of one backup reached different servers";
        return Err(Error::new(ErrorKind::Conflict, text)
            .with_help("connect to the server itself, not through a load balancer (docs/postgres.md, trap T6)"));
    }
    connection.execute(cx, "begin", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let import = format!("SET TRANSACTION SNAPSHOT '{}'", snapshot.replace('\'', "''"));
    connection.execute(cx, "import the snapshot", &import).await.map_err(|e| {
        if matches!(e.kind(), ErrorKind::Cancelled | ErrorKind::Unavailable) {
            return e;
        }
        Error::new(ErrorKind::Conflict, "the snapshot cannot be shared between connections").with_source(e).with_help(
            "a pooler in transaction mode, or a load balancer, stands between; connect to the server itself (trap T6)",
        )
    })?;
    Ok(connection)
}
