//! Single keys come back into a live server, and nothing else changes; databases are exchanged in one step.

use std::time::{Duration, Instant};

use veza_dr_core::{Effect, ErrorKind, RestoreRequest, RestoreTarget, Verdict};
use veza_dr_restore::redis::{KeyConflict, RedisWay, TtlPolicy};
use veza_dr_tests::redis_data::{self, FUTURE};
use veza_dr_tests::redis_recovery::{Recovery, assert_usable, state};
use veza_dr_tests::redis_server::{RedisOptions, RedisServer};

fn only(patterns: &[&str]) -> RestoreRequest {
    RestoreRequest::in_place().only(patterns.iter().map(|p| (*p).to_owned()))
}

async fn start() -> (RedisServer, Recovery) {
    (RedisServer::start(RedisOptions::default()).await.unwrap(), Recovery::new())
}

#[tokio::test]
async fn keys_that_match_are_replaced_and_all_others_stay() {
    let (server, recovery) = start().await;
    redis_data::many(&server, "web:session", 400).await.unwrap();
    redis_data::many(&server, "order", 400).await.unwrap();
    recovery.backup(&server).await;
    let backed_up = state(&server).await;
    for command in
        ["DEL web:session:1 web:session:3 order:5", "SET web:session:2 changed", "SET order:6 newer", "SET new 1"]
    {
        server.say(command).await.unwrap();
    }
    let changed = state(&server).await;
    let target = recovery.target(&server, recovery.options());
    let done = recovery.restore(&target, &only(&["*session*"])).await.unwrap();
    assert_eq!(done.verification.verdict(), Verdict::Equal, "{done:#?}");
    assert_eq!(done.verification.rows, 400);
    let now = state(&server).await;
    let sessions = &["db0/web:session"];
    changed.without(sessions).assert_same(&now.without(sessions));
    assert_eq!(now.keys("db0/web:session").count(), 400);
    for key in backed_up.keys("db0/web:session") {
        assert_eq!(now.get(key), backed_up.get(key), "{key}");
    }
    // All of it can be taken back.
    target.rollback(&veza_dr_core::Cx::background()).await.unwrap();
    changed.assert_same(&state(&server).await);
    assert_usable(&server).await;
}

#[tokio::test]
async fn keys_that_exist_stay_when_that_is_asked_for() {
    let (server, recovery) = start().await;
    redis_data::many(&server, "k", 50).await.unwrap();
    recovery.backup(&server).await;
    let backed_up = state(&server).await;
    for command in ["DEL k:1", "SET k:2 newer"] {
        server.say(command).await.unwrap();
    }
    let target = recovery.target(&server, recovery.options().with_on_conflict(KeyConflict::Skip));
    let done = recovery.restore(&target, &only(&["k:[0-9]"])).await.unwrap();
    assert!(done.verification.findings.iter().any(|f| f.why.contains("9 were there and stay")), "{done:#?}");
    let now = state(&server).await;
    assert_eq!(now.get("db0/k:1"), backed_up.get("db0/k:1"));
    assert_eq!(server.say("GET k:2").await.unwrap().text(), "newer");
}

#[tokio::test]
async fn expiries_are_kept_shifted_or_taken_away() {
    let (server, recovery) = start().await;
    let soon = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64 + 2500;
    for command in [format!("SET far 1 PXAT {FUTURE}"), format!("SET soon 1 PXAT {soon}"), "SET never 1".to_owned()] {
        server.say(&command).await.unwrap();
    }
    recovery.backup(&server).await;
    tokio::time::sleep(Duration::from_millis(2600)).await;
    let expiry = async |key: &str| server.say(&format!("PEXPIRETIME {key}")).await.unwrap().int();
    let bring = async |ttl: TtlPolicy| {
        server.say("FLUSHALL").await.unwrap();
        let target = recovery.target(&server, recovery.options().with_ttl(ttl));
        recovery.restore(&target, &only(&["*"])).await.unwrap()
    };
    let done = bring(TtlPolicy::Keep).await;
    assert_eq!((expiry("far").await, expiry("never").await, expiry("soon").await), (FUTURE as i64, -1, -2));
    assert!(done.verification.findings.iter().any(|f| f.why.contains("1 keys have expired")), "{done:#?}");
    bring(TtlPolicy::Shift).await;
    assert!(expiry("far").await > FUTURE as i64 && expiry("soon").await > soon as i64);
    bring(TtlPolicy::Strip).await;
    assert_eq!((expiry("far").await, expiry("never").await, expiry("soon").await), (-1, -1, -1));
}

