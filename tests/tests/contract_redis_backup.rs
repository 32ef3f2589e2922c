//! The backup contract, on a real Redis server: as a replica by both ways, and key by key.

use std::sync::Arc;

use async_trait::async_trait;
use veza_dr_backup::redis::{ReadMode, RedisTarget};
use veza_dr_core::BackupTarget;
use veza_dr_core::testing::contract::backup::BackupHarness;
use veza_dr_tests::redis_data;
use veza_dr_tests::redis_oracle::state;
use veza_dr_tests::redis_product::{component, config};
use veza_dr_tests::redis_server::{RedisOptions, RedisServer};

struct Harness {
    server: RedisServer,
    mode: ReadMode,
    spool: tempfile::TempDir,
}

#[async_trait]
impl BackupHarness for Harness {
    fn target(&self) -> Arc<dyn BackupTarget> {
        let config = config(&self.server).with_mode(self.mode).with_spool_dir(self.spool.path());
        Arc::new(RedisTarget::new(component(), config).unwrap())
    }

    async fn change(&self) {
        self.server.say("SET changed 1").await.unwrap();
    }

    async fn state(&self) -> String {
        // A copy may still be ending on the server's side.
        let mut left = String::new();
        for _ in 0..200 {
            let replicas = self.server.info_value("replication", "connected_slaves").await.unwrap();
            let saving = self.server.info_value("persistence", "rdb_bgsave_in_progress").await.unwrap();
            let spooled = std::fs::read_dir(self.spool.path()).unwrap().count();
            left = format!("{replicas} {saving} {spooled}");
            if left == "0 0 0" {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let state = state(&self.server).await.unwrap();
        let facts: Vec<String> = state.keys("").map(|key| format!("{key}={}", state.get(key).unwrap())).collect();
        format!("{left}\n{}", facts.join("\n"))
    }
}

async fn fresh(mode: ReadMode) -> (Arc<dyn BackupHarness>, ()) {
    let options = match mode {
        ReadMode::Disk => RedisOptions::default().with_save_points(),
        _ => RedisOptions::default(),
    };
    let server = RedisServer::start(options).await.unwrap();
    redis_data::many(&server, "key", 3_000).await.unwrap();
    (Arc::new(Harness { server, mode, spool: tempfile::tempdir().unwrap() }), ())
}

mod disk {
    veza_dr_core::backup_contract!(super::fresh(super::ReadMode::Disk));
}

mod diskless {
    veza_dr_core::backup_contract!(super::fresh(super::ReadMode::Diskless));
}

mod scan {
    veza_dr_core::backup_contract!(super::fresh(super::ReadMode::Scan));
}
