//! What can go wrong while a Redis server is read: slow stores, cut connections, servers that die, freeze or lie. Either
//! the backup is whole, or there is none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use veza_dr_backup::redis::{ReadMode, RedisConfig, RedisDetail};
use veza_dr_backup::{Encryption, Repository, store::DirectoryStore};
use veza_dr_core::{Cx, ErrorKind, SecretString};
use veza_dr_tests::hook_store::HookStore;
use veza_dr_tests::product::Depot;
use veza_dr_tests::redis_client::RedisClient;
use veza_dr_tests::redis_data;
use veza_dr_tests::redis_fake::{Act, FakeMaster};
use veza_dr_tests::redis_product::{back_up_redis, config, manifest_of, plain, served};
use veza_dr_tests::redis_server::{RedisOptions, RedisServer};
use veza_dr_tests::tcp_proxy::TcpProxy;

/// A depot whose store waits before each piece it takes.
fn slow_depot(pause: impl Fn(usize) -> Duration + Send + Sync + 'static) -> Depot {
    let mut depot = Depot::new();
    let inner = Arc::new(DirectoryStore::open("local", depot.path()).unwrap());
    let nth = std::sync::atomic::AtomicUsize::new(0);
    let store = HookStore::new(inner, move |call| {
        if call.method == "write" && !call.ended && call.key.contains("dump.rdb") {
            std::thread::sleep(pause(nth.fetch_add(1, std::sync::atomic::Ordering::SeqCst)));
        }
    });
    depot.repository = Repository::new(Arc::new(store), Encryption::default());
    depot
}

