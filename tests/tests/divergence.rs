//! What one database has that another has not: counted exactly, on real servers.

use std::collections::BTreeMap;

use serde_json::json;
use veza_dr_core::{Cx, ErrorKind, SecretString};
use veza_dr_failover::{
    divergence::{DifferenceKind, DivergenceReport, Limits, TableDivergence, compare, compare_with},
    reach::PostgresAccess,
};
use veza_dr_tests::postgres_server::{PgOptions, PgServer};

fn access(server: &PgServer, database: &str) -> PostgresAccess {
    PostgresAccess::new("127.0.0.1", server.port(), "postgres", database)
        .with_password(SecretString::from(server.password().to_owned()))
}

fn table<'a>(report: &'a DivergenceReport, name: &str) -> &'a TableDivergence {
    report.tables.iter().find(|t| t.table == name).unwrap_or_else(|| panic!("{name}: {report:#?}"))
}

fn counts(report: &DivergenceReport, name: &str) -> (u64, u64, u64) {
    let table = table(report, name);
    (table.only_a, table.only_b, table.differing)
}

const BOTH: &str = r#"
    CREATE TABLE big (id bigint PRIMARY KEY, t text, at timestamptz);
    INSERT INTO big SELECT i, 'row ' || i, '2026-01-01'::timestamptz + i * interval '1 s' FROM generate_series(1, 100000) i;
    CREATE SCHEMA "Odd ""Schema""";
    CREATE TABLE "Odd ""Schema"""."T,able é" ("select" text, "Ключ" numeric, v jsonb, PRIMARY KEY ("Ключ", "select"));
    INSERT INTO "Odd ""Schema"""."T,able é" VALUES ('a', 1.5, '{"x": null}'), ('b"c', 2, NULL), (E'line\nend\t\\', 3, '[]');
    CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE TABLE kinds (id uuid PRIMARY KEY, b bytea, f float8, r int4range, a text[], m mood, i interval, n numeric, z timestamptz, c char(5));
    INSERT INTO kinds VALUES
        ('00000000-0000-0000-0000-000000000001', '\x00ff', 'NaN', '[1,5)', ARRAY['a', NULL, ''], 'sad', '1 mon 2 days', 'Infinity', 'infinity', 'x'),
        ('00000000-0000-0000-0000-000000000002', NULL, 1e-300, 'empty', '{}', NULL, '-1 s', 1.10, '-infinity', '');
    CREATE TABLE keyless (a int, b text);
    INSERT INTO keyless VALUES (1, 'x'), (1, 'x'), (1, 'x'), (2, NULL), (2, '');
    CREATE TABLE nothing ();
    CREATE TABLE parts (id int, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
    CREATE TABLE parts_eu PARTITION OF parts FOR VALUES IN ('eu');
    INSERT INTO parts VALUES (1, 'eu'), (2, 'eu');
"#;

#[tokio::test(flavor = "multi_thread")]
async fn every_row_that_differs_is_found_and_counted_once() {
    let server = PgServer::start(PgOptions::default()).await.unwrap();
    for name in ["old", "new"] {
        server.create_database(name).await.unwrap();
        server.sql(name, BOTH).await.unwrap();
    }
    let cx = Cx::background();
    let (old, new) = (access(&server, "old"), access(&server, "new"));
    let same = compare(&cx, &old, &new, Limits::default()).await.unwrap();
    assert!(same.is_equal(), "{same:#?}");
    assert_eq!((table(&same, "public.big").rows_a, same.tables.len()), (100_000, 6));

    let changes = [
        // Rows written on the old primary after the point of recovery, and on the new one since.
        ("old", "INSERT INTO big SELECT i, 'late', now() FROM generate_series(100001, 100137) i"),
        ("new", "INSERT INTO big SELECT i, 'new', now() FROM generate_series(200001, 200042) i"),
        // Both changed the same row, and one of them another; each deleted one.
        ("old", "UPDATE big SET t = 'old''s' WHERE id IN (500, 501)"),
        ("new", "UPDATE big SET t = 'new''s' WHERE id = 500"),
        ("old", "DELETE FROM big WHERE id = 7"),
        ("new", "DELETE FROM big WHERE id = 8"),
        ("old", r#"UPDATE "Odd ""Schema"""."T,able é" SET v = '{"x": 1}' WHERE "Ключ" = 3"#),
        ("old", r#"INSERT INTO "Odd ""Schema"""."T,able é" VALUES ('null', 4, 'null')"#),
        ("old", "UPDATE kinds SET n = 1.1 WHERE m IS NULL"),
        ("new", "UPDATE kinds SET a = ARRAY['a', 'NULL', ''] WHERE m = 'sad'"),
        ("old", "INSERT INTO keyless VALUES (1, 'x'), (1, 'x'), (3, 'y')"),
        ("new", "INSERT INTO keyless VALUES (2, '')"),
        ("new", "DELETE FROM keyless WHERE b IS NULL"),
        ("old", "INSERT INTO nothing DEFAULT VALUES"),
        ("old", "INSERT INTO parts VALUES (3, 'eu')"),
    ];
    for (database, sql) in changes {
        server.sql(database, sql).await.unwrap();
    }
    let mut all = Vec::new();
    let limits = Limits { samples: 2, ..Limits::default() };
    let report = compare_with(&cx, &old, &new, limits, &mut |d| {
        all.push(d.clone());
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(counts(&report, "public.big"), (138, 43, 2));
    assert_eq!(counts(&report, r#""Odd ""Schema"""."T,able é""#), (1, 0, 1));
    assert_eq!(counts(&report, "public.kinds"), (0, 0, 2));
    assert_eq!(counts(&report, "public.keyless"), (4, 1, 0));
    assert_eq!(counts(&report, "public.nothing"), (1, 0, 0));
    assert_eq!(counts(&report, "public.parts_eu"), (1, 0, 0));
    assert_eq!((report.only_a(), report.only_b(), report.differing()), (145, 44, 5));
    assert!(report.schema.is_empty() && !report.is_equal());

    // Samples are limited, what is given away is not; keys and both rows are there.
    let big = table(&report, "public.big");
    let kept = |kind| big.samples.iter().filter(|s| s.kind == kind).count();
    assert_eq!((kept(DifferenceKind::OnlyA), kept(DifferenceKind::OnlyB), kept(DifferenceKind::Differing)), (2, 2, 2));
    let mut keys: BTreeMap<DifferenceKindName, Vec<i64>> = BTreeMap::new();
    for difference in all.iter().filter(|d| d.table == "public.big") {
        let key = difference.key.as_ref().unwrap()[0].as_i64().unwrap();
        keys.entry(name_of(difference.kind)).or_default().push(key);
    }
    keys.values_mut().for_each(|k| k.sort_unstable());
    assert_eq!(keys["only_a"], [8].into_iter().chain(100_001..=100_137).collect::<Vec<i64>>());
    assert_eq!(keys["only_b"], [7].into_iter().chain(200_001..=200_042).collect::<Vec<i64>>());
    assert_eq!(keys["differing"], [500, 501]);
    let both = all.iter().find(|d| d.key == Some(json!([500]))).unwrap();
    let texts = (both.a.as_ref().unwrap()["t"].as_str(), both.b.as_ref().unwrap()["t"].as_str());
    assert_eq!(texts, (Some("old's"), Some("new's")));
    let twice = all.iter().find(|d| d.table == "public.keyless" && d.times == 2).unwrap();
    assert_eq!((twice.kind, &twice.a), (DifferenceKind::OnlyA, &Some(json!({ "a": 1, "b": "x" }))));

    // The other way round it is the mirror image.
    let mirror = compare(&cx, &new, &old, limits).await.unwrap();
    assert_eq!((mirror.only_a(), mirror.only_b(), mirror.differing()), (44, 145, 5));
    let mut lines = Vec::new();
    report.write_json_lines(&mut lines).unwrap();
    let lines: Vec<serde_json::Value> =
        String::from_utf8(lines).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let samples: usize = report.tables.iter().map(|t| t.samples.len()).sum();
    assert_eq!(lines.len(), report.tables.len() + samples);
}

type DifferenceKindName = &'static str;

fn name_of(kind: DifferenceKind) -> DifferenceKindName {
    match kind {
        DifferenceKind::OnlyA => "only_a",
        DifferenceKind::OnlyB => "only_b",
        _ => "differing",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_differ_are_told_and_what_cannot_be_read_is_no_report() {
    let server = PgServer::start(PgOptions::default()).await.unwrap();
    for name in ["old", "new"] {
        server.create_database(name).await.unwrap();
        server.sql(name, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')").await.unwrap();
    }
    server.sql("old", "CREATE TABLE lost AS SELECT i FROM generate_series(1, 3) i").await.unwrap();
    server.sql("new", "CREATE TABLE added (x int); ALTER TABLE t ADD n int; UPDATE t SET n = 5").await.unwrap();
    let cx = Cx::background();
    let (old, new) = (access(&server, "old"), access(&server, "new"));
    let report = compare(&cx, &old, &new, Limits::default()).await.unwrap();
    let told = [
        "public.lost is only in the first database, with 3 rows",
        "public.t.n is only in the second database: not compared",
        "public.added is only in the second database, with 0 rows",
    ];
    assert_eq!(report.schema, told);
    assert_eq!((counts(&report, "public.t"), counts(&report, "public.lost")), ((0, 0, 0), (3, 0, 0)));
    assert!(!report.is_equal());

    // A large row is told by its key alone.
    server.sql("old", "UPDATE t SET v = repeat('x', 100000)").await.unwrap();
    let report = compare(&cx, &old, &new, Limits::default()).await.unwrap();
    let sample = &table(&report, "public.t").samples[0];
    assert_eq!((sample.kind, &sample.key, &sample.a), (DifferenceKind::Differing, &Some(json!([1])), &None));

    server.sql("old", "CREATE ROLE reader LOGIN PASSWORD 'pw'").await.unwrap();
    let reader = PostgresAccess::new("127.0.0.1", server.port(), "reader", "old")
        .with_password(SecretString::from("pw".to_owned()));
    let e = compare(&cx, &reader, &new, Limits::default()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Denied, "{e:?}");
    let port = veza_dr_tests::ports::free_port().unwrap();
    let dead = PostgresAccess::new("127.0.0.1", port, "postgres", "old");
    let e = compare(&cx, &dead, &new, Limits::default()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unavailable, "{e:?}");
}
