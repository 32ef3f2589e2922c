//! Looks at a source before the first backup: can it be reached and read, and what would a backup cost it.

use std::time::{Duration, Instant};

use veza_dr_core::{Cx, ErrorKind, Outcome, Report, Result};

use super::{
    Endpoint, Info, ReadMode, RedisConfig,
    control::{Control, items, text},
    probe::{Probe, allowed},
    spool,
};

pub(crate) async fn check(cx: &Cx, config: &RedisConfig, endpoint: &Endpoint) -> Result<Report> {
    let mut report = Report::default();
    let started = Instant::now();
    let reached = async {
        let probe = Probe::ask(cx, endpoint).await?;
        Ok::<_, veza_dr_core::Error>((probe, endpoint.control(cx).await?))
    };
    let (probe, control) = match reached.await {
        Ok(reached) => reached,
        Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
        Err(e) => {
            report.push_error("connect", &e);
            return Ok(report);
        }
    };
    let version = match &probe.info {
        Some(info) => format!("Redis {}, {}", info.get("redis_version"), info.get("role")),
        None => "the user may not ask for its version (+info)".to_owned(),
    };
    report.push("connect", Outcome::Ok, format!("{}: {version}", endpoint.location()), started.elapsed());
    let way = rights(cx, config, endpoint, &control, &probe, &mut report).await?;
    if let Some(info) = &probe.info {
        persistence(way, info, &probe, &mut report);
        replica(info, &mut report);
        memory(way, info, &mut report);
    }
    if way == ReadMode::Diskless {
        room(config, &probe, &mut report);
    }
    topology(&probe, &mut report);
    sentinel(cx, &control, &probe, &mut report).await?;
    Ok(report)
}

/// What the user may do, as `ACL DRYRUN` tells without doing it; older servers cannot be asked.
async fn rights(
    cx: &Cx,
    config: &RedisConfig,
    endpoint: &Endpoint,
    control: &Control,
    probe: &Probe,
    report: &mut Report,
) -> Result<ReadMode> {
    let started = Instant::now();
    let way = probe.choose(config.mode);
    let user = endpoint.username.clone().unwrap_or_else(|| "default".to_owned());
    let tried: [&[&str]; 2] = [&["PSYNC", "?", "-1"], &["REPLCONF", "rdb-only", "1"]];
    let mut denied = Vec::new();
    for words in tried {
        let mut dry: Vec<&[u8]> = vec![b"ACL", b"DRYRUN", user.as_bytes()];
        dry.extend(words.iter().map(|w| w.as_bytes()));
        match allowed(control.call(cx, &dry).await) {
            Ok(Some(answer)) if text(&answer) != "OK" => denied.push(format!("+{}", words[0].to_lowercase())),
            Ok(_) => {}
            // Before 7.0 there is no such question; the backup itself will tell.
            Err(e) if e.kind() == ErrorKind::Unexpected => {}
            Err(e) => return Err(e),
        }
    }
    let (outcome, detail) = match (denied.is_empty(), config.mode) {
        (_, ReadMode::Scan) => {
            (Outcome::Warning, "mode: scan reads key by key: the backup shows no single instant".to_owned())
        }
        (true, _) => (Outcome::Ok, format!("user {user} may replicate")),
        (false, ReadMode::Auto) => (
            Outcome::Warning,
            format!(
                "user {user} lacks {}: keys are read one by one, and the backup shows no single instant",
                denied.join(" ")
            ),
        ),
        (false, _) => (Outcome::Failed, format!("user {user} lacks {}: ACL SETUSER {user} {0}", denied.join(" "))),
    };
    report.push("read rights", outcome, detail, started.elapsed());
    Ok(if denied.is_empty() { way } else { ReadMode::Scan })
}

