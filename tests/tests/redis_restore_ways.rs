//! Everything a Redis server can hold comes back by each way, live and after a crash of the server.

use std::time::Duration;

use veza_dr_core::{RestoreRequest, RestoreTarget, Verdict};
use veza_dr_restore::redis::{RedisRestoreOptions, RedisWay};
use veza_dr_tests::redis_data;
use veza_dr_tests::redis_recovery::{Recovery, assert_usable, setting, state};
use veza_dr_tests::redis_server::{RedisOptions, RedisServer};

async fn full_source() -> RedisServer {
    let source = RedisServer::start(RedisOptions::default()).await.unwrap();
    redis_data::fill(&source).await.unwrap();
    source
}

/// A target with data of its own that the backup does not have.
async fn target(options: RedisOptions) -> RedisServer {
    let target = RedisServer::start(options).await.unwrap();
    redis_data::many(&target, "old", 500).await.unwrap();
    for command in ["SELECT 3", "SET old:only 1"] {
        let mut client = target.client().await.unwrap();
        client.say("SELECT 3").await.unwrap();
        client.say(if command.starts_with("SET") { command } else { "PING" }).await.unwrap();
    }
    target
}

async fn round_trip(way: RedisWay, options: RedisOptions, roomy: bool) {
    let source = full_source().await;
    let recovery = Recovery::new();
    recovery.backup(&source).await;
    let expected = state(&source).await;
    let mut server = target(options).await;
    let before = state(&server).await;
    if !roomy {
        let used: u64 = source.info_value("memory", "used_memory").await.unwrap().parse().unwrap();
        server.say(&format!("CONFIG SET maxmemory {}", used + (1 << 20))).await.unwrap();
    }
    server.say("CONFIG SET repl-diskless-load on-empty-db").await.unwrap();
    let done = recovery.restored(&server, recovery.options().with_way(way)).await;
    let said = |what: &str| done.report.steps.iter().any(|s| format!("{} {}", s.name, s.detail).contains(what));
    assert_eq!(said("replicate"), way == RedisWay::Replication, "{:#?}", done.report);
    if way == RedisWay::Replication {
        assert_eq!(said("served until the last moment"), roomy, "{:#?}", done.report);
    }
    expected.assert_same(&state(&server).await);
    assert_eq!(setting(&server, "repl-diskless-load").await, "on-empty-db");
    assert_usable(&server).await;
    server.say("CONFIG SET maxmemory 0").await.unwrap();
    // What was said to be restored survives a crash of the server.
    server.kill9();
    server.restart().await.unwrap();
    expected.assert_same(&state(&server).await);
    // And the way back.
    let target = recovery.target(&server, recovery.options().with_way(way));
    target.rollback(&veza_dr_core::Cx::background()).await.unwrap();
    before.assert_same(&state(&server).await);
    assert_usable(&server).await;
}

#[tokio::test]
async fn replication_beside_the_old_data_without_persistence() {
    round_trip(RedisWay::Replication, RedisOptions::default(), true).await;
}

#[tokio::test]
async fn replication_beside_the_old_data_with_an_append_only_file() {
    round_trip(RedisWay::Replication, RedisOptions::default().with_aof(), true).await;
}

#[tokio::test]
async fn replication_over_the_old_data_with_save_points() {
    round_trip(RedisWay::Replication, RedisOptions::default().with_save_points(), false).await;
}

#[tokio::test]
async fn replication_over_the_old_data_with_an_append_only_file() {
    round_trip(RedisWay::Replication, RedisOptions::default().with_aof(), false).await;
}

#[tokio::test]
async fn keys_beside_the_old_data_without_persistence() {
    round_trip(RedisWay::Keys, RedisOptions::default(), true).await;
}

#[tokio::test]
async fn keys_beside_the_old_data_with_an_append_only_file() {
    round_trip(RedisWay::Keys, RedisOptions::default().with_aof(), true).await;
}