async fn hammer(address: String, password: String) {
    let mut client = RedisClient::connect(&address).await.unwrap();
    client.run(&["AUTH", &password]).await.unwrap();
    let value = redis_data::noise(20_000, 11);
    for n in 0u64.. {
        let commands: Vec<Vec<Vec<u8>>> = (0..50)
            .map(|i| vec![b"SET".to_vec(), format!("hammer:{}", (n * 50 + i) % 500).into_bytes(), value.clone()])
            .collect();
        if client.pipeline(&commands).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_slow_store_and_heavy_writers_do_not_get_us_dropped() {
    let options = RedisOptions::default().with_save_points().with("client-output-buffer-limit replica 2mb 1mb 1");
    let server = RedisServer::start(options).await.unwrap();
    for n in 0..20 {
        redis_data::big_string(&server, &format!("big:{n}"), 1_500_000).await.unwrap();
    }
    for mode in [ReadMode::Disk, ReadMode::Diskless] {
        let before = server.info_value("stats", "total_net_input_bytes").await.unwrap().parse::<u64>().unwrap();
        let writer = tokio::spawn(hammer(server.address(), server.password().to_owned()));
        let depot = slow_depot(|_| Duration::from_millis(200));
        let started = Instant::now();
        let manifest = manifest_of(&depot, &config(&server).with_mode(mode)).await.unwrap();
        let after = server.info_value("stats", "total_net_input_bytes").await.unwrap().parse::<u64>().unwrap();
        writer.abort();
        assert!(started.elapsed() > Duration::from_secs(2), "the store was not slow: {:?}", started.elapsed());
        assert!(after - before > 20_000_000, "the writer wrote {} bytes only", after - before);
        let detail = RedisDetail::of(&manifest).unwrap();
        assert!(detail.parts[0].rdb_only);
        assert!(manifest.rows() >= 20 && manifest.rows() <= 520);
        assert!(!server.log().contains("scheduled to be closed ASAP for overcoming"), "{}", server.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_store_that_stalls_longer_than_the_replication_timeout_is_waited_for() {
    let server = RedisServer::start(RedisOptions::default().with("repl-timeout 2").with_save_points()).await.unwrap();
    for n in 0..30 {
        redis_data::big_string(&server, &format!("big:{n}"), 1_500_000).await.unwrap();
    }
    for mode in [ReadMode::Disk, ReadMode::Diskless] {
        let depot = slow_depot(|n| if n == 0 { Duration::from_secs(5) } else { Duration::ZERO });
        let manifest = manifest_of(&depot, &config(&server).with_mode(mode)).await.unwrap();
        assert_eq!(manifest.rows(), 30, "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_leaves_no_backup() {
    let server = RedisServer::start(RedisOptions::default()).await.unwrap();
    for n in 0..6 {
        redis_data::big_string(&server, &format!("big:{n}"), 1_500_000).await.unwrap();
    }
    let whole = server.say("DBSIZE").await.unwrap().int() * 1_500_000;
    let proxy = TcpProxy::start(&server.address()).await.unwrap();
    for mode in [ReadMode::Disk, ReadMode::Diskless, ReadMode::Scan] {
        for share in [1, 50, 99] {
            let depot = Depot::new();
            let through = RedisConfig::new(format!("redis://{}", proxy.address()))
                .with_password(SecretString::from(server.password().to_owned()))
                .with_mode(mode);
            // What the questions before the data answer is some 20 KB.
            proxy.cut_after((whole as u64 * share / 100).max(25_000));
            let e = manifest_of(&depot, &through).await.unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Unavailable, "{mode:?} {share} %: {e:?}");
            nothing_is_left(&depot);
        }
    }
    let depot = Depot::new();
    assert_eq!(manifest_of(&depot, &config(&server)).await.unwrap().rows(), 6);
}

fn nothing_is_left(depot: &Depot) {
    let left: Vec<_> = depot.files().into_iter().filter(|(name, _)| name.starts_with("redis/")).collect();
    assert_eq!(left, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_freezes_or_is_not_there_fails_the_backup() {
    let mut server = RedisServer::start(RedisOptions::default().with("rdb-key-save-delay 2000")).await.unwrap();
    redis_data::many(&server, "key", 4_000).await.unwrap();
    for (mode, frozen) in [(ReadMode::Diskless, false), (ReadMode::Disk, false), (ReadMode::Diskless, true)] {
        let depot = Depot::new();
        let config = config(&server).with_mode(mode).with_idle_timeout(Duration::from_secs(2));
        let cx = Cx::background();
        let backup = back_up_redis(&cx, &depot, &config);
        let fault = async {
            server.wait_info("persistence", "rdb_bgsave_in_progress:1").await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
            if frozen {
                server.freeze(true);
                // Its child sends on, and is frozen likewise by the pipe that nobody empties.
            } else {
                server.kill9();
            }
        };
        let (outcome, ()) = tokio::join!(backup, fault);
        let e = outcome.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Unavailable, "{mode:?} {frozen}: {e:?}");
        nothing_is_left(&depot);
        server.freeze(false);
        if !frozen {
            server.restart().await.unwrap();
            redis_data::many(&server, "key", 4_000).await.unwrap();
        }
    }
    server.kill9();
    let e = manifest_of(&Depot::new(), &config(&server)).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unavailable, "{e:?}");
    assert!(e.help().is_some());
}

/// A real RDB to play with.
async fn sample() -> Vec<u8> {
    let server = RedisServer::start(RedisOptions::default()).await.unwrap();
    redis_data::many(&server, "key", 300).await.unwrap();
    std::fs::read(server.save().await.unwrap()).unwrap()
}

const MARK: &[u8; 40] = b"0123456789abcdef0123456789abcdef01234567";

fn head(length: Option<usize>) -> Vec<Act> {
    let fullresync = format!("+FULLRESYNC {} 42\r\n", "a".repeat(40));
    let framing = match length {
        Some(n) => format!("${n}\r\n").into_bytes(),
        None => [b"$EOF:", &MARK[..], b"\r\n"].concat(),
    };
    // Signs of life before both lines, the second cut in two.
    vec![
        Act::Send(b"\n".to_vec()),
        Act::Wait(Duration::from_millis(30)),
        Act::Send([b"\n\n", fullresync.as_bytes(), b"\n"].concat()),
        Act::Wait(Duration::from_millis(30)),
        Act::Send(b"\n\n".to_vec()),
        Act::Send(framing[..3].to_vec()),
        Act::Wait(Duration::from_millis(30)),
        Act::Send(framing[3..].to_vec()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn signs_of_life_and_a_mark_in_pieces_are_understood() {
    let rdb = sample().await;
    let wait = || Act::Wait(Duration::from_millis(30));
    for cut in [1, 20, 39] {
        for after in [&b""[..], b"\n"] {
            let mut script = head(None);
            script.extend([
                Act::Send(rdb[..1000].to_vec()),
                wait(),
                Act::Send([&rdb[1000..], &MARK[..cut]].concat()),
                wait(),
                Act::Send([&MARK[cut..], after].concat()),
                Act::Wait(Duration::from_millis(100)),
            ]);
            let fake = FakeMaster::start(script).await.unwrap();
            let depot = Depot::new();
            let manifest = manifest_of(&depot, &RedisConfig::new(fake.url())).await.unwrap();
            assert!(plain(&depot, &manifest, "dump.rdb").await.unwrap() == rdb);
            let heard = fake.heard();
            let rdb_only = heard.iter().position(|c| c == "REPLCONF rdb-only 1").expect("the flag");
            assert!(rdb_only < heard.iter().position(|c| c == "PSYNC ? -1").unwrap(), "{heard:?}");
            assert!(!heard.iter().any(|c| c.contains("listening-port")), "{heard:?}");
        }
    }
    let mut script = head(Some(rdb.len()));
    script.extend([Act::Send(rdb.clone()), Act::Send(b"\n*1\r\n$4\r\nPING\r\n".to_vec())]);
    let fake = FakeMaster::start(script).await.unwrap();
    let depot = Depot::new();
    let manifest = manifest_of(&depot, &RedisConfig::new(fake.url())).await.unwrap();
    let (copy, _) = served(&plain(&depot, &manifest, "dump.rdb").await.unwrap()).await.unwrap();
    assert_eq!(copy.say("DBSIZE").await.unwrap().int(), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_ends_early_is_damaged_or_is_no_data_leaves_no_backup() {
    let rdb = sample().await;
    let mut flipped = rdb.clone();
    flipped[rdb.len() / 2] ^= 4;
    let with = |mut script: Vec<Act>, rest: Vec<u8>| {
        script.push(Act::Send(rest));
        script
    };
    let cases = [
        ("no data at all", with(head(None), Vec::new()), ErrorKind::Unavailable),
        ("all but a byte of the mark", with(head(None), [&rdb[..], &MARK[..39]].concat()), ErrorKind::Unavailable),
        ("no mark", with(head(None), rdb.clone()), ErrorKind::Unavailable),
        ("half", with(head(Some(rdb.len())), rdb[..rdb.len() / 2].to_vec()), ErrorKind::Unavailable),
        ("all but a byte", with(head(Some(rdb.len())), rdb[..rdb.len() - 1].to_vec()), ErrorKind::Unavailable),
        ("the mark too early", with(head(None), [&rdb[..rdb.len() / 2], MARK].concat()), ErrorKind::Corrupt),
        ("a flipped bit", with(head(None), [&flipped[..], MARK].concat()), ErrorKind::Corrupt),
        ("a flipped bit, length", with(head(Some(rdb.len())), flipped.clone()), ErrorKind::Corrupt),
        (
            "reset",
            [with(head(Some(rdb.len())), rdb[..999].to_vec()), vec![Act::Reset]].concat(),
            ErrorKind::Unavailable,
        ),
        ("no answer", vec![Act::Send(b"\n".to_vec()), Act::Wait(Duration::from_secs(3))], ErrorKind::Unavailable),
        (
            "loading",
            vec![Act::Send(b"-LOADING Redis is loading the dataset in memory\r\n".to_vec())],
            ErrorKind::Unavailable,
        ),
        (
            "no master",
            vec![Act::Send(b"-NOMASTERLINK Can't SYNC while not connected\r\n".to_vec())],
            ErrorKind::Unavailable,
        ),
        ("nonsense", vec![Act::Send(b"HTTP/1.1 400 Bad Request\r\n".to_vec())], ErrorKind::Unexpected),
        ("an endless line", vec![Act::Send(vec![b'x'; 1_000_000])], ErrorKind::Unexpected),
    ];
    for (name, script, kind) in cases {
        let fake = FakeMaster::start(script).await.unwrap();
        let depot = Depot::new();
        let config = RedisConfig::new(fake.url()).with_idle_timeout(Duration::from_secs(1));
        let e = manifest_of(&depot, &config).await.expect_err(name);
        assert_eq!(e.kind(), kind, "{name}: {e:?}");
        nothing_is_left(&depot);
    }
}
