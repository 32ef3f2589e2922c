//! Looks at a server without touching it.

use veza_dr_backup::redis::{items, text};
use veza_dr_core::{Cx, Result};

use super::{
    choose::TargetFacts,
    control::{Control, is_refusal},
    info::{Info, Product, Version, rdb_version},
};

/// Everything that decides how it can be restored to.
pub(crate) async fn look(cx: &Cx, on: &Control) -> Result<TargetFacts> {
    let info = on.info(cx, "everything").await?;
    let valkey = info.text("server_name") == Some("valkey");
    let product = if valkey { Product::Valkey } else { Product::Redis };
    let version = info.text(if valkey { "valkey_version" } else { "redis_version" });
    let version = Version::parse(version.unwrap_or_default());
    let asked = allowed(on.config(cx, "databases").await)?;
    let tls = allowed(on.config(cx, "tls-replication").await)?.flatten();
    Ok(TargetFacts {
        product,
        version,
        reads: rdb_version(product, version),
        run_id: info.text("run_id").unwrap_or_default().to_owned(),
        replica_of: replica_of(&info),
        cluster: info.is_set("cluster_enabled"),
        loading: info.is_set("loading") || info.is_set("async_loading"),
        configurable: asked.is_some(),
        databases: asked.flatten().and_then(|n| n.parse().ok()),
        keyspace: info.keyspace(),
        used_memory: info.number("used_memory").unwrap_or(0),
        maxmemory: info.number("maxmemory").unwrap_or(0),
        system_memory: info.number("total_system_memory").filter(|m| *m > 0),
        modules: info.modules(),
        tls_replication: tls.as_deref() == Some("yes"),
        sentinels: sentinels(cx, on).await?,
        replicas: info.number("connected_slaves").unwrap_or(0),
    })
}

/// The host and port that it replicates from.
pub(crate) fn replica_of(info: &Info) -> Option<(String, u16)> {
    (info.text("role") == Some("slave")).then(|| {
        let port = info.number("master_port").and_then(|p| u16::try_from(p).ok()).unwrap_or(0);
        (info.text("master_host").unwrap_or_default().to_owned(), port)
    })
}

/// What may not be asked is not known; other failures are failures.
fn allowed<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(e) if is_refusal(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Sentinels say who they are on the connections they command a server over, and listen to a channel of theirs;
/// `None` when neither may be asked.
async fn sentinels(cx: &Cx, on: &Control) -> Result<Option<usize>> {
    if let Some(list) = allowed(on.command(cx, "list the connections", &["CLIENT", "LIST"]).await)? {
        let command = |line: &&str| line.split(' ').any(|f| f.starts_with("name=sentinel-") && f.ends_with("-cmd"));
        return Ok(Some(text(&list).lines().filter(command).count()));
    }
    let words = ["PUBSUB", "NUMSUB", "__sentinel__:hello"];
    let counted = allowed(on.command(cx, "count who listens as sentinels do", &words).await)?;
    Ok(counted.and_then(|c| items(&c).get(1)?.as_i64()).and_then(|n| usize::try_from(n).ok()))
}
