//! The PostgreSQL probe on a real server: roles, heartbeat, refused logins, a database that is gone.

use std::time::Duration;

use veza_dr_core::{ErrorKind, Health};
use veza_dr_failover::probe::{Heartbeat, PostgresProbe};
use veza_dr_tests::postgres_server::{PgOptions, PgServer};

use crate::look;

fn probe(server: &PgServer, database: &str) -> PostgresProbe {
    let probe = PostgresProbe::new("127.0.0.1", server.port(), "postgres", database);
    probe.with_password(server.password().to_owned().into())
}

#[tokio::test]
async fn a_server_is_judged_by_what_it_says_of_itself() {
    let mut server = PgServer::start(PgOptions::default()).await.unwrap();
    let client = server.client("postgres").await.unwrap();
    client
        .batch_execute(
            "CREATE SCHEMA ops; CREATE TABLE ops.beat (at timestamptz); CREATE TABLE empty (at timestamptz);
             INSERT INTO ops.beat VALUES (now() - interval '40 seconds')",
        )
        .await
        .unwrap();
    let beat = |table: &str, most: u64| Heartbeat::new(table, "at", Duration::from_secs(most));

    let good = look(&probe(&server, "postgres").expecting_recovery(false).with_heartbeat(beat("ops.beat", 3600)), 10)
        .await
        .unwrap();
    assert_eq!(good.health, Health::Healthy, "{good:?}");
    assert!(good.detail.starts_with("it takes writes, heartbeat 4"), "{good:?}");

    let role = look(&probe(&server, "postgres").expecting_recovery(true), 10).await.unwrap();
    assert!(role.health == Health::Degraded && role.detail.contains("should be in recovery"), "{role:?}");
    let old = look(&probe(&server, "postgres").with_heartbeat(beat("ops.beat", 30)), 10).await.unwrap();
    assert!(old.health == Health::Degraded && old.detail.contains("at most 30 s old"), "{old:?}");
    let none = look(&probe(&server, "postgres").with_heartbeat(beat("empty", 30)), 10).await.unwrap();
    assert!(none.health == Health::Degraded && none.detail.contains("has no row"), "{none:?}");
    let absent = look(&probe(&server, "postgres").with_heartbeat(beat("no.table", 30)), 10).await.unwrap();
    assert!(absent.health == Health::Degraded && absent.detail.contains("cannot be read"), "{absent:?}");

    let lost = look(&probe(&server, "veza_db"), 10).await.unwrap();
    assert!(lost.health == Health::Down && lost.detail.contains("the database is not there"), "{lost:?}");
    let wrong = probe(&server, "postgres").with_password("canary-77".to_owned().into());
    let e = look(&wrong, 10).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Denied);
    assert!(!format!("{e:?} {wrong:?}").contains("canary-77"), "the password is shown");

    // A lock that holds the heartbeat's table up: no answer within the deadline, and none left running behind.
    client.batch_execute("BEGIN; LOCK TABLE ops.beat IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let held = look(&probe(&server, "postgres").with_heartbeat(beat("ops.beat", 3600)), 1).await.unwrap();
    assert!(held.health == Health::Down && held.reached, "{held:?}");
    client.batch_execute("COMMIT").await.unwrap();

    let looked_at = probe(&server, "postgres");
    server.kill9();
    let gone = look(&looked_at, 10).await.unwrap();
    assert!(gone.health == Health::Down && gone.detail.contains("refuses connections"), "{gone:?}");
    server.restart().await.unwrap();
    assert_eq!(look(&looked_at, 10).await.unwrap().health, Health::Healthy);
}
