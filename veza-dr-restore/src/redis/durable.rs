//! Waits until a crash of the server would bring back the restored data and no older ones.

use std::time::Duration;

use veza_dr_core::{Cx, Error, ErrorKind, Result};

use super::{control::Control, info::Info};

const POLL: Duration = Duration::from_millis(50);

/// Returns what makes the data last: a rewritten AOF, or a saved RDB.
///
/// # Errors
/// When the server could not write them; the restored data are live nevertheless.
pub(crate) async fn wait(cx: &Cx, on: &Control) -> Result<&'static str> {
    let info = on.info(cx, "persistence").await?;
    if info.is_set("aof_enabled") { aof(cx, on, info).await } else { rdb(cx, on).await }
}

async fn aof(cx: &Cx, on: &Control, mut info: Info) -> Result<&'static str> {
    loop {
        if !info.is_set("aof_rewrite_in_progress") && !info.is_set("aof_rewrite_scheduled") {
            let last = info.text("aof_last_bgrewrite_status").unwrap_or("not known");
            return if last == "ok" {
                Ok("the append-only file was rewritten")
            } else {
                Err(failed("AOF rewrite", last))
            };
        }
        tokio::time::sleep(POLL).await;
        info = on.info(cx, "persistence").await?;
    }
}

async fn rdb(cx: &Cx, on: &Control) -> Result<&'static str> {
    loop {
        // What is being saved now may have begun before the data were there.
        while on.info(cx, "persistence").await?.is_set("rdb_bgsave_in_progress") {
            tokio::time::sleep(POLL).await;
        }
        match on.command(cx, "save the data", &["BGSAVE"]).await {
            Ok(_) => break,
            Err(e) if e.chain().contains("in progress") => tokio::time::sleep(POLL).await,
            Err(e) => return Err(e),
        }
    }
    loop {
        let info = on.info(cx, "persistence").await?;
        if !info.is_set("rdb_bgsave_in_progress") {
            let last = info.text("rdb_last_bgsave_status").unwrap_or("not known");
            return if last == "ok" { Ok("the RDB was saved") } else { Err(failed("BGSAVE", last)) };
        }
        tokio::time::sleep(POLL).await;
    }
}

fn failed(what: &str, status: &str) -> Error {
    Error::new(ErrorKind::Partial, format!("the restored data are live, but the server's {what} ended with: {status}"))
        .with_effect(veza_dr_core::Effect::Applied)
        .with_help("a crash of the server would bring the old data back: see its log and its disk, then BGSAVE")
}
