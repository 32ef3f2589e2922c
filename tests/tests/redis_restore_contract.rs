//! The contract of every restore target, kept by the Redis engine on a real server, in two of its ways.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use veza_dr_core::testing::contract::restore::RestoreHarness;
use veza_dr_core::{ArtifactSource, Manifest, RestoreTarget};
use veza_dr_restore::redis::RedisWay;
use veza_dr_tests::redis_data;
use veza_dr_tests::redis_recovery::{Recovery, state};
use veza_dr_tests::redis_server::{RedisOptions, RedisServer};

#[derive(Debug)]
struct Live {
    server: RedisServer,
    recovery: Recovery,
    manifest: Manifest,
    target: Arc<dyn RestoreTarget>,
    damages: AtomicU64,
}

async fn live(way: RedisWay) -> (Arc<dyn RestoreHarness>, ()) {
    let server = RedisServer::start(RedisOptions::default().with_save_points()).await.unwrap();
    redis_data::many(&server, "k", 300).await.unwrap();
    let recovery = Recovery::new();
    let manifest = recovery.backup(&server).await;
    let target = Arc::new(recovery.target(&server, recovery.options().with_way(way)));
    (Arc::new(Live { server, recovery, manifest, target, damages: AtomicU64::new(0) }), ())
}

#[async_trait]
impl RestoreHarness for Live {
    fn target(&self) -> Arc<dyn RestoreTarget> {
        self.target.clone()
    }

    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn data(&self) -> Arc<dyn ArtifactSource> {
        self.recovery.data(&self.manifest)
    }

    async fn damage(&self) {
        // Another database each time: the plan tells a target by its databases, not by single keys.
        let n = self.damages.fetch_add(1, Ordering::Relaxed) + 1;
        let mut client = self.server.client().await.unwrap();
        client.say(&format!("DEL k:{n}")).await.unwrap();
        client.say(&format!("SELECT {n}")).await.unwrap();
        client.say(&format!("SET damage {n}")).await.unwrap();
    }

    async fn state(&self) -> String {
        let state = state(&self.server).await;
        state.keys("").map(|k| format!("{k}={}\n", state.get(k).unwrap_or_default())).collect()
    }
}

mod replication {
    veza_dr_core::restore_contract!(super::live(super::RedisWay::Replication));
}

mod keys {
    veza_dr_core::restore_contract!(super::live(super::RedisWay::Keys));
}
