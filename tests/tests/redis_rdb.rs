//! The RDB reader against a real server: counts, digests that follow content and nothing else, slices that the server
//! takes back, and damage of every kind noticed.

use std::collections::BTreeMap;

use veza_dr_backup::redis::rdb::{Item, RawValue, Reader, Summary, functions_payload, restore_payload};
use veza_dr_core::ErrorKind;
use veza_dr_tests::oracle::DatabaseState;
use veza_dr_tests::redis_data::{self, DATABASES};
use veza_dr_tests::redis_oracle::state;
use veza_dr_tests::redis_server::{RedisOptions, RedisServer};

async fn filled() -> RedisServer {
    let server = RedisServer::start(RedisOptions::default()).await.unwrap();
    redis_data::fill(&server).await.unwrap();
    server
}

async fn dumped(server: &RedisServer) -> Vec<u8> {
    std::fs::read(server.save().await.unwrap()).unwrap()
}

fn summary(rdb: &[u8]) -> veza_dr_core::Result<Summary> {
    Summary::of(&mut Reader::new(rdb)?)
}

fn types(state: &DatabaseState, db: u32) -> BTreeMap<String, u64> {
    let mut types = BTreeMap::new();
    for key in state.keys(&format!("db{db}/")) {
        let kind = state.get(key).unwrap().split(' ').next().unwrap().to_owned();
        *types.entry(kind).or_default() += 1;
    }
    types
}

#[tokio::test]
async fn counts_what_the_server_has() {
    let server = filled().await;
    let state = state(&server).await.unwrap();
    let rdb = dumped(&server).await;
    let summary = summary(&rdb).unwrap();
    assert_eq!((summary.magic.as_str(), summary.bytes, summary.checksum), ("REDIS0010", rdb.len() as u64, true));
    assert_eq!(summary.aux["redis-ver"], server.info_value("server", "redis_version").await.unwrap());
    assert_eq!(summary.functions, 2);
    assert_eq!(summary.databases.keys().copied().collect::<Vec<_>>(), DATABASES.map(u64::from));
    for db in DATABASES {
        let found = &summary.databases[&u64::from(db)];
        let told = server.info_value("keyspace", &format!("db{db}")).await.unwrap();
        assert!(told.starts_with(&format!("keys={},expires={},", found.keys, found.expires)), "{told}: {found:?}");
        assert_eq!(found.types, types(&state, db));
        assert_eq!(found.undigested, 0);
    }
    assert_eq!(summary.contents().len(), DATABASES.len() + 1);
}

#[tokio::test]
async fn digests_are_the_same_in_every_encoding() {
    let server = filled().await;
    let before = summary(&dumped(&server).await).unwrap();
    let settings: [&[&str]; 3] = [
        &["hash-max-listpack-entries 0", "zset-max-listpack-entries 0", "set-max-intset-entries 0"],
        &[
            "hash-max-listpack-entries 100000",
            "zset-max-listpack-entries 100000",
            "hash-max-listpack-value 1000000",
            "zset-max-listpack-value 1000000",
            "set-max-intset-entries 100000",
            "list-max-listpack-size 3",
            "stream-node-max-entries 7",
        ],
        &["rdbcompression no", "list-max-listpack-size -5", "stream-node-max-entries 0", "list-compress-depth 1"],
    ];
    for settings in settings {
        let other = RedisServer::start(settings.iter().fold(RedisOptions::default(), |o, s| o.with(*s))).await.unwrap();
        replay(&server, &other).await;
        let after = summary(&dumped(&other).await).unwrap();
        assert_eq!(after.contents(), before.contents(), "{settings:?}");
        assert_eq!(after.databases, before.databases, "{settings:?}");
    }
}

