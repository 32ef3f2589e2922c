//! Restores that are killed, cut off or fail at the server: the old data stay, or come back, and the next run repairs.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use veza_dr_backup::{Encryption, Repository, Selector, redis::RedisConfig, store::DirectoryStore};
use veza_dr_core::{Cx, Effect, ErrorKind, RestoreRequest, RestoreTarget, SecretString, Verdict};
use veza_dr_restore::redis::{RedisRestore, RedisRestoreOptions, RedisWay};
use veza_dr_tests::child::{GuardedChild, find_in_path};
use veza_dr_tests::ports::free_port;
use veza_dr_tests::redis_client::RedisClient;
use veza_dr_tests::redis_data;
use veza_dr_tests::redis_recovery::{Recovery, assert_usable, setting, state};
use veza_dr_tests::redis_server::{RedisOptions, RedisServer};

const ENV: &str = "VEZA_DR_TESTS_REDIS_VICTIM";

/// Between the target and our master: lets so many bytes through to the target and then nothing more, or changes the
/// version that the first RDB says it has.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Meddling {
    StallAfter(usize),
    FutureVersionOnce,
}

/// Listens, and passes on to `to`. Returns its port and the number of connections so far.
async fn meddler(to: u16, how: Meddling) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = Arc::new(AtomicUsize::new(0));
    let counted = served.clone();
    tokio::spawn(async move {
        while let Ok((mut target, _)) = listener.accept().await {
            let counted = counted.clone();
            tokio::spawn(async move {
                let Ok(mut master) = TcpStream::connect(("127.0.0.1", to)).await else { return };
                let (mut from_target, mut to_target) = target.split();
                let (mut from_master, mut to_master) = master.split();
                let back = async {
                    let (mut passed, mut piece) = (0, vec![0; 16 * 1024]);
                    loop {
                        let n = from_master.read(&mut piece).await.unwrap_or(0);
                        if n == 0 {
                            return;
                        }
                        if let Some(at) = piece[..n].windows(9).position(|w| w == b"REDIS0010") {
                            let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
                            if how == Meddling::FutureVersionOnce && first {
                                piece[at..at + 9].copy_from_slice(b"REDIS0099");
                            }
                        }
                        passed += n;
                        if matches!(how, Meddling::StallAfter(limit) if passed > limit) {
                            std::future::pending::<()>().await;
                        }
                        if to_target.write_all(&piece[..n]).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::select! {
                    () = back => {}
                    _ = tokio::io::copy(&mut from_target, &mut to_master) => {}
                }
            });
        }
    });
    (port, served)
}

fn through(options: RedisRestoreOptions, master: u16, port: u16) -> RedisRestoreOptions {
    options
        .with_way(RedisWay::Replication)
        .with_advertise("127.0.0.1", port)
        .with_bind(format!("127.0.0.1:{master}").parse().unwrap())
}

/// What the child of [`killed`] does; nothing when it is run by hand.
#[tokio::test]
#[ignore = "run by other tests, in a process of its own"]
async fn victim() {
    let Ok(order) = std::env::var(ENV) else { return };
    let order: serde_json::Value = serde_json::from_str(&order).unwrap();
    let text = |name: &str| order[name].as_str().unwrap().to_owned();
    let port = |name: &str| u16::try_from(order[name].as_u64().unwrap()).unwrap();
    let store = DirectoryStore::open("local", std::path::Path::new(&text("root")).join("store")).unwrap();
    let repository = Repository::new(Arc::new(store), Encryption::default());
    let options = RedisRestoreOptions::new(std::path::Path::new(&text("root")).join("state"));
    let options = through(options, port("master"), port("meddler"));
    let config = RedisConfig::new(text("url")).with_password(SecretString::from(text("password")));
    let target = RedisRestore::new(Recovery::component(), config, options).unwrap();
    let cx = Cx::background();
    let manifest = repository.manifest(&cx, &Recovery::component(), &Selector::Latest).await.unwrap();
    let plan = target.plan(&cx, &RestoreRequest::in_place(), &manifest).await.unwrap();
    target.apply(&cx, plan, &manifest, Arc::new(repository.open(&manifest))).await.unwrap();
}

async fn killed_in_the_middle(roomy: bool) {
    let server = RedisServer::start(RedisOptions::default().with("repl-timeout 5")).await.unwrap();
    redis_data::many(&server, "k", 2000).await.unwrap();
    redis_data::big_string(&server, "large", 8 << 20).await.unwrap();
    let recovery = Recovery::new();
    recovery.backup(&server).await;
    let expected = state(&server).await;
    server.say("SET damage 1").await.unwrap();
    let before = state(&server).await;
    if !roomy {
        let used: u64 = server.info_value("memory", "used_memory").await.unwrap().parse().unwrap();
        server.say(&format!("CONFIG SET maxmemory {}", used + (4 << 20))).await.unwrap();
    }
    let master = free_port().unwrap();
    let (port, served) = meddler(master, Meddling::StallAfter(2 << 20)).await;
    let order = serde_json::json!({
        "root": recovery.path(), "url": server.url(), "password": server.password(), "master": master, "meddler": port,
    });
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "victim", "--nocapture"])
        .env(ENV, order.to_string())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while served.load(Ordering::SeqCst) == 0 {
        assert!(std::time::Instant::now() < deadline, "the transfer never began: {}", server.log());
        assert!(child.try_wait().unwrap().is_none(), "the victim ended by itself");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    child.kill().await.unwrap();
    // The old data can be read, and the server is the read-only replica of nobody.
    assert_eq!(server.info_value("replication", "role").await.unwrap(), "slave");
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !before.diff(&state(&server).await).is_empty() {
        assert!(std::time::Instant::now() < deadline, "the old data are not there:\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The next run says so, puts it right, and restores.
    let target = recovery.target(&server, recovery.options().with_way(RedisWay::Replication));
    let plan = recovery.plan(&target).await.unwrap();
    assert!(plan.steps.iter().any(|s| s.what.contains("was cut off")), "{plan:#?}");
    assert_eq!(plan.blockers, [""; 0]);
    let done = recovery.restored(&server, recovery.options().with_way(RedisWay::Replication)).await;
    assert!(done.report.steps.iter().any(|s| s.name == "put right what was cut off"), "{done:#?}");
    expected.assert_same(&state(&server).await);
    assert_usable(&server).await;
    assert_eq!(setting(&server, "repl-diskless-load").await, "disabled");
}

#[tokio::test]
async fn killed_in_the_middle_of_a_load_beside_the_old_data() {
    killed_in_the_middle(true).await;
}

#[tokio::test]
async fn killed_in_the_middle_of_a_load_over_the_old_data() {
    killed_in_the_middle(false).await;
}

#[tokio::test]
async fn a_server_that_lost_its_data_is_given_them_back() {
    let source = RedisServer::start(RedisOptions::default()).await.unwrap();
    redis_data::many(&source, "k", 1000).await.unwrap();
    let recovery = Recovery::new();
    recovery.backup(&source).await;
    let mut server = RedisServer::start(RedisOptions::default().with_aof()).await.unwrap();
    redis_data::fill(&server).await.unwrap();
    let used: u64 = server.info_value("memory", "used_memory").await.unwrap().parse().unwrap();
    server.say(&format!("CONFIG SET maxmemory {used}")).await.unwrap();
    let before = state(&server).await;
    let master = free_port().unwrap();
    let (port, served) = meddler(master, Meddling::FutureVersionOnce).await;
    let target = recovery.target(&server, through(recovery.options(), master, port));
    let e = recovery.restore(&target, &RestoreRequest::in_place()).await.unwrap_err();
    assert_eq!(e.effect(), Effect::None, "{e:#?}");
    assert!(e.help().unwrap().contains("given them back"), "{e:#?}");
    assert_eq!(served.load(Ordering::SeqCst), 2, "the backup once, the copy once");
    server.say("CONFIG SET maxmemory 0").await.unwrap();
    before.assert_same(&state(&server).await);
    assert_usable(&server).await;
    server.wait_info("persistence", "aof_rewrite_in_progress:0").await.unwrap();
    server.wait_info("persistence", "aof_rewrite_scheduled:0").await.unwrap();
    server.kill9();
    server.restart().await.unwrap();
    before.assert_same(&state(&server).await);
}

#[tokio::test]
async fn a_cancelled_transfer_leaves_the_old_data_and_a_master() {
    let server = RedisServer::start(RedisOptions::default().with("repl-timeout 5")).await.unwrap();
    redis_data::big_string(&server, "large", 8 << 20).await.unwrap();
    let recovery = Recovery::new();
    let manifest = recovery.backup(&server).await;
    server.say("SET damage 1").await.unwrap();
    let before = state(&server).await;
    let master = free_port().unwrap();
    let (port, served) = meddler(master, Meddling::StallAfter(1 << 20)).await;
    let target = recovery.target(&server, through(recovery.options(), master, port));
    let cx = Cx::background();
    let plan = target.plan(&cx, &RestoreRequest::in_place(), &manifest).await.unwrap();
    let cancel = async {
        while served.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        cx.cancel();
    };
    let (done, ()) = tokio::join!(target.apply(&cx, plan, &manifest, recovery.data(&manifest)), cancel);
    let e = done.unwrap_err();
    assert_eq!((e.kind(), e.effect()), (ErrorKind::Cancelled, Effect::Unknown), "{e:#?}");
    assert!(e.help().unwrap().contains("veza-dr rollback"), "{e:#?}");
    before.assert_same(&state(&server).await);
    assert_usable(&server).await;
    // The copy is not deleted by a release that has just put the server right.
    let (cx, target) = (Cx::background(), recovery.target(&server, recovery.options()));
    let e = target.release(&cx).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e:#?}");
    server.say("SET damage 2").await.unwrap();
    target.rollback(&cx).await.unwrap();
    before.assert_same(&state(&server).await);
    target.release(&cx).await.unwrap();
    assert_eq!(recovery.state_files(), [""; 0]);
    // And it is not spoilt for a good one.
    let done = recovery.restored(&server, recovery.options()).await;
    assert_eq!(done.verification.verdict(), Verdict::Equal);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_somebody_made_his_replica_meanwhile_is_left_to_him() {
    let server = RedisServer::start(RedisOptions::default()).await.unwrap();
    redis_data::big_string(&server, "large", 8 << 20).await.unwrap();
    let recovery = Recovery::new();
    recovery.backup(&server).await;
    let elsewhere = free_port().unwrap();
    let master = free_port().unwrap();
    let (port, served) = meddler(master, Meddling::StallAfter(1 << 20)).await;
    let target = recovery.target(&server, through(recovery.options(), master, port));
    let taken_over = async {
        while served.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server.say(&format!("REPLICAOF 127.0.0.1 {elsewhere}")).await.unwrap();
    };
    let request = RestoreRequest::in_place();
    let (done, ()) = tokio::join!(recovery.restore(&target, &request), taken_over);
    let e = done.unwrap_err();
    assert!(e.chain().contains(&format!("replicates from 127.0.0.1:{elsewhere}")), "{e:#?}");
    assert_eq!(server.info_value("replication", "master_port").await.unwrap(), elsewhere.to_string());
}

/// A sentinel that watches `server` under the name `mine`.
async fn sentinel(server: &RedisServer) -> (GuardedChild, u16, tempfile::TempDir) {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port().unwrap());
    let file = dir.path().join("sentinel.conf");
    let lines = format!(
        "port {port}\nbind 127.0.0.1\nsentinel monitor mine 127.0.0.1 {} 1\nsentinel auth-pass mine {}\n\
         sentinel down-after-milliseconds mine 30000\n",
        server.port(),
        server.password()
    );
    std::fs::write(&file, lines).unwrap();
    let program = find_in_path("redis-server").unwrap();
    let child = GuardedChild::spawn(&program, None, Signal::KILL, Duration::from_secs(5), |command| {
        command.arg(&file).arg("--sentinel").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    });
    for _ in 0..200 {
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    (child.unwrap(), port, dir)
}

async fn patience(sentinel: u16) -> String {
    let mut client = RedisClient::connect(&format!("127.0.0.1:{sentinel}")).await.unwrap();
    let told = client.say("SENTINEL MASTER mine").await.unwrap();
    let words: Vec<String> = told.items().iter().map(|w| w.text()).collect();
    words[words.iter().position(|w| w == "down-after-milliseconds").unwrap() + 1].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_that_a_killed_restore_held_back_watch_again_after_the_next_command() {
    let server = RedisServer::start(RedisOptions::default().with("repl-timeout 5")).await.unwrap();
    redis_data::big_string(&server, "large", 8 << 20).await.unwrap();
    let recovery = Recovery::new();
    recovery.backup(&server).await;
    let before = state(&server).await;
    let (_child, watcher, _dir) = sentinel(&server).await;
    assert_eq!(patience(watcher).await, "30000");
    let named = || recovery.options().with_sentinels("mine", [format!("redis://127.0.0.1:{watcher}").into()]);
    let master = free_port().unwrap();
    let (port, served) = meddler(master, Meddling::StallAfter(1 << 20)).await;
    let target = recovery.target(&server, through(named(), master, port));
    let stalled = async {
        while served.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let request = RestoreRequest::in_place();
    tokio::select! {
        done = recovery.restore(&target, &request) => panic!("it ended: {done:?}"),
        () = stalled => {}
    }
    assert_eq!(patience(watcher).await, "3600000");
    let e = recovery.target(&server, named()).release(&Cx::background()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e:#?}");
    assert_eq!(patience(watcher).await, "30000");
    before.assert_same(&state(&server).await);
    assert_usable(&server).await;
}
