//! A key of hundreds of megabytes, of whatever type, passes through without being held: memory stays flat.
//!
//! One test alone in its process: what it measures is the process's own peak.

use veza_dr_backup::redis::ReadMode;
use veza_dr_tests::product::Depot;
use veza_dr_tests::redis_product::{config, manifest_of};
use veza_dr_tests::redis_server::{RedisOptions, RedisServer};

/// The most memory that this process had since the last [`reset_peak`], in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn reset_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn large_keys_pass_through() {
    let server = RedisServer::start(RedisOptions::default().with_save_points()).await.unwrap();
    let mut client = server.client().await.unwrap();
    // Compressed by the server, and not; one large element among others; a million small ones.
    client.say("SETRANGE zeros 150000000 x").await.unwrap();
    let script = "local parts = {} for i = 1, 64 do parts[i] = string.format('%016x', (i * 2654435761) % 4294967296) end \
         local block = table.concat(parts) \
         redis.call('HSET', 'hash', 'small', '1', 'large', string.rep(block, 60000)) \
         redis.call('RPUSH', 'list', 'a', string.rep(block, 60000), 'b') \
         for i = 1, 400000 do redis.call('SADD', 'set', 'member:' .. i) end \
         for i = 1, 200000 do redis.call('XADD', 'stream', i .. '-1', 'f', block) end return 1";
    client.run(&["EVAL", script, "0"]).await.unwrap();
    for (compression, limit) in [("no", 60), ("yes", 60)] {
        client.run(&["CONFIG", "SET", "rdbcompression", compression]).await.unwrap();
        for mode in [ReadMode::Disk, ReadMode::Diskless] {
            let depot = Depot::new();
            reset_peak();
            let before = peak();
            let manifest = manifest_of(&depot, &config(&server).with_mode(mode)).await.unwrap();
            let grown = peak() - before;
            assert_eq!(manifest.rows(), 5);
            if compression == "no" {
                assert!(manifest.bytes() > 450_000_000, "{}", manifest.bytes());
            }
            assert!(grown < limit, "{mode:?}, rdbcompression {compression}: grew by {grown} MiB");
        }
    }
}