#[tokio::test]
async fn settings_that_were_set_are_set_again() {
    let source = RedisServer::start(RedisOptions::default()).await.unwrap();
    redis_data::many(&source, "k", 200).await.unwrap();
    let recovery = Recovery::new();
    recovery.backup(&source).await;
    let server = target(RedisOptions::default().with("masterauth before").with("masteruser someone")).await;
    recovery.restored(&server, recovery.options()).await;
    assert_eq!(setting(&server, "masterauth").await, "before");
    assert_eq!(setting(&server, "masteruser").await, "someone");
    state(&source).await.assert_same(&state(&server).await);
}

#[tokio::test]
async fn a_server_that_cannot_reach_us_is_restored_by_keys_instead() {
    let source = RedisServer::start(RedisOptions::default()).await.unwrap();
    redis_data::many(&source, "k", 200).await.unwrap();
    let recovery = Recovery::new();
    recovery.backup(&source).await;
    let server = target(RedisOptions::default()).await;
    let nowhere = |o: RedisRestoreOptions| {
        let port = veza_dr_tests::ports::free_port().unwrap();
        o.with_advertise("127.0.0.1", port)
            .with_bind("127.0.0.1:0".parse().unwrap())
            .with_connect_within(Duration::from_secs(1))
    };
    let done = recovery.restored(&server, nowhere(recovery.options())).await;
    let skipped = done.report.steps.iter().find(|s| s.detail.contains("did not connect")).expect("the reason");
    assert!(skipped.detail.contains("keys are restored instead"), "{skipped:?}");
    state(&source).await.assert_same(&state(&server).await);
    assert_usable(&server).await;
    // Asked for by name, it is an error, and nothing was touched.
    server.say("SET later 1").await.unwrap();
    let before = state(&server).await;
    let options = nowhere(recovery.options()).with_way(RedisWay::Replication);
    let e = recovery.restore(&recovery.target(&server, options), &RestoreRequest::in_place()).await.unwrap_err();
    assert!(e.chain().contains("did not connect"), "{e:#?}");
    before.assert_same(&state(&server).await);
    assert_usable(&server).await;
}

