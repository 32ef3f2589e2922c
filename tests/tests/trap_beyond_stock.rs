//! States that stock tools lose, one by one: brought back, or refused in words; never silently less.

use veza_dr_core::{ErrorKind, RestoreRequest, Verdict};
use veza_dr_tests::{
    fixtures::fixture,
    oracle::Oracle,
    postgres_server::{PgOptions, PgServer},
    product::{Depot, config},
};

/// What becomes of a state.
enum Fate {
    /// Everything comes back.
    Same,
    /// Everything comes back but for these facts, which `docs/postgres.md` names.
    But(&'static [&'static str]),
    /// The restore fails with this kind and these words; the live database stays.
    Refused(ErrorKind, &'static str),
    /// Everything comes back, or the restore fails so: an order that the archive does not know decides.
    SameOrRefused(ErrorKind, &'static str),
    /// The backup itself names it among what it lacks.
    Named(&'static str),
}

const STATES: &[(&str, Fate)] = &[
    ("index_name", Fate::Same),
    ("check_reads", Fate::Refused(ErrorKind::Unsupported, "rows cannot be loaded even after all others")),
    ("stale_partition", Fate::Same),
    ("stale_check", Fate::Refused(ErrorKind::Unsupported, "not_expired")),
    ("orphaned", Fate::Refused(ErrorKind::Unexpected, "child_parent")),
    ("unqualified", Fate::Refused(ErrorKind::Unexpected, "factors")),
    ("hidden_matview", Fate::SameOrRefused(ErrorKind::Unexpected, "has not been populated")),
    ("bare_language", Fate::Refused(ErrorKind::Unexpected, "extension \"bare\" is not available")),
    ("in_pg_catalog", Fate::Refused(ErrorKind::Unexpected, "veza_fixture_default()")),
    ("extension_member", Fate::Named("extension_member.t")),
    ("stale_generated", Fate::But(&["rows/stale_generated.invoices"])),
    ("stale_matview", Fate::But(&["rows/stale_matview.counted"])),
    ("event_log", Fate::Same),
];

/// One database for each state, cut out of the fixture.
async fn cut_out(server: &PgServer, state: &str) {
    server.create_database_with(state, "TEMPLATE \"all\"").await.unwrap();
    let mut drop: Vec<String> = STATES
        .iter()
        .filter(|(other, _)| *other != state)
        .map(|(other, _)| format!("DROP SCHEMA {other} CASCADE"))
        .collect();
    if state != "extension_member" {
        drop.insert(0, "ALTER EXTENSION hstore DROP TABLE extension_member.t".to_owned());
    }
    if state != "event_log" {
        drop.insert(0, "DROP EVENT TRIGGER log_ddl".to_owned());
    } else {
        drop.push("DELETE FROM event_log.log".to_owned());
    }
    if state != "bare_language" {
        drop.push("DROP LANGUAGE bare CASCADE".to_owned());
    }
    if state != "in_pg_catalog" {
        drop.push(
            "SET allow_system_table_mods = on; DROP FUNCTION pg_catalog.veza_fixture_default() CASCADE".to_owned(),
        );
    }
    for statement in drop {
        server.sql(state, &statement).await.unwrap_or_else(|e| panic!("{state}: {statement}: {e}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_comes_back_or_is_refused_in_words() {
    let server = PgServer::start(PgOptions::default()).await.unwrap();
    server.create_database("all").await.unwrap();
    server.psql_file("all", &fixture("beyond_pg_dump.sql"), &[]).await.unwrap();
    let oracle = Oracle::of(&server);
    let mut faults = Vec::new();
    for (state, fate) in STATES {
        cut_out(&server, state).await;
        let before = oracle.read(state).await.unwrap();
        let depot = Depot::new();
        let config = config(&server, state);
        depot.backup(&config).await.unwrap_or_else(|e| panic!("{state}: {e:?}"));
        let manifest = depot.latest().await.unwrap();
        let outcome = depot.restore(&config, &RestoreRequest::in_place()).await;
        let differences = before.diff(&oracle.read(state).await.unwrap());
        let fault = match (fate, outcome) {
            (Fate::Same | Fate::SameOrRefused(..), Ok(_)) if differences.is_empty() => continue,
            (Fate::But(keys), Ok(report)) => {
                let known = |d: &String| keys.iter().any(|k| d.contains(k));
                if report.verification.verdict() == Verdict::Equal
                    && differences.iter().all(known)
                    && !differences.is_empty()
                {
                    continue;
                }
                format!("{:?} {differences:#?}", report.verification)
            }
            (Fate::Refused(kind, says) | Fate::SameOrRefused(kind, says), Err(e))
                if e.kind() == *kind && e.chain().contains(says) && differences.is_empty() =>
            {
                continue;
            }
            (Fate::Named(what), Ok(_)) if manifest.skipped.iter().any(|s| s.what == *what) => continue,
            (_, Ok(_)) => format!("restored; {differences:#?}; skipped {:?}", manifest.skipped),
            (_, Err(e)) => format!("{} {}; {differences:#?}", e.kind(), e.chain()),
        };
        faults.push(format!("{state}: {fault}"));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}
