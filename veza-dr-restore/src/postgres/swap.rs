//! The moment of truth: two renames in one transaction, and the way back.

use std::time::{Duration, Instant};

use veza_dr_backup::postgres::{Connection, Endpoint, quote_ident};
use veza_dr_core::{Clock, Cx, Effect, Error, ErrorKind, Outcome, Report, Result, SystemClock};

use super::{
    kept::{self, Found, Mark, Role, comment_sql},
    server,
};

/// As long as sessions are asked to leave before the swap is given up; nothing has changed then.
const DRAIN: Duration = Duration::from_secs(30);

/// How long a swap that is under way may go on after it was cancelled.
const GRACE: Duration = Duration::from_secs(2);

/// What takes which name.
#[derive(Debug)]
pub(crate) struct Swap<'a> {
    /// The name that applications use.
    pub(crate) live: &'a str,
    /// The database that gets it.
    pub(crate) incoming: &'a str,
    /// The comment the incoming database has from then on.
    pub(crate) comment: Option<String>,
    /// The mark for the one that is replaced.
    pub(crate) mark: Mark,
}

/// Replaces the live database in one transaction. Returns the name under which the old one is kept, or `None` when
/// there was no database of that name.
///
/// `ALTER DATABASE … RENAME` holds a lock that new connections wait for, and gives the sessions that are still there
/// five seconds to go; a second connection ends them meanwhile. Killed at any point, the server has either both
/// renames or none.
pub(crate) async fn swap(cx: &Cx, endpoint: &Endpoint, on: &Connection, swap: &Swap<'_>) -> Result<Option<String>> {
    let replaced = server::exists(cx, on, swap.live).await?;
    refuse_prepared(cx, on, &[swap.live, swap.incoming]).await?;
    let kept_as = kept::kept_name(swap.live, SystemClock.now());
    let mut sql = String::from("BEGIN; SET LOCAL lock_timeout = '20s'; ");
    if replaced {
        let old =
            "SELECT pg_catalog.shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database WHERE datname = $1";
        let comment: Option<String> = on.query_one(cx, "read the comment", old, &[&swap.live]).await?.get(0);
        let mark = Mark { role: Role::Kept, since: SystemClock.now(), comment, ..swap.mark.clone() };
        sql.push_str(&format!("ALTER DATABASE {} RENAME TO {}; ", quote_ident(swap.live), quote_ident(&kept_as)));
        sql.push_str(&format!("{}; ", comment_sql(&kept_as, Some(&mark.to_comment()))));
    }
    sql.push_str(&format!("ALTER DATABASE {} RENAME TO {}; ", quote_ident(swap.incoming), quote_ident(swap.live)));
    sql.push_str(&format!("{}; COMMIT", comment_sql(swap.live, swap.comment.as_deref())));
    let killer = server::maintenance(cx, endpoint).await?;
    let who =
        "SELECT pid, backend_start::text FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()";
    let who = on.query_one(cx, "ask for our own session", who, &[]).await?;
    let session = (who.get(0), who.get(1));
    let started = Instant::now();
    let both = [swap.live, swap.incoming];
    loop {
        cx.check("swap")?;
        let renames = on.client().batch_execute(&sql);
        let renames = async { renames.await.map_err(|e| veza_dr_backup::postgres::pg_error("swap", e)) };
        let done = tokio::select! {
            done = renames => done,
            never = end_sessions(&killer, &both) => match never {},
            () = long_after_cancellation(cx) => {
                let e = Error::new(ErrorKind::Cancelled, "swap: cancelled");
                return Err(outcome(endpoint, swap, &kept_as, &session, e).await);
            }
        };
        match done {
            Ok(()) => {
                // The last order to end sessions may still be on its way: whoever connects after this is left alone.
                let _ = tokio::time::timeout(GRACE, killer.client().batch_execute("SELECT 1")).await;
                return Ok(replaced.then_some(kept_as));
            }
            Err(e) => {
                // The transaction failed as a whole, or the connection did: then it is looked at below.
                if on.client().batch_execute("ROLLBACK").await.is_err() {
                    return Err(outcome(endpoint, swap, &kept_as, &session, e).await);
                }
                if e.kind() != ErrorKind::Conflict || started.elapsed() > DRAIN {
                    return Err(e.with_effect(Effect::None).with_help(
                        "the live database is untouched; stop the applications that hold sessions in it and restore again",
                    ));
                }
            }
        }
    }
}

/// The two renames take no time, or wait for sessions that are being ended: they are let finish before they are cut off.
async fn long_after_cancellation(cx: &Cx) {
    cx.token().cancelled().await;
    tokio::time::sleep(GRACE).await;
}

