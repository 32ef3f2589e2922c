//! The recovery recipe that lies beside each backup: stock tools alone, in the order that works.

use std::fmt::Write;

use veza_dr_core::Manifest;

use super::{
    Consistency, PartRecord, RedisDetail,
    target::{VALKEY, is_valkey},
};
use crate::recipe_text::{block, code, encrypted, heredoc, needs, one_line, open, shell};

/// Writes `RECOVER.md` for one backup.
pub(crate) fn write(manifest: &Manifest) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail; a manifest without details has its objects all the same.
    let detail = RedisDetail::of(manifest).ok();
    let _ = fill(&mut out, manifest, detail.as_ref());
    out
}

/// What a server's programs are called: those of Valkey do the same by other names.
struct Kin {
    product: &'static str,
    programs: &'static str,
}

impl Kin {
    fn of(manifest: &Manifest) -> Self {
        if is_valkey(manifest) {
            Self { product: "Valkey", programs: "valkey" }
        } else {
            Self { product: "Redis", programs: "redis" }
        }
    }
}

fn fill(out: &mut String, manifest: &Manifest, detail: Option<&RedisDetail>) -> std::fmt::Result {
    let parts = detail.map(|d| d.parts.as_slice()).unwrap_or_default();
    let Kin { product, programs } = Kin::of(manifest);
    writeln!(out, "# Recover {} from backup {}\n", code(&manifest.source.location), manifest.id)?;
    let keys: u64 = parts.iter().map(|p| p.rdb.keys()).sum();
    writeln!(
        out,
        "{product} {} as of {} UTC: {keys} keys. This page needs only this folder, {}and `{programs}-server`, \
         `{programs}-cli` and `{programs}-check-rdb` of the same version or a later one; no veza-dr.\n",
        manifest.source.server_version.trim_end_matches(VALKEY),
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
        server(out, manifest, programs, part, n)?;
    }
    afterwards(out, programs, parts)?;
    if !manifest.skipped.is_empty() {
        writeln!(out, "## Not in this backup\n")?;
        for skipped in &manifest.skipped {
            writeln!(out, "- {}: {}", code(&skipped.what), one_line(&skipped.why))?;
        }
    }
    Ok(())
}

fn server(out: &mut String, manifest: &Manifest, programs: &str, part: &PartRecord, n: usize) -> std::fmt::Result {
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
        "{programs}-check-rdb \"$dir/dump.rdb\" > \"$dir/check.log\" || {{ cat \"$dir/check.log\"; exit 1; }}"
    )?;
    let highest = part.rdb.databases.keys().next_back().copied().unwrap_or(0) + 1;
    writeln!(
        script,
        "{programs}-server --port \"$port\" --bind 127.0.0.1 --dir \"$dir\" --dbfilename dump.rdb --appendonly no --save '' \
         --databases {} --daemonize yes --logfile \"$dir/log\"",
        highest.max(16)
    )?;
    writeln!(
        script,
        "tries=0\nuntil {programs}-cli -p \"$port\" PING 2>/dev/null | grep -q PONG; do\n  tries=$((tries + 1))\n  \
         [ \"$tries\" -lt 600 ] || {{ tail \"$dir/log\"; exit 1; }}\n  sleep 1\ndone"
    )?;
    block(out, &script)?;
    writeln!(out, "It must have the keys that the backup had, but for those that have expired since:\n")?;
    let mut script = String::new();
    for (db, summary) in &part.rdb.databases {
        writeln!(
            script,
            "echo \"db{db}: $({programs}-cli -p \"$port\" -n {db} DBSIZE) keys, {} backed up, {} of them with an expiry\"",
            summary.keys, summary.expires
        )?;
        writeln!(
            script,
            "[ \"$({programs}-cli -p \"$port\" -n {db} DBSIZE)\" -ge {} ]",
            summary.keys.saturating_sub(summary.expires)
        )?;
        writeln!(script, "[ \"$({programs}-cli -p \"$port\" -n {db} DBSIZE)\" -le {} ]", summary.keys)?;
    }
    if part.rdb.databases.is_empty() {
        writeln!(script, "[ \"$({programs}-cli -p \"$port\" DBSIZE)\" = 0 ]")?;
    }
    block(out, &script)
}

