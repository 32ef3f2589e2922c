//! Waits until a crash of the server would bring back the restored data and no older ones.

use std::time::Duration;

use veza_dr_core::{Cx, Error, ErrorKind, Result};

use super::{control::Control, info::Info};

const POLL: Duration = Duration::from_millis(50);

/// The moment from which a save contains the restored data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loaded {
    /// The server's clock, in seconds since 1970; none where an older save was still being written.
    at: Option<u64>,
    /// The server's RDB, and no append-only file, is what makes its data last.
    by_rdb: bool,
}

impl Loaded {
    /// Now: the data are there.
    pub(crate) async fn now(cx: &Cx, on: &Control) -> Result<Self> {
        let at = on.now(cx).await? / 1000;
        let info = on.info(cx, "persistence").await?;
        let saving = info.is_set("rdb_bgsave_in_progress");
        Ok(Self { at: (!saving).then_some(at), by_rdb: !info.is_set("aof_enabled") })
    }

    /// Whether what the server writes to be sent makes its data last as well.
    pub(crate) async fn lasts_by_sending(self, cx: &Cx, on: &Control) -> bool {
        self.by_rdb && keeps_what_it_sent(cx, on).await
    }

    /// Whether a whole save began after it and has ended. One that ended within the same second may have begun before.
    fn saved_since(self, info: &Info) -> bool {
        let ended = info.number("rdb_last_save_time");
        !info.is_set("rdb_bgsave_in_progress")
            && info.text("rdb_last_bgsave_status") == Some("ok")
            && self.at.zip(ended).is_some_and(|(at, ended)| ended > at)
    }
}

/// Returns what makes the data last: a rewritten AOF, or a saved RDB. Where a comparison had a copy sent
/// after `loaded`, and the server wrote that to its own RDB first, it need not be written again.
///
/// # Errors
/// When the server could not write them; the restored data are live nevertheless.
pub(crate) async fn wait(cx: &Cx, on: &Control, loaded: Option<Loaded>) -> Result<&'static str> {
    let info = on.info(cx, "persistence").await?;
    if info.is_set("aof_enabled") {
        return aof(cx, on, info).await;
    }
    if loaded.is_some_and(|l| l.saved_since(&info)) && keeps_what_it_sent(cx, on).await {
        return Ok("the RDB was saved for the comparison");
    }
    rdb(cx, on).await
}

/// Whether the RDB that was written to be sent stays: not where the server deletes it, or does not tell.
async fn keeps_what_it_sent(cx: &Cx, on: &Control) -> bool {
    // A server that does not have the setting deletes nothing.
    on.config(cx, "rdb-del-sync-files").await.is_ok_and(|value| value.is_none_or(|v| v == "no"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_save_that_began_after_the_data_were_there_counts() {
        let info = |saving: u8, ended: u64, status: &str| {
            Info::parse(&format!(
                "# Persistence\r\nrdb_bgsave_in_progress:{saving}\r\nrdb_last_save_time:{ended}\r\n\
                 rdb_last_bgsave_status:{status}\r\n"
            ))
        };
        let loaded = Loaded { at: Some(100), by_rdb: true };
        assert!(loaded.saved_since(&info(0, 101, "ok")));
        for (wrong, why) in [
            (info(0, 100, "ok"), "it may have begun before"),
            (info(0, 99, "ok"), "it is older"),
            (info(1, 101, "ok"), "one is being written"),
            (info(0, 101, "err"), "it failed"),
            (Info::parse(""), "nothing is known"),
        ] {
            assert!(!loaded.saved_since(&wrong), "{why}");
        }
        assert!(!Loaded { at: None, by_rdb: true }.saved_since(&info(0, 200, "ok")), "an older save was under way");
    }
}
