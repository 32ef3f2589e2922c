//! The recovery recipe that lies beside each backup: stock tools alone, in the order that works.

use std::fmt::Write;

use veza_dr_core::Manifest;

use super::{Consistency, PartRecord, RedisDetail};
use crate::recipe_text::{block, code, encrypted, heredoc, needs, one_line, open, shell};

/// Writes `RECOVER.md` for one backup.
pub(crate) fn write(manifest: &Manifest) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail; a manifest without details has its objects all the same.
    let detail = RedisDetail::of(manifest).ok();
    let _ = fill(&mut out, manifest, detail.as_ref());
    if manifest.source.server_version.ends_with(VALKEY) {
        // Its own form of the RDB takes its own programs, which do the same by other names.
        out = out.replace(VALKEY, "").replace("\nRedis ", "\nValkey ");
        for program in ["server", "cli", "check-rdb"] {
            out = out.replace(&format!("redis-{program}"), &format!("valkey-{program}"));
        }
    }
    out
}

/// How the version of one ends.
const VALKEY: &str = " (Valkey)";

fn fill(out: &mut String, manifest: &Manifest, detail: Option<&RedisDetail>) -> std::fmt::Result {
    let parts = detail.map(|d| d.parts.as_slice()).unwrap_or_default();
    writeln!(out, "# Recover {} from backup {}\n", code(&manifest.source.location), manifest.id)?;
    let keys: u64 = parts.iter().map(|p| p.rdb.keys()).sum();
    writeln!(
        out,
        "Redis {} as of {} UTC: {keys} keys. This page needs only this folder, {}and `redis-server`, `redis-cli` and \
         `redis-check-rdb` of the same version or a later one; no veza-dr.\n",
        manifest.source.server_version,
        manifest.consistency.at.format("%Y-%m-%d %H:%M:%S"),
        needs(manifest),
    )?;
    match detail.map(|d| d.consistency) {
        Some(Consistency::Fuzzy) => writeln!(
            out,
            "Replication was forbidden when this was made: keys were read one after the other while others changed. \
             It shows no single instant.\n"
        )?,
        Some(Consistency::SnapshotPerMaster) => writeln!(
            out,
            "The source was a cluster: each file has the keys of one master, as of its own instant within the same \
             minute or so.\n"
        )?,
        _ => {}
    }
    writeln!(
        out,
        "Run the commands in this folder, one block after the other, in a shell of their own that stops at the first \
         failure: `sh -eu`. Set these first:\n"
    )?;
    let mut first = String::new();
    writeln!(first, "export DATA_DIR=/var/lib/redis-recovered   # a new, empty folder for the server's files")?;
    writeln!(
        first,
        "export REDIS_PORT=6399                     # a free port: {} servers, one each from here on",
        parts.len()
    )?;
    if encrypted(manifest) {
        writeln!(first, "export AGE_KEY=/path/to/age-identity.txt   # the private key of this backup's recipient")?;
    }
    block(out, &first)?;
    writeln!(out, "## 1. Check that nothing is damaged\n")?;
    let sums: String = manifest.objects.iter().map(|o| format!("{}  {}\n", o.stored_sha256, o.name)).collect();
    block(out, &heredoc("sha256sum --quiet -c", &sums))?;
    for (n, part) in parts.iter().enumerate() {
        server(out, manifest, part, n)?;
    }
    afterwards(out, parts)?;
    if !manifest.skipped.is_empty() {
        writeln!(out, "## Not in this backup\n")?;
        for skipped in &manifest.skipped {
            writeln!(out, "- {}: {}", code(&skipped.what), one_line(&skipped.why))?;
        }
    }
    Ok(())
}

