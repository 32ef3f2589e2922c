//! A round trip on every major that is supported, with the client tools of that major.

use veza_dr_core::{RestoreRequest, Verdict};
use veza_dr_tests::{
    fixtures::fixture,
    oracle::Oracle,
    postgres_server::{PgOptions, PgServer},
    product::{Depot, config},
};

async fn survives_on(major: u32) {
    let server = PgServer::start(PgOptions::major(major).unwrap()).await.unwrap();
    let space = server.scratch_dir("space").unwrap().display().to_string();
    server.create_database("source").await.unwrap();
    server.psql_file("source", &fixture("hostile.sql"), &[("tablespace_dir", &space)]).await.unwrap();
    let oracle = Oracle::of(&server);
    let before = oracle.read("source").await.unwrap();
    let depot = Depot::new();
    let config = config(&server, "source").with_chunk_bytes(64 * 1024);
    depot.backup(&config).await.unwrap_or_else(|e| panic!("{major}: {e:#?}"));
    server.drop_database("source").await.unwrap();
    let report =
        depot.restore(&config, &RestoreRequest::in_place()).await.unwrap_or_else(|e| panic!("{major}: {e:#?}"));
    assert_eq!(report.verification.verdict(), Verdict::Equal, "{major}: {:#?}", report.verification.findings);
    before.assert_same(&oracle.read("source").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_survives_on_14() {
    survives_on(14).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_survives_on_16() {
    survives_on(16).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_survives_on_17() {
    survives_on(17).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_survives_on_18() {
    survives_on(18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_backup_moves_to_a_newer_server() {
    let older = PgServer::start(PgOptions::default()).await.unwrap();
    let newer = PgServer::start(PgOptions::major(18).unwrap()).await.unwrap();
    older.create_database("source").await.unwrap();
    let sql = "CREATE TABLE t (id serial PRIMARY KEY, n numeric, j jsonb, ts timestamptz); \
         INSERT INTO t (n, j, ts) SELECT i * 0.1, jsonb_build_object('a', i), now() FROM generate_series(1, 5000) i; \
         CREATE INDEX ON t (ts); CREATE MATERIALIZED VIEW m AS SELECT sum(n) FROM t; SELECT lo_from_bytea(77, 'x')";
    older.sql("source", sql).await.unwrap();
    let before = Oracle::of(&older).read("source").await.unwrap();
    let depot = Depot::new();
    depot.backup(&config(&older, "source")).await.unwrap();
    let report = depot.restore(&config(&newer, "source"), &RestoreRequest::in_place()).await.unwrap();
    assert_eq!(report.verification.verdict(), Verdict::Equal);
    let after = Oracle::of(&newer).read("source").await.unwrap();
    for key in ["rows/public.t", "rows/public.m", "sequence/public.t_id_seq"] {
        assert_eq!(after.get(key), before.get(key), "{key}");
    }
}
