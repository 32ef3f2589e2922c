//! A standby as the source: what it has comes back, what it cannot show is named, and nothing is restored to it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use veza_dr_backup::postgres::PostgresTarget;
use veza_dr_core::{BackupTarget, Cx, ErrorKind, RestoreRequest, Verdict};
use veza_dr_tests::{
    oracle::Oracle,
    postgres_server::{PgOptions, PgServer},
    product::{Depot, config},
};

const DATA: &str = "CREATE TABLE kept (id serial PRIMARY KEY, t text); INSERT INTO kept (t) SELECT repeat('x', 300) FROM generate_series(1, 20000); \
     CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM kept; \
     SELECT lo_from_bytea(4711, decode(repeat('ab', 3000), 'hex')); \
     CREATE TABLE churn AS SELECT i, 0 AS n FROM generate_series(1, 500) i";

async fn standby_of(primary: &PgServer) -> PgServer {
    let data = primary.scratch_dir("standby").unwrap();
    let mut copy = std::process::Command::new(primary.bin("pg_basebackup"));
    copy.args(["-h", "127.0.0.1", "-U", "postgres", "-R", "-X", "stream", "-c", "fast", "-D"]).arg(&data);
    copy.args(["-p", &primary.port().to_string()]).env("PGPASSWORD", primary.password());
    let output = copy.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The name in primary_conninfo has no password of its own place: -R wrote the one given.
    let options = PgOptions::default().with("hot_standby_feedback", "on");
    PgServer::start_on(&data, primary.password(), options).await.unwrap()
}

async fn caught_up(primary: &PgServer, standby: &PgServer) {
    let lsn = primary.sql("postgres", "SELECT pg_current_wal_lsn()").await.unwrap();
    let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{lsn}'");
    for _ in 0..300 {
        if standby.sql("postgres", &sql).await.unwrap() == "t" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the standby does not catch up: {}", standby.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn t42_a_standby_is_backed_up_while_the_primary_writes_and_vacuums() {
    let options = PgOptions::default().with("wal_level", "replica").with("max_wal_senders", "4");
    let primary = PgServer::start(options).await.unwrap();
    primary.create_database("source").await.unwrap();
    primary.sql("source", DATA).await.unwrap();
    primary.sql("source", "CREATE UNLOGGED TABLE fleeting AS SELECT 1 AS a").await.unwrap();
    let standby = standby_of(&primary).await;
    caught_up(&primary, &standby).await;

    let stop = Arc::new(AtomicBool::new(false));
    let (flag, client) = (stop.clone(), primary.client("source").await.unwrap());
    let writer = tokio::spawn(async move {
        let mut rounds = 0;
        while !flag.load(Ordering::Relaxed) {
            client.batch_execute("UPDATE churn SET n = n + 1").await.unwrap();
            client.batch_execute("VACUUM churn").await.unwrap();
            rounds += 1;
        }
        rounds
    });
    let source = config(&standby, "source").with_chunk_bytes(512 * 1024);
    let depot = Depot::new();
    depot.backup(&source).await.unwrap_or_else(|e| panic!("{e:?}"));
    stop.store(true, Ordering::Relaxed);
    assert!(writer.await.unwrap() > 0);

    let manifest = depot.latest().await.unwrap();
    assert_eq!(manifest.source.facts["standby"], "true");
    assert!(manifest.consistency.lsn.is_some());
    let skipped: Vec<&str> = manifest.skipped.iter().map(|s| s.what.as_str()).collect();
    assert_eq!(skipped, ["public.fleeting"]);

    let elsewhere = PgServer::start(PgOptions::default()).await.unwrap();
    let report = depot.restore(&config(&elsewhere, "source"), &RestoreRequest::in_place()).await.unwrap();
    assert_eq!(report.verification.verdict(), Verdict::Equal, "{:?}", report.verification.findings);
    let sums = "SELECT (SELECT md5(string_agg(k::text, '' ORDER BY id)) FROM kept k), (SELECT count FROM counted), \
         (SELECT md5(lo_get(4711))), (SELECT last_value FROM kept_id_seq), (SELECT count(*) FROM fleeting), \
         (SELECT count(DISTINCT n) FROM churn), (SELECT count(*) FROM churn)";
    let row = elsewhere.sql("source", sums).await.unwrap();
    let at_source = primary.sql("source", sums).await.unwrap().replace("|1|1|500", "|0|1|500");
    assert_eq!(row, at_source);
}

#[tokio::test(flavor = "multi_thread")]
async fn t42_check_warns_of_cancelled_reads_and_nothing_is_restored_to_a_standby() {
    let primary = PgServer::start(PgOptions::default().with("wal_level", "replica")).await.unwrap();
    primary.create_database("source").await.unwrap();
    primary.sql("source", "CREATE TABLE t AS SELECT 1 AS a").await.unwrap();
    let standby = standby_of(&primary).await;
    caught_up(&primary, &standby).await;
    let target = PostgresTarget::new(Depot::component(), config(&standby, "source")).unwrap();
    let report = target.check(&Cx::background()).await.unwrap();
    assert!(report.steps.iter().any(|s| s.name == "standby conflicts"), "{:?}", report.steps);
    let depot = Depot::new();
    depot.backup(&config(&standby, "source")).await.unwrap();
    let before = Oracle::of(&primary).read("source").await.unwrap();
    let e = depot.restore(&config(&standby, "source"), &RestoreRequest::in_place()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e:?}");
    assert!(e.chain().contains("the server is a standby: promote it"), "{}", e.chain());
    before.assert_same(&Oracle::of(&primary).read("source").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn t37_rows_of_a_table_of_one_object_are_frozen_as_they_are_loaded() {
    let server = PgServer::start(PgOptions::default().with("autovacuum", "off")).await.unwrap();
    server.create_database("source").await.unwrap();
    let sql = "CREATE EXTENSION pg_visibility; CREATE TABLE one AS SELECT i, repeat('x', 200) FROM generate_series(1, 5000) i";
    server.sql("source", sql).await.unwrap();
    let depot = Depot::new();
    depot.backup(&config(&server, "source")).await.unwrap();
    depot.restore(&config(&server, "source"), &RestoreRequest::default().to("copy")).await.unwrap();
    let frozen = "SELECT count(*) FILTER (WHERE NOT all_frozen), count(*) > 50 FROM pg_visibility_map('one')";
    assert_eq!(server.sql("copy", frozen).await.unwrap(), "0|t");
}
