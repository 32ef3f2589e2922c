//! What is in a Redis server, asked through its own commands: the judge of every copy.
//!
//! Values are read the way an application reads them, so that the server's choice of encoding, or of an order where
//! the type has none, makes no difference.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::Result;
use crate::oracle::DatabaseState;
use crate::redis_client::{RedisClient, Reply};
use crate::redis_server::RedisServer;

/// Everything in a server: one fact per key (its type, expiry and content) as `db<n>/<key>`, one per function library.
pub async fn state(server: &RedisServer) -> Result<DatabaseState> {
    state_of(&mut server.client().await?).await
}

/// The same by a connection that is there; leaves it in another database.
pub async fn state_of(client: &mut RedisClient) -> Result<DatabaseState> {
    let mut state = DatabaseState::default();
    functions(client, &mut state).await?;
    for db in databases(client).await? {
        client.run(&["SELECT", &db.to_string()]).await?;
        for key in keys(client).await? {
            if let Some(fact) = describe(client, &key).await? {
                state.tell(format!("db{db}/{}", key.escape_ascii()), fact);
            }
        }
    }
    Ok(state)
}

/// The databases that have keys.
pub async fn databases(client: &mut RedisClient) -> Result<Vec<u32>> {
    let info = client.run(&["INFO", "keyspace"]).await?.text();
    Ok(info.lines().filter_map(|line| line.strip_prefix("db")?.split(':').next()?.parse().ok()).collect())
}

/// Every key of the selected database, sorted.
pub async fn keys(client: &mut RedisClient) -> Result<Vec<Vec<u8>>> {
    let (mut cursor, mut keys) = ("0".to_owned(), Vec::new());
    loop {
        let reply = client.run(&["SCAN", &cursor, "COUNT", "1000"]).await?;
        let [next, found] = reply.items() else { return Err(format!("SCAN: {reply:?}").into()) };
        keys.extend(found.items().iter().map(Reply::bytes));
        cursor = next.text();
        if cursor == "0" {
            break;
        }
    }
    keys.sort();
    keys.dedup();
    Ok(keys)
}

/// Type, expiry and content of one key of the selected database; `None` when it has gone.
async fn describe(client: &mut RedisClient, key: &[u8]) -> Result<Option<String>> {
    let kind = client.run(&[b"TYPE", key]).await?.text();
    let expiry = expiry(client, key).await?;
    let content = match kind.as_str() {
        "none" => return Ok(None),
        "string" => digest(&client.run(&[b"GET", key]).await?.bytes()),
        "list" => all(client.run(&[&b"LRANGE"[..], key, b"0", b"-1"]).await?.items(), false),
        "set" => all(client.run(&[b"SMEMBERS", key]).await?.items(), true),
        "hash" => pairs(client.run(&[b"HGETALL", key]).await?.items()),
        "zset" => scores(client.run(&[&b"ZRANGE"[..], key, b"0", b"-1", b"WITHSCORES"]).await?.items())?,
        "stream" => stream(client.run(&[&b"XINFO"[..], b"STREAM", key, b"FULL", b"COUNT", b"0"]).await?.items()),
        other => format!("DUMP {}", digest(&client.run(&[b"DUMP", key]).await?.bytes())).replace("DUMP", other),
    };
    Ok(Some(format!("{kind} expires {expiry}\n{content}")))
}

/// In milliseconds since 1970, -1 for never.
async fn expiry(client: &mut RedisClient, key: &[u8]) -> Result<i64> {
    match client.run(&[b"PEXPIRETIME", key]).await {
        Ok(answer) => Ok(answer.int()),
        // Redis 6 says only how long is left: to the second, as its own clock goes on meanwhile.
        Err(e) if e.to_string().contains("unknown command") => {
            let left = client.run(&[b"PTTL", key]).await?.int();
            let now = client.run(&["TIME"]).await?;
            let [seconds, micros] = now.items() else { return Err(format!("TIME: {now:?}").into()) };
            let now: i64 = seconds.text().parse::<i64>()? * 1000 + micros.text().parse::<i64>()? / 1000;
            Ok(if left < 0 { left } else { (now + left + 500) / 1000 * 1000 })
        }
        Err(e) => Err(e),
    }
}

/// Scores as numbers: how many digits a server writes is a matter of its version.
fn scores(items: &[Reply]) -> Result<String> {
    let mut pairs = Vec::new();
    for pair in items.chunks(2) {
        let score: f64 = pair.get(1).ok_or("a member without a score")?.text().parse()?;
        pairs.push(format!("{:?} {score:?}", pair[0]).into_bytes());
    }
    pairs.sort();
    Ok(shown(&pairs))
}

/// A reply without what Redis 7.2 and its kin tell beside what others do.
fn as_before(reply: &Reply) -> String {
    let Reply::Array(items) = reply else { return format!("{reply:?}") };
    let (mut parts, mut items) = (Vec::new(), items.iter());
    while let Some(item) = items.next() {
        if matches!(item, Reply::Bulk(Some(name)) if name == b"active-time") {
            items.next();
        } else {
            parts.push(as_before(item));
        }
    }
    format!("[{}]", parts.join(", "))
}

fn all(items: &[Reply], sort: bool) -> String {
    let mut lines: Vec<Vec<u8>> = items.iter().map(Reply::bytes).collect();
    if sort {
        lines.sort();
    }
    shown(&lines)
}

fn pairs(items: &[Reply]) -> String {
    let mut pairs: Vec<Vec<u8>> = items.chunks(2).map(|pair| format!("{pair:?}").into_bytes()).collect();
    pairs.sort();
    shown(&pairs)
}

/// All of it, but for what describes the server's own tree.
fn stream(items: &[Reply]) -> String {
    let facts: BTreeMap<String, String> = items
        .chunks(2)
        .map(|pair| (pair[0].text(), pair.get(1).map(as_before).unwrap_or_default()))
        .filter(|(name, _)| !name.starts_with("radix-tree"))
        .collect();
    let lines: Vec<Vec<u8>> = facts.into_iter().map(|(name, value)| format!("{name} {value}").into_bytes()).collect();
    shown(&lines)
}

/// Short content as it is, long content by its digest.
fn shown(lines: &[Vec<u8>]) -> String {
    let mut hash = Sha256::new();
    for line in lines {
        hash.update((line.len() as u64).to_le_bytes());
        hash.update(line);
    }
    let bytes: usize = lines.iter().map(Vec::len).sum();
    let text = match bytes {
        0..2000 => lines.iter().map(|line| line.escape_ascii().to_string()).collect::<Vec<_>>().join("\n"),
        _ => format!("{bytes} bytes"),
    };
    format!("{} items {}\n{text}", lines.len(), hex::encode(hash.finalize()))
}

fn digest(bytes: &[u8]) -> String {
    shown(&[bytes.to_vec()])
}

async fn functions(client: &mut RedisClient, state: &mut DatabaseState) -> Result<()> {
    let libraries = match client.run(&["FUNCTION", "LIST", "WITHCODE"]).await {
        Ok(libraries) => libraries,
        // Redis 6 has none.
        Err(e) if e.to_string().contains("unknown command") => return Ok(()),
        Err(e) => return Err(e),
    };
    for library in libraries.items() {
        let facts: BTreeMap<String, &Reply> =
            library.items().chunks(2).filter_map(|pair| Some((pair[0].text(), pair.get(1)?))).collect();
        let name = facts.get("library_name").map(|name| name.text()).unwrap_or_default();
        let code = facts.get("library_code").map(|code| code.text()).unwrap_or_default();
        state.tell(format!("function/{name}"), code);
    }
    Ok(())
}
