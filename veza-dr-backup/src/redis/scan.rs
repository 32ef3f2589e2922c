//! Reads a server key by key, where replication is forbidden, and makes of it the same file that replication gives.
//!
//! What changes meanwhile is seen before or after its change; a key that is renamed meanwhile may be missed, as `SCAN`
//! promises only keys that are there all the time.

use std::collections::HashSet;

use bytes::Bytes;
use fred::types::Value;
use tokio::sync::mpsc;
use veza_dr_core::{Cx, Error, ErrorKind, Result};
use xxhash_rust::xxh3::xxh3_128;

use super::{
    Control,
    control::{bytes_of, items, text},
    probe::allowed,
    rdb::{Writer, dump_value},
};

/// Keys asked for at a time.
const BATCH: &[u8] = b"500";
/// About how many bytes of values are asked for at a time, by the server's own estimate.
const VALUES: u64 = 4 * 1024 * 1024;
/// How many where it gives none.
const BLIND: usize = 8;
/// Handed on in pieces of at least this size.
const PIECE: usize = 256 * 1024;

/// Reads all databases and sends the file.
pub(super) async fn read(cx: Cx, control: Control, out: mpsc::Sender<Bytes>) -> Result<()> {
    let info =
        control.info(&cx).await.map_err(|e| e.with_help("reading key by key needs +info, +scan, +dump, +select"))?;
    let functions = match control.call(&cx, &[b"FUNCTION", b"DUMP"]).await {
        Ok(dumped) => Some(bytes_of(&dumped)),
        // A server before 7.0 has none. One that has them and does not show them would lose them at the restore.
        Err(e) if e.kind() == ErrorKind::Unsupported => None,
        Err(e) if e.kind() == ErrorKind::Denied => {
            return Err(e.with_help("the function libraries are part of the backup: ACL SETUSER … +function|dump"));
        }
        Err(e) => return Err(e),
    };
    let version = match &functions {
        Some(dumped) => dump_value(dumped)?.0,
        None => sampled_version(&cx, &control, &info.databases().into_keys().collect::<Vec<_>>()).await?,
    };
    let mut reading = Reading { cx, control, writer: Writer::new(version), out, version };
    reading.writer.aux("redis-ver", info.get("redis_version"));
    reading.writer.aux("ctime", &chrono::Utc::now().timestamp().to_string());
    reading.writer.aux("used-mem", info.get("used_memory"));
    if let Some(dumped) = &functions {
        let (_, libraries) = dump_value(dumped)?;
        reading.writer.functions(libraries);
    }
    for db in info.databases().into_keys() {
        reading.database(db).await?;
    }
    reading.writer.end();
    reading.flush(0).await
}

/// The version that this server's payloads are in; an old one's, before 7.0, where only a key can tell.
async fn sampled_version(cx: &Cx, control: &Control, databases: &[u64]) -> Result<u16> {
    for db in databases {
        control.call(cx, &[b"SELECT", db.to_string().as_bytes()]).await?;
        let key = bytes_of(&control.call(cx, &[b"RANDOMKEY"]).await?);
        let dumped = bytes_of(&control.call(cx, &[b"DUMP", &key]).await?);
        if !dumped.is_empty() {
            return Ok(dump_value(&dumped)?.0);
        }
    }
    Ok(9)
}

struct Reading {
    cx: Cx,
    control: Control,
    writer: Writer,
    out: mpsc::Sender<Bytes>,
    version: u16,
}

impl Reading {
    async fn database(&mut self, db: u64) -> Result<()> {
        self.control.call(&self.cx, &[b"SELECT", db.to_string().as_bytes()]).await?;
        self.writer.select(db);
        // SCAN may give a key twice; a file that has one twice does not load.
        let mut seen = HashSet::new();
        let mut cursor = b"0".to_vec();
        loop {
            let answer = self.control.call(&self.cx, &[b"SCAN", &cursor, b"COUNT", BATCH]).await?;
            let [next, found] = items(&answer) else {
                return Err(Error::new(ErrorKind::Unexpected, "SCAN answered something that is no list of keys"));
            };
            let fresh = items(found).iter().map(bytes_of).filter(|key| seen.insert(xxh3_128(key)));
            self.keys(&fresh.collect::<Vec<_>>()).await?;
            cursor = text(next).into_bytes();
            if cursor == b"0" {
                return Ok(());
            }
        }
    }

    async fn keys(&mut self, keys: &[Vec<u8>]) -> Result<()> {
        let asked: Vec<Vec<&[u8]>> = keys.iter().map(|k| vec![&b"MEMORY"[..], b"USAGE", k]).collect();
        let mut sizes = Vec::with_capacity(keys.len());
        for answer in self.control.pipeline(&self.cx, &asked).await? {
            sizes.push(allowed(answer)?.and_then(|v| v.as_u64()).unwrap_or(VALUES / BLIND as u64));
        }
        let mut rest = keys;
        while !rest.is_empty() {
            let at = keys.len() - rest.len();
            let mut sum = 0u64;
            let fitting = sizes[at..].iter().take_while(|size| {
                sum = sum.saturating_add(**size);
                sum <= VALUES
            });
            let (now, later) = rest.split_at(fitting.count().max(1));
            self.values(now).await?;
            rest = later;
        }
        Ok(())
    }

    async fn values(&mut self, keys: &[Vec<u8>]) -> Result<()> {
        let expiry: &[u8] = if self.version >= 10 { b"PEXPIRETIME" } else { b"PTTL" };
        let asked: Vec<Vec<&[u8]>> =
            keys.iter().flat_map(|k| [vec![expiry, &k[..]], vec![&b"DUMP"[..], &k[..]]]).collect();
        let mut answers = self.control.pipeline(&self.cx, &asked).await?.into_iter();
        for key in keys {
            let (Some(expiry), Some(dumped)) = (answers.next(), answers.next()) else {
                return Err(Error::new(ErrorKind::Unexpected, "the server answered fewer commands than it was sent"));
            };
            let (expiry, dumped) = (expiry?.as_i64().unwrap_or(-1), dumped?);
            // Deleted, or expired, since SCAN named it.
            if matches!(dumped, Value::Null) {
                continue;
            }
            let dumped = bytes_of(&dumped);
            let (version, value) = dump_value(&dumped)?;
            if version != self.version {
                return Err(Error::new(ErrorKind::Conflict, "the server's version changed while it was read")
                    .with_help("run the backup again"));
            }
            let now = if self.version >= 10 { 0 } else { chrono::Utc::now().timestamp_millis() };
            let expires_at = u64::try_from(expiry).ok().map(|e| e + now.unsigned_abs());
            self.writer.key(key, expires_at, value);
            self.flush(PIECE).await?;
        }
        Ok(())
    }

    async fn flush(&mut self, least: usize) -> Result<()> {
        if self.writer.ready() >= least.max(1) {
            let piece = self.writer.take().into();
            let gone = |_| Error::new(ErrorKind::Cancelled, "nobody takes the data any more");
            self.out.send(piece).await.map_err(gone)?;
        }
        Ok(())
    }
}
