//! Holds found rows against the live database: missing, different, identical; and what would stand in their way.

use std::pin::pin;

use futures::SinkExt;
use tokio::io::AsyncReadExt;
use veza_dr_backup::postgres::{Connection, PostgresDetail, pg_error};
use veza_dr_core::{Cx, Error, ErrorKind, Result};

use super::{
    FoundRows, RowsPlan,
    find::{bare, requote},
};

/// Fills in the plan's numbers. Everything happens in a transaction that is rolled back.
pub(crate) async fn with_live(cx: &Cx, live: &Connection, detail: &PostgresDetail, plan: &mut RowsPlan) -> Result<()> {
    live.execute(cx, "begin", "BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    let encoding = plan.encoding.clone();
    let mut tables = std::mem::take(&mut plan.tables);
    let outcome = async {
        for (at, table) in tables.iter_mut().enumerate() {
            one(cx, live, at, table, &encoding, plan).await?;
        }
        Ok::<_, Error>(())
    }
    .await;
    plan.tables = tables;
    outcome?;
    if plan.blockers.is_empty() {
        parents(cx, live, detail, plan).await?;
    }
    live.execute(cx, "roll back", "ROLLBACK").await
}

async fn one(
    cx: &Cx,
    live: &Connection,
    at: usize,
    table: &mut FoundRows,
    encoding: &str,
    plan: &mut RowsPlan,
) -> Result<()> {
    let sql = "SELECT ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a \
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), \
           COALESCE((SELECT ARRAY(SELECT (y.typnamespace = 'pg_catalog'::pg_catalog.regnamespace OR y.typtype = 'e') \
             FROM unnest(i.indkey::int2[]) WITH ORDINALITY u(n, o) \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.n \
             JOIN pg_catalog.pg_type y ON y.oid = a.atttypid ORDER BY u.o) \
             FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary), '{}'), \
           COALESCE((SELECT ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY u(n, o) \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.n ORDER BY u.o) \
             FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary), '{}'), \
           ARRAY(SELECT tgname::text FROM pg_catalog.pg_trigger g \
             WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgenabled IN ('O', 'A')) \
         FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass($1::text)";
    let rows = live.query(cx, "look at the live table", sql, &[&table.table]).await?;
    let Some(row) = rows.first() else {
        plan.blockers.push(format!(
            "{} does not exist in the live database: bring the table back first with veza-dr restore … --table",
            table.table
        ));
        return Ok(());
    };
    let (here, native): (Vec<String>, Vec<bool>) = (row.get(0), row.get(1));
    let (key, triggers): (Vec<String>, Vec<String>) = (row.get(2), row.get(3));
    let gone: Vec<&str> = table.columns.iter().map(String::as_str).filter(|c| !here.contains(&bare(c))).collect();
    if !gone.is_empty() {
        plan.blockers.push(format!("the live {} has no column {}", table.table, gone.join(", ")));
        return Ok(());
    }
    if !triggers.is_empty() {
        plan.warnings.push(format!("triggers of {} will fire: {}", table.table, triggers.join(", ")));
    }
    table.key = key.iter().map(|k| requote(k)).collect();
    table.key_native = native;
    if table.key.is_empty() && plan.request.on_conflict != super::OnConflict::Fail {
        plan.warnings.push(format!("{} has no primary key: rows are told apart by all their columns", table.table));
    }
    stage(cx, live, at, table, encoding).await?;
    let (matches, equal) = (matching(table), equal(table));
    let sql = format!(
        "SELECT count(*) FILTER (WHERE NOT found), count(*) FILTER (WHERE found AND NOT same), \
                count(*) FILTER (WHERE found AND same) \
         FROM (SELECT EXISTS (SELECT 1 FROM {0} t WHERE {matches}) AS found, \
                      EXISTS (SELECT 1 FROM {0} t WHERE {matches} AND {equal}) AS same \
               FROM pg_temp.vdr_{at} s) AS c",
        table.table
    );
    let row = live.query_one(cx, "compare with the live rows", &sql, &[]).await?;
    let count = |i| u64::try_from(row.get::<_, i64>(i)).unwrap_or(0);
    (table.missing, table.different, table.identical) = (count(0), count(1), count(2));
    Ok(())
}

/// Copies found rows into a temporary table of the live session.
pub(crate) async fn stage(cx: &Cx, live: &Connection, at: usize, table: &FoundRows, encoding: &str) -> Result<()> {
    let columns = table.columns.join(", ");
    let what = format!("stage rows of {}", table.table);
    // Only the columns asked for, without any constraint: a plain copy of their types.
    let sql =
        format!("CREATE TEMP TABLE vdr_{at} ON COMMIT DROP AS SELECT {columns} FROM {} WITH NO DATA", table.table);
    live.execute(cx, &what, &sql).await?;
    let copy = async {
        let sql = format!("COPY pg_temp.vdr_{at} ({columns}) FROM STDIN (ENCODING '{encoding}')");
        let sink = live.client().copy_in(&sql).await.map_err(|e| pg_error(&what, e))?;
        let mut sink = pin!(sink);
        let mut file = tokio::fs::File::open(&table.file).await.map_err(|e| {
            Error::new(ErrorKind::Unexpected, format!("{what}: the rows found are gone")).with_source(e)
        })?;
        loop {
            let mut piece = bytes::BytesMut::with_capacity(256 * 1024);
            let n = file.read_buf(&mut piece).await.map_err(|e| {
                Error::new(ErrorKind::Unexpected, format!("{what}: the rows found cannot be read")).with_source(e)
            })?;
            if n == 0 {
                break;
            }
            sink.send(piece.freeze()).await.map_err(|e| pg_error(&what, e))?;
        }
        sink.finish().await.map_err(|e| pg_error(&what, e))
    };
    let rows = cx.run(&what, copy).await?;
    if rows != table.rows {
        return Err(Error::new(ErrorKind::Unexpected, format!("{what}: {rows} of {} rows staged", table.rows)));
    }
    Ok(())
}

/// The condition under which live row `t` is the one that found row `s` stands for.
pub(crate) fn matching(table: &FoundRows) -> String {
    if table.key.is_empty() {
        return equal(table);
    }
    let one = |(c, native): (&String, &bool)| if *native { format!("t.{c} = s.{c}") } else { same(c) };
    table.key.iter().zip(&table.key_native).map(one).collect::<Vec<_>>().join(" AND ")
}

/// The condition under which live row `t` has all of found row `s`'s values.
pub(crate) fn equal(table: &FoundRows) -> String {
    if table.columns.is_empty() {
        return "true".to_owned();
    }
    table.columns.iter().map(|c| same(c)).collect::<Vec<_>>().join(" AND ")
}

/// Not every type has an equality operator (`json`, `xml`, `point`), and `IS NOT DISTINCT FROM` cannot be hashed:
/// values are compared as text with a letter before them, which NULL lacks.
fn same(column: &str) -> String {
    format!("COALESCE('v' || t.{column}::text, '') = COALESCE('v' || s.{column}::text, '')")
}

/// Rows whose referenced row is neither live nor among those found would be refused.
async fn parents(cx: &Cx, live: &Connection, detail: &PostgresDetail, plan: &mut RowsPlan) -> Result<()> {
    let mut blockers = Vec::new();
    for (at, table) in plan.tables.iter().enumerate() {
        for key in detail.foreign_keys.iter().filter(|k| k.child == table.table) {
            let exists = "SELECT pg_catalog.to_regclass($1::text) IS NOT NULL";
            let there: bool = live.query_one(cx, "look for a table", exists, &[&key.parent]).await?.get(0);
            let pairs: Vec<(&String, &String)> = key.child_columns.iter().zip(&key.parent_columns).collect();
            let set = pairs.iter().map(|(c, _)| format!("s.{c} IS NOT NULL")).collect::<Vec<_>>().join(" AND ");
            let on = pairs.iter().map(|(c, p)| format!("p.{p} = s.{c}")).collect::<Vec<_>>().join(" AND ");
            let mut lacking = format!("SELECT count(*) FROM pg_temp.vdr_{at} s WHERE {set}");
            if there {
                lacking.push_str(&format!(" AND NOT EXISTS (SELECT 1 FROM {} p WHERE {on})", key.parent));
            }
            if let Some(other) = plan.tables.iter().position(|t| t.table == key.parent) {
                lacking.push_str(&format!(" AND NOT EXISTS (SELECT 1 FROM pg_temp.vdr_{other} p WHERE {on})"));
            }
            let missing: i64 = live.query_one(cx, "look for referenced rows", &lacking, &[]).await?.get(0);
            if missing > 0 {
                blockers.push(format!(
                    "{missing} rows of {} refer to rows of {} that are gone too: add --with-parents",
                    table.table, key.parent
                ));
            }
        }
    }
    plan.blockers.extend(blockers);
    Ok(())
}
