//! Looks at a source before the first backup: can it be reached, read, locked, dumped.

use std::time::Instant;

use veza_dr_core::{Cx, Outcome, Report, Result};

use super::{ClientTools, Endpoint, PostgresConfig, catalog, snapshot::Server};

pub(crate) async fn check(cx: &Cx, config: &PostgresConfig) -> Result<Report> {
    let mut report = Report::default();
    let started = Instant::now();
    let reached = async {
        let endpoint = Endpoint::parse(config)?.pin(cx).await?;
        let connection = endpoint.connect(cx, "check").await?;
        let server = Server::ask(cx, &connection).await?;
        Ok::<_, veza_dr_core::Error>((endpoint, connection, server))
    };
    let (endpoint, connection, server) = match reached.await {
        Ok(reached) => reached,
        Err(e) => {
            report.push_error("connect", &e);
            return Ok(report);
        }
    };
    let place = if server.standby { ", a standby" } else { "" };
    let detail = format!("{}: PostgreSQL {}{place}", endpoint.location(), server.version_text);
    report.push("connect", Outcome::Ok, detail, started.elapsed());
    let started = Instant::now();
    match ClientTools::find(cx, config.bin_dir.as_deref(), server.major()).await {
        Ok(tools) => {
            let detail = format!("pg_dump {} in {}", tools.major(), tools.dir().display());
            let other = tools.major() != server.major();
            report.push("client tools", if other { Outcome::Warning } else { Outcome::Ok }, detail, started.elapsed());
        }
        Err(e) => report.push_error("client tools", &e),
    }
    let started = Instant::now();
    let tables = catalog::tables(cx, &connection).await?;
    let unreadable: Vec<&str> =
        tables.iter().filter(|t| !t.readable || t.row_security_hides).map(|t| t.qualified.as_str()).collect();
    if unreadable.is_empty() {
        report.push("read rights", Outcome::Ok, format!("{} tables", tables.len()), started.elapsed());
    } else {
        let outcome = if config.allow_unreadable { Outcome::Warning } else { Outcome::Failed };
        let detail = format!(
            "{} of {} tables cannot be read: {} (grant SELECT and BYPASSRLS, or set allow_unreadable: true)",
            unreadable.len(),
            tables.len(),
            unreadable.join(", ")
        );
        report.push("read rights", outcome, detail, started.elapsed());
    }
    locks(cx, &connection, tables.len(), config.effective_jobs(), &mut report).await?;
    if server.standby {
        standby(cx, &connection, &mut report).await?;
    }
    Ok(report)
}

async fn locks(cx: &Cx, on: &super::Connection, tables: usize, jobs: usize, report: &mut Report) -> Result<()> {
    let started = Instant::now();
    let sql = "SELECT pg_catalog.current_setting('max_locks_per_transaction')::int8 * \
         (pg_catalog.current_setting('max_connections')::int8 + pg_catalog.current_setting('max_prepared_transactions')::int8), \
         pg_catalog.current_setting('max_connections')::int8, \
         (SELECT count(*) FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p', 'S', 'v', 'm', 'f'))";
    let row = on.query_one(cx, "read the lock budget", sql, &[]).await?;
    let (budget, connections, relations): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    // The holder locks every table, each of two pg_dump runs every relation, each stream one table at a time.
    let need = tables as i64 + 2 * relations + jobs as i64;
    let fine = need < budget;
    let detail = if fine {
        format!("{need} of {budget} needed")
    } else {
        format!(
            "{need} needed, {budget} there: set max_locks_per_transaction = {} and restart the server",
            (need / connections.max(1) / 64 + 1) * 64
        )
    };
    report.push("lock budget", if fine { Outcome::Ok } else { Outcome::Failed }, detail, started.elapsed());
    Ok(())
}

async fn standby(cx: &Cx, on: &super::Connection, report: &mut Report) -> Result<()> {
    let sql = "SELECT pg_catalog.current_setting('hot_standby_feedback') = 'on', \
         pg_catalog.current_setting('max_standby_streaming_delay')";
    let row = on.query_one(cx, "read the standby's settings", sql, &[]).await?;
    let (feedback, delay): (bool, String) = (row.get(0), row.get(1));
    let fine = feedback || delay == "-1";
    let detail = if fine {
        "long reads are not cancelled by replay".to_owned()
    } else {
        format!(
            "replay may cancel a long backup (max_standby_streaming_delay = {delay}): set hot_standby_feedback = on"
        )
    };
    let outcome = if fine { Outcome::Ok } else { Outcome::Warning };
    report.push("standby conflicts", outcome, detail, std::time::Duration::ZERO);
    Ok(())
}
