//! Traps that need a storm, another major or a huge value, by their numbers in `docs/postgres.md`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use veza_dr_backup::postgres::{PostgresConfig, PostgresTarget};
use veza_dr_core::{ErrorKind, RestoreRequest};
use veza_dr_tests::{
    postgres_server::{PgOptions, PgServer},
    product::{Depot, config},
};

async fn with(statements: &str) -> PgServer {
    let server = PgServer::start(PgOptions::default().with("autovacuum", "off")).await.unwrap();
    server.create_database("source").await.unwrap();
    server.sql("source", statements).await.unwrap();
    server
}

/// Runs these transactions over and over until the handle's flag is set.
async fn storm(
    server: &PgServer,
    transactions: &'static [&'static str],
) -> (Arc<AtomicBool>, tokio::task::JoinHandle<u32>) {
    let client = server.client("source").await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    // As a careful migration does: rather give up than queue every reader behind itself.
    client.batch_execute("SET lock_timeout = '2s'").await.unwrap();
    let task = tokio::spawn(async move {
        let mut rounds = 0;
        while !flag.load(Ordering::Relaxed) {
            for transaction in transactions {
                while !flag.load(Ordering::Relaxed) && client.batch_execute(transaction).await.is_err() {
                    client.batch_execute("ROLLBACK").await.unwrap();
                }
                // Long enough that a backup can take its locks in between, now and then.
                tokio::time::sleep(Duration::from_millis(700)).await;
            }
            rounds += 1;
        }
        rounds
    });
    (stop, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn t05_timeouts_of_the_database_do_not_end_the_backup() {
    let server = with("CREATE TABLE t AS SELECT i, repeat('x', 400) AS t FROM generate_series(1, 30000) i").await;
    let sql = "ALTER DATABASE source SET statement_timeout = '5ms'; ALTER DATABASE source SET lock_timeout = '5ms'; \
         ALTER DATABASE source SET idle_in_transaction_session_timeout = '20ms'; ALTER DATABASE source SET idle_session_timeout = '20ms'";
    for statement in sql.split("; ") {
        server.sql("postgres", statement).await.unwrap();
    }
    let depot = Depot::new();
    depot.backup(&config(&server, "source").with_chunk_bytes(256 * 1024)).await.unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(depot.latest().await.unwrap().rows(), 30000);
}

#[tokio::test(flavor = "multi_thread")]
async fn t06_several_hosts_in_a_url_are_refused() {
    let config = PostgresConfig::new("postgres://u@one.example,two.example/db");
    let e = PostgresTarget::new(Depot::component(), config).map(|_| ()).unwrap_err();
    assert!(e.kind() == ErrorKind::Config && e.to_string().contains("several hosts"), "{e:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t08_a_view_put_in_a_tables_place_is_never_run() {
    let server = with(
        "CREATE TABLE t AS SELECT 1 AS a; CREATE TABLE calm AS SELECT 1 AS a; CREATE FUNCTION trap() RETURNS int LANGUAGE plpgsql AS \
         'BEGIN RAISE EXCEPTION ''canary''; END'",
    )
    .await;
    let (stop, task) = storm(
        &server,
        &[
            "BEGIN; ALTER TABLE t RENAME TO hidden; CREATE VIEW t AS SELECT trap() AS a; COMMIT",
            "BEGIN; DROP VIEW t; ALTER TABLE hidden RENAME TO t; COMMIT",
        ],
    )
    .await;
    let depot = Depot::new();
    let mut complete = 0;
    for _ in 0..6 {
        match depot.backup(&config(&server, "source")).await {
            Ok(_) => complete += 1,
            Err(e) => assert!(!e.chain().contains("canary"), "{e:?}"),
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert!(task.await.unwrap() > 0 && complete > 0, "{complete}");
    for (file, _) in depot.files().iter().filter(|(f, _)| f.ends_with("manifest.json")) {
        let text = std::fs::read_to_string(depot.path().join(file)).unwrap();
        assert!(text.contains("public.calm"), "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t21_a_value_whose_text_is_over_a_gigabyte() {
    let server = with(
        "CREATE TABLE t (id int PRIMARY KEY, b bytea); ALTER TABLE t ALTER b SET STORAGE EXTERNAL; \
         INSERT INTO t SELECT 1, decode(repeat('ab', 1000000), 'hex'); \
         INSERT INTO t SELECT 2, convert_to(repeat('x', 600000000), 'SQL_ASCII')",
    )
    .await;
    let sums = "SELECT id, length(b), md5(b) FROM t ORDER BY id";
    let before = server.sql("source", sums).await.unwrap();
    let depot = Depot::new();
    depot.backup(&config(&server, "source")).await.unwrap();
    let report = depot.restore(&config(&server, "source"), &RestoreRequest::default().to("copy")).await.unwrap();
    assert_eq!(report.verification.rows, 2);
    assert_eq!(server.sql("copy", sums).await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn t24_foreign_tables_are_named_as_not_backed_up() {
    let server = with(
        "CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '192.0.2.1'); \
         CREATE FOREIGN TABLE \"far away\" (a int) SERVER far; CREATE TABLE here AS SELECT 1 AS a",
    )
    .await;
    let depot = Depot::new();
    depot.backup(&config(&server, "source")).await.unwrap();
    let manifest = depot.latest().await.unwrap();
    assert_eq!(manifest.contents.len(), 1);
    assert_eq!(manifest.skipped[0].what, "public.\"far away\"");
    depot.restore(&config(&server, "source"), &RestoreRequest::default().to("copy")).await.unwrap();
    assert_eq!(server.sql("copy", "SELECT count(*) FROM pg_foreign_table").await.unwrap(), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn t40_tools_that_are_too_old_or_too_new_are_refused() {
    let newer = PgServer::start(PgOptions::major(18).unwrap()).await.unwrap();
    let older = PgServer::start(PgOptions::major(15).unwrap()).await.unwrap();
    newer.create_database("source").await.unwrap();
    newer.sql("source", "CREATE TABLE t AS SELECT 1 AS a").await.unwrap();
    let depot = Depot::new();
    let e = depot.backup(&config(&newer, "source").with_bin_dir(older.bin(""))).await.unwrap_err();
    assert!(
        e.kind() == ErrorKind::Unsupported && e.help().is_some_and(|h| h.contains("postgresql-client-18")),
        "{e:?}"
    );
    depot.backup(&config(&newer, "source")).await.unwrap();
    let e = depot
        .restore(&config(&older, "source").with_bin_dir(newer.bin("")), &RestoreRequest::in_place())
        .await
        .unwrap_err();
    assert!(
        e.kind() == ErrorKind::Conflict && e.to_string().contains("pg_restore 18 cannot restore to PostgreSQL 15"),
        "{e:?}"
    );
}
