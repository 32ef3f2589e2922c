//! A Redis server in a container is restored through its volume, by a real Docker daemon, also when it cannot start.

use std::sync::Arc;
use std::time::{Duration, Instant};

use veza_dr_backup::redis::RedisConfig;
use veza_dr_core::{Cx, RestoreRequest, RestoreTarget, SecretString, Verdict};
use veza_dr_restore::redis::{DockerInstance, RedisRestore, RedisWay};
use veza_dr_tests::docker::Dockerd;
use veza_dr_tests::ports::free_port;
use veza_dr_tests::redis_client::RedisClient;
use veza_dr_tests::redis_recovery::Recovery;

const IMAGE: &str = "veza-dr-tests/redis";

async fn client(port: u16) -> RedisClient {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Ok(mut client) = RedisClient::connect(&format!("127.0.0.1:{port}")).await
            && client.say("AUTH secret").await.is_ok()
            && client.say("DBSIZE").await.is_ok()
        {
            return client;
        }
        assert!(Instant::now() < deadline, "the server does not answer");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn digest(port: u16) -> String {
    client(port).await.say("DEBUG DIGEST").await.unwrap().text()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_with_an_append_only_file_is_restored_through_its_volume() {
    let docker = Dockerd::start().unwrap();
    docker.import(IMAGE, &["/usr/bin/redis-server", "/bin/sh"]).unwrap();
    let port = free_port().unwrap();
    let number = port.to_string();
    let mut run = vec!["run", "-d", "--network=host", "--name", "cache", "-v", "cache:/data", IMAGE];
    run.extend(["/usr/bin/redis-server", "--bind", "127.0.0.1", "--port", &number, "--dir", "/data"]);
    run.extend(["--requirepass", "secret", "--appendonly", "yes", "--enable-debug-command", "yes"]);
    docker.run(&run).unwrap();
    let mut redis = client(port).await;
    for n in 0..500 {
        redis.say(&format!("SET k:{n} {n}")).await.unwrap();
    }
    let expected = digest(port).await;
    let recovery = Recovery::new();
    let config =
        RedisConfig::new(format!("redis://127.0.0.1:{port}")).with_password(SecretString::from("secret".to_owned()));
    recovery.backup_of(config.clone()).await;
    redis.say("DEL k:1").await.unwrap();
    redis.say("SET damage 1").await.unwrap();
    let damaged = digest(port).await;
    let options = || {
        let instance = DockerInstance::at(&docker.host(), "cache").unwrap();
        recovery.options().with_way(RedisWay::File).with_instance(Arc::new(instance))
    };
    let target = RedisRestore::new(Recovery::component(), config, options()).unwrap();
    let done = recovery.restore(&target, &RestoreRequest::in_place()).await.unwrap_or_else(|e| panic!("{e:#?}"));
    assert_eq!(done.verification.verdict(), Verdict::Equal, "{done:#?}");
    assert_eq!(digest(port).await, expected);
    docker.run(&["restart", "cache"]).unwrap();
    assert_eq!(digest(port).await, expected);
    target.rollback(&Cx::background()).await.unwrap();
    assert_eq!(digest(port).await, damaged);
    // The disaster: its files are broken, and it does not start.
    docker.run(&["kill", "cache"]).unwrap();
    let broken = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(broken.path(), "file nothing.rdb seq 9 type b\n").unwrap();
    let list = "cache:/data/appendonlydir/appendonly.aof.manifest";
    docker.run(&["cp", &broken.path().display().to_string(), list]).unwrap();
    docker.run(&["start", "cache"]).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(docker.state("cache").unwrap(), "exited");
    let done = recovery.restore(&target, &RestoreRequest::in_place()).await.unwrap_or_else(|e| panic!("{e:#?}"));
    assert!(done.replaced.unwrap().contains("veza-dr-old"));
    assert_eq!(digest(port).await, expected);
}
