//! What cannot be restored is refused before the server is touched: it stays alive, with its data, and takes writes.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use veza_dr_backup::redis::rdb::Crc64;
use veza_dr_core::manifest::ObjectRecord;
use veza_dr_core::{ArtifactSource, Cx, ErrorKind, Manifest, ObjectReader, RestoreRequest, RestoreTarget, Result};
use veza_dr_restore::redis::RedisWay;
use veza_dr_tests::redis_data;
use veza_dr_tests::redis_recovery::{Recovery, assert_usable, state};
use veza_dr_tests::redis_server::{RedisOptions, RedisServer};

/// Gives out one RDB, whatever it is.
#[derive(Debug)]
struct Given(Vec<u8>);

struct Once(Option<Bytes>);

#[async_trait]
impl ArtifactSource for Given {
    async fn open(&self, _: &Cx, _: &ObjectRecord) -> Result<Box<dyn ObjectReader>> {
        Ok(Box::new(Once(Some(self.0.clone().into()))))
    }
}

#[async_trait]
impl ObjectReader for Once {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        Ok(self.0.take())
    }
}

async fn plain(recovery: &Recovery, manifest: &Manifest) -> Vec<u8> {
    let cx = Cx::background();
    let data = recovery.data(manifest);
    let mut reader = data.open(&cx, &manifest.objects[0]).await.unwrap();
    let mut all = Vec::new();
    while let Some(piece) = reader.next().await.unwrap() {
        all.extend_from_slice(&piece);
    }
    all
}

fn resealed(mut rdb: Vec<u8>) -> Vec<u8> {
    let end = rdb.len() - 8;
    let crc = Crc64::of(&rdb[..end]);
    rdb[end..].copy_from_slice(&crc.to_le_bytes());
    rdb
}

#[tokio::test]
async fn data_that_are_not_whole_never_reach_the_server() {
    let server = RedisServer::start(RedisOptions::default().with_aof()).await.unwrap();
    redis_data::many(&server, "k", 500).await.unwrap();
    let recovery = Recovery::new();
    let manifest = recovery.backup(&server).await;
    let good = plain(&recovery, &manifest).await;
    server.say("SET damage 1").await.unwrap();
    let before = state(&server).await;
    let mut cases: Vec<(&str, Vec<u8>)> = Vec::new();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 0x10;
    cases.push(("a flipped bit", flipped));
    let mut sum = good.clone();
    *sum.last_mut().unwrap() ^= 1;
    cases.push(("a wrong checksum", sum));
    cases.push(("cut in half", good[..good.len() / 2].to_vec()));
    cases.push(("without its last byte", good[..good.len() - 1].to_vec()));
    cases.push(("with a byte too many", [good.clone(), vec![0]].concat()));
    cases.push(("of nobody's format", resealed([b"RODIS0010", &good[9..]].concat())));
    cases.push(("of an unknown type", {
        let at = good.windows(4).position(|w| w == b"k:0\x00" || w.starts_with(b"k:0")).unwrap();
        let mut other = good.clone();
        other[at - 2] = 99;
        resealed(other)
    }));
    cases.push(("of the future", resealed([b"REDIS0011", &good[9..]].concat())));
    for way in [RedisWay::Replication, RedisWay::Keys] {
        let target = recovery.target(&server, recovery.options().with_way(way));
        for (what, rdb) in &cases {
            let cx = Cx::background();
            let plan = target.plan(&cx, &RestoreRequest::in_place(), &manifest).await.unwrap();
            let e = target.apply(&cx, plan, &manifest, Arc::new(Given(rdb.clone()))).await.unwrap_err();
            println!("{what}: {}", e.chain());
            assert!(
                matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::Conflict),
                "{what}: {e:#?}"
            );
            before.assert_same(&state(&server).await);
            assert_usable(&server).await;
            assert_eq!(recovery.state_files(), [""; 0], "{what}");
        }
    }
    assert!(!server.log().contains("MASTER <-> REPLICA"), "it was never made a replica:\n{}", server.log());
}

#[tokio::test]
async fn a_server_that_cannot_hold_the_data_is_not_touched() {
    let source = RedisServer::start(RedisOptions::default()).await.unwrap();
    redis_data::fill(&source).await.unwrap();
    let recovery = Recovery::new();
    let manifest = recovery.backup(&source).await;
    let cases = [
        ("databases 4", "databases 16"),
        ("maxmemory 2mb", "maxmemory"),
        ("cluster-enabled yes", "a cluster has one database"),
    ];
    for (line, why) in cases {
        let server = RedisServer::start(RedisOptions::default().with(line)).await.unwrap();
        if !line.starts_with("cluster") {
            server.say("SET here 1").await.unwrap();
        }
        let before = state(&server).await;
        for way in [RedisWay::Auto, RedisWay::Replication, RedisWay::Keys] {
            let target = recovery.target(&server, recovery.options().with_way(way));
            let cx = Cx::background();
            let mut plan = target.plan(&cx, &RestoreRequest::in_place(), &manifest).await.unwrap();
            let said = plan.blockers.join("; ");
            assert!(
                said.contains(why) || (line.starts_with("cluster") && said.contains("cluster")),
                "{way:?} {line}: {said}"
            );
            let data = recovery.data(&manifest);
            assert!(target.apply(&cx, plan.clone(), &manifest, data.clone()).await.is_err());
            // Not the plan's word alone decides.
            plan.blockers.clear();
            let e = target.apply(&cx, plan, &manifest, data).await.unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Conflict, "{e:#?}");
            before.assert_same(&state(&server).await);
        }
        assert!(server.is_alive());
    }
}

#[tokio::test]
async fn a_replica_and_a_backup_of_modules_are_blocked_by_the_plan() {
    let source = RedisServer::start(RedisOptions::default()).await.unwrap();
    redis_data::many(&source, "k", 20).await.unwrap();
    let recovery = Recovery::new();
    let mut manifest = recovery.backup(&source).await;
    let replica = RedisServer::start_replica(&source, RedisOptions::default()).await.unwrap();
    let plan = recovery.plan(&recovery.target(&replica, recovery.options())).await.unwrap();
    assert!(plan.blockers.iter().any(|b| b.contains("is a replica of 127.0.0.1")), "{plan:#?}");
    manifest.details["total"]["modules"] = serde_json::json!(["ReJSON-RL"]);
    let target = recovery.target(&source, recovery.options());
    let plan = target.plan(&Cx::background(), &RestoreRequest::in_place(), &manifest).await.unwrap();
    assert!(plan.blockers.iter().any(|b| b.contains("ReJSON-RL")), "{plan:#?}");
}
