//! Writes found rows into the live database: one transaction, checked before it commits.

use veza_dr_backup::postgres::{Connection, pg_error};
use veza_dr_core::{Cx, Error, ErrorKind, RestoreRequest, Result};

use super::super::target::PostgresRestore;
use super::{
    FoundRows, OnConflict, RowsDone, RowsPlan, RowsReport,
    compare::{equal, matching, stage},
};

impl PostgresRestore {
    /// Brings the rows of a plan back, in one transaction that commits only when every row is there as its policy
    /// asks. Sequences behind an inserted key are moved on.
    ///
    /// # Errors
    /// `Conflict` while the plan has blockers, and for a row that is there under [`OnConflict::Fail`]; the live
    /// database is then unchanged.
    pub async fn apply_rows(&self, cx: &Cx, plan: &RowsPlan) -> Result<RowsReport> {
        if !plan.blockers.is_empty() {
            let text = format!("the rows cannot be brought back: {}", plan.blockers.join("; "));
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        let aim = self.aim(cx, &RestoreRequest::in_place()).await?;
        let live = aim.live.connect(cx, "restore rows").await?;
        live.execute(cx, "begin", "BEGIN; SET LOCAL lock_timeout = '30s'; SET CONSTRAINTS ALL DEFERRED").await?;
        let mut report = RowsReport::default();
        for (at, table) in plan.tables.iter().enumerate() {
            stage(cx, &live, at, table, &plan.encoding).await?;
            report.tables.push(write(cx, &live, at, table, plan.request.on_conflict).await?);
        }
        for (at, table) in plan.tables.iter().enumerate() {
            check(cx, &live, at, table, plan.request.on_conflict).await?;
            advance_sequences(cx, &live, at, table).await?;
        }
        live.execute(cx, "commit", "COMMIT").await?;
        Ok(report)
    }
}

async fn write(cx: &Cx, live: &Connection, at: usize, table: &FoundRows, policy: OnConflict) -> Result<RowsDone> {
    let what = format!("bring rows of {} back", table.table);
    let columns = table.columns.join(", ");
    let run = async |sql: &str| {
        cx.run(&what, async { live.client().execute(sql, &[]).await.map_err(|e| pg_error(&what, e)) }).await
    };
    let mut updated = 0;
    if policy == OnConflict::Update && !table.key.is_empty() {
        let rest: Vec<&String> =
            table.columns.iter().filter(|c| !table.key.contains(&super::find::requote(c))).collect();
        if !rest.is_empty() {
            let set = rest.iter().map(|c| format!("{c} = s.{c}")).collect::<Vec<_>>().join(", ");
            let sql = format!(
                "UPDATE {} t SET {set} FROM pg_temp.vdr_{at} s WHERE {} AND NOT ({})",
                table.table,
                matching(table),
                equal(table)
            );
            updated = run(&sql).await?;
        }
    }
    let only_missing = match policy {
        OnConflict::Fail => String::new(),
        OnConflict::Skip | OnConflict::Update => {
            format!(" WHERE NOT EXISTS (SELECT 1 FROM {} t WHERE {})", table.table, matching(table))
        }
    };
    let tail = if policy == OnConflict::Skip { " ON CONFLICT DO NOTHING" } else { "" };
    let sql = format!(
        "INSERT INTO {} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM pg_temp.vdr_{at} s{only_missing}{tail}",
        table.table
    );
    let inserted = run(&sql).await?;
    let kept = table.rows.saturating_sub(inserted + updated);
    Ok(RowsDone { table: table.table.clone(), inserted, updated, kept })
}

/// Every found row must be live now; under a policy other than `skip`, with the backup's values.
async fn check(cx: &Cx, live: &Connection, at: usize, table: &FoundRows, policy: OnConflict) -> Result<()> {
    let condition = match policy {
        OnConflict::Skip => matching(table),
        OnConflict::Update | OnConflict::Fail => format!("{} AND {}", matching(table), equal(table)),
    };
    let sql = format!(
        "SELECT count(*) FROM pg_temp.vdr_{at} s WHERE NOT EXISTS (SELECT 1 FROM {} t WHERE {condition})",
        table.table
    );
    let lacking: i64 = live.query_one(cx, "check the rows", &sql, &[]).await?.get(0);
    if lacking == 0 {
        return Ok(());
    }
    let text = format!("{lacking} rows of {} did not come back as they were; nothing was changed", table.table);
    Err(Error::new(ErrorKind::Mismatch, text)
        .with_help("another unique key of a live row, a trigger or a rule is in the way: look at them with --plan"))
}

/// A key that was put back must not be given out a second time.
async fn advance_sequences(cx: &Cx, live: &Connection, at: usize, table: &FoundRows) -> Result<()> {
    let sql = "SELECT pg_catalog.quote_ident(a.attname)::text, \
             pg_catalog.pg_get_serial_sequence($1::text, a.attname::text) \
         FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1::text::pg_catalog.regclass AND a.attnum > 0 \
           AND NOT a.attisdropped AND pg_catalog.pg_get_serial_sequence($1::text, a.attname::text) IS NOT NULL";
    for row in live.query(cx, "look for sequences", sql, &[&table.table]).await? {
        let (column, sequence): (String, String) = (row.get(0), row.get(1));
        if !table.columns.contains(&column) {
            continue;
        }
        let sql = format!(
            "SELECT pg_catalog.setval('{}', m) FROM (SELECT max({column})::int8 AS m FROM pg_temp.vdr_{at}) x, {sequence} q \
             WHERE m > q.last_value OR (m = q.last_value AND NOT q.is_called)",
            sequence.replace('\'', "''")
        );
        live.query(cx, "move a sequence on", &sql, &[]).await?;
    }
    Ok(())
}