#[tokio::test]
async fn replicas_of_the_target_follow_it() {
    let source = RedisServer::start(RedisOptions::default()).await.unwrap();
    redis_data::many(&source, "k", 3000).await.unwrap();
    let recovery = Recovery::new();
    recovery.backup(&source).await;
    let server = target(RedisOptions::default()).await;
    let replica = RedisServer::start_replica(&server, RedisOptions::default()).await.unwrap();
    let done = recovery.restored(&server, recovery.options().with_way(RedisWay::Replication)).await;
    assert!(done.report.steps.iter().any(|s| s.detail.contains("served until the last moment")), "{done:#?}");
    let expected = state(&source).await;
    expected.assert_same(&state(&server).await);
    server.say("SET after 1").await.unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    let with_write = state(&server).await;
    while !with_write.diff(&state(&replica).await).is_empty() {
        assert!(std::time::Instant::now() < deadline, "the replica does not follow:\n{}", replica.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_scratch_restore_proves_every_kind_of_data() {
    let source = full_source().await;
    let recovery = Recovery::new();
    recovery.backup(&source).await;
    let done = recovery.restore(&recovery.target(&source, recovery.options()), &RestoreRequest::scratch()).await;
    let done = done.unwrap();
    assert_eq!(done.verification.verdict(), Verdict::Equal, "{:#?}", done.verification.findings);
    assert_eq!(done.verification.rows, recovery.latest().await.rows());
    assert_eq!(recovery.state_files(), [""; 0]);
    let none = recovery.options().with_redis_server("/nowhere/redis-server");
    let e = recovery.restore(&recovery.target(&source, none), &RestoreRequest::scratch()).await.unwrap_err();
    assert!(e.chain().contains("/nowhere/redis-server"), "{e:#?}");
}

#[tokio::test]
async fn another_server_is_restored_to_only_while_it_is_empty() {
    let source = full_source().await;
    let recovery = Recovery::new();
    let manifest = recovery.backup(&source).await;
    let other = RedisServer::start(RedisOptions::default()).await.unwrap();
    let password = veza_dr_core::SecretString::from(other.password().to_owned());
    let target = recovery.target(&source, recovery.options()).with_target_password(password);
    let request = RestoreRequest::in_place().to(other.url());
    let done = recovery.restore(&target, &request).await.unwrap();
    assert_eq!(done.location, other.url());
    state(&source).await.assert_same(&state(&other).await);
    let plan = target.plan(&veza_dr_core::Cx::background(), &request, &manifest).await.unwrap();
    assert!(plan.blockers.iter().any(|b| b.contains("empty it first")), "{plan:#?}");
}

#[tokio::test]
async fn a_server_that_sentinels_watch_is_not_made_a_replica() {
    let server = target(RedisOptions::default()).await;
    let recovery = Recovery::new();
    recovery.backup(&server).await;
    let expected = state(&server).await;
    // As a sentinel names the connection that it commands a server over.
    let mut sentinel = server.client().await.unwrap();
    sentinel.say("CLIENT SETNAME sentinel-1a2b3c4d-cmd").await.unwrap();
    let forced = recovery.options().with_way(RedisWay::Replication);
    let plan = recovery.plan(&recovery.target(&server, forced)).await.unwrap();
    assert!(plan.blockers.iter().any(|b| b.contains("sentinels watch it")), "{plan:#?}");
    server.say("DEL old:1").await.unwrap();
    let plan = recovery.plan(&recovery.target(&server, recovery.options())).await.unwrap();
    assert!(plan.steps[0].what.starts_with("way: keys (no replication: 1 sentinels"), "{plan:#?}");
    // Not asked is not none: by the channel that they listen to, or not known at all.
    let mut listener = server.client().await.unwrap();
    listener.say("SUBSCRIBE __sentinel__:hello").await.unwrap();
    server.say("ACL SETUSER default -client|list").await.unwrap();
    let plan = recovery.plan(&recovery.target(&server, recovery.options())).await.unwrap();
    assert!(plan.steps[0].what.starts_with("way: keys (no replication: 1 sentinels"), "{plan:#?}");
    server.say("ACL SETUSER default -pubsub").await.unwrap();
    let plan = recovery.plan(&recovery.target(&server, recovery.options())).await.unwrap();
    assert!(plan.steps[0].what.contains("whether sentinels watch it may not be asked"), "{plan:#?}");
    recovery.restored(&server, recovery.options()).await;
    expected.assert_same(&state(&server).await);
    assert!(!server.log().contains("Connecting to MASTER"), "{}", server.log());
}

#[tokio::test]
async fn keys_that_time_took_are_no_proof_and_no_difference() {
    let server = target(RedisOptions::default()).await;
    server.say("SET soon 1 PX 700").await.unwrap();
    let recovery = Recovery::new();
    let manifest = recovery.backup(&server).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    let target = recovery.target(&server, recovery.options());
    let cx = veza_dr_core::Cx::background();
    let found = target.verify(&cx, &manifest).await.unwrap();
    assert_eq!(found.verdict(), Verdict::Unverified, "{found:#?}");
    assert!(found.findings[0].why.contains("time alone may have taken them"), "{found:#?}");
    // A restore has the data at hand, and can tell.
    let done = recovery.restored(&server, recovery.options()).await;
    assert!(done.verification.findings.iter().any(|f| f.why.contains("1 keys have expired")), "{done:#?}");
    server.say("SET old:1 changed").await.unwrap();
    server.say("SET more 1").await.unwrap();
    assert_eq!(target.verify(&cx, &manifest).await.unwrap().verdict(), Verdict::Different);
}

#[tokio::test]
async fn a_backup_without_a_key_empties_a_server_by_keys() {
    let source = RedisServer::start(RedisOptions::default()).await.unwrap();
    let recovery = Recovery::new();
    recovery.backup(&source).await;
    let server = target(RedisOptions::default()).await;
    let before = state(&server).await;
    recovery.restored(&server, recovery.options().with_way(RedisWay::Keys)).await;
    state(&source).await.assert_same(&state(&server).await);
    assert_usable(&server).await;
    let back = recovery.target(&server, recovery.options().with_way(RedisWay::Keys));
    back.rollback(&veza_dr_core::Cx::background()).await.unwrap();
    before.assert_same(&state(&server).await);
}
