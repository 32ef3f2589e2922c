//! The database that a restore fills beside the live one, with its own record of how far it came.

use std::collections::BTreeSet;

use veza_dr_backup::postgres::{Connection, DatabaseRecord, Endpoint, quote_ident};
use veza_dr_core::{Clock, Cx, Error, ErrorKind, Result, SystemClock};

use super::{
    kept::{Mark, Role, comment_sql},
    leftovers, server,
};

/// A staging or scratch database, connected.
#[derive(Debug)]
pub(crate) struct Staging {
    pub(crate) endpoint: Endpoint,
    /// Objects whose rows are in already, from a restore that was cut short.
    pub(crate) loaded: BTreeSet<String>,
    /// Partitioned tables that some of those rows went through, so that they may lie in other partitions.
    pub(crate) rerouted: BTreeSet<String>,
    /// Definitions are in already.
    pub(crate) resumed: bool,
}

/// How far a staging database came, as its comment and record tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    Absent,
    /// Ours, with all definitions and some rows: the restore can go on.
    Loading,
    /// Ours, in a state that is begun anew.
    Stale,
    /// Somebody else's.
    Foreign,
}

pub(crate) async fn look(cx: &Cx, maintenance: &Connection, endpoint: &Endpoint, mark: &Mark) -> Result<Progress> {
    let sql = "SELECT pg_catalog.shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database WHERE datname = $1";
    let rows = maintenance.query(cx, "look for a staging database", sql, &[&endpoint.database()]).await?;
    let Some(row) = rows.first() else { return Ok(Progress::Absent) };
    let comment: Option<String> = row.get(0);
    let ours = comment.as_deref().is_some_and(|c| c.starts_with("veza-dr ") && c.contains(mark.backup.as_str()));
    if !ours {
        return if comment.is_none() { unmarked(cx, endpoint).await } else { Ok(Progress::Foreign) };
    }
    // Begun for other tables of the same backup: what is in it is not what is asked for now.
    if comment.as_deref().and_then(Mark::parse).is_none_or(|found| found.only != mark.only) {
        return Ok(Progress::Stale);
    }
    let connection = endpoint.connect(cx, "restore").await?;
    let sql = "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = 'veza_dr' AND c.relname = 'phase'";
    if connection.query(cx, "look into a staging database", sql, &[]).await?.is_empty() {
        return Ok(Progress::Stale);
    }
    let sql = "SELECT name FROM veza_dr.phase";
    let phases = connection.query(cx, "look into a staging database", sql, &[]).await?;
    let names: Vec<String> = phases.iter().map(|r| r.get(0)).collect();
    Ok(if names == ["loading"] { Progress::Loading } else { Progress::Stale })
}

/// A database with the name of a staging database and no comment: killed between CREATE DATABASE and COMMENT, it is ours
/// by its name, and nothing is in it.
pub(crate) async fn unmarked(cx: &Cx, endpoint: &Endpoint) -> Result<Progress> {
    let connection = endpoint.connect(cx, "restore").await?;
    let sql = "SELECT count(*) FROM pg_catalog.pg_class WHERE oid >= 16384";
    let relations: i64 = connection.query_one(cx, "look into a staging database", sql, &[]).await?.get(0);
    Ok(if relations == 0 { Progress::Stale } else { Progress::Foreign })
}

/// Opens the staging database of `mark`: goes on with the one that is there, or makes a new one.
pub(crate) async fn open(
    cx: &Cx,
    maintenance: &Connection,
    endpoint: &Endpoint,
    mark: &Mark,
    database: &DatabaseRecord,
) -> Result<Staging> {
    let name = endpoint.database().to_owned();
    match look(cx, maintenance, endpoint, mark).await? {
        Progress::Loading if mark.role == Role::Staging => {
            let found = leftovers::take_over(cx, maintenance, endpoint).await?;
            let rerouted = found.values().flatten().cloned().collect();
            let loaded = found.into_keys().collect();
            return Ok(Staging { endpoint: endpoint.clone(), loaded, rerouted, resumed: true });
        }
        Progress::Absent => {}
        Progress::Foreign => {
            let text = format!("database {name} is in the way and was not made by a restore of this backup");
            return Err(Error::new(ErrorKind::Conflict, text).with_help("rename or drop it, then restore again"));
        }
        Progress::Loading | Progress::Stale => server::drop_database(cx, endpoint, maintenance, &name).await?,
    }
    create(cx, maintenance, &name, mark, database).await?;
    let connection = endpoint.connect(cx, "restore").await?;
    let record = "CREATE SCHEMA veza_dr; \
         CREATE TABLE veza_dr.chunks (object text PRIMARY KEY, rows int8 NOT NULL, root text); \
         CREATE TABLE veza_dr.phase (name text PRIMARY KEY)";
    connection.execute(cx, "prepare the staging database", record).await?;
    Ok(Staging { endpoint: endpoint.clone(), loaded: BTreeSet::new(), rerouted: BTreeSet::new(), resumed: false })
}

async fn create(cx: &Cx, maintenance: &Connection, name: &str, mark: &Mark, db: &DatabaseRecord) -> Result<()> {
    let major = maintenance.version_number(cx).await? / 10_000;
    let literal = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let mut sql = format!(
        "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}",
        quote_ident(name),
        literal(&db.encoding),
        literal(&db.collate),
        literal(&db.ctype)
    );
    if let Some(locale) = &db.locale {
        match db.locale_provider.as_str() {
            "i" if major >= 15 => sql.push_str(&format!(" LOCALE_PROVIDER icu ICU_LOCALE {}", literal(locale))),
            "b" if major >= 17 => sql.push_str(&format!(" LOCALE_PROVIDER builtin BUILTIN_LOCALE {}", literal(locale))),
            _ => {}
        }
        if let Some(rules) = db.icu_rules.as_ref().filter(|_| major >= 16) {
            sql.push_str(&format!(" ICU_RULES {}", literal(rules)));
        }
    }
    if db.tablespace != "pg_default" {
        let known = "SELECT 1 FROM pg_catalog.pg_tablespace WHERE spcname = $1";
        if !maintenance.query(cx, "look for a tablespace", known, &[&db.tablespace]).await?.is_empty() {
            sql.push_str(&format!(" TABLESPACE {}", quote_ident(&db.tablespace)));
        }
    }
    maintenance.execute(cx, &format!("create database {name}"), &sql).await?;
    let mark = Mark { since: SystemClock.now(), ..mark.clone() };
    maintenance.execute(cx, "mark the staging database", &comment_sql(name, Some(&mark.to_comment()))).await
}

/// Notes that the definitions are all in: from here on a restore that is cut short goes on where it was.
pub(crate) async fn definitions_done(cx: &Cx, on: &Connection) -> Result<()> {
    on.execute(cx, "keep the record", "INSERT INTO veza_dr.phase VALUES ('loading')").await
}

/// Notes that rows are all in: steps that follow are not repeatable, so a restore cut short there is begun anew.
pub(crate) async fn rows_done(cx: &Cx, on: &Connection) -> Result<()> {
    on.execute(cx, "keep the record", "INSERT INTO veza_dr.phase VALUES ('finishing')").await
}
