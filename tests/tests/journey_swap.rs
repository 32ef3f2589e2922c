//! Restore in place, roll back, release: what is live, what is kept, and what is said when something is in the way.

use std::time::{Duration, Instant};

use veza_dr_core::{Cx, ErrorKind, RestoreRequest, RestoreTarget, SecretString, Verdict};
use veza_dr_restore::postgres::PostgresRestore;
use veza_dr_tests::{
    oracle::Oracle,
    postgres_server::{PgOptions, PgServer},
    product::{Depot, config},
};

const SCHEMA: &str = "CREATE ROLE keeper LOGIN; CREATE ROLE guest; CREATE EXTENSION hstore; \
     CREATE TABLE notes (id int PRIMARY KEY, t text); INSERT INTO notes SELECT i, 'note ' || i FROM generate_series(1, 500) i; \
     ALTER TABLE notes OWNER TO keeper; GRANT SELECT ON notes TO guest; \
     ALTER DATABASE source OWNER TO keeper; REVOKE ALL ON DATABASE source FROM PUBLIC; \
     GRANT CONNECT ON DATABASE source TO guest WITH GRANT OPTION; ALTER DATABASE source CONNECTION LIMIT 33; \
     ALTER DATABASE source SET work_mem = '5MB'; ALTER DATABASE source SET search_path = '$user', public; \
     ALTER ROLE guest IN DATABASE source SET statement_timeout = '1min'; \
     COMMENT ON DATABASE source IS 'it''s a \\ comment'";

async fn with_source() -> PgServer {
    let server = PgServer::start(PgOptions::default()).await.unwrap();
    server.create_database("source").await.unwrap();
    for statement in SCHEMA.split("; ") {
        server.sql("source", statement).await.unwrap_or_else(|e| panic!("{statement}: {e}"));
    }
    server
}

async fn databases(server: &PgServer) -> Vec<String> {
    let sql = "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres' ORDER BY 1";
    server.sql("postgres", sql).await.unwrap().lines().map(str::to_owned).collect()
}

fn target(server: &PgServer) -> PostgresRestore {
    PostgresRestore::new(Depot::component(), config(server, "source")).unwrap()
}