/// Nobody knows how the commit went: makes sure that it is over and says what is true now.
async fn outcome(endpoint: &Endpoint, swap: &Swap<'_>, kept_as: &str, session: &(i32, String), error: Error) -> Error {
    let cx = &Cx::background().with_deadline(std::time::SystemTime::now() + GRACE * 10);
    let look = async {
        let on = server::maintenance(cx, endpoint).await?;
        // The server may not have noticed that we are gone, and rename after we have looked.
        let end = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
             WHERE pid = $1 AND backend_start::text = $2";
        while !on.query(cx, "end the session of the swap", end, &[&session.0, &session.1]).await?.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let kept = server::exists(cx, &on, kept_as).await?;
        let staged = server::exists(cx, &on, swap.incoming).await?;
        Ok::<_, Error>(kept || !staged)
    };
    match look.await {
        Ok(true) => error.with_effect(Effect::Applied).with_help("the swap took place; check with: veza-dr verify"),
        Ok(false) => error.with_effect(Effect::None).with_help("the live database is untouched; restore again"),
        Err(_) => {
            error.with_effect(Effect::Unknown).with_help("see which databases exist with psql -l before anything else")
        }
    }
}

/// Ends the sessions in these databases again and again, until it is dropped.
async fn end_sessions(on: &Connection, names: &[&str]) -> std::convert::Infallible {
    loop {
        let sql = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
             WHERE datname = ANY ($1) AND pid <> pg_catalog.pg_backend_pid()";
        // A session that may not be ended keeps the rename from happening, and is named by its error.
        let _ = on.client().query(sql, &[&names]).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A prepared transaction holds its database open, and nobody can end it but its owner.
async fn refuse_prepared(cx: &Cx, on: &Connection, names: &[&str]) -> Result<()> {
    let sql = "SELECT gid, database::text FROM pg_catalog.pg_prepared_xacts WHERE database = ANY ($1)";
    let rows = on.query(cx, "look for prepared transactions", sql, &[&names]).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let list: Vec<String> =
        rows.iter().map(|r| format!("'{}' in {}", r.get::<_, &str>(0), r.get::<_, &str>(1))).collect();
    Err(Error::new(ErrorKind::Conflict, format!("prepared transactions hold the database: {}", list.join(", ")))
        .with_help("COMMIT PREPARED or ROLLBACK PREPARED each of them, then restore again"))
}

/// Puts back what the last swap replaced; what it replaces is kept in its turn.
pub(crate) async fn rollback(
    cx: &Cx,
    endpoint: &Endpoint,
    on: &Connection,
    live: &str,
    kept_databases: &[Found],
) -> Result<Report> {
    let started = Instant::now();
    let newest = newest(kept_databases, live)?;
    let mut report = Report::default();
    let order = Swap { live, incoming: &newest.name, comment: newest.mark.comment.clone(), mark: newest.mark.clone() };
    let kept_as = swap(cx, endpoint, on, &order).await?;
    let detail = format!("{live} is again what it was until {}", newest.mark.since.format("%Y-%m-%d %H:%M:%S UTC"));
    report.push("swap back", Outcome::Ok, detail, started.elapsed());
    if let Some(kept_as) = kept_as {
        report.push("keep", Outcome::Ok, format!("what it replaced is kept as {kept_as}"), Duration::ZERO);
    }
    Ok(report)
}

/// Drops everything that restores and rollbacks of this component set aside.
pub(crate) async fn release(
    cx: &Cx,
    endpoint: &Endpoint,
    on: &Connection,
    live: &str,
    kept_databases: &[Found],
) -> Result<Report> {
    newest(kept_databases, live)?;
    if !server::exists(cx, on, live).await? {
        let text = format!("database {live} does not exist: what is kept is the only copy on this server");
        return Err(Error::new(ErrorKind::Conflict, text).with_help("put it back first: veza-dr rollback"));
    }
    let mut report = Report::default();
    for found in kept_databases.iter().filter(|f| f.mark.role == Role::Kept) {
        let started = Instant::now();
        server::drop_database(cx, endpoint, on, &found.name).await?;
        report.push("drop", Outcome::Ok, found.name.clone(), started.elapsed());
    }
    Ok(report)
}

fn newest<'a>(kept_databases: &'a [Found], live: &str) -> Result<&'a Found> {
    kept_databases.iter().rfind(|f| f.mark.role == Role::Kept).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("no earlier version of {live} is kept"))
            .with_help("a restore in place keeps one until it is released")
    })
}
