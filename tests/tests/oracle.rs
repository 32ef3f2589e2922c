//! The oracle sees everything: a stock copy is the same, and no single change escapes.

use veza_dr_tests::fixtures::fixture;
use veza_dr_tests::oracle::Oracle;
use veza_dr_tests::postgres_server::{PgOptions, PgServer};

/// A change, and a part of a key under which the oracle must report it.
const CHANGES: &[(&str, &str)] = &[
    ("UPDATE hostile.texts SET t = '\\n' WHERE id = 1", "rows/hostile.texts"),
    ("INSERT INTO hostile.no_columns DEFAULT VALUES", "rows/hostile.no_columns"),
    ("INSERT INTO hostile.duplicates VALUES (1, 'same')", "rows/hostile.duplicates"),
    ("UPDATE hostile.numbers SET f8 = 0.3 WHERE id = 7", "rows/hostile.numbers"),
    ("INSERT INTO hostile.parent (a) VALUES (8)", "rows/hostile.parent"),
    ("INSERT INTO hostile.hash_by_enum VALUES ('', 11)", "rows/hostile.hash_by_enum"),
    ("UPDATE hostile.toasted SET raw = set_byte(raw, 40000, 0) WHERE id = 3", "rows/hostile.toasted"),
    ("REFRESH MATERIALIZED VIEW hostile.third_floor WITH NO DATA", "relation/hostile.third_floor"),
    ("REFRESH MATERIALIZED VIEW hostile.unpopulated", "relation/hostile.unpopulated"),
    ("SELECT nextval('hostile.never_called')", "sequence/hostile.never_called"),
    ("SELECT setval('hostile.called', 5, false)", "sequence/hostile.called"),
    ("ALTER SEQUENCE hostile.cached CACHE 51", "schema/SEQUENCE/hostile/cached"),
    ("SELECT lo_put(900006, 12345, '\\x00')", "large-object/900006"),
    ("SELECT lo_unlink(910007)", "large-object/910007"),
    ("REVOKE SELECT ON LARGE OBJECT 900003 FROM PUBLIC", "large-object/900003"),
    ("ALTER LARGE OBJECT 900005 OWNER TO \"hostile owner\"", "large-object/900005"),
    ("COMMENT ON LARGE OBJECT 900003 IS NULL", "large-object/900003"),
    ("REVOKE UPDATE (c) ON hostile.rights FROM PUBLIC", "schema/ACL/hostile/COLUMN rights.c"),
    ("REVOKE GRANT OPTION FOR INSERT ON hostile.rights FROM \"Hostile \"\"Reader\"\"\"", "relation/hostile.rights"),
    ("GRANT SELECT ON hostile.owner_locked_out TO \"hostile owner\"", "relation/hostile.owner_locked_out"),
    ("ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM \"hostile.group\"", "schema/DEFAULT ACL"),
    ("ALTER TABLE hostile.facts OWNER TO \"hostile owner\"", "relation/hostile.facts"),
    ("DROP INDEX hostile.indexed_hash", "index/hostile.indexed_hash"),
    ("ALTER INDEX hostile.indexed_gist SET (fillfactor = 61)", "index/hostile.indexed_gist"),
    ("ALTER TABLE hostile.indexed SET WITHOUT CLUSTER", "index/hostile.indexed_include"),
    ("ALTER TABLE hostile.replica_full REPLICA IDENTITY DEFAULT", "relation/hostile.replica_full"),
    ("ALTER TABLE hostile.orphans DROP CONSTRAINT orphans_hen", "constraint/hostile.orphans/orphans_hen"),
    ("ALTER TABLE hostile.egg ALTER CONSTRAINT egg_hen_fkey NOT DEFERRABLE", "constraint/hostile.egg/egg_hen_fkey"),
    (
        "UPDATE hostile.checks SET a = 1; ALTER TABLE hostile.checks VALIDATE CONSTRAINT not_valid",
        "constraint/hostile.checks/not_valid",
    ),
    ("ALTER TABLE hostile.watched ENABLE TRIGGER disabled", "trigger/hostile.watched/disabled"),
    ("DROP RULE notify ON hostile.redirected", "rule/hostile.redirected/notify"),
    ("ALTER EVENT TRIGGER hostile_disabled ENABLE", "event-trigger/hostile_disabled"),
    ("ALTER TABLE hostile.guarded NO FORCE ROW LEVEL SECURITY", "relation/hostile.guarded"),
    ("ALTER POLICY change ON hostile.guarded WITH CHECK (id > 1)", "policy/hostile.guarded/change"),
    ("ALTER EXTENSION ltree SET SCHEMA extensions", "extension/ltree"),
    ("COMMENT ON COLUMN hostile.composite.\"B b\" IS 'another'", "schema/COMMENT/hostile"),
    ("ALTER TABLE hostile.storage ALTER COLUMN t SET STATISTICS 778", "schema/TABLE/hostile/storage"),
    ("ALTER TYPE hostile.\"Mood's\" RENAME VALUE '' TO ' '", "schema/TYPE/hostile/Mood's"),
    ("ALTER FUNCTION hostile.add_one(int) COST 8", "schema/FUNCTION/hostile/add_one"),
    ("ALTER PUBLICATION everything SET (publish = 'insert')", "schema/PUBLICATION/-/everything"),
    ("ALTER DATABASE copy CONNECTION LIMIT 44", "database/connection limit"),
    ("REVOKE CONNECT ON DATABASE copy FROM \"hostile.group\"", "database/acl"),
    ("COMMENT ON DATABASE copy IS 'x'", "database/comment"),
    ("ALTER DATABASE copy OWNER TO postgres", "database/owner"),
];

#[tokio::test]
async fn a_stock_copy_is_the_same_and_no_change_escapes() {
    let server = PgServer::start(PgOptions::default()).await.unwrap();
    server.create_database("source").await.unwrap();
    server.psql_file("source", &fixture("hostile.sql"), &[]).await.unwrap();
    let oracle = Oracle::of(&server);
    let source = oracle.read("source").await.unwrap();
    assert!(source.len() > 1500, "{source:?}");
    source.assert_same(&oracle.read("source").await.unwrap());

    server.create_database("copy").await.unwrap();
    assert_eq!(server.stock_copy("source", &server, "copy").await.unwrap(), "");
    let copy = oracle.read("copy").await.unwrap();
    source.without_database().assert_same(&copy.without_database());
    let differences = source.diff(&copy);
    for key in ["database/owner", "database/acl", "database/comment", "database/settings/", "database/connection limit"]
    {
        assert!(differences.iter().any(|line| line.contains(key)), "{key} not among {differences:#?}");
    }

    // So that the changes of settings below find something to change.
    server.psql_file("copy", &fixture("hostile/database.sql"), &[]).await.unwrap();
    let mut before = oracle.read("copy").await.unwrap();
    source.assert_same(&before);
    let mut failures = Vec::new();
    for (change, key) in CHANGES {
        let args = ["-c", "SET standard_conforming_strings = on", "-c", change];
        server.psql("copy", &args, None).await.unwrap_or_else(|error| panic!("{change}: {error}"));
        let after = oracle.read("copy").await.unwrap();
        let differences = before.diff(&after);
        if !differences.iter().any(|line| line.contains(key)) {
            failures.push(format!("{change}: expected {key}, got {differences:#?}"));
        }
        before = after;
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