/// The blockers of a plan to restore the newest backup.
async fn blockers(depot: &Depot, target: &PostgresRestore, request: RestoreRequest) -> String {
    let manifest = depot.latest().await.unwrap();
    target.plan(&Cx::background(), &request, &manifest).await.unwrap().blockers.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_live_is_kept_until_released_and_comes_back_and_forth() {
    let server = with_source().await;
    let oracle = Oracle::of(&server);
    let depot = Depot::new();
    let config = config(&server, "source");
    let first = oracle.read("source").await.unwrap();
    depot.backup(&config).await.unwrap();
    server
        .sql("source", "UPDATE public.notes SET t = 'ruined' WHERE id > 10; CREATE TABLE public.later (id int)")
        .await
        .unwrap();
    server.sql("source", "COMMENT ON DATABASE source IS 'another'").await.unwrap();
    let ruined = oracle.read("source").await.unwrap();

    // Sessions of applications are ended; they do not hold the swap up.
    let idle = server.client("source").await.unwrap();
    idle.batch_execute("BEGIN; SELECT * FROM public.notes").await.unwrap();
    let report = depot.restore(&config, &RestoreRequest::in_place()).await.unwrap();
    assert!(idle.batch_execute("SELECT 1").await.is_err());
    let kept = report.replaced.clone().expect("what was replaced");
    assert_eq!(databases(&server).await, ["source".to_owned(), kept.clone()]);
    first.assert_same(&oracle.read("source").await.unwrap());
    ruined
        .without(&["database/comment"])
        .assert_same(&oracle.read(&kept).await.unwrap().without(&["database/comment"]));
    assert!(report.next.iter().any(|n| n.contains("rollback")) && report.next.iter().any(|n| n.contains("release")));

    let target = target(&server);
    let cx = Cx::background();
    let started = Instant::now();
    target.rollback(&cx).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    ruined.assert_same(&oracle.read("source").await.unwrap());
    // And back again: the restored copy was kept in its turn.
    target.rollback(&cx).await.unwrap();
    first.assert_same(&oracle.read("source").await.unwrap());
    target.release(&cx).await.unwrap();
    assert_eq!(databases(&server).await, ["source"]);
    first.assert_same(&oracle.read("source").await.unwrap());
    for outcome in [target.rollback(&cx).await, target.release(&cx).await] {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_copy_is_not_released() {
    let server = with_source().await;
    let depot = Depot::new();
    let config = config(&server, "source");
    depot.backup(&config).await.unwrap();
    let kept = depot.restore(&config, &RestoreRequest::in_place()).await.unwrap().replaced.unwrap();
    server.drop_database("source").await.unwrap();
    let e = target(&server).release(&Cx::background()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
    assert!(e.to_string().contains("only copy"), "{e}");
    assert_eq!(databases(&server).await, [kept]);
    target(&server).rollback(&Cx::background()).await.unwrap();
    assert_eq!(server.sql("source", "SELECT count(*) FROM public.notes").await.unwrap(), "500");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_or_another_restore_holds_it_up_and_nothing_changes() {
    let server = PgServer::start(PgOptions::default().with("max_prepared_transactions", 5)).await.unwrap();
    server.create_database("source").await.unwrap();
    server.sql("source", "CREATE TABLE t AS SELECT 1 AS a").await.unwrap();
    let depot = Depot::new();
    let config = config(&server, "source");
    depot.backup(&config).await.unwrap();
    server
        .psql("source", &["-c", "BEGIN", "-c", "INSERT INTO t VALUES (2)", "-c", "PREPARE TRANSACTION 'held'"], None)
        .await
        .unwrap();
    let e = depot.restore(&config, &RestoreRequest::in_place()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
    assert!(e.to_string().contains("'held'") && e.help().is_some_and(|h| h.contains("ROLLBACK PREPARED")), "{e:?}");
    server.sql("source", "ROLLBACK PREPARED 'held'").await.unwrap();

    let holder = server.client("postgres").await.unwrap();
    holder.batch_execute("SELECT pg_advisory_lock(hashtextextended('veza-dr restore source', 0))").await.unwrap();
    let e = depot.restore(&config, &RestoreRequest::in_place()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
    assert!(e.to_string().contains("under way"), "{e}");
    drop(holder);
    assert_eq!(server.sql("source", "SELECT count(*) FROM t").await.unwrap(), "1");
    // Nothing that stood in the way left a trace that stands in the way.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let done = depot.restore(&config, &RestoreRequest::in_place()).await.unwrap();
    assert_eq!(done.verification.verdict(), Verdict::Equal);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_name_on_the_same_server_leaves_the_live_database_alone() {
    let server = with_source().await;
    let oracle = Oracle::of(&server);
    let depot = Depot::new();
    let config = config(&server, "source");
    depot.backup(&config).await.unwrap();
    let before = oracle.read("source").await.unwrap();
    let place = "Copy of \"source\"='x'";
    let report = depot.restore(&config, &RestoreRequest::default().to("copy")).await.unwrap();
    assert!(report.replaced.is_none());
    assert_eq!(databases(&server).await, ["copy", "source"]);
    before.assert_same(&oracle.read("copy").await.unwrap());
    before.assert_same(&oracle.read("source").await.unwrap());
    let target = target(&server);
    // Not empty: refused, by name; an empty database is used.
    let why = blockers(&depot, &target, RestoreRequest::default().to("copy")).await;
    assert!(why.contains("copy exists and is not empty"), "{why}");
    server.create_database("empty").await.unwrap();
    assert_eq!(blockers(&depot, &target, RestoreRequest::default().to("empty")).await, "");
    let url = server.url(place);
    depot.restore(&config, &RestoreRequest::default().to(url)).await.unwrap();
    before.assert_same(&oracle.read(place).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_is_reached_with_its_own_password_alone() {
    let server = with_source().await;
    let other = PgServer::start(PgOptions::default()).await.unwrap();
    let depot = Depot::new();
    let config = config(&server, "source");
    depot.backup(&config).await.unwrap();
    let before = Oracle::of(&server).read("source").await.unwrap();
    let request = RestoreRequest::default().to(other.url("arrived"));
    let manifest = depot.latest().await.unwrap();
    let cx = Cx::background();
    // The component's own password is not offered to another server.
    let e = target(&server).plan(&cx, &request, &manifest).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Denied, "{e:?}");
    let e = target(&server)
        .plan(&cx, &RestoreRequest::default().to(other.url_with_password("arrived")), &manifest)
        .await
        .unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Config);
    assert!(!format!("{e:?} {}", e.chain()).contains(other.password()), "{e:?}");

    let password = SecretString::from(other.password().to_owned());
    let target = target(&server).with_target_password(password);
    let why = blockers(&depot, &target, request.clone()).await;
    assert!(why.contains("roles are missing on this server: guest, keeper") && why.contains("globals.sql"), "{why}");
    let plan = target.plan(&cx, &request, &manifest).await.unwrap();
    let data = std::sync::Arc::new(depot.repository.open(&manifest));
    let e = target.apply(&cx, plan, &manifest, data.clone()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
    assert!(e.to_string().contains("guest, keeper"), "{e}");
    assert!(databases(&other).await.is_empty());

    other.sql("postgres", "CREATE ROLE keeper LOGIN; CREATE ROLE guest").await.unwrap();
    let plan = target.plan(&cx, &request, &manifest).await.unwrap();
    let report = target.apply(&cx, plan, &manifest, data).await.unwrap();
    assert_eq!(report.verification.verdict(), Verdict::Equal);
    assert_eq!(databases(&other).await, ["arrived"]);
    before.assert_same(&Oracle::of(&other).read("arrived").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_extensions_and_tablespaces_are_named_before_anything_is_made() {
    let server = PgServer::start(PgOptions::major(16).unwrap()).await.unwrap();
    let space = server.scratch_dir("space").unwrap().display().to_string();
    server.sql("postgres", &format!("CREATE TABLESPACE fast LOCATION '{space}'")).await.unwrap();
    server.create_database("source").await.unwrap();
    server.sql("source", "CREATE EXTENSION hostile_config; CREATE TABLE t (id int) TABLESPACE fast").await.unwrap();
    let depot = Depot::new();
    depot.backup(&config(&server, "source")).await.unwrap();
    let other = PgServer::start(PgOptions::default()).await.unwrap();
    // The newer server's tools read its archive.
    let elsewhere = config(&other, "arrived").with_bin_dir(server.bin(""));
    let target = PostgresRestore::new(Depot::component(), elsewhere).unwrap();
    let why = blockers(&depot, &target, RestoreRequest::in_place()).await;
    assert!(why.contains("extension hostile_config is not installed"), "{why}");
    assert!(why.contains("tablespace fast does not exist"), "{why}");
    assert!(databases(&other).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_was_cancelled_goes_on_where_it_was() {
    let server = PgServer::start(PgOptions::default()).await.unwrap();
    server.create_database("source").await.unwrap();
    let sql = "CREATE TABLE big (id int PRIMARY KEY, t text); INSERT INTO big SELECT i, repeat('x', 500) FROM generate_series(1, 60000) i";
    server.sql("source", sql).await.unwrap();
    let oracle = Oracle::of(&server);
    let before = oracle.read("source").await.unwrap();
    let depot = Depot::new();
    let config = config(&server, "source").with_chunk_bytes(512 * 1024);
    depot.backup(&config).await.unwrap();
    let staged = "SELECT datname FROM pg_database WHERE datname LIKE '%__vdr_new_%'";
    let cx = Cx::background();
    let cut = cx.child();
    let request = RestoreRequest::in_place();
    let run = depot.restore_with(&cut, &config, &request);
    let watch = async {
        loop {
            let name = server.sql("postgres", staged).await.unwrap();
            if !name.is_empty() {
                let rows = server.sql(&name, "SELECT count(*) FROM veza_dr.chunks").await.unwrap_or_default();
                if rows.parse::<u32>().is_ok_and(|n| n >= 3) {
                    cut.cancel();
                    return;
                }
            }
        }
    };
    let (outcome, ()) = tokio::join!(run, watch);
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Cancelled);
    before.assert_same(&oracle.read("source").await.unwrap());
    let report = depot.restore(&config, &request).await.unwrap();
    let prepare = &report.report.steps[0];
    assert!(prepare.detail.contains("going on after"), "{prepare:?}");
    before.assert_same(&oracle.read("source").await.unwrap());
    assert_eq!(server.sql("postgres", staged).await.unwrap(), "");
}
