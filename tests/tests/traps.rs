//! Traps of PostgreSQL backups, each under its number in docs/postgres.md.

use std::time::Duration;

use veza_dr_backup::postgres::{PostgresDetail, PostgresTarget};
use veza_dr_core::{BackupTarget, Cx, ErrorKind, Outcome, RestoreRequest, Verdict};
use veza_dr_tests::{
    fixtures::fixture,
    oracle::Oracle,
    postgres_server::{PgOptions, PgServer},
    product::{Depot, config},
};

async fn server_with(statements: &str) -> PgServer {
    let server = PgServer::start(PgOptions::default()).await.unwrap();
    server.create_database("source").await.unwrap();
    server.sql("source", statements).await.unwrap();
    server
}

/// Backs `source` up, drops it, restores it, and holds it against the oracle.
async fn comes_back(server: &PgServer) {
    let oracle = Oracle::of(server);
    let before = oracle.read("source").await.unwrap();
    let depot = Depot::new();
    let config = config(server, "source").with_chunk_bytes(64 * 1024);
    depot.backup(&config).await.unwrap_or_else(|e| panic!("backup: {e:#?}"));
    server.drop_database("source").await.unwrap();
    let report = depot.restore(&config, &RestoreRequest::in_place()).await.unwrap_or_else(|e| panic!("{e:#?}"));
    assert_eq!(report.verification.verdict(), Verdict::Equal);
    before.assert_same(&oracle.read("source").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn t01_no_foreign_key_is_lost_in_a_parallel_restore() {
    let mut sql =
        String::from("CREATE TABLE hub (id int PRIMARY KEY); INSERT INTO hub SELECT generate_series(1, 100);");
    for t in 0..24 {
        sql.push_str(&format!(
            "CREATE TABLE t{t} (id int PRIMARY KEY, a int REFERENCES hub, b int REFERENCES hub, c int REFERENCES {});\
             INSERT INTO t{t} SELECT i, i, i, i FROM generate_series(1, 100) i;",
            if t == 0 { "hub".to_owned() } else { format!("t{}", t - 1) }
        ));
    }
    let server = server_with(&sql).await;
    comes_back(&server).await;
    let keys = server.psql("source", &["-Atc", "SELECT count(*) FROM pg_constraint WHERE contype = 'f'"], None).await;
    assert_eq!(keys.unwrap().trim(), "72");
}

#[tokio::test(flavor = "multi_thread")]
async fn t02_tables_truncated_together_are_never_seen_half() {
    let server =
        server_with("CREATE TABLE a AS SELECT i FROM generate_series(1, 2000) i; CREATE TABLE b AS TABLE a").await;
    let writer = server.client("source").await.unwrap();
    // As careful migrations do: a TRUNCATE that waits for us makes everybody else wait for it.
    writer.batch_execute("SET lock_timeout = '500ms'").await.unwrap();
    let storm = tokio::spawn(async move {
        loop {
            let together = "BEGIN; TRUNCATE a, b; INSERT INTO a SELECT generate_series(1, 2000); \
                 INSERT INTO b SELECT generate_series(1, 2000); COMMIT";
            if writer.batch_execute(together).await.is_err() && writer.batch_execute("ROLLBACK").await.is_err() {
                return;
            }
        }
    });
    let depot = Depot::new();
    for _ in 0..8 {
        depot.backup(&config(&server, "source")).await.unwrap_or_else(|e| panic!("{e:#?}"));
        let rows: Vec<u64> = depot.latest().await.unwrap().contents.iter().map(|c| c.rows).collect();
        assert_eq!(rows, [2000, 2000], "a snapshot taken before its locks shows empty tables");
    }
    storm.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn t03_an_alter_table_that_waits_does_not_stop_a_backup_for_ever() {
    let server = server_with("CREATE TABLE a AS SELECT i FROM generate_series(1, 200000) i").await;
    let depot = Depot::new();
    let alter = server.client("source").await.unwrap();
    let storm = tokio::spawn(async move {
        for n in 0..40 {
            let _ = alter.batch_execute(&format!("ALTER TABLE a ADD COLUMN c{n} int")).await;
        }
    });
    let run = async {
        for _ in 0..5 {
            match depot.backup(&config(&server, "source").with_chunk_bytes(1 << 20)).await {
                Ok(_) => {}
                // A dump that waited too long for its lock says so; nothing is published then.
                Err(e) => assert!(matches!(e.kind(), ErrorKind::Conflict), "{e:#?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), run).await.expect("a backup hangs behind a waiting ALTER TABLE");
    storm.abort();
    assert_eq!(depot.latest().await.unwrap().rows(), 200_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn t10_values_do_not_depend_on_the_settings_of_a_database() {
    let server = server_with(
        "CREATE TABLE v (d date, i interval, f float8, t timestamptz, m money, b bytea); \
         INSERT INTO v VALUES ('2024-02-01', '1 day -02:03:04', 0.1::float8 + 0.2, '2024-02-01 12:00+05', '1234.5', '\\x00ff'); \
         ALTER DATABASE source SET DateStyle = 'SQL, DMY'; ALTER DATABASE source SET IntervalStyle = 'sql_standard'; \
         ALTER DATABASE source SET TimeZone = 'Asia/Tokyo'; ALTER DATABASE source SET extra_float_digits = -10; \
         ALTER DATABASE source SET bytea_output = 'escape'; ALTER DATABASE source SET array_nulls = off",
    )
    .await;
    comes_back(&server).await;
    let seen =
        server.psql("source", &["-Atc", "SELECT extract(month FROM d), f = 0.1::float8 + 0.2 FROM v"], None).await;
    assert_eq!(seen.unwrap().trim(), "2|t");
}

#[tokio::test(flavor = "multi_thread")]
async fn t12_a_column_that_names_an_index_comes_back() {
    let server = server_with(
        "CREATE TABLE t (id int PRIMARY KEY); CREATE INDEX named ON t (id); \
         CREATE TABLE points (at regclass); INSERT INTO points VALUES ('named'), ('t_pkey'), ('t')",
    )
    .await;
    let depot = Depot::new();
    let config = config(&server, "source");
    depot.backup(&config).await.unwrap();
    let report = depot.restore(&config, &RestoreRequest::in_place()).await.unwrap_or_else(|e| panic!("{e:#?}"));
    assert_eq!(report.verification.verdict(), Verdict::Equal);
    let seen =
        server.psql("source", &["-Atc", "SELECT string_agg(at::text, ' ' ORDER BY at::text) FROM points"], None).await;
    assert_eq!(seen.unwrap().trim(), "named t t_pkey");
}

#[tokio::test(flavor = "multi_thread")]
async fn t13_a_check_that_reads_another_table_comes_back() {
    let server = server_with(
        "CREATE TABLE a_items (n int); CREATE TABLE z_limits (top int); INSERT INTO z_limits VALUES (10); \
         CREATE FUNCTION below(n int) RETURNS bool LANGUAGE sql AS 'SELECT n <= (SELECT max(top) FROM public.z_limits)'; \
         ALTER TABLE a_items ADD CONSTRAINT within CHECK (below(n)); INSERT INTO a_items SELECT generate_series(1, 10)",
    )
    .await;
    comes_back(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t18_rows_that_belong_in_another_partition_here_are_loaded_through_the_root() {
    let server = server_with(
        "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy'); CREATE TABLE m (mood mood, n int) PARTITION BY HASH (mood); \
         CREATE TABLE m0 PARTITION OF m FOR VALUES WITH (MODULUS 3, REMAINDER 0); \
         CREATE TABLE m1 PARTITION OF m FOR VALUES WITH (MODULUS 3, REMAINDER 1); \
         CREATE TABLE m2 PARTITION OF m FOR VALUES WITH (MODULUS 3, REMAINDER 2); \
         INSERT INTO m SELECT (ARRAY['sad', 'ok', 'happy']::mood[])[1 + i % 3], i FROM generate_series(1, 3000) i",
    )
    .await;
    let depot = Depot::new();
    let config = config(&server, "source");
    depot.backup(&config).await.unwrap();
    assert!(PostgresDetail::of(&depot.latest().await.unwrap()).unwrap().tables.iter().all(|t| t.load_via_root));
    let report = depot.restore(&config, &RestoreRequest::in_place()).await.unwrap_or_else(|e| panic!("{e:#?}"));
    assert_eq!((report.verification.verdict(), report.verification.rows), (Verdict::Equal, 3000));
    let seen = server.psql("source", &["-Atc", "SELECT count(*), sum(n) FROM m"], None).await.unwrap();
    assert_eq!(seen.trim(), "3000|4501500");
}

#[tokio::test(flavor = "multi_thread")]
async fn t20_a_table_that_was_never_analyzed_is_cut_by_its_true_size() {
    let server = server_with(
        "CREATE TABLE big AS SELECT i, repeat('x', 100) FROM generate_series(1, 50000) i; \
         UPDATE pg_class SET relpages = 0, reltuples = 0 WHERE relname = 'big'",
    )
    .await;
    let depot = Depot::new();
    depot.backup(&config(&server, "source").with_chunk_bytes(1 << 20)).await.unwrap();
    let detail = PostgresDetail::of(&depot.latest().await.unwrap()).unwrap();
    assert!(detail.tables[0].chunks.len() > 3, "{:?}", detail.tables[0].chunks.len());
    assert_eq!(detail.tables[0].rows, 50_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn t26_names_that_look_like_patterns_are_dumped_once() {
    let server = server_with(
        "CREATE SCHEMA \"A*\"; CREATE TABLE \"A*\".\"b?c\" (i int); CREATE TABLE \"A*\".\"b.c\" (i serial); \
         CREATE TABLE \"a|b\" (i int); CREATE TABLE \"$x\" (i int); CREATE TABLE \"q\"\"q\" (i int); CREATE TABLE abc (i int); \
         INSERT INTO \"A*\".\"b?c\" VALUES (1); INSERT INTO \"A*\".\"b.c\" VALUES (2); INSERT INTO \"a|b\" VALUES (3); \
         INSERT INTO \"$x\" VALUES (4); INSERT INTO \"q\"\"q\" VALUES (5); INSERT INTO abc VALUES (6)",
    )
    .await;
    comes_back(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t34_settings_that_break_a_restore_are_applied_last() {
    let server = PgServer::start(PgOptions::default()).await.unwrap();
    server.create_database("source").await.unwrap();
    server.psql_file("source", &fixture("database_settings.sql"), &[("read_only", "1")]).await.unwrap();
    let oracle = Oracle::of(&server);
    let before = oracle.read("source").await.unwrap();
    let depot = Depot::new();
    let config = config(&server, "source");
    depot.backup(&config).await.unwrap_or_else(|e| panic!("{e:#?}"));
    let report = depot.restore(&config, &RestoreRequest::in_place()).await.unwrap_or_else(|e| panic!("{e:#?}"));
    assert_eq!(report.verification.verdict(), Verdict::Equal);
    before.assert_same(&oracle.read("source").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn t36_everything_is_analyzed_before_it_is_live() {
    let server = server_with(
        "CREATE TABLE t AS SELECT i FROM generate_series(1, 1000) i; CREATE MATERIALIZED VIEW m AS SELECT i FROM t",
    )
    .await;
    let depot = Depot::new();
    let config = config(&server, "source");
    depot.backup(&config).await.unwrap();
    depot.restore(&config, &RestoreRequest::in_place()).await.unwrap();
    let sql = "SELECT string_agg(relname || reltuples, ' ' ORDER BY relname) FROM pg_class WHERE relname IN ('t', 'm')";
    assert_eq!(server.psql("source", &["-Atc", sql], None).await.unwrap().trim(), "m1000 t1000");
}

#[tokio::test(flavor = "multi_thread")]
async fn t44_too_many_tables_for_the_lock_table_are_told_with_the_setting_to_raise() {
    let options = PgOptions::default().with("max_locks_per_transaction", 10).with("max_connections", 10);
    let server = PgServer::start(options).await.unwrap();
    server.create_database("source").await.unwrap();
    for part in 0..30 {
        let tables: String = (0..50).map(|n| format!("CREATE TABLE t{part}_{n} (i int);")).collect();
        server.sql("source", &tables).await.unwrap();
    }
    let config = config(&server, "source");
    let target = PostgresTarget::new(Depot::component(), config.clone()).unwrap();
    let report = target.check(&Cx::background()).await.unwrap();
    let locks = report.steps.iter().find(|s| s.name == "lock budget").unwrap();
    assert_eq!(locks.outcome, Outcome::Failed);
    assert!(locks.detail.contains("max_locks_per_transaction = "), "{}", locks.detail);
    let depot = Depot::new();
    let e = depot.backup(&config).await.unwrap_err();
    assert!(e.help().unwrap_or_default().contains("max_locks_per_transaction"), "{e:#?}");
    assert!(depot.complete().await.is_empty());
}
