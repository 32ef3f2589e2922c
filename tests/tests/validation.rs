//! Validation against real servers: each check passes where it should, fails where it should, and leaves nothing behind.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use serde_json::json;
use veza_dr_core::{Cx, Error, ErrorKind, Result, SecretString};
use veza_dr_failover::{
    reach::{HttpAddress, PostgresAccess, RedisAccess},
    validate::{
        Check, CheckResult, Exchange, Expected, Finding, Group, HttpCheck, JsonExpectation, LoadCheck, LoadLimits,
        LoadShape, PostgresCanary, RedisCanary, RowCounts, Sequences, SiteIdentity, StreamCheck, Suite, Verdict,
        Watermark, WebSocketCheck, junit,
    },
};
use veza_dr_tests::{
    demo_http::{DemoChat, DemoHttp},
    postgres_server::{PgOptions, PgServer},
    redis_server::{RedisOptions, RedisServer},
};

async fn found(check: impl Check) -> CheckResult {
    let report = Suite::new(vec![Arc::new(check)]).unwrap().run(&Cx::background()).await;
    report.checks.into_iter().next().unwrap()
}

fn address(url: &str) -> HttpAddress {
    HttpAddress::parse(url).unwrap()
}

fn reason(result: &CheckResult) -> &str {
    result.reason.as_deref().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_check_asks_the_site_by_its_address_and_the_service_by_its_name() {
    let (new, old) = (DemoHttp::start("standby").await, DemoHttp::start("primary").await);
    let public = |server: &DemoHttp| address("http://api.veza.com/health").at(&server.address().to_string());
    let whole = |server: &DemoHttp| {
        HttpCheck::new("api", public(server))
            .with_body("\"status\"")
            .with_json(JsonExpectation::new("checks[0].lag", Expected::Between(None, Some(5.0))).unwrap())
            .with_identity(SiteIdentity::Header("x-site".to_owned(), "standby".to_owned()))
    };
    let good = found(whole(&new)).await;
    assert_eq!(good.verdict, Verdict::Pass, "{good:?}");
    assert_eq!(*new.seen().host.lock().unwrap(), "api.veza.com");
    let wrong = found(whole(&old)).await;
    assert_eq!((wrong.verdict, reason(&wrong)), (Verdict::Fail, "another site answered: x-site is primary"));

    let lag = JsonExpectation::new("checks[0].lag", Expected::Equals(json!(0))).unwrap();
    let late = found(HttpCheck::new("lag", public(&new)).with_json(lag).with_body("no such text")).await;
    assert_eq!(reason(&late), "the body does not hold \"no such text\"; checks[0].lag is 3");
    let broken = found(HttpCheck::new("broken", address(&new.url("/broken")))).await;
    assert!(broken.verdict == Verdict::Fail && reason(&broken).ends_with("answered 500"), "{broken:?}");

    // Nobody listens there: the service fails. The name leads nowhere: it cannot be told.
    let port = veza_dr_tests::ports::free_port().unwrap();
    let dead = found(HttpCheck::new("dead", address(&format!("http://127.0.0.1:{port}/")))).await;
    assert_eq!(dead.verdict, Verdict::Fail, "{dead:?}");
    let lost = found(HttpCheck::new("lost", address("http://no.such.host.invalid/"))).await;
    assert_eq!(lost.verdict, Verdict::Error, "{lost:?}");
    // One that takes the connection and says nothing.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute_address = address(&format!("http://{}/", mute.local_addr().unwrap()));
    let silent = found(HttpCheck::new("mute", mute_address).within(Duration::from_millis(100))).await;
    assert!(silent.verdict == Verdict::Fail && silent.took_seconds < 1.0, "{silent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_check_needs_its_token_and_its_answer() {
    let chat = DemoChat::start("s3cret").await;
    let check = || WebSocketCheck::new("chat", address(&chat.url())).within(Duration::from_millis(500));
    let token = || SecretString::from("s3cret".to_owned());
    let text = |send: &str, expect: &str| Exchange::Text { send: send.to_owned(), expect: expect.to_owned() };
    let ping = found(check().with_token(token())).await;
    assert_eq!(ping.verdict, Verdict::Pass, "{ping:?}");
    let echo = found(check().with_token(token()).with_exchange(text("hello", "hello"))).await;
    assert_eq!(echo.verdict, Verdict::Pass, "{echo:?}");
    let deaf = found(check().with_token(token()).with_exchange(text("hello", "goodbye"))).await;
    assert!(deaf.verdict == Verdict::Fail && reason(&deaf).contains("did not answer within"), "{deaf:?}");
    let refused = found(check().with_token(SecretString::from("test".to_owned()))).await;
    assert_eq!(refused.measured.as_deref(), Some("status 401"), "{refused:?}");
    assert!(refused.verdict == Verdict::Fail && !format!("{refused:?}").contains("Bearer"), "{refused:?}");
    let http = DemoHttp::start("x").await;
    let none = found(WebSocketCheck::new("http", address(&http.url("/health")))).await;
    assert_eq!(none.verdict, Verdict::Fail, "{none:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_check_reads_what_it_needs_and_lets_go() {
    let server = DemoHttp::start("standby").await;
    let endless = found(StreamCheck::new("live", address(&server.url("/live")), 4096)).await;
    assert!(endless.verdict == Verdict::Pass && endless.took_seconds < 2.0, "{endless:?}");
    let short = found(StreamCheck::new("short", address(&server.url("/short")), 1001)).await;
    assert_eq!((short.verdict, reason(&short)), (Verdict::Fail, "the stream ended after 1000 bytes"));
    let slow = StreamCheck::new("slow", address(&server.url("/live")), 1 << 40).within(Duration::from_millis(100));
    let slow = found(slow).await;
    assert!(slow.verdict == Verdict::Fail && slow.evidence["bytes"].as_u64().unwrap() >= 512, "{slow:?}");
    let missing = found(StreamCheck::new("none", address(&server.url("/nothing")), 1)).await;
    assert_eq!(missing.measured.as_deref(), Some("status 404"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_shows_in_the_latencies_of_a_constant_rate_and_nowhere_else() {
    let server = DemoHttp::start("standby").await;
    let now = Instant::now();
    let (from, until) = (now + Duration::from_millis(500), now + Duration::from_millis(1500));
    *server.seen().stall.lock().unwrap() = Some((from, until));
    let shape = LoadShape::Rate { per_second: 100.0, lasting: Duration::from_millis(2500), concurrency: 2 };
    let check = LoadCheck::new("load", address(&server.url("/work")), shape);
    let seen = check.measure(&Cx::background()).await.unwrap();
    assert_eq!((seen.sent, seen.answered, seen.not_sent), (250, 250, 0), "{seen:?}");
    // A hundred requests were due while nothing was answered: each waited up to a second.
    assert!(seen.p99.unwrap() > Duration::from_millis(850), "{seen:?}");
    assert!(seen.p95.unwrap() > Duration::from_millis(700), "{seen:?}");
    // Only the two that were under way saw it, by a clock that starts when a request is sent.
    assert!(seen.p99_uncorrected.unwrap() < Duration::from_millis(300), "{seen:?}");
    assert!(seen.connections <= 2 && server.seen().most_open.load(Ordering::SeqCst) <= 3, "{seen:?}");

    let again = Instant::now();
    let stall = (again + Duration::from_millis(100), again + Duration::from_millis(1100));
    *server.seen().stall.lock().unwrap() = Some(stall);
    let shape = LoadShape::Rate { per_second: 100.0, lasting: Duration::from_millis(1500), concurrency: 2 };
    let judged = found(
        LoadCheck::new("load", address(&server.url("/work")), shape)
            .with_limits(LoadLimits { p99: Some(Duration::from_millis(500)), ..LoadLimits::default() }),
    )
    .await;
    assert!(judged.verdict == Verdict::Fail && reason(&judged).starts_with("p99 is "), "{judged:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guides_load_is_offered_whole_over_as_many_connections_as_it_names() {
    let server = DemoHttp::start("standby").await;
    let shape = LoadShape::Count { requests: 100, concurrency: 10 };
    let check = LoadCheck::new("ab", address(&server.url("/work")), shape).with_warm_up(0);
    let good = found(check).await;
    assert_eq!(good.verdict, Verdict::Pass, "{good:?}");
    assert_eq!((good.evidence["answered"].as_u64(), good.evidence["not_sent"].as_u64()), (Some(100), Some(0)));
    assert_eq!(server.seen().requests.load(Ordering::SeqCst), 100);
    assert!(server.seen().most_open.load(Ordering::SeqCst) <= 10);

    // Everything fails: it is ended early and says what it did not send.
    let shape = LoadShape::Count { requests: 1000, concurrency: 2 };
    let seen =
        LoadCheck::new("broken", address(&server.url("/broken")), shape).measure(&Cx::background()).await.unwrap();
    assert!(seen.sent < 60 && seen.sent + seen.not_sent == 1000 && seen.answered == 0, "{seen:?}");
    assert_eq!(seen.errors.keys().collect::<Vec<_>>(), ["status 500"]);
    assert!(seen.stopped.as_deref().unwrap().starts_with("ended early"), "{seen:?}");
}

#[derive(Debug)]
struct Told(&'static str, Group, fn() -> Result<Finding>);

#[async_trait]
impl Check for Told {
    fn name(&self) -> &str {
        self.0
    }
    fn group(&self) -> Group {
        self.1
    }
    fn tolerance(&self) -> String {
        "a <b> & \"c\"".to_owned()
    }
    fn deadline(&self) -> Duration {
        Duration::from_millis(200)
    }
    async fn run(&self, _: &Cx) -> Result<Finding> {
        if self.0 == "hangs" {
            std::future::pending::<()>().await;
        }
        (self.2)()
    }
}

fn passes() -> Result<Finding> {
    Ok(Finding::pass("1"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_is_no_pass_and_load_waits_for_the_others() {
    let cx = Cx::background();
    let suite =
        |checks: Vec<Told>| Suite::new(checks.into_iter().map(|c| Arc::new(c) as Arc<dyn Check>).collect()).unwrap();
    assert_eq!(suite(vec![]).run(&cx).await.verdict(), Verdict::Error);
    assert_eq!(suite(vec![Told("a", Group::Load, passes)]).run(&cx).await.verdict(), Verdict::Pass);
    let unclear = || Err(Error::new(ErrorKind::Denied, "a password <is> \"wrong\"\u{1}"));
    let broken = || panic!("a defect");
    let report = suite(vec![
        Told("load", Group::Load, passes),
        Told("good", Group::Connectivity, passes),
        Told("unclear", Group::Data, unclear),
        Told("hangs", Group::Data, passes),
        Told("broken", Group::Data, broken),
    ])
    .run(&cx)
    .await;
    let verdicts: Vec<_> = report.checks.iter().map(|c| (c.name.as_str(), c.verdict)).collect();
    let error = Verdict::Error;
    let expected =
        [("load", Verdict::Skipped), ("good", Verdict::Pass), ("unclear", error), ("hangs", error), ("broken", error)];
    assert_eq!(verdicts, expected);
    assert_eq!(report.verdict(), Verdict::Error);
    assert_eq!(reason(&report.checks[3]), "it did not end within 200 ms");
    let xml = junit("stand<by", &report);
    assert!(xml.contains("tests=\"5\" failures=\"0\" errors=\"3\" skipped=\"1\""), "{xml}");
    assert!(xml.contains("<error message=\"a password &lt;is&gt; &quot;wrong&quot;\u{fffd}\"/>"), "{xml}");
    assert!(xml.contains("a &lt;b&gt; &amp; &quot;c&quot;&#10;measured: 1"), "{xml}");
    assert!(xml.contains("<testsuite name=\"stand&lt;by\"") && xml.matches("<testcase ").count() == 5, "{xml}");
    let e = report.passed().unwrap_err();
    assert!(e.kind() == ErrorKind::Unverified && e.chain().contains("hangs: it did not end"), "{}", e.chain());
    let twice = Suite::new(vec![Arc::new(Told("a", Group::Data, passes)), Arc::new(Told("a", Group::Load, passes))]);
    assert_eq!(twice.unwrap_err().to_string(), "two checks are called `a`");
}

const TABLES: &str = "CREATE TABLE users (id serial PRIMARY KEY, created_at timestamptz); \
     INSERT INTO users (created_at) SELECT now() - i * interval '1 minute' FROM generate_series(5, 104) i; \
     CREATE TABLE \"Odd Name\" (id bigint GENERATED ALWAYS AS IDENTITY, n int); INSERT INTO \"Odd Name\" (n) VALUES (1); \
     CREATE TABLE empty (id serial)";

fn access(server: &PgServer, database: &str) -> PostgresAccess {
    PostgresAccess::new("localhost", server.port(), "postgres", database)
        .at("127.0.0.1")
        .with_password(SecretString::from(server.password().to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_written_to_counted_and_left_as_it_was() {
    let server = PgServer::start(PgOptions::default()).await.unwrap();
    server.create_database("veza").await.unwrap();
    server.sql("veza", TABLES).await.unwrap();
    let veza = || access(&server, "veza");
    let everything = "SELECT count(*), string_agg(n.nspname || '.' || relname, ',') FROM pg_class c \
         JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'r' AND nspname !~ '^(pg_|information_schema)'";
    let before = server.sql("veza", everything).await.unwrap();
    let canary = found(PostgresCanary::new("canary", veza())).await;
    assert_eq!(canary.verdict, Verdict::Pass, "{canary:?}");
    assert_eq!(server.sql("veza", everything).await.unwrap(), before);
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'veza_dr'";
    assert_eq!(server.sql("veza", schemas).await.unwrap(), "0");

    // The caller's own table, where writing blocks: it fails in time, and nothing is left once the lock is gone.
    server.sql("veza", "CREATE TABLE ops (id text, at timestamptz DEFAULT now())").await.unwrap();
    let own = || PostgresCanary::new("own", veza()).with_table("public.ops").within(Duration::from_millis(300));
    assert_eq!(found(own()).await.verdict, Verdict::Pass);
    let blocker = server.client("veza").await.unwrap();
    blocker.batch_execute("BEGIN; LOCK TABLE ops IN SHARE MODE").await.unwrap();
    let release = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(900)).await;
        blocker.batch_execute("COMMIT").await.unwrap();
    });
    let stuck = found(own()).await;
    assert_ne!(stuck.verdict, Verdict::Pass, "{stuck:?}");
    release.await.unwrap();
    assert_eq!(server.sql("veza", "SELECT count(*) FROM ops").await.unwrap(), "0");

    // Read-only: a clear failure, no error; a wrong password leaves it open.
    server.sql("veza", "ALTER DATABASE veza SET default_transaction_read_only = on").await.unwrap();
    let frozen = found(PostgresCanary::new("frozen", veza())).await;
    assert!(frozen.verdict == Verdict::Fail && reason(&frozen).contains("25006"), "{frozen:?}");
    server.sql("postgres", "ALTER DATABASE veza RESET default_transaction_read_only").await.unwrap();
    let denied = found(PostgresCanary::new("denied", veza().with_password(SecretString::from("x".to_owned())))).await;
    assert_eq!(denied.verdict, Verdict::Error, "{denied:?}");

    let tables = |n: u64| BTreeMap::from([("public.users".to_owned(), n), ("public.\"Odd Name\"".to_owned(), 1)]);
    let counts = |n: u64| RowCounts::new("counts", veza(), tables(n));
    assert_eq!(found(counts(100)).await.measured.as_deref(), Some("101 rows in 2 tables"));
    assert_eq!(found(counts(90)).await.verdict, Verdict::Pass);
    assert_eq!(found(counts(90).exactly()).await.verdict, Verdict::Fail);
    let short = found(counts(104)).await;
    assert_eq!((short.verdict, reason(&short)), (Verdict::Fail, "public.users has 100 of 104 rows"));
    assert_eq!(found(counts(104).with_missing(0.04)).await.verdict, Verdict::Pass);
    let gone = BTreeMap::from([("public.gone".to_owned(), 0)]);
    let gone = found(RowCounts::new("gone", veza(), gone)).await;
    assert_eq!(reason(&gone), "public.gone does not exist");

    let mark = |table: &str| Watermark::new("mark", veza(), table, "created_at");
    assert_eq!(found(mark("users")).await.verdict, Verdict::Fail, "names are qualified");
    let newest = found(mark("public.users").not_older_than(Duration::from_secs(600))).await;
    assert_eq!(newest.verdict, Verdict::Pass, "{newest:?}");
    let old = found(mark("public.users").not_older_than(Duration::from_secs(60))).await;
    assert!(old.verdict == Verdict::Fail && old.evidence["age_seconds"].as_f64().unwrap() > 299.0, "{old:?}");
    let behind = found(mark("public.users").not_before(chrono::Utc::now())).await;
    assert_eq!(behind.verdict, Verdict::Fail, "{behind:?}");

    let sequences = found(Sequences::new("sequences", veza())).await;
    assert_eq!((sequences.verdict, sequences.measured.as_deref()), (Verdict::Pass, Some("3 sequences")));
    server.sql("veza", "SELECT setval('users_id_seq', 99)").await.unwrap();
    let behind = found(Sequences::new("sequences", veza())).await;
    let told = "public.users_id_seq gives 100 next, public.users.id is at 100 already";
    assert_eq!((behind.verdict, reason(&behind)), (Verdict::Fail, told));
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_written_to_and_a_replica_is_read_only() {
    let primary = RedisServer::start(RedisOptions::default()).await.unwrap();
    let replica = RedisServer::start_replica(&primary, RedisOptions::default()).await.unwrap();
    let at = |server: &RedisServer| {
        let password = SecretString::from(server.password().to_owned());
        RedisCanary::new("redis", RedisAccess::new("127.0.0.1", server.port()).with_login(None, password))
    };
    let good = found(at(&primary)).await;
    assert_eq!(good.verdict, Verdict::Pass, "{good:?}");
    let read_only = found(at(&replica)).await;
    assert_eq!((read_only.verdict, read_only.measured.as_deref()), (Verdict::Fail, Some("read-only")), "{read_only:?}");
    assert!(reason(&read_only).contains("is it a replica"), "{read_only:?}");
    let wrong = RedisAccess::new("127.0.0.1", primary.port()).with_login(None, SecretString::from("x".to_owned()));
    assert_eq!(found(RedisCanary::new("redis", wrong)).await.verdict, Verdict::Error);
    let port = veza_dr_tests::ports::free_port().unwrap();
    let dead = found(RedisCanary::new("redis", RedisAccess::new("127.0.0.1", port))).await;
    assert_eq!(dead.verdict, Verdict::Fail, "{dead:?}");
    assert!(dead.took_seconds < 3.0, "{dead:?}");
}
