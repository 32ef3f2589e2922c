//! The private Redis server behaves, its oracle sees every difference, and nothing is left behind.

use std::path::Path;

use veza_dr_tests::redis_client::Reply;
use veza_dr_tests::redis_data;
use veza_dr_tests::redis_oracle::state;
use veza_dr_tests::redis_server::{RedisOptions, RedisServer, check_rdb};
use veza_dr_tests::redis_tls::TestCa;

fn alive(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}/status")).exists()
        && !std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default().contains("State:\tZ")
}

#[tokio::test]
async fn survives_kill_and_restart_and_ends_with_its_value() {
    let mut server = RedisServer::start(RedisOptions::default().with_aof()).await.unwrap();
    server.say("SET a 1").await.unwrap();
    let (first, port) = (server.pid().unwrap(), server.port());
    server.kill9();
    assert!(!alive(first) && !server.is_alive());
    assert!(server.client().await.is_err());
    server.restart().await.unwrap();
    assert_eq!((server.port(), server.say("GET a").await.unwrap()), (port, Reply::Bulk(Some(b"1".to_vec()))));
    let (pid, data) = (server.pid().unwrap(), server.data_dir());
    assert!(data.join("appendonlydir").exists());
    drop(server);
    assert!(!alive(pid) && !data.exists());
}

#[tokio::test]
async fn needs_the_password_and_keeps_to_the_acl() {
    let options = RedisOptions::default().with_user("reader on >secret ~a* +get");
    let server = RedisServer::start(options).await.unwrap();
    assert!(server.client_as("default", "wrong").await.unwrap_err().to_string().starts_with("WRONGPASS"));
    let mut reader = server.client_as("reader", "secret").await.unwrap();
    assert_eq!(reader.say("GET a").await.unwrap(), Reply::Bulk(None));
    assert!(reader.say("SET a 1").await.unwrap_err().to_string().contains("NOPERM"));
    assert!(reader.say("GET b").await.unwrap_err().to_string().contains("NOPERM"));
}

#[tokio::test]
async fn serves_tls_with_the_given_certificates() {
    let ca = TestCa::new().unwrap();
    let server = RedisServer::start(RedisOptions::default().with_tls(&ca)).await.unwrap();
    let mut ping = tokio::process::Command::new("redis-cli");
    ping.args(["-h", "localhost", "-p", &server.tls_port().unwrap().to_string(), "--tls", "--cacert"]).arg(ca.ca());
    ping.arg("--cert").arg(ca.cert("client")).arg("--key").arg(ca.key("client")).arg("PING");
    let output = ping.env("REDISCLI_AUTH", server.password()).output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "PONG", "{output:?}");
}

#[tokio::test]
async fn every_kind_of_data_arrives_at_a_replica_and_survives_a_restart() {
    let mut primary = RedisServer::start(RedisOptions::default().with_save_points()).await.unwrap();
    redis_data::fill(&primary).await.unwrap();
    let before = state(&primary).await.unwrap();
    assert!(before.len() > 450, "{before:?}");
    for kind in ["string", "list", "set", "zset", "hash", "stream"] {
        assert!(before.keys("db5/").any(|key| before.get(key).unwrap().starts_with(kind)), "{kind}");
    }
    assert_eq!(before.keys("function/").count(), 2);
    let pending = primary.say("XPENDING stream:large first").await.unwrap();
    assert_eq!(pending.items()[0], Reply::Int(28), "{pending:?}");
    let replica = RedisServer::start_replica(&primary, RedisOptions::default()).await.unwrap();
    before.assert_same(&state(&replica).await.unwrap());
    check_rdb(&primary.save().await.unwrap()).await.unwrap();
    primary.restart().await.unwrap();
    before.assert_same(&state(&primary).await.unwrap());
}

#[tokio::test]
async fn the_oracle_sees_each_difference_and_no_encoding() {
    let server = RedisServer::start(RedisOptions::default()).await.unwrap();
    redis_data::fill(&server).await.unwrap();
    let before = state(&server).await.unwrap();
    // The same content in another encoding is the same.
    for line in ["CONFIG SET hash-max-listpack-entries 0", "CONFIG SET set-max-intset-entries 0"] {
        server.say(line).await.unwrap();
    }
    for line in ["HSET hash:31 extra 1", "HDEL hash:31 extra", "SADD set:int16 9", "SREM set:int16 9"] {
        server.say(line).await.unwrap();
    }
    assert_eq!(server.say("OBJECT ENCODING hash:31").await.unwrap().text(), "hashtable");
    before.assert_same(&state(&server).await.unwrap());
    for (key, line) in [
        ("string:1", "APPEND string:1 x"),
        ("list:repeated", "LSET list:repeated 2 x"),
        ("set:int16", "SREM set:int16 300"),
        ("zset:5", "ZINCRBY zset:5 0.001 1"),
        ("hash:31", "HSET hash:31 0 other"),
        ("stream:large", "XACK stream:large first 1700000000002-7"),
        ("expires:1", "PEXPIREAT expires:1 4102444800999"),
    ] {
        let before = state(&server).await.unwrap();
        server.say(line).await.unwrap();
        let differences = before.diff(&state(&server).await.unwrap());
        assert_eq!(differences.len(), 1, "{line}: {differences:?}");
        assert!(differences[0].contains(&format!("db0/{key}")), "{line}: {differences:?}");
    }
}