#[tokio::test]
async fn a_reader_sees_all_the_old_data_or_all_the_new() {
    let (server, recovery) = start().await;
    redis_data::many(&server, "k", 2000).await.unwrap();
    server.say("MSET a new b new").await.unwrap();
    recovery.backup(&server).await;
    server.say("MSET a old b old").await.unwrap();
    server.say("DEL k:0").await.unwrap();
    let mut client = server.client().await.unwrap();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let reader = tokio::spawn(async move {
        let mut seen = Vec::new();
        while stopped.try_recv().is_err() {
            let answer = client.say("MGET a b k:0").await.unwrap();
            let words: Vec<String> = answer.items().iter().map(|r| r.text()).collect();
            if seen.last() != Some(&words) {
                seen.push(words);
            }
        }
        seen
    });
    recovery.restored(&server, recovery.options().with_way(RedisWay::Keys)).await;
    stop.send(()).unwrap();
    let seen = reader.await.unwrap();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!(&seen[0][..2], ["old", "old"]);
    assert_eq!(&seen[1][..2], ["new", "new"]);
    assert!(!seen[1][2].is_empty());
}

/// Writers that are acknowledged during a restore are in the copy of what it replaced, or in what is there afterwards.
async fn no_acknowledged_write_is_lost(way: RedisWay) {
    let (server, recovery) = start().await;
    redis_data::many(&server, "k", 5000).await.unwrap();
    recovery.backup(&server).await;
    let mut client = server.client().await.unwrap();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let writer = tokio::spawn(async move {
        let mut acknowledged = 0;
        while stopped.try_recv().is_err() {
            client.say(&format!("SET written:{acknowledged} x")).await.expect("no write fails");
            acknowledged += 1;
        }
        acknowledged
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    recovery.restored(&server, recovery.options().with_way(way)).await;
    stop.send(()).unwrap();
    let acknowledged: usize = writer.await.unwrap();
    assert!(acknowledged > 0);
    let after = state(&server).await;
    let later = after.keys("db0/written:").count();
    assert!(after.get("db0/written:0").is_none(), "the old data are gone");
    recovery.target(&server, recovery.options()).rollback(&veza_dr_core::Cx::background()).await.unwrap();
    let before = state(&server).await;
    let earlier = before.keys("db0/written:").count();
    assert_eq!(earlier + later, acknowledged, "{earlier} before and {later} after");
}

#[tokio::test]
async fn no_acknowledged_write_is_lost_by_replication() {
    no_acknowledged_write_is_lost(RedisWay::Replication).await;
}

#[tokio::test]
async fn no_acknowledged_write_is_lost_by_keys() {
    no_acknowledged_write_is_lost(RedisWay::Keys).await;
}

#[tokio::test]
async fn a_key_of_somebody_else_beside_ours_is_a_difference() {
    let (server, recovery) = start().await;
    redis_data::many(&server, "k", 100_000).await.unwrap();
    recovery.backup(&server).await;
    server.say("SET damage 1").await.unwrap();
    let mut client = server.client().await.unwrap();
    let stranger = tokio::spawn(async move {
        client.say("SELECT 15").await.unwrap();
        while client.say("DBSIZE").await.unwrap().int() == 0 {}
        client.say("SET foreign 1").await.unwrap();
    });
    let target = recovery.target(&server, recovery.options().with_way(RedisWay::Keys));
    let e = recovery.restore(&target, &RestoreRequest::in_place()).await.unwrap_err();
    stranger.await.unwrap();
    assert_eq!((e.kind(), e.effect()), (ErrorKind::Mismatch, Effect::None), "{e:#?}");
    assert_eq!(server.say("GET damage").await.unwrap().text(), "1");
    assert_eq!(server.say("DBSIZE").await.unwrap().int(), 100_001);
    assert_usable(&server).await;
}

#[tokio::test]
async fn an_exchange_that_is_refused_leaves_all_as_it_was_and_the_copy() {
    let (server, recovery) = start().await;
    redis_data::many(&server, "k", 300).await.unwrap();
    recovery.backup(&server).await;
    let expected = state(&server).await;
    server.say("DEL k:1").await.unwrap();
    let before = state(&server).await;
    server.say("ACL SETUSER half on >secret ~* &* +@all -swapdb").await.unwrap();
    let config = veza_dr_backup::redis::RedisConfig::new(server.url())
        .with_username("half")
        .with_password(veza_dr_core::SecretString::from("secret".to_owned()));
    let options = recovery.options().with_way(RedisWay::Keys);
    let target = veza_dr_restore::redis::RedisRestore::new(Recovery::component(), config, options).unwrap();
    let e = recovery.restore(&target, &RestoreRequest::in_place()).await.unwrap_err();
    assert_eq!((e.kind(), e.effect()), (ErrorKind::Denied, Effect::None), "{e:#?}");
    before.without(&["db15/"]).assert_same(&state(&server).await.without(&["db15/"]));
    assert!(recovery.state_files().iter().any(|f| f.ends_with(".rdb")), "{:?}", recovery.state_files());
    // The next one empties what the first filled.
    server.say("ACL SETUSER half +swapdb").await.unwrap();
    recovery.restore(&target, &RestoreRequest::in_place()).await.unwrap_or_else(|e| panic!("{e:#?}"));
    expected.assert_same(&state(&server).await);
}

#[tokio::test]
async fn a_key_of_100_mb_and_300_000_small_ones() {
    let (server, recovery) = start().await;
    redis_data::many(&server, "small", 300_000).await.unwrap();
    redis_data::big_string(&server, "large", 100 << 20).await.unwrap();
    recovery.backup(&server).await;
    let digest = async || {
        let mut client = server.client().await.unwrap();
        client.say("DEBUG DIGEST").await.unwrap().text()
    };
    let expected = digest().await;
    for way in [RedisWay::Replication, RedisWay::Keys] {
        server.say("FLUSHALL").await.unwrap();
        server.say("SET damage 1").await.unwrap();
        let began = Instant::now();
        let done = recovery.restored(&server, recovery.options().with_way(way)).await;
        println!("{way:?}: {:?}\n{:#?}", began.elapsed(), done.report.steps);
        assert_eq!(done.verification.rows, 300_001);
        assert_eq!(digest().await, expected, "{way:?}");
    }
}

#[tokio::test]
async fn a_user_who_may_not_replicate_restores_keys() {
    let (server, recovery) = start().await;
    redis_data::many(&server, "k", 300).await.unwrap();
    recovery.backup(&server).await;
    let expected = state(&server).await;
    let rules = "on >secret ~* &* +info +ping +auth +client|list +time +psync +replconf +restore +select +swapdb +flushdb \
         +function|restore +multi +exec +client|pause +client|unpause +config|get";
    let mut client = server.client().await.unwrap();
    client.say(&format!("ACL SETUSER keeper {rules}")).await.unwrap();
    server.say("DEL k:1").await.unwrap();
    let config = veza_dr_backup::redis::RedisConfig::new(server.url())
        .with_username("keeper")
        .with_password(veza_dr_core::SecretString::from("secret".to_owned()));
    let target = veza_dr_restore::redis::RedisRestore::new(Recovery::component(), config, recovery.options()).unwrap();
    let done = recovery.restore(&target, &RestoreRequest::in_place()).await.unwrap_or_else(|e| panic!("{e:#?}"));
    let why = done.report.steps.iter().find(|s| s.name == "replicate").expect("the reason");
    assert!(why.detail.contains("NOPERM"), "{why:?}");
    expected.assert_same(&state(&server).await);
    assert_usable(&server).await;
}
