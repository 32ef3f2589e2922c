//! What `check` finds out about a Redis source before the first backup, each finding on a server that has it.

use veza_dr_backup::redis::{ReadMode, RedisConfig, RedisTarget};
use veza_dr_core::{BackupTarget, Cx, Outcome, Report, SecretString};
use veza_dr_tests::redis_cluster;
use veza_dr_tests::redis_data;
use veza_dr_tests::redis_product::{component, config};
use veza_dr_tests::redis_server::{RedisOptions, RedisServer};

async fn check(config: &RedisConfig) -> Report {
    let target = RedisTarget::new(component(), config.clone()).unwrap();
    target.check(&Cx::background()).await.unwrap()
}

fn outcome<'a>(report: &'a Report, name: &str) -> (Outcome, &'a str) {
    let step = report.steps.iter().find(|s| s.name == name).unwrap_or_else(|| panic!("no {name} in {report:?}"));
    (step.outcome, &step.detail)
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_persistence_and_room_are_looked_at_without_leaving_a_trace() {
    let options = RedisOptions::default()
        .with("dbfilename taken")
        .with_save_points()
        .with_user("bare on >secret +psync +replconf")
        .with_user("reader on >secret ~* +info +scan +dump +acl|dryrun");
    let server = RedisServer::start(options).await.unwrap();
    redis_data::many(&server, "key", 10).await.unwrap();
    let as_user = |name: &str| {
        RedisConfig::new(server.url()).with_username(name).with_password(SecretString::from("secret".to_owned()))
    };
    let report = check(&config(&server)).await;
    assert!(report.is_ok(), "{report:?}");
    assert!(outcome(&report, "connect").1.contains("Redis 7.0"), "{report:?}");
    assert!(outcome(&report, "persistence").1.contains("disk"), "{report:?}");
    let report = check(&config(&server).with_mode(ReadMode::Diskless)).await;
    assert_eq!(outcome(&report, "spool").0, Outcome::Ok);
    for (delay, told) in [("7", true), ("0", false)] {
        server.say(&format!("CONFIG SET repl-diskless-sync-delay {delay}")).await.unwrap();
        let report = check(&config(&server).with_mode(ReadMode::Diskless)).await;
        let (found, detail) = outcome(&report, "persistence");
        assert!(found == Outcome::Ok && detail.contains("waits 7 s") == told, "{detail}");
        assert!(
            !outcome(&check(&config(&server)).await, "persistence").1.contains("waits"),
            "by way of disk nobody waits"
        );
    }
    let report = check(&config(&server).with_mode(ReadMode::Diskless).with_spool_dir("/nowhere")).await;
    assert_eq!(outcome(&report, "spool").0, Outcome::Failed);

    // The user that may ask nothing is not said to be wrong, but what it hides is said.
    let report = check(&as_user("bare")).await;
    assert!(report.is_ok(), "{report:?}");
    assert_eq!(outcome(&report, "cluster").0, Outcome::Warning);
    let report = check(&as_user("reader")).await;
    let (found, detail) = outcome(&report, "read rights");
    assert!(found == Outcome::Warning && detail.contains("+psync"), "{detail}");
    let report = check(&as_user("reader").with_mode(ReadMode::Disk)).await;
    assert_eq!(outcome(&report, "read rights").0, Outcome::Failed);
    let report = check(&as_user("reader").with_password(SecretString::from("wrong".to_owned()))).await;
    assert_eq!(outcome(&report, "connect").0, Outcome::Failed);

    std::fs::create_dir_all(server.data_dir().join("taken/inside")).unwrap();
    server.say("BGSAVE").await.unwrap();
    server.wait_info("persistence", "rdb_last_bgsave_status:err").await.unwrap();
    let report = check(&config(&server)).await;
    let (found, detail) = outcome(&report, "persistence");
    assert!(found == Outcome::Warning && detail.contains("MISCONF"), "{detail}");
    assert_eq!(server.info_value("stats", "sync_full").await.unwrap(), "0", "the check itself copied the data");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_clusters_and_sentinels_are_recognised() {
    let mut primary = RedisServer::start(RedisOptions::default()).await.unwrap();
    let replica = RedisServer::start_replica(&primary, RedisOptions::default()).await.unwrap();
    let report = check(&config(&replica)).await;
    assert_eq!(outcome(&report, "replica").0, Outcome::Ok, "{report:?}");
    assert!(!report.steps.iter().any(|s| s.name == "sentinel"), "{report:?}");
    // A sentinel is known by the channel that it listens to.
    let mut listener = primary.client().await.unwrap();
    listener.say("SUBSCRIBE __sentinel__:hello").await.unwrap();
    let report = check(&config(&primary)).await;
    assert_eq!(outcome(&report, "sentinel").0, Outcome::Warning, "{report:?}");
    primary.kill9();
    replica.wait_info("replication", "master_link_status:down").await.unwrap();
    let report = check(&config(&replica)).await;
    assert_eq!(outcome(&report, "replica").0, Outcome::Failed, "{report:?}");

    let servers = redis_cluster::start(3).await.unwrap();
    let report = check(&config(&servers[1])).await;
    assert!(report.is_ok() && outcome(&report, "cluster").1.starts_with("3 masters"), "{report:?}");
    servers[2].say("CLUSTER DELSLOTS 16383").await.unwrap();
    let report = check(&config(&servers[2])).await;
    assert!(outcome(&report, "connect").1.contains("16383 of 16384"), "{report:?}");
}
