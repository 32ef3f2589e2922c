//! The comparison itself: tables, ranges, and the rows of ranges that differ.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use tokio_postgres::types::ToSql;
use veza_dr_core::{Cx, Result};

use super::{
    DivergenceReport, Limits, RowDifference, TableDivergence,
    merge::merge,
    tables::{Comparison, list},
};
use crate::reach::{PostgresAccess, PostgresSession, pg_error};

/// About how many rows a range has.
const RANGE_ROWS: u64 = 64;
/// Ranges are named by so many hexadecimal digits at most: 65 536 of them.
const MOST_DIGITS: u32 = 4;

/// Tells what database `a` has that `b` does not, and the other way round. Changes nothing; both are read in one
/// snapshot each, so that writers are not in the way.
///
/// # Errors
/// `Denied` when a table may not be read, `Unavailable` when a server does not answer: there is no report of a part.
pub async fn compare(cx: &Cx, a: &PostgresAccess, b: &PostgresAccess, limits: Limits) -> Result<DivergenceReport> {
    compare_with(cx, a, b, limits, &mut |_| Ok(())).await
}

/// As [`compare`], and gives every single difference to `each`, as it is found: for a file that is to hold them all.
///
/// # Errors
/// As [`compare`], and those of `each`, which end the comparison.
pub async fn compare_with(
    cx: &Cx,
    a: &PostgresAccess,
    b: &PostgresAccess,
    limits: Limits,
    each: &mut (dyn FnMut(&RowDifference) -> Result<()> + Send),
) -> Result<DivergenceReport> {
    let work = async {
        let (a, b) = tokio::try_join!(begin(cx, a), begin(cx, b))?;
        let (tables_a, tables_b) = tokio::try_join!(list(&a), list(&b))?;
        let mut report = DivergenceReport { tables: Vec::new(), schema: Vec::new() };
        for (name, table) in &tables_a {
            cx.check("compare")?;
            let Some(other) = tables_b.get(name) else {
                let rows = count(&a, name).await?;
                report.schema.push(format!("{name} is only in the first database, with {rows} rows"));
                report.tables.push(TableDivergence {
                    rows_a: rows,
                    only_a: rows,
                    ..empty(name, !table.key.is_empty())
                });
                continue;
            };
            let comparison = Comparison::of(name, table, other, &mut report.schema);
            report.tables.push(table_divergence(&a, &b, &comparison, limits, each).await?);
        }
        for (name, table) in tables_b.iter().filter(|(name, _)| !tables_a.contains_key(*name)) {
            let rows = count(&b, name).await?;
            report.schema.push(format!("{name} is only in the second database, with {rows} rows"));
            report.tables.push(TableDivergence { rows_b: rows, only_b: rows, ..empty(name, !table.key.is_empty()) });
        }
        Ok(report)
    };
    cx.run("compare the databases", work).await
}

async fn begin(cx: &Cx, access: &PostgresAccess) -> Result<PostgresSession> {
    let session = access.connect(cx).await?;
    // One instant; and nothing of ours may write, whatever is asked.
    let begin = "SET statement_timeout = 0; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    session.client().batch_execute(begin).await.map_err(|e| pg_error("begin to compare", e))?;
    Ok(session)
}

fn empty(table: &str, keyed: bool) -> TableDivergence {
    let table = table.to_owned();
    TableDivergence { table, keyed, rows_a: 0, rows_b: 0, only_a: 0, only_b: 0, differing: 0, samples: Vec::new() }
}

async fn count(session: &PostgresSession, table: &str) -> Result<u64> {
    let asked = session.client().query_one(&format!("SELECT pg_catalog.count(*) FROM ONLY {table}"), &[]).await;
    let rows: i64 = asked.map_err(|e| pg_error(&format!("count {table}"), e))?.get(0);
    Ok(rows.unsigned_abs())
}

/// How many digits name ranges of the wanted size.
fn digits(rows: u64) -> u32 {
    (0..MOST_DIGITS).find(|d| 16_u64.pow(*d) * RANGE_ROWS >= rows).unwrap_or(MOST_DIGITS)
}

async fn table_divergence(
    a: &PostgresSession,
    b: &PostgresSession,
    comparison: &Comparison,
    limits: Limits,
    each: &mut (dyn FnMut(&RowDifference) -> Result<()> + Send),
) -> Result<TableDivergence> {
    let name = &comparison.table;
    let mut found = empty(name, comparison.keyed());
    (found.rows_a, found.rows_b) = tokio::try_join!(count(a, name), count(b, name))?;
    let digits = digits(found.rows_a.max(found.rows_b));
    let sql = comparison.ranges_sql(digits);
    let (ranges_a, ranges_b) = tokio::try_join!(ranges(a, name, &sql), ranges(b, name, &sql))?;
    let mut differing: Vec<&str> = Vec::new();
    differing.extend(ranges_a.iter().filter(|(k, v)| ranges_b.get(*k) != Some(v)).map(|(k, _)| k.as_str()));
    differing.extend(ranges_b.keys().filter(|k| !ranges_a.contains_key(*k)).map(String::as_str));
    if differing.is_empty() {
        return Ok(found);
    }
    let sql = comparison.fetch_sql(digits, limits.row_bytes);
    let rows = async |session: &PostgresSession| {
        let parameters: [&(dyn ToSql + Sync); 1] = [&differing];
        let stream = session.client().query_raw(&sql, parameters).await;
        stream.map_err(|e| pg_error(&format!("read {name}"), e))
    };
    let (rows_a, rows_b) = tokio::try_join!(rows(a), rows(b))?;
    merge(rows_a, rows_b, &mut found, limits.samples, each).await?;
    Ok(found)
}

/// Count and digest of each range.
type Ranges = BTreeMap<String, (i64, String, String)>;

async fn ranges(session: &PostgresSession, table: &str, sql: &str) -> Result<Ranges> {
    let failed = |e| pg_error(&format!("digest {table}"), e);
    let nothing: [&(dyn ToSql + Sync); 0] = [];
    let rows = session.client().query_raw(sql, nothing).await.map_err(failed)?;
    let range = |row: tokio_postgres::Row| (row.get(0), (row.get(1), row.get(2), row.get(3)));
    rows.map_ok(range).try_collect().await.map_err(failed)
}