fn server(out: &mut String, manifest: &Manifest, part: &PartRecord, n: usize) -> std::fmt::Result {
    writeln!(out, "## 2.{} The data of {}\n", n + 1, code(&part.location))?;
    if !part.slots.is_empty() {
        let ranges: Vec<String> = part.slots.iter().map(|(a, b)| format!("{a}-{b}")).collect();
        writeln!(
            out,
            "Slots {}. The server started here is no cluster's: all its keys are in database 0.\n",
            ranges.join(", ")
        )?;
    }
    writeln!(
        out,
        "The append-only file must be off: a server that has it on ignores `dump.rdb`, starts empty, and later \
         overwrites it. So must save points be, until you are content.\n"
    )?;
    let mut script = String::new();
    writeln!(script, "dir=\"$DATA_DIR/{n}\"; port=$((REDIS_PORT + {n}))")?;
    writeln!(script, "mkdir -p \"$dir\"")?;
    writeln!(script, "{} > \"$dir/dump.rdb\"", open(manifest, &part.object))?;
    writeln!(
        script,
        "redis-check-rdb \"$dir/dump.rdb\" > \"$dir/check.log\" || {{ cat \"$dir/check.log\"; exit 1; }}"
    )?;
    let highest = part.rdb.databases.keys().next_back().copied().unwrap_or(0) + 1;
    writeln!(
        script,
        "redis-server --port \"$port\" --bind 127.0.0.1 --dir \"$dir\" --dbfilename dump.rdb --appendonly no --save '' \
         --databases {} --daemonize yes --logfile \"$dir/log\"",
        highest.max(16)
    )?;
    writeln!(
        script,
        "tries=0\nuntil redis-cli -p \"$port\" PING 2>/dev/null | grep -q PONG; do\n  tries=$((tries + 1))\n  \
         [ \"$tries\" -lt 600 ] || {{ tail \"$dir/log\"; exit 1; }}\n  sleep 1\ndone"
    )?;
    block(out, &script)?;
    writeln!(out, "It must have the keys that the backup had, but for those that have expired since:\n")?;
    let mut script = String::new();
    for (db, summary) in &part.rdb.databases {
        writeln!(
            script,
            "echo \"db{db}: $(redis-cli -p \"$port\" -n {db} DBSIZE) keys, {} backed up, {} of them with an expiry\"",
            summary.keys, summary.expires
        )?;
        writeln!(
            script,
            "[ \"$(redis-cli -p \"$port\" -n {db} DBSIZE)\" -ge {} ]",
            summary.keys.saturating_sub(summary.expires)
        )?;
        writeln!(script, "[ \"$(redis-cli -p \"$port\" -n {db} DBSIZE)\" -le {} ]", summary.keys)?;
    }
    if part.rdb.databases.is_empty() {
        writeln!(script, "[ \"$(redis-cli -p \"$port\" DBSIZE)\" = 0 ]")?;
    }
    block(out, &script)
}

fn afterwards(out: &mut String, parts: &[PartRecord]) -> std::fmt::Result {
    writeln!(out, "## 3. Make it last\n")?;
    writeln!(
        out,
        "Where the service has the append-only file on, switch it on while the server runs: it is then written from \
         the data in memory. Never start a server with `appendonly yes` on a folder that has only `dump.rdb`.\n"
    )?;
    let mut script = String::new();
    for n in 0..parts.len().max(1) {
        writeln!(script, "port=$((REDIS_PORT + {n}))")?;
        writeln!(script, "redis-cli -p \"$port\" CONFIG SET appendonly yes | grep -q OK")?;
        writeln!(
            script,
            "while redis-cli -p \"$port\" INFO persistence | grep -qE 'aof_rewrite_(in_progress|scheduled):1'; do sleep 1; done"
        )?;
        writeln!(script, "redis-cli -p \"$port\" INFO persistence | grep -q aof_last_bgrewrite_status:ok")?;
        writeln!(script, "redis-cli -p \"$port\" SAVE | grep -q OK")?;
    }
    block(out, &script)?;
    writeln!(
        out,
        "Then point the service at this server, or stop both, put the files in place of the old ones (`dump.rdb` and \
         `appendonlydir`, owned by the user that Redis runs as, mode 660 or 600) and start it with its own \
         configuration. Stop the old server with `redis-cli SHUTDOWN NOSAVE`: an ordinary stop writes its memory over \
         `dump.rdb`. Users and passwords (`requirepass`, ACL) are in the configuration, not in this backup.\n"
    )?;
    if parts.len() > 1 {
        writeln!(
            out,
            "To fill a new cluster, run for each of the servers above, with the address of any of its nodes in place \
             of the last: {}\n",
            shell("redis-cli --cluster import 127.0.0.1:7000 --cluster-from 127.0.0.1:6399 --cluster-copy --cluster-replace")
                .trim_matches('\'')
        )?;
    }
    let modules: Vec<&str> = parts.iter().flat_map(|p| p.rdb.modules.iter().map(String::as_str)).collect();
    if !modules.is_empty() {
        writeln!(out, "The data needs these modules, loaded with `--loadmodule`: {}.\n", modules.join(", "))?;
    }
    Ok(())
}