fn afterwards(out: &mut String, programs: &str, parts: &[PartRecord]) -> std::fmt::Result {
    writeln!(out, "## 3. Make it last\n")?;
    writeln!(
        out,
        "Where the service has the append-only file on, switch it on while the server runs: it is then written from \
         the data in memory. Never start a server with `appendonly yes` on a folder that has only `dump.rdb`.\n"
    )?;
    let mut script = String::new();
    for n in 0..parts.len().max(1) {
        writeln!(script, "port=$((REDIS_PORT + {n}))")?;
        writeln!(script, "{programs}-cli -p \"$port\" CONFIG SET appendonly yes | grep -q OK")?;
        writeln!(
            script,
            "while {programs}-cli -p \"$port\" INFO persistence | grep -qE 'aof_rewrite_(in_progress|scheduled):1'; do sleep 1; done"
        )?;
        writeln!(script, "{programs}-cli -p \"$port\" INFO persistence | grep -q aof_last_bgrewrite_status:ok")?;
        writeln!(script, "{programs}-cli -p \"$port\" SAVE | grep -q OK")?;
    }
    block(out, &script)?;
    writeln!(
        out,
        "Then point the service at this server, or stop both, put the files in place of the old ones (`dump.rdb` and \
         `appendonlydir`, owned by the user that Redis runs as, mode 660 or 600) and start it with its own \
         configuration. Stop the old server with `{programs}-cli SHUTDOWN NOSAVE`: an ordinary stop writes its memory over \
         `dump.rdb`. Users and passwords (`requirepass`, ACL) are in the configuration, not in this backup.\n"
    )?;
    if parts.len() > 1 {
        writeln!(
            out,
            "To fill a new cluster, run for each of the servers above, with the address of any of its nodes in place \
             of the last: {}\n",
            shell(&format!("{programs}-cli --cluster import 127.0.0.1:7000 --cluster-from 127.0.0.1:6399 --cluster-copy --cluster-replace"))
                .trim_matches('\'')
        )?;
    }
    let modules: Vec<&str> = parts.iter().flat_map(|p| p.rdb.modules.iter().map(String::as_str)).collect();
    if !modules.is_empty() {
        writeln!(out, "The data needs these modules, loaded with `--loadmodule`: {}.\n", modules.join(", "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use veza_dr_core::{
        BackupId, Clock, SystemClock,
        manifest::{ConsistencyPoint, SourceIdentity},
    };

    use super::*;

    #[test]
    fn valkeys_programs_are_named_and_what_others_are_called_is_left_alone() {
        let recipe = |version: &str| {
            let location = "redis://redis-server:6379".to_owned();
            let source = SourceIdentity { server_version: version.into(), location, ..Default::default() };
            let consistency = ConsistencyPoint { at: SystemClock.now(), lsn: None, snapshot: None };
            let id = BackupId::new(&SystemClock);
            write(&Manifest::new(id, "redis".parse().unwrap(), "redis", source, consistency))
        };
        let valkey = recipe("9.1.2 (Valkey)");
        for said in
            ["redis://redis-server:6379", "\nValkey 9.1.2 as of", "`valkey-server`", "`valkey-cli SHUTDOWN NOSAVE`"]
        {
            assert!(valkey.contains(said), "{said}: {valkey}");
        }
        let redis = recipe("7.0.15");
        for said in
            ["redis://redis-server:6379", "\nRedis 7.0.15 as of", "`redis-server`", "`redis-cli SHUTDOWN NOSAVE`"]
        {
            assert!(redis.contains(said), "{said}: {redis}");
        }
    }
}
