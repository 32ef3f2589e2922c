//! Servers that are Redis' kin: Valkey 9 with its own form of the RDB, Valkey 8, Redis 6.2. Each is backed up and restored by
//! each way, and into one another as far as they read each other; where they do not, nothing is touched.

use veza_dr_core::{Cx, ErrorKind, RestoreRequest, RestoreTarget, Verdict};
use veza_dr_restore::redis::{RedisRestoreOptions, RedisWay};
use veza_dr_tests::redis_data;
use veza_dr_tests::redis_recovery::{Recovery, assert_usable, state};
use veza_dr_tests::redis_server::{RedisOptions, RedisServer, kin_program};

/// A server with everything that it can hold.
async fn source(options: RedisOptions) -> RedisServer {
    let source = RedisServer::start(options).await.unwrap();
    redis_data::fill(&source).await.unwrap();
    source
}

/// A server with data that no backup here has.
async fn target(options: RedisOptions) -> RedisServer {
    let target = RedisServer::start(options).await.unwrap();
    redis_data::many(&target, "old", 300).await.unwrap();
    target
}

/// In place by this way, then a crash, then the way back.
async fn there_and_back(from: &RedisServer, recovery: &Recovery, to: RedisOptions, way: RedisWay) {
    let mut server = target(to).await;
    let before = state(&server).await;
    let options = recovery.options().with_way(way);
    let done = recovery.restored(&server, options.clone()).await;
    let replicated = done.report.steps.iter().any(|s| s.name == "replicate");
    assert_eq!(replicated, way == RedisWay::Replication, "{:#?}", done.report);
    let expected = state(from).await;
    expected.assert_same(&state(&server).await);
    assert_usable(&server).await;
    server.kill9();
    server.restart().await.unwrap();
    expected.assert_same(&state(&server).await);
    recovery.target(&server, options).rollback(&Cx::background()).await.unwrap();
    before.assert_same(&state(&server).await);
    assert_usable(&server).await;
}

/// Into a scratch server of this program.
async fn in_scratch(
    recovery: &Recovery,
    server: &RedisServer,
    options: RedisRestoreOptions,
) -> veza_dr_core::Result<Verdict> {
    let target = recovery.target(server, options);
    let done = recovery.restore(&target, &RestoreRequest::scratch()).await?;
    Ok(done.verification.verdict())
}

#[tokio::test]
async fn valkey_9_with_fields_that_expire_and_a_form_of_its_own() {
    let source = source(RedisOptions::of("valkey-9").with_save_points()).await;
    for command in ["HSET fields a 1 b 2 c 3", "HEXPIRE fields 100000 FIELDS 1 b", "HSET fields:many x 1"] {
        source.say(command).await.unwrap();
    }
    let recovery = Recovery::new();
    let manifest = recovery.backup(&source).await;
    assert!(manifest.source.server_version.contains("9.1.2 (Valkey)"), "{}", manifest.source.server_version);
    assert_eq!(manifest.details["total"]["magic"], "VALKEY080", "{:#}", manifest.details);
    let folder = recovery.path().join("store/redis").join(manifest.id.to_string());
    let recipe = std::fs::read_to_string(folder.join("RECOVER.md")).unwrap();
    assert!(recipe.contains("Valkey 9.1.2 as of") && recipe.contains("valkey-server --port"), "{recipe}");
    assert!(!recipe.contains("redis-server") && !recipe.contains("redis-cli"), "{recipe}");
    // Without a file of the server's own, too: it writes for the oldest replica unless it is told better.
    source.client().await.unwrap().run(&["CONFIG", "SET", "save", ""]).await.unwrap();
    assert_eq!(recovery.backup(&source).await.contents, manifest.contents);
    for way in [RedisWay::Replication, RedisWay::Keys] {
        let mut kept = RedisOptions::of("valkey-9").with_save_points();
        if way == RedisWay::Keys {
            kept = RedisOptions::of("valkey-9").with_aof();
        }
        there_and_back(&source, &recovery, kept, way).await;
    }
    // A field that expires is a field that expires: the second it has left is there as well.
    let server = target(RedisOptions::of("valkey-9")).await;
    recovery.restored(&server, recovery.options()).await;
    let left = async |server: &RedisServer| {
        let asked = ["HPEXPIRETIME", "fields", "FIELDS", "3", "a", "b", "c"];
        server.client().await.unwrap().run(&asked).await.unwrap()
    };
    assert_eq!(format!("{:?}", left(&server).await), format!("{:?}", left(&source).await));

    // A proof in a scratch server takes a server that reads it.
    let own = recovery.options().with_redis_server(kin_program("valkey-9").unwrap());
    assert_eq!(in_scratch(&recovery, &server, own).await.unwrap(), Verdict::Equal);
    let e = in_scratch(&recovery, &server, recovery.options()).await.unwrap_err();
    assert!(e.kind() == ErrorKind::Unsupported && e.help().is_some_and(|h| h.contains("redis_server")), "{e:#?}");

    // What others cannot read they are not given.
    for other in [RedisOptions::default(), RedisOptions::of("valkey-8")] {
        let server = target(other).await;
        let before = state(&server).await;
        let e = recovery.restore(&recovery.target(&server, recovery.options()), &RestoreRequest::in_place()).await;
        let e = e.unwrap_err();
        assert!(e.chain().contains("VALKEY") || e.chain().contains("RDB version 80"), "{e:#?}");
        before.assert_same(&state(&server).await);
        assert_usable(&server).await;
    }
}

