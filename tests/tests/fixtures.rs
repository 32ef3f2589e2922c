//! The fixtures load on every major, and stock tools do with them what their headers say.

use veza_dr_tests::fixtures::fixture;
use veza_dr_tests::oracle::Oracle;
use veza_dr_tests::postgres_majors::MATRIX;
use veza_dr_tests::postgres_server::{PgOptions, PgServer};

async fn server_with(
    database: &str,
    clauses: &str,
    script: &str,
    variables: &[(&str, &str)],
) -> veza_dr_tests::Result<PgServer> {
    let server = PgServer::start(PgOptions::default()).await?;
    server.create_database_with(database, clauses).await?;
    server.psql_file(database, &fixture(script), variables).await?;
    Ok(server)
}

#[tokio::test]
async fn hostile_survives_stock_tools_on_every_major() {
    for major in MATRIX {
        let server = PgServer::start(PgOptions::major(major).unwrap()).await.unwrap();
        let space = server.scratch_dir("space").unwrap().display().to_string();
        server.create_database("source").await.unwrap();
        server.psql_file("source", &fixture("hostile.sql"), &[("tablespace_dir", &space)]).await.unwrap();
        server.create_database("copy").await.unwrap();
        let complaints = server.stock_copy("source", &server, "copy").await.unwrap();
        assert_eq!(complaints, "", "on {major}");
        let oracle = Oracle::of(&server);
        let (source, copy) = (oracle.read("source").await.unwrap(), oracle.read("copy").await.unwrap());
        let differences = source.without_database().diff(&copy.without_database());
        assert!(differences.is_empty(), "on {major}:\n{}", differences.join("\n"));
        // Rows in every table that can hold one, but for the one that is there to be empty.
        let empty: Vec<&str> =
            source.keys("rows/").filter(|key| source.get(key).is_some_and(|rows| rows.starts_with("0 rows"))).collect();
        assert_eq!(empty, ["rows/hostile.empty"], "on {major}");
        assert_eq!(source.keys("extension/hostile_config").count(), usize::from(major != 15), "on {major}");
        server.drop_database("source").await.unwrap();
        let globals = oracle.read_globals().await.unwrap();
        assert!(globals.keys("globals/CREATE ROLE \"hostile").count() >= 3, "{globals:?}");
    }
}

/// The states of `beyond_pg_dump.sql` and what `pg_restore` says about each; nothing where it loses silently.
const BEYOND: &[(&str, Option<&str>)] = &[
    ("index_name", Some("relation \"index_name.target_t\" does not exist")),
    ("check_reads", Some("violates check constraint \"within_limit\"")),
    ("stale_partition", Some("relation \"items_0\" violates partition constraint")),
    ("stale_check", Some("violates check constraint \"not_expired\"")),
    ("orphaned", Some("violates foreign key constraint \"child_parent\"")),
    ("unqualified", Some("relation \"factors\" does not exist")),
    ("hidden_matview", Some("materialized view \"z_first\" has not been populated")),
    ("bare_language", Some("language \"bare\" does not exist")),
    ("in_pg_catalog", Some("function veza_fixture_default() does not exist")),
    ("extension_member", None),
    ("stale_generated", None),
    ("stale_matview", None),
    ("event_log", None),
    ("partitioned_exclusion", Some("The index definitions do not match")),
];

#[tokio::test]
async fn stock_tools_fail_on_every_state_beyond() {
    for major in [15, 18] {
        let server = PgServer::start(PgOptions::major(major).unwrap()).await.unwrap();
        server.create_database("source").await.unwrap();
        server.psql_file("source", &fixture("beyond_pg_dump.sql"), &[]).await.unwrap();
        server.create_database("copy").await.unwrap();
        let complaints = server.stock_copy("source", &server, "copy").await.unwrap();
        let oracle = Oracle::of(&server);
        let (source, copy) = (oracle.read("source").await.unwrap(), oracle.read("copy").await.unwrap());
        let differences = source.without_database().diff(&copy.without_database());
        for (state, complaint) in BEYOND {
            if *state == "partitioned_exclusion" && major < 17 {
                continue;
            }
            let named = format!("{state}.");
            assert!(differences.iter().any(|line| line.contains(&named)), "{state} on {major}: {differences:#?}");
            match complaint {
                Some(complaint) => assert!(complaints.contains(complaint), "{state} on {major}: {complaints}"),
                None => assert!(!complaints.contains(&named), "{state} on {major}: {complaints}"),
            }
        }
    }
}

#[tokio::test]
async fn stock_tools_keep_bytes_that_have_no_encoding() {
    let clauses = "TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'";
    let server = server_with("source", clauses, "sql_ascii.sql", &[("names", "1")]).await.unwrap();
    server.create_database_with("copy", clauses).await.unwrap();
    assert_eq!(server.stock_copy("source", &server, "copy").await.unwrap(), "");
    let oracle = Oracle::of(&server);
    let source = oracle.read("source").await.unwrap();
    source.assert_same(&oracle.read("copy").await.unwrap());
    assert!(source.get("rows/public.\"table \\xff\"").is_some_and(|rows| rows.starts_with("1 rows")), "{source:?}");
    server.sql("copy", "UPDATE bytes SET t = E'\\xfe' WHERE id = 1").await.unwrap();
    assert_eq!(source.diff(&oracle.read("copy").await.unwrap()).len(), 1);
}

#[tokio::test]
async fn stock_create_stumbles_over_settings_of_the_database() {
    const QUESTION: &str = "SELECT a[2] IS NULL FROM arrays WHERE id = 1";
    for (variables, expected) in [(&[][..], Some("f")), (&[("read_only", "1")][..], None)] {
        let server = server_with("source", "TEMPLATE template0", "database_settings.sql", variables).await.unwrap();
        let archive = server.scratch_dir("scratch").unwrap().join("archive").display().to_string();
        server.run_tool("pg_dump", &["-Fc", "-f", &archive, "-d", "source"]).await.unwrap();
        assert_eq!(server.sql("source", QUESTION).await.unwrap(), "t");
        server.drop_database("source").await.unwrap();
        let output = server.try_tool("pg_restore", &["--create", "-d", "postgres", &archive]).await.unwrap();
        assert_eq!(output.status.success(), expected.is_some());
        assert_eq!(server.sql("source", QUESTION).await.ok().as_deref(), expected);
    }
}

#[tokio::test]
async fn the_benchmark_database_survives_stock_tools() {
    let server = server_with("source", "TEMPLATE template0", "veza.sql", &[("scale", "1")]).await.unwrap();
    server.create_database("copy").await.unwrap();
    assert_eq!(server.stock_copy("source", &server, "copy").await.unwrap(), "");
    let oracle = Oracle::of(&server);
    let source = oracle.read("source").await.unwrap();
    source.assert_same(&oracle.read("copy").await.unwrap());
    assert!(source.get("rows/public.messages").unwrap().starts_with("300000 rows"));
}
