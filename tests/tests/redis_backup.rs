//! Backups of a Redis server hold what it had: by every way, under load, by TLS, with the least of rights.

use veza_dr_backup::redis::{Consistency, ReadMode, RedisConfig, RedisDetail, Way};
use veza_dr_core::{ErrorKind, SecretString};
use veza_dr_tests::product::Depot;
use veza_dr_tests::redis_data;
use veza_dr_tests::redis_oracle::state;
use veza_dr_tests::redis_product::{config, manifest_of, plain, served, tls_config};
use veza_dr_tests::redis_server::{RedisOptions, RedisServer, check_rdb};
use veza_dr_tests::redis_tls::TestCa;

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_by_each_way_is_what_the_server_has() {
    let server = RedisServer::start(RedisOptions::default().with_save_points()).await.unwrap();
    redis_data::fill(&server).await.unwrap();
    let before = state(&server).await.unwrap();
    let mut contents = None;
    for (mode, way) in [
        (ReadMode::Disk, Way::Disk),
        (ReadMode::Diskless, Way::Diskless),
        (ReadMode::Scan, Way::Scan),
        (ReadMode::Auto, Way::Disk),
    ] {
        let depot = Depot::new();
        let manifest = manifest_of(&depot, &config(&server).with_mode(mode)).await.unwrap();
        let detail = RedisDetail::of(&manifest).unwrap();
        let part = &detail.parts[0];
        assert_eq!(part.way, way);
        assert_eq!(part.rdb_only, way != Way::Scan, "{mode:?}: no output may be kept for us");
        assert_eq!(detail.consistency, if way == Way::Scan { Consistency::Fuzzy } else { Consistency::Snapshot });
        assert_eq!(part.replid.as_ref().map(String::len), (way != Way::Scan).then_some(40));
        assert!(manifest.source.server_version.starts_with('7') && part.rdb.checksum);
        assert_eq!(manifest.skipped, []);
        let rdb = plain(&depot, &manifest, "dump.rdb").await.unwrap();
        let (copy, file) = served(&rdb).await.unwrap();
        check_rdb(&file).await.unwrap();
        before.assert_same(&state(&copy).await.unwrap());
        let told = contents.get_or_insert_with(|| manifest.contents.clone());
        assert_eq!(&manifest.contents, told, "{mode:?}");
        assert_eq!(
            told.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(),
            ["db0", "db1", "db5", "db15", "functions"]
        );
    }
    before.assert_same(&state(&server).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_server_and_a_replica_with_expired_keys_are_backed_up() {
    let server = RedisServer::start(RedisOptions::default()).await.unwrap();
    let depot = Depot::new();
    let manifest = manifest_of(&depot, &config(&server)).await.unwrap();
    assert_eq!((manifest.rows(), manifest.contents.len()), (0, 1));
    redis_data::leave_expired(&server, 20).await.unwrap();
    redis_data::many(&server, "key", 100).await.unwrap();
    let replica = RedisServer::start_replica(&server, RedisOptions::default()).await.unwrap();
    let manifest = manifest_of(&depot, &config(&replica)).await.unwrap();
    let detail = RedisDetail::of(&manifest).unwrap();
    assert_eq!(detail.parts[0].role, "slave");
    let db = &detail.total.databases[&0];
    assert_eq!((db.keys, db.expires), (120, 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_under_load_shows_one_instant() {
    let server = RedisServer::start(RedisOptions::default().with_save_points()).await.unwrap();
    redis_data::many(&server, "ballast", 30_000).await.unwrap();
    for mode in [ReadMode::Disk, ReadMode::Diskless] {
        let writers: Vec<_> =
            (0..3).map(|n| tokio::spawn(write_pairs(server.address(), server.password().to_owned(), n))).collect();
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let depot = Depot::new();
        let manifest = manifest_of(&depot, &config(&server).with_mode(mode)).await.unwrap();
        writers.iter().for_each(tokio::task::JoinHandle::abort);
        let (copy, _) = served(&plain(&depot, &manifest, "dump.rdb").await.unwrap()).await.unwrap();
        for n in 0..3 {
            let a = copy.say(&format!("GET {{{n}}}a")).await.unwrap().int();
            let b = copy.say(&format!("GET {{{n}}}b")).await.unwrap().int();
            let list = copy.say(&format!("LLEN {{{n}}}list")).await.unwrap().int();
            assert!(a > 0 && (a, a) == (b, list), "{mode:?}: {a} {b} {list}");
        }
        server.say("FLUSHALL").await.unwrap();
        redis_data::many(&server, "ballast", 30_000).await.unwrap();
    }
}

/// Three keys that change together, for ever.
async fn write_pairs(address: String, password: String, n: usize) {
    let mut client = veza_dr_tests::redis_client::RedisClient::connect(&address).await.unwrap();
    client.run(&["AUTH", &password]).await.unwrap();
    loop {
        client.say("MULTI").await.unwrap();
        client.say(&format!("INCR {{{n}}}a")).await.unwrap();
        client.say(&format!("RPUSH {{{n}}}list x")).await.unwrap();
        client.say(&format!("INCR {{{n}}}b")).await.unwrap();
        if client.say("EXEC").await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_with_and_without_client_certificate_and_never_with_a_strangers() {
    let (ca, rogue) = (TestCa::new().unwrap(), TestCa::new().unwrap());
    let server = RedisServer::start(RedisOptions::default().with_tls(&ca)).await.unwrap();
    redis_data::many(&server, "key", 200).await.unwrap();
    let depot = Depot::new();
    for mode in [ReadMode::Disk, ReadMode::Diskless, ReadMode::Scan] {
        let manifest = manifest_of(&depot, &tls_config(&server, &ca).with_mode(mode)).await.unwrap();
        assert_eq!(manifest.rows(), 200, "{mode:?}");
        assert!(manifest.source.location.starts_with("rediss://"));
    }
    let stored = depot.files().len();
    let mut without = tls_config(&server, &ca);
    (without.client_cert, without.client_key) = (None, None);
    for bad in [
        tls_config(&server, &ca).with_ca_file(rogue.ca()),
        tls_config(&server, &ca).with_client_cert(rogue.cert("client"), rogue.key("client")),
        without.clone(),
    ] {
        for mode in [ReadMode::Disk, ReadMode::Scan] {
            let e = manifest_of(&depot, &bad.clone().with_mode(mode)).await.unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Unavailable, "{e:?}");
        }
    }
    assert_eq!(depot.files().len(), stored);
    let lax = RedisServer::start(RedisOptions::default().with_tls(&ca).with("tls-auth-clients no")).await.unwrap();
    let mut config = tls_config(&lax, &ca);
    (config.client_cert, config.client_key) = (None, None);
    assert_eq!(manifest_of(&depot, &config).await.unwrap().rows(), 0);
}

fn as_user(server: &RedisServer, name: &str) -> RedisConfig {
    RedisConfig::new(server.url()).with_username(name).with_password(SecretString::from("secret".to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_rights_suffice_and_without_them_keys_are_read() {
    let options = RedisOptions::default()
        .with_save_points()
        .with_user("bare on >secret +psync +replconf")
        .with_user("knowing on >secret +psync +replconf +info +config|get")
        .with_user("reader on >secret ~* +info +scan +dump +select +pexpiretime +memory|usage +function|dump")
        .with_user("half on >secret ~* +info +scan +dump +select +pexpiretime +memory|usage")
        .with_user("nobody on >secret ~* +get");
    let server = RedisServer::start(options).await.unwrap();
    redis_data::fill(&server).await.unwrap();
    let depot = Depot::new();
    let mut contents = None;
    for (user, way) in [("bare", Way::Diskless), ("knowing", Way::Disk), ("reader", Way::Scan)] {
        let manifest = manifest_of(&depot, &as_user(&server, user)).await.unwrap();
        let detail = RedisDetail::of(&manifest).unwrap();
        assert_eq!(detail.parts[0].way, way, "{user}");
        let told = contents.get_or_insert_with(|| manifest.contents.clone());
        assert_eq!(&manifest.contents, told, "{user}");
        // Who may ask nothing cannot know whether there are other masters.
        assert_eq!(manifest.skipped.len(), usize::from(user == "bare"), "{:?}", manifest.skipped);
        assert!(manifest.source.server_version.starts_with("7.0"), "{}", manifest.source.server_version);
    }
    let stored = depot.files().len();
    for (bad, kind) in [
        (as_user(&server, "nobody"), ErrorKind::Denied),
        // Its function libraries would be missing, and nobody would know.
        (as_user(&server, "half"), ErrorKind::Denied),
        (as_user(&server, "reader").with_mode(ReadMode::Diskless), ErrorKind::Denied),
        (config(&server).with_password(SecretString::from("wrong".to_owned())), ErrorKind::Denied),
        (RedisConfig::new(server.url()), ErrorKind::Denied),
    ] {
        let e = manifest_of(&depot, &bad).await.unwrap_err();
        assert_eq!(e.kind(), kind, "{bad:?}: {e:?}");
        assert!(!e.chain().contains("wrong"), "{e:?}");
    }
    assert_eq!(depot.files().len(), stored);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_save_is_read_past_its_disk() {
    let options = RedisOptions::default().with_save_points().with("dbfilename taken");
    let server = RedisServer::start(options).await.unwrap();
    redis_data::many(&server, "key", 500).await.unwrap();
    // A folder where the file should go: every BGSAVE fails, root or not.
    std::fs::create_dir_all(server.data_dir().join("taken/inside")).unwrap();
    server.say("BGSAVE").await.unwrap();
    server.wait_info("persistence", "rdb_last_bgsave_status:err").await.unwrap();
    assert!(server.say("SET a 1").await.unwrap_err().to_string().contains("MISCONF"));
    let depot = Depot::new();
    let manifest = manifest_of(&depot, &config(&server)).await.unwrap();
    assert_eq!((manifest.rows(), RedisDetail::of(&manifest).unwrap().parts[0].way), (500, Way::Diskless));
    let e = manifest_of(&depot, &config(&server).with_mode(ReadMode::Disk)).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unavailable, "{e:?}");
    assert_eq!(depot.files().iter().filter(|(name, _)| name.ends_with("manifest.json")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_master_of_a_cluster_is_backed_up() {
    let servers = veza_dr_tests::redis_cluster::start(3).await.unwrap();
    veza_dr_tests::redis_cluster::fill(&servers, 900).await.unwrap();
    for server in &servers[1..] {
        server.say(&format!("CONFIG SET requirepass {}", servers[0].password())).await.unwrap();
    }
    let depot = Depot::new();
    for mode in [ReadMode::Auto, ReadMode::Scan] {
        let manifest = manifest_of(&depot, &config(&servers[0]).with_mode(mode)).await.unwrap();
        let detail = RedisDetail::of(&manifest).unwrap();
        assert!(detail.cluster && manifest.rows() == 900 && manifest.objects.len() == 3, "{manifest:?}");
        let slots: Vec<_> = detail.parts.iter().flat_map(|p| p.slots.clone()).collect();
        assert_eq!(slots, [(0, 5460), (5461, 10921), (10922, 16383)]);
        let mut found = 0;
        for part in &detail.parts {
            let (copy, _) = served(&plain(&depot, &manifest, &part.object).await.unwrap()).await.unwrap();
            found += copy.say("DBSIZE").await.unwrap().int();
        }
        assert_eq!(found, 900);
    }
}