#[tokio::test]
async fn valkey_8_and_what_it_and_redis_give_each_other() {
    let valkey = source(RedisOptions::of("valkey-8")).await;
    let recovery = Recovery::new();
    recovery.backup(&valkey).await;
    there_and_back(&valkey, &recovery, RedisOptions::of("valkey-8").with_aof(), RedisWay::Replication).await;
    there_and_back(&valkey, &recovery, RedisOptions::of("valkey-9").with_save_points(), RedisWay::Replication).await;
    // Redis 7.0 reads up to 10, and this is 11.
    let server = target(RedisOptions::default()).await;
    let before = state(&server).await;
    let e =
        recovery.restore(&recovery.target(&server, recovery.options()), &RestoreRequest::in_place()).await.unwrap_err();
    assert!(e.chain().contains("RDB version 11"), "{e:#?}");
    before.assert_same(&state(&server).await);

    let redis = source(RedisOptions::default()).await;
    let recovery = Recovery::new();
    recovery.backup(&redis).await;
    for kin in ["valkey-8", "valkey-9"] {
        there_and_back(&redis, &recovery, RedisOptions::of(kin).with_save_points(), RedisWay::Replication).await;
        there_and_back(&redis, &recovery, RedisOptions::of(kin), RedisWay::Keys).await;
    }
}

#[tokio::test]
async fn redis_6_is_moved_to_newer_servers_and_restored_itself() {
    let redis = RedisServer::start(RedisOptions::of("redis-6")).await.unwrap();
    redis_data::many(&redis, "k", 2000).await.unwrap();
    redis.say("PEXPIREAT k:1 4102444800000").await.unwrap();
    let recovery = Recovery::new();
    recovery.backup(&redis).await;
    for (to, way) in [
        (RedisOptions::of("redis-6").with_save_points(), RedisWay::Replication),
        (RedisOptions::of("redis-6").with_aof(), RedisWay::Replication),
        (RedisOptions::of("redis-6"), RedisWay::Keys),
    ] {
        there_and_back(&redis, &recovery, to, way).await;
    }
    // Newer servers tell more of a stream than it knew: that all of its entries are there the product's own comparison shows.
    for (to, way) in [
        (RedisOptions::default().with_save_points(), RedisWay::Replication),
        (RedisOptions::of("valkey-9"), RedisWay::Keys),
    ] {
        let server = target(to.clone()).await;
        recovery.restored(&server, recovery.options().with_way(way)).await;
        assert_eq!(server.say("XRANGE k:7 - +").await.unwrap().items().len(), 1);
    }
    for n in (7..2000).step_by(8) {
        redis.say(&format!("DEL k:{n}")).await.unwrap();
    }
    recovery.backup(&redis).await;
    there_and_back(&redis, &recovery, RedisOptions::default().with_save_points(), RedisWay::Replication).await;
    there_and_back(&redis, &recovery, RedisOptions::of("valkey-9").with_aof(), RedisWay::Replication).await;
}
