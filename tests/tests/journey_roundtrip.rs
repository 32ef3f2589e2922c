//! Backup, loss, restore: what comes back is what was there, by the word of psql and pg_dump.

use veza_dr_core::{ErrorKind, RestoreRequest, Verdict};
use veza_dr_tests::{
    fixtures::fixture,
    oracle::Oracle,
    postgres_server::{PgOptions, PgServer},
    product::{Depot, config},
};

/// Loads `script` into a database made with `clauses`, backs it up, destroys every table, restores in place, and
/// compares with the independent oracle.
async fn survives(options: PgOptions, clauses: &str, script: &str) {
    let server = PgServer::start(options).await.unwrap();
    let space = server.scratch_dir("space").unwrap().display().to_string();
    server.create_database_with("source", clauses).await.unwrap();
    server.psql_file("source", &fixture(script), &[("tablespace_dir", &space)]).await.unwrap();
    let oracle = Oracle::of(&server);
    let before = oracle.read("source").await.unwrap();
    let depot = Depot::new();
    let config = config(&server, "source").with_chunk_bytes(64 * 1024);
    depot.backup(&config).await.unwrap_or_else(|e| panic!("backup: {e:#?}"));
    // The disaster: nothing of it is left, not even the database.
    server.drop_database("source").await.unwrap();
    let report =
        depot.restore(&config, &RestoreRequest::in_place()).await.unwrap_or_else(|e| panic!("restore: {e:#?}"));
    assert_eq!(report.verification.verdict(), Verdict::Equal, "{:#?}", report.verification.findings);
    let after = oracle.read("source").await.unwrap();
    let differences = before.diff(&after);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_schema_survives() {
    survives(PgOptions::default(), "", "hostile.sql").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_generators_database_survives() {
    survives(PgOptions::default(), "", "veza.sql").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_an_encoding_survives() {
    survives(PgOptions::default(), "TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'", "sql_ascii.sql").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_no_text_are_refused_by_name() {
    let server = PgServer::start(PgOptions::default()).await.unwrap();
    server.create_database_with("source", "TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'").await.unwrap();
    server.psql_file("source", &fixture("sql_ascii.sql"), &[("names", "1")]).await.unwrap();
    let depot = Depot::new();
    let e = depot.backup(&config(&server, "source")).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unsupported);
    assert!(e.to_string().contains(r"'table \xff'") && e.to_string().contains(r"'col \xe9'"), "{e}");
    assert!(depot.complete().await.is_empty());
}