fn persistence(way: ReadMode, info: &Info, probe: &Probe, report: &mut Report) {
    let last = info.get("rdb_last_bgsave_status");
    let saves = probe.save.as_deref().is_some_and(|s| !s.trim().is_empty());
    let (outcome, detail) = if last != "ok" && saves {
        // The server refuses writes in this state, unless told not to; a diskless copy neither helps nor harms.
        (
            Outcome::Warning,
            "the server's last BGSAVE failed: with stop-writes-on-bgsave-error it refuses writes (MISCONF) until one \
             succeeds; free its disk. Backups go around the disk meanwhile"
                .to_owned(),
        )
    } else if way == ReadMode::Disk && last != "ok" {
        (Outcome::Warning, "mode: disk, but the server's last BGSAVE failed".to_owned())
    } else {
        let aof = if info.get("aof_enabled") == "1" { ", append-only file on" } else { "" };
        let how = match way {
            ReadMode::Disk => "by way of the server's disk, as its save points do",
            ReadMode::Scan => "key by key",
            _ => "from memory, by way of a local file",
        };
        let wait = match probe.sync_delay {
            Some(seconds) if way == ReadMode::Diskless && seconds > 0 => {
                format!("; the server waits {seconds} s for more replicas first: repl-diskless-sync-delay 0 saves them")
            }
            _ => String::new(),
        };
        (Outcome::Ok, format!("read {how}{aof}{wait}"))
    };
    report.push("persistence", outcome, detail, Duration::ZERO);
}

fn replica(info: &Info, report: &mut Report) {
    if info.get("role") != "slave" {
        return;
    }
    let up = info.get("master_link_status") == "up";
    let (outcome, detail) = if up {
        let lag = info.number("master_last_io_seconds_ago");
        (Outcome::Ok, format!("a replica in contact with its master {lag} s ago; expired keys may be in the backup"))
    } else {
        (Outcome::Failed, "a replica that has lost its master gives no copy: back up another".to_owned())
    };
    report.push("replica", outcome, detail, Duration::ZERO);
}

/// A fork needs room for the pages that are written meanwhile.
fn memory(way: ReadMode, info: &Info, report: &mut Report) {
    let (used, all) = (info.number("used_memory_rss"), info.number("total_system_memory"));
    if way == ReadMode::Scan || all == 0 {
        return;
    }
    let tight = used.saturating_mul(2) > all;
    let detail = format!("{} of {} MiB used by the server", used >> 20, all >> 20);
    let (outcome, detail) = if tight {
        let hint =
            "under heavy writes a snapshot may need as much again: back up a replica, or see vm.overcommit_memory";
        (Outcome::Warning, format!("{detail}; {hint}"))
    } else {
        (Outcome::Ok, detail)
    };
    report.push("memory", outcome, detail, Duration::ZERO);
}

fn room(config: &RedisConfig, probe: &Probe, report: &mut Report) {
    let (dir, need) = (config.spool(), probe.expected_bytes());
    match spool::room(&dir) {
        Ok(free) => {
            let outcome = if free < need { Outcome::Failed } else { Outcome::Ok };
            let detail = format!("{}: {} MiB free, {} MiB may be needed", dir.display(), free >> 20, need >> 20);
            report.push("spool", outcome, detail, Duration::ZERO);
        }
        Err(e) => report.push_error("spool", &e),
    }
}

fn topology(probe: &Probe, report: &mut Report) {
    if let Some(masters) = &probe.cluster {
        let names: Vec<String> = masters.iter().map(|m| format!("{}:{}", m.host, m.port)).collect();
        let detail = format!("{} masters, each backed up: {}", masters.len(), names.join(", "));
        report.push("cluster", Outcome::Ok, detail, Duration::ZERO);
    } else if probe.cluster_unknown {
        let detail = "whether this is a cluster cannot be told: allow +info or +cluster|slots";
        report.push("cluster", Outcome::Warning, detail, Duration::ZERO);
    }
}

/// A sentinel that looks while we replicate takes us for a replica, and never forgets; it looks for them at masters
/// only.
async fn sentinel(cx: &Cx, control: &Control, probe: &Probe, report: &mut Report) -> Result<()> {
    if probe.fact("role") != "master" {
        return Ok(());
    }
    let channels = allowed(control.call(cx, &[b"PUBSUB", b"NUMSUB", b"__sentinel__:hello"]).await)?;
    let watched = channels.and_then(|c| items(&c).get(1).and_then(fred::types::Value::as_u64)).unwrap_or(0);
    if watched > 0 {
        let detail = "sentinels watch this master and may list the backup as a replica for ever: back up one of its \
                      replicas, or clean up with SENTINEL RESET";
        report.push("sentinel", Outcome::Warning, detail, Duration::ZERO);
    }
    Ok(())
}
