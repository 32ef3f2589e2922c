//! The Redis probe on real servers: roles, the link of a replica, refused logins, a server that hangs.

use std::time::Duration;

use veza_dr_core::{ErrorKind, Health};
use veza_dr_failover::probe::RedisProbe;
use veza_dr_tests::redis_server::{RedisOptions, RedisServer};

use crate::look;

fn probe(server: &RedisServer) -> RedisProbe {
    RedisProbe::new("127.0.0.1", server.port()).with_password(server.password().to_owned().into())
}

#[tokio::test]
async fn a_server_is_judged_by_its_role_and_its_link() {
    let mut master = RedisServer::start(RedisOptions::default()).await.unwrap();
    let replica = RedisServer::start(RedisOptions::default()).await.unwrap();
    let good = look(&probe(&master).expecting_replica(false), 5).await.unwrap();
    assert_eq!((good.health, good.detail.as_str()), (Health::Healthy, "it is a master of 0 replicas"));
    let role = look(&probe(&master).expecting_replica(true), 5).await.unwrap();
    assert!(role.health == Health::Degraded && role.detail.starts_with("it should be a replica"), "{role:?}");
    let wrong = RedisProbe::new("127.0.0.1", master.port()).with_password("canary-78".to_owned().into());
    let e = look(&wrong, 5).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Denied, "{e:?}");
    assert!(!format!("{e:?} {wrong:?}").contains("canary-78"), "the password is shown");
    let e = look(&RedisProbe::new("127.0.0.1", master.port()), 5).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Denied, "{e:?}");

    replica.say(&format!("CONFIG SET masterauth {}", master.password())).await.unwrap();
    replica.say(&format!("REPLICAOF 127.0.0.1 {}", master.port())).await.unwrap();
    replica.wait_info("replication", "master_link_status:up").await.unwrap();
    let linked = look(&probe(&replica).expecting_replica(true), 5).await.unwrap();
    assert_eq!(linked.health, Health::Healthy, "{linked:?}");

    master.freeze(true);
    let began = std::time::Instant::now();
    let hung = look(&probe(&master), 1).await.unwrap();
    master.freeze(false);
    assert!(hung.health == Health::Down && hung.reached, "{hung:?}");
    assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());

    let looked_at = probe(&master);
    master.kill9();
    assert_eq!(look(&looked_at, 5).await.unwrap().health, Health::Down);
    replica.wait_info("replication", "master_link_status:down").await.unwrap();
    let cut = look(&probe(&replica), 5).await.unwrap();
    assert!(cut.health == Health::Degraded && cut.detail.starts_with("it does not receive"), "{cut:?}");
}