/// The same content, typed in anew, so that `to` chooses its own encodings.
async fn replay(from: &RedisServer, to: &RedisServer) {
    redis_data::fill(to).await.unwrap();
    // When messages were delivered is content, and differs: the streams are carried over as they are.
    let (mut source, mut target) = (from.client().await.unwrap(), to.client().await.unwrap());
    for db in DATABASES {
        for client in [&mut source, &mut target] {
            client.run(&["SELECT", &db.to_string()]).await.unwrap();
        }
        for key in veza_dr_tests::redis_oracle::keys(&mut source).await.unwrap() {
            if key.starts_with(b"stream:") {
                let dump = source.run(&[b"DUMP", &key[..]]).await.unwrap().bytes();
                let expiry = source.run(&[b"PEXPIRETIME", &key[..]]).await.unwrap().int().max(0).to_string();
                let restore = [&b"RESTORE"[..], &key, expiry.as_bytes(), &dump, b"REPLACE", b"ABSTTL"];
                target.run(&restore).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn digests_follow_every_change_of_content() {
    let server = filled().await;
    let mut before = summary(&dumped(&server).await).unwrap();
    for line in [
        "APPEND string:1 x",
        "RENAME string:2 string:new",
        "LSET list:repeated 2 x",
        "LMOVE list:5000 list:5000 LEFT RIGHT",
        "SREM set:int16 300",
        "SADD set:2000 another",
        "ZINCRBY zset:5 0.001 1",
        "ZADD zset:3000 2.5 1",
        "HSET hash:31 0 other",
        "HSET hash:3000 0 other",
        "XADD stream:small 9-1 a 1",
        "XDEL stream:large 1700000000010-31",
        "XACK stream:large first 1700000000002-7",
        "XGROUP SETID stream:large second 0",
        "XGROUP DELCONSUMER stream:large first idle",
        "XSETID stream:set 99-9",
        "PEXPIREAT expires:1 4102444800999",
        "PERSIST expires:2",
    ] {
        server.say(line).await.unwrap();
        let after = summary(&dumped(&server).await).unwrap();
        assert_ne!(after.databases[&0].digest, before.databases[&0].digest, "{line}");
        for db in [1, 5, 15] {
            assert_eq!(after.databases[&db].digest, before.databases[&db].digest, "{line}");
        }
        before = after;
    }
    server.say("FUNCTION DELETE other").await.unwrap();
    let after = summary(&dumped(&server).await).unwrap();
    assert_ne!(after.functions_digest, before.functions_digest);
}

#[tokio::test]
async fn slices_are_what_dump_answers_and_bring_everything_back() {
    let server = filled().await;
    let rdb = dumped(&server).await;
    let copy = RedisServer::start(RedisOptions::default()).await.unwrap();
    let (mut source, mut target) = (server.client().await.unwrap(), copy.client().await.unwrap());
    let mut reader = Reader::new(&rdb[..]).unwrap();
    let (mut codes, mut large) = (Vec::new(), 0);
    while let Some(item) = reader.next().unwrap() {
        match item {
            Item::Function(code) => codes.push(code),
            Item::Key(key) => {
                let value = match reader.value(1_000_000).unwrap() {
                    RawValue::Whole(value) => value,
                    RawValue::Large(range) => {
                        large += 1;
                        rdb[range.start as usize..range.end as usize].to_vec()
                    }
                };
                let payload = restore_payload(key.kind.byte(), &value, 10);
                let db = key.db.to_string();
                source.run(&["SELECT", &db]).await.unwrap();
                target.run(&["SELECT", &db]).await.unwrap();
                let dump = source.run(&[b"DUMP", &key.name[..]]).await.unwrap().bytes();
                assert_eq!(payload.len(), dump.len(), "{}", key.name.escape_ascii());
                assert!(payload == dump, "{}", key.name.escape_ascii());
                let expiry = key.expires_at.unwrap_or(0).to_string();
                let restore = [&b"RESTORE"[..], &key.name, expiry.as_bytes(), &payload, b"ABSTTL"];
                target.run(&restore).await.unwrap();
            }
            _ => {}
        }
    }
    assert_eq!(large, DATABASES.len(), "one large string in each database");
    let payload = functions_payload(codes.iter().map(Vec::as_slice), 10);
    target.run(&[b"FUNCTION", &b"RESTORE"[..], &payload]).await.unwrap();
    state(&server).await.unwrap().assert_same(&state(&copy).await.unwrap());
    let (before, after) = (summary(&rdb).unwrap(), summary(&dumped(&copy).await).unwrap());
    assert_eq!(before.contents(), after.contents());
}

#[tokio::test]
async fn a_file_that_is_cut_off_or_altered_is_refused() {
    let server = RedisServer::start(RedisOptions::default()).await.unwrap();
    redis_data::many(&server, "key", 60).await.unwrap();
    let rdb = dumped(&server).await;
    summary(&rdb).unwrap();
    for length in 0..rdb.len() {
        let e = summary(&rdb[..length]).expect_err("a part is not the whole");
        assert_eq!(e.kind(), ErrorKind::Corrupt, "{length}: {e}");
    }
    for at in 0..rdb.len() {
        for bit in [1, 0x80] {
            let mut rdb = rdb.clone();
            rdb[at] ^= bit;
            summary(&rdb).expect_err("every bit counts");
        }
    }
    let mut longer = rdb.clone();
    longer.push(b'\n');
    assert!(summary(&longer).unwrap_err().to_string().contains("goes on after its end"));
    // Without checksum, as `rdbchecksum no` writes it, the structure alone must tell.
    let end = rdb.len() - 8;
    let mut unsummed = [&rdb[..end], &[0; 8]].concat();
    let told = summary(&unsummed).unwrap();
    assert!(!told.checksum && told.keys() == 60);
    let first = unsummed.windows(5).position(|w| w == b"key:0" || w == b"key:1").unwrap();
    unsummed[first - 1] = 0xff;
    summary(&unsummed).unwrap_err();
}
