//! Restores over TLS, and into clusters.

use std::time::Duration;

use veza_dr_backup::redis::RedisConfig;
use veza_dr_core::{RestoreRequest, SecretString, Verdict};
use veza_dr_restore::redis::{RedisRestore, RedisWay};
use veza_dr_tests::redis_cluster;
use veza_dr_tests::redis_data;
use veza_dr_tests::redis_oracle;
use veza_dr_tests::redis_recovery::{Recovery, assert_usable, state};
use veza_dr_tests::redis_server::{RedisOptions, RedisServer};
use veza_dr_tests::redis_tls::TestCa;

#[tokio::test]
async fn a_server_that_replicates_over_tls_trusts_only_its_own_authority() {
    let (ca, rogue) = (TestCa::new().unwrap(), TestCa::new().unwrap());
    let server = RedisServer::start(RedisOptions::default().with_tls(&ca).with("tls-replication yes")).await.unwrap();
    redis_data::many(&server, "k", 500).await.unwrap();
    let recovery = Recovery::new();
    recovery.backup(&server).await;
    let expected = state(&server).await;
    server.say("SET damage 1").await.unwrap();
    let before = state(&server).await;
    let config = RedisConfig::new(server.tls_url())
        .with_password(SecretString::from(server.password().to_owned()))
        .with_ca_file(ca.ca())
        .with_client_cert(ca.cert("client"), ca.key("client"));
    let by = |with: &TestCa| {
        let options = recovery
            .options()
            .with_way(RedisWay::Replication)
            .with_connect_within(Duration::from_secs(3))
            .with_replication_tls(with.cert("server"), with.key("server"));
        RedisRestore::new(Recovery::component(), config.clone(), options).unwrap()
    };
    let e = recovery.restore(&by(&rogue), &RestoreRequest::in_place()).await.unwrap_err();
    assert!(e.chain().contains("TLS"), "{e:#?}");
    before.assert_same(&state(&server).await);
    assert_usable(&server).await;
    let done = recovery.restore(&by(&ca), &RestoreRequest::in_place()).await.unwrap_or_else(|e| panic!("{e:#?}"));
    assert_eq!(done.verification.verdict(), Verdict::Equal);
    expected.assert_same(&state(&server).await);
    assert_usable(&server).await;
}

/// A cluster whose masters all let the same user in.
async fn cluster(masters: u32) -> Vec<RedisServer> {
    let servers = redis_cluster::start(masters).await.unwrap();
    for server in &servers {
        server.say("ACL SETUSER cluster on >shared ~* &* +@all").await.unwrap();
    }
    servers
}

/// How the product reaches it.
fn shared(server: &RedisServer) -> RedisConfig {
    RedisConfig::new(server.url()).with_username("cluster").with_password(SecretString::from("shared".to_owned()))
}

/// Every key of a cluster.
async fn keys_of(servers: &[RedisServer]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for server in servers {
        let state = redis_oracle::state(server).await.unwrap();
        all.extend(state.keys("db0/").map(|k| (k.to_owned(), state.get(k).unwrap_or_default().to_owned())));
    }
    all.sort();
    all
}

/// Sets keys through whichever master is theirs.
async fn set(servers: &[RedisServer], keys: impl Iterator<Item = (String, String)>) {
    let mut clients = Vec::new();
    for server in servers {
        clients.push(server.client().await.unwrap());
    }
    for (key, value) in keys {
        let mut done = false;
        for client in &mut clients {
            done |= client.run(&["SET", &key, &value]).await.is_ok();
        }
        assert!(done, "{key}");
    }
}

#[tokio::test]
async fn three_masters_are_restored_to_two_and_several_databases_to_none() {
    let three = cluster(3).await;
    set(&three, (0..600).map(|n| (format!("{{user{}}}:{n}", n % 50), format!("value {n}")))).await;
    let recovery = Recovery::new();
    recovery.backup_of(shared(&three[0])).await;
    let two = cluster(2).await;
    set(&two, (0..50).map(|n| (format!("surplus:{n}"), "x".to_owned()))).await;
    let before = keys_of(&two).await;
    let to_two =
        |recovery: &Recovery| RedisRestore::new(Recovery::component(), shared(&two[0]), recovery.options()).unwrap();
    let target = to_two(&recovery);
    let plan = recovery.plan(&target).await.unwrap();
    assert!(plan.steps[0].what.contains("keys") && plan.steps[0].what.contains("cluster"), "{plan:#?}");
    let done = recovery.restore(&target, &RestoreRequest::in_place()).await.unwrap_or_else(|e| panic!("{e:#?}"));
    assert_eq!(done.verification.verdict(), Verdict::Equal, "{done:#?}");
    assert_eq!(keys_of(&two).await, keys_of(&three).await);
    veza_dr_core::RestoreTarget::rollback(&target, &veza_dr_core::Cx::background()).await.unwrap();
    assert_eq!(keys_of(&two).await, before);
    // Several databases have no place in a cluster.
    let plain = RedisServer::start(RedisOptions::default()).await.unwrap();
    redis_data::fill(&plain).await.unwrap();
    let recovery = Recovery::new();
    recovery.backup(&plain).await;
    let plan = recovery.plan(&to_two(&recovery)).await.unwrap();
    assert!(plan.blockers.iter().any(|b| b.contains("a cluster has one database")), "{plan:#?}");
    assert_eq!(keys_of(&two).await, before);
}
