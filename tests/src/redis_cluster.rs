//! A Redis cluster of masters without replicas.

use std::time::{Duration, Instant};

use crate::Result;
use crate::ports::free_port;
use crate::redis_server::{RedisOptions, RedisServer};

/// All slots there are.
pub const SLOTS: u32 = 16_384;

/// Starts `count` masters that share the slots, in order and evenly; returns when the cluster is whole.
pub async fn start(count: u32) -> Result<Vec<RedisServer>> {
    let mut servers = Vec::new();
    for _ in 0..count {
        let options = RedisOptions::default()
            .with("cluster-enabled yes")
            .with("cluster-node-timeout 5000")
            .with(format!("cluster-port {}", free_port()?));
        servers.push(RedisServer::start(options).await?);
    }
    for (n, server) in (0u32..).zip(&servers) {
        let (first, next) = (n * SLOTS / count, (n + 1) * SLOTS / count);
        server.say(&format!("CLUSTER ADDSLOTSRANGE {first} {}", next - 1)).await?;
        server.say(&format!("CLUSTER SET-CONFIG-EPOCH {}", n + 1)).await?;
    }
    for other in &servers[1..] {
        let bus = other.say("CONFIG GET cluster-port").await?.items()[1].text();
        servers[0].say(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", other.port())).await?;
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    for server in &servers {
        loop {
            let info = server.say("CLUSTER INFO").await?.text();
            if info.contains("cluster_state:ok") && info.contains(&format!("cluster_known_nodes:{count}")) {
                break;
            }
            if Instant::now() > deadline {
                return Err(format!("the cluster did not come up: {info}").into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(servers)
}

/// The slot of a key without braces: CRC-16/XMODEM.
pub fn slot(key: &[u8]) -> u32 {
    let mut crc = 0u16;
    for byte in key {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
    }
    u32::from(crc) % SLOTS
}

/// Sets `count` strings `key:<n>`, each where it belongs.
pub async fn fill(servers: &[RedisServer], count: usize) -> Result<()> {
    let mut clients = Vec::new();
    for server in servers {
        clients.push(server.client().await?);
    }
    for n in 0..count {
        let key = format!("key:{n}");
        let place = slot(key.as_bytes()) as usize * servers.len() / SLOTS as usize;
        clients[place].run(&["SET", &key, &n.to_string()]).await?;
    }
    Ok(())
}
