//! The dashboard over real connections: authentication on every route, known or not; the way in for browsers; pages that are
//! well-formed, complete in themselves, in two languages, with hostile names; what changes is told.

#![cfg(all(feature = "http", feature = "testing"))]
#![allow(clippy::unwrap_used, reason = "in a test a failure is what it is for")]

mod common;
mod markup;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use chrono::{TimeDelta, Utc};
use common::ask;
use markup::Page;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use veza_dr_core::{
    Action, Cx, Event, EventSink, Phase, Rpo, Scenario, SecretString,
    status::{BackupSummary, ComponentStatus, Protection, Status, StoreStatus},
    testing::MemoryStore,
};
use veza_dr_failover::{
    actions::Catalogue,
    dashboard::{Dashboard, DashboardConfig},
    http::{Server, ServerConfig, routes},
    metrics::Metrics,
    report::{
        Addition, Availability, AvailabilitySpan, CheckLine, CleanUp, CleanUpItem, Comparison, Criterion, Finding,
        FindingSeverity, Outcome, Person, RecoveryReport, RecoveryTime, ReportFolder, ReportKind, TimelineStep,
        Version,
    },
    runbook::{Bound, Engine, Plan, RunOptions, Step, StepStatus},
};

const TOKEN: &str = "canary-0123456789abcdef";
const HOSTILE: &str = "</title><script>alert(1)</script>\"'\u{202e}x";

struct Desk {
    dir: tempfile::TempDir,
    at: SocketAddr,
    metrics: Metrics,
    dashboard: Dashboard,
    cx: Cx,
}

impl Desk {
    async fn open(dir: tempfile::TempDir, token: Option<&str>) -> Self {
        let metrics = Metrics::new();
        let scenarios = Scenario::guide(&["database".parse().unwrap()]);
        let config = DashboardConfig::new(dir.path()).with_scenarios(scenarios);
        let dashboard = Dashboard::open(config, metrics.clone()).unwrap();
        let mut config = ServerConfig::new("127.0.0.1:0".parse().unwrap());
        if let Some(token) = token {
            config = config.with_token(SecretString::from(token.to_owned()));
        }
        let cx = Cx::background();
        let pages = dashboard.routes(&cx).merge(routes(metrics.registry(), metrics.clone()));
        let server = Server::bind(config, pages).await.unwrap();
        let at = server.address();
        let (serving, watching, watched) = (cx.clone(), cx.clone(), dashboard.clone());
        tokio::spawn(async move { server.run(&serving).await.unwrap() });
        tokio::spawn(async move { watched.watch(&watching).await });
        Self { dir, at, metrics, dashboard, cx }
    }

    /// A page as a browser asks for it.
    async fn page(&self, path: &str, headers: &[(&str, &str)]) -> (u16, String, String) {
        let accept = [("Accept", "text/html,*/*;q=0.8")];
        self.send("GET", path, &[&accept, headers].concat(), "").await
    }

    /// A form, as a browser sends it.
    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String, String) {
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        self.send("POST", path, &[&form, headers].concat(), body).await
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String, String) {
        let mut stream = tokio::net::TcpStream::connect(self.at).await.unwrap();
        let length = body.len();
        let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            text.push_str("Host: localhost\r\n");
        }
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{text}\r\n{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), head.to_owned(), body.to_owned())
    }
}

fn status(why: &str) -> Status {
    let shows = Utc::now() - TimeDelta::minutes(20);
    let last_success = Some(BackupSummary {
        id: "20261123T104500Z-7f3a9c".parse().unwrap(),
        shows,
        finished_at: shows,
        took: Duration::from_secs(1),
        bytes: 1,
        stored_bytes: 1,
    });
    let store = |name: &str, unknown: Option<String>| StoreStatus {
        store: name.into(),
        last_success: last_success.clone().filter(|_| unknown.is_none()),
        unknown,
        on_schedule: Some(true),
        last_attempt: None,
        last_proof: None,
        last_proven_restore: None,
        backups: 1,
        stored_bytes: 1,
    };
    let component = ComponentStatus {
        component: "database".parse().unwrap(),
        engine: "postgres".into(),
        protection: Protection::Weak,
        reasons: vec![why.to_owned()],
        rpo: Some(Rpo(Duration::from_secs(3600))),
        on_schedule: Some(true),
        expected_interval: None,
        next_run: Some(Utc::now() + TimeDelta::minutes(40)),
        running: false,
        stores: vec![store("local", None), store("offsite", Some(why.to_owned()))],
    };
    Status { at: Utc::now(), components: vec![component] }
}

fn report(folder: &Path, id: &str, about: &str) -> RecoveryReport {
    let mut report = RecoveryReport::new(id, ReportKind::IsolatedDrill, Utc::now() - TimeDelta::days(3));
    (report.scenario, report.about) = (Some("database".to_owned()), about.to_owned());
    report.recovery_time.actual_seconds = Some(1800.0);
    report.criteria.list.push(Criterion::new("rows", about, "0").met("0"));
    report.conclude();
    ReportFolder::new(folder.join("reports")).append(report).unwrap()
}

/// A run that waits for somebody.
async fn waiting_run(folder: &Path) -> String {
    let plan = Plan::new("database")
        .with_step(Step::new("look", "note").with("text", HOSTILE))
        .with_step(Step::new("gate", "note").with("text", "x").approved().after(["look"]));
    let catalogue = Arc::new(Catalogue::new());
    let bound = Bound::new(plan, catalogue.as_ref()).unwrap();
    let engine = Engine::new(folder, Arc::new(MemoryStore::new("memory")), catalogue, HOSTILE);
    engine.start(&Cx::background(), &bound, RunOptions::default()).await.unwrap().run
}

#[tokio::test]
async fn every_route_known_or_not_asks_who_is_there() {
    let desk = Desk::open(tempfile::tempdir().unwrap(), Some(TOKEN)).await;
    report(desk.dir.path(), "drill-1", "x");
    let paths = [
        "/",
        "/reports",
        "/reports/drill-1",
        "/reports/drill-1.json",
        "/reports/drill-1.md",
        "/reports/nope",
        "/runs",
        "/runs/nope",
        "/events",
        "/app.js",
        "/metrics",
        "/healthz",
        "/livez",
        "/nope",
        "/login",
        "/logout",
        "/login/",
        "//login",
        "/%6cogin",
        "/reports/../login",
        "/style.css",
        "/index.html",
    ];
    for path in paths {
        for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "POST"] {
            let (code, head, body) = ask(desk.at, method, path, &[]).await;
            // The form itself is refused when it does not come from a page of ours.
            let expected = if (method, path) == ("POST", "/login") { 403 } else { 401 };
            assert_eq!(code, expected, "{method} {path}");
            assert!(!body.contains("canary") && !body.contains("drill-1"), "{method} {path}: {body}");
            assert!(head.contains("x-content-type-options: nosniff"));
        }
        for cookie in
            ["veza_dr_session=", "veza_dr_session=x", &format!("veza_dr_session={TOKEN}"), "veza_dr_session=null"]
        {
            assert_eq!(ask(desk.at, "GET", path, &[("Cookie", cookie)]).await.0, 401, "{path} {cookie}");
        }
        // No token in an address.
        assert_eq!(ask(desk.at, "GET", &format!("{path}?token={TOKEN}"), &[]).await.0, 401);
        let (code, head, body) = desk.page(path, &[]).await;
        assert_eq!(code, 401);
        assert!(head.contains("www-authenticate: Bearer") && body.contains("action=\"/login\""), "{head}");
        Page::parse(&body).is_accessible("en");
    }
    let right = format!("Bearer {TOKEN}");
    for (path, code) in [
        ("/", 200),
        ("/reports", 200),
        ("/runs", 200),
        ("/runs/nope", 404),
        ("/reports/nope", 404),
        ("/reports/drill-1", 200),
        ("/reports/drill-1.json", 200),
        ("/app.js", 200),
        ("/nope", 404),
        ("/livez", 200),
        ("/reports/..%2F..%2Fetc%2Fpasswd", 404),
        ("/runs/..%2Fx", 404),
        ("/login", 303),
    ] {
        assert_eq!(ask(desk.at, "GET", path, &[("Authorization", &right)]).await.0, code, "{path}");
    }
}

#[tokio::test]
async fn a_browser_gets_in_by_the_form_and_nobody_elses_page_can_use_its_cookie() {
    let desk = Desk::open(tempfile::tempdir().unwrap(), Some(TOKEN)).await;
    let host = desk.at.to_string();
    let origin = format!("http://{host}");
    let own = [("Host", host.as_str()), ("Origin", origin.as_str())];
    let (code, _, body) = desk.post("/login", &own, "token=wrong&next=%2Freports").await;
    assert!(code == 401 && body.contains("role=\"alert\"") && body.contains("value=\"/reports\""), "{body}");
    for headers in [
        vec![own[0]],
        vec![own[0], ("Origin", "http://evil.example")],
        vec![own[0], own[1], ("Sec-Fetch-Site", "cross-site")],
    ] {
        assert_eq!(desk.post("/login", &headers, &format!("token={TOKEN}")).await.0, 403, "{headers:?}");
    }
    assert_eq!(desk.post("/login", &own, &"x".repeat(5000)).await.0, 413);
    let (code, head, _) = desk.post("/login", &own, &format!("token={TOKEN}&next=%2F%2Fevil.example")).await;
    assert!(code == 303 && head.contains("location: /\r\n"), "{head}");
    let (code, head, _) = desk.post("/login", &own, &format!("token={TOKEN}&next=%2Freports%3Flang%3Dfr")).await;
    assert!(code == 303 && head.contains("location: /reports?lang=fr"), "{head}");
    let set = head.lines().find_map(|l| l.strip_prefix("set-cookie: ")).unwrap().to_owned();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Lax") && !set.contains(TOKEN), "{set}");
    let cookie = set.split(';').next().unwrap().to_owned();
    let with = [("Cookie", cookie.as_str())];
    let (code, head, body) = desk.page("/", &with).await;
    assert!(code == 200 && body.contains("action=\"/logout\""), "{head}");
    assert!(head.contains("default-src 'none'") && head.contains("frame-ancestors 'none'"), "{head}");
    assert!(!head.contains("unsafe-"), "{head}");
    // What changes something must come from a page of ours: any path, also one that does not exist.
    for path in ["/logout", "/nope", "/reports"] {
        assert_eq!(desk.post(path, &[own[0], with[0]], "").await.0, 403, "{path}");
        assert_eq!(desk.post(path, &[own[0], with[0], ("Origin", "http://evil.example")], "").await.0, 403, "{path}");
    }
    assert_eq!(desk.post("/reports", &[own[0], own[1], with[0]], "").await.0, 405);
    assert_eq!(desk.page("/", &with).await.0, 200, "still in");
    let (code, head, _) = desk.post("/logout", &[own[0], own[1], with[0]], "").await;
    assert!(code == 303 && head.contains("Max-Age=0"), "{head}");
    assert_eq!(desk.page("/", &with).await.0, 401);
}

#[tokio::test]
async fn without_a_token_only_this_machine_by_its_own_name() {
    let desk = Desk::open(tempfile::tempdir().unwrap(), None).await;
    assert_eq!(desk.page("/", &[("Host", "localhost:9464")]).await.0, 200);
    let (code, _, body) = desk.page("/", &[("Host", "evil.example")]).await;
    assert!(code == 421 && body.contains("token"), "{body}");
    assert_eq!(desk.page("/reports", &[("Host", "evil.example:9464")]).await.0, 421);
    assert_eq!(desk.page("/livez", &[("Host", "evil.example")]).await.0, 200, "as ever");
    let evil = [("Host", "localhost"), ("Origin", "http://evil.example")];
    assert_eq!(desk.post("/reports", &evil, "").await.0, 403);
}

#[tokio::test]
async fn pages_are_whole_in_both_languages_and_hostile_names_stay_text() {
    let dir = tempfile::tempdir().unwrap();
    report(dir.path(), "drill-1", HOSTILE);
    let folder = ReportFolder::new(dir.path().join("reports"));
    folder.amend("drill-1", Addition::Finding(Finding::new("F-1", FindingSeverity::High, HOSTILE))).unwrap();
    let due = "2020-01-31".parse().unwrap();
    folder.amend("drill-1", Addition::Owner { finding: "F-1".into(), owner: HOSTILE.into(), due }).unwrap();
    let run = waiting_run(dir.path()).await;
    let desk = Desk::open(dir, None).await;
    let local = ("Host", "localhost");
    let (_, _, body) = desk.page("/", &[local]).await;
    assert!(Page::parse(&body).text.contains("The stores were not looked at yet."), "unknown is said to be unknown");
    desk.metrics.update(status(HOSTILE));
    for action in [Phase::Succeeded, Phase::Failed] {
        let event = Event::new(Utc::now(), Action::Backup, action, "x");
        desk.dashboard.calendar().tell(&desk.cx, &event).await.unwrap();
    }
    let live = format!("/runs/{run}");
    for path in ["/", "/reports", "/runs", &live, "/runs/nope"] {
        for (language, accepted) in [("en", "en-GB,en;q=0.9"), ("fr", "fr-FR,fr;q=0.9,en;q=0.5")] {
            let (_, head, body) = desk.page(path, &[local, ("Accept-Language", accepted)]).await;
            let page = Page::parse(&body);
            page.is_accessible(language);
            assert_eq!(page.count("script"), 1, "its own");
            for (name, attributes) in &page.elements {
                for (key, value) in attributes {
                    assert!(!key.starts_with("on") && key != "style", "{path}: {key} of {name}");
                    let outside = value.contains("//") || value.starts_with("http") || value.starts_with("javascript:");
                    assert!(!outside || !matches!(key.as_str(), "src" | "href" | "action"), "{path}: {key}={value}");
                }
            }
            assert!(!body.contains('\u{202e}'), "{path}");
            assert!(head.contains("cache-control: no-store"), "{head}");
        }
    }
    let text = async |path: &str| Page::parse(&desk.page(path, &[local]).await.2).text;
    let first = text("/").await;
    for told in
        ["</title><script>alert(1)</script>", "database", "offsite", "30 min", "at risk", "drill-1", "passed", &run]
    {
        assert!(first.contains(told), "{told} in {first}");
    }
    assert!(first.contains("Steps done: 1/2") && first.contains("waits for a person"), "{first}");
    assert!(first.contains("By month"), "{first}");
    assert!(first.contains("To be mended") && first.contains("overdue"), "{first}");
    // A drill with two revisions is one drill: its state, its finding and its line lead to the newest one.
    let page = Page::parse(&desk.page("/", &[local]).await.2);
    let links = page.elements.iter().filter(|(name, a)| name == "a" && a["href"].starts_with("/reports/drill-1"));
    let links: Vec<&str> = links.map(|(_, a)| a["href"].as_str()).collect();
    let newest = "/reports/drill-1-rev3".to_owned();
    let forms = [".json", ".md"].map(|form| format!("{newest}{form}"));
    assert_eq!(links, [&newest, &newest, &newest, &forms[0], &forms[1]]);
    let all = Page::parse(&desk.page("/reports", &[local]).await.2);
    assert_eq!(all.text.matches("Isolated drill").count(), 3, "the chain has all of them");
    let french = text("/?lang=fr").await;
    assert!(french.contains("État de préparation à la reprise") && french.contains("fragile"), "{french}");
    assert!(french.contains("À corriger") && french.contains("en retard"), "{french}");
    assert!(text("/reports").await.contains("The chain of reports is whole."));
    // The policy of a report names the style that the page has.
    let (code, head, body) = desk.page("/reports/drill-1?lang=fr", &[local]).await;
    assert!(code == 200 && body.contains("<html lang=\"fr\">") && head.contains("style-src 'sha256-"), "{head}");
    let json = desk.page("/reports/drill-1.json", &[local]).await.2;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["about"], HOSTILE);
    assert!(desk.page("/reports/drill-1.md", &[local]).await.1.contains("text/markdown"));
    // A report that was changed is not shown as if nothing were.
    let path = desk.dir.path().join("reports/000001-drill-1.json");
    let changed = std::fs::read_to_string(&path).unwrap().replace("1800", "180");
    std::fs::write(&path, changed).unwrap();
    assert_eq!(desk.page("/reports/drill-1", &[local]).await.0, 500);
    let told = async {
        while !text("/reports").await.contains("The chain of reports is damaged.") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), told).await.unwrap();
}

#[tokio::test]
async fn a_change_is_told_and_the_stream_ends_with_the_daemon() {
    let desk = Desk::open(tempfile::tempdir().unwrap(), None).await;
    let mut stream = tokio::net::TcpStream::connect(desk.at).await.unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut told = String::new();
    let mut until = async |wanted: &str| {
        let wait = async {
            while !told.contains(wanted) {
                let mut buffer = [0u8; 1024];
                let n = stream.read(&mut buffer).await.unwrap();
                assert!(n > 0, "it ended before {wanted}: {told}");
                told.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
    };
    until("retry:").await;
    report(desk.dir.path(), "drill-1", "x");
    until("event: change").await;
    let (_, _, body) = desk.page("/", &[("Host", "localhost")]).await;
    assert!(body.contains("drill-1"));
    let run = waiting_run(desk.dir.path()).await;
    let shown = async {
        while !desk.page("/", &[("Host", "localhost")]).await.2.contains(&run) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), shown).await.unwrap();
    desk.cx.cancel();
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await.unwrap().unwrap();
}

/// A year of a site that backs up seventeen times a day, drills every week, and has a run under way.
async fn year(folder: &Path) {
    let mut events = String::new();
    let now = Utc::now();
    for hour in (0..365 * 24).rev() {
        let at = now - TimeDelta::hours(hour);
        for (component, every) in [("database", 6), ("redis", 2), ("files", 24)] {
            if hour % every != 0 {
                continue;
            }
            let ended = if hour % 997 == 0 { "failed" } else { "succeeded" };
            for phase in ["started", ended] {
                events.push_str(&format!(
                    "{{\"at\":\"{}\",\"severity\":\"info\",\"action\":\"backup\",\"phase\":\"{phase}\",\"component\":\"{component}\",\
                     \"store\":\"offsite\",\"backup\":\"20261123T104500Z-7f3a9c\",\"text\":\"4 objects, 12.4 MiB\",\"help\":null,\
                     \"took_seconds\":12.5,\"bytes\":13002342,\"kind\":\"event\"}}\n",
                    at.to_rfc3339()
                ));
            }
        }
    }
    std::fs::write(folder.join("events.jsonl"), events).unwrap();
    let reports = ReportFolder::new(folder.join("reports"));
    for week in (0..52i64).rev() {
        for (at, scenario) in ["database", "backend", "infrastructure", "security"].into_iter().enumerate() {
            reports.append(drill(week, at, scenario, now)).unwrap();
        }
    }
    waiting_run(folder).await;
}

/// A drill as it is reported, with a table for each of forty tables.
fn drill(week: i64, at: usize, scenario: &str, now: chrono::DateTime<Utc>) -> RecoveryReport {
    let began = now - TimeDelta::days(week * 7) - TimeDelta::hours(i64::try_from(at).unwrap());
    let minute = |n: i64| began + TimeDelta::minutes(n);
    let id = format!("drill-{scenario}-{}", began.format("%Y%m%d"));
    let mut r = RecoveryReport::new(id, ReportKind::IsolatedDrill, began);
    (r.scenario, r.ended_at) = (Some(scenario.to_owned()), Some(minute(55)));
    r.about = "The database is restored from its newest backup into an isolated project and compared.".to_owned();
    r.scope.components = vec!["database".into(), "redis".into(), "files".into()];
    r.scope.place = Some("compose project veza-drill-7f3a, network without a way out".into());
    r.criteria.fixed_at = Some(minute(-5));
    r.criteria.list = vec![
        Criterion::new("rto", "recovery time within the objective (RTO)", "≤ 4 h").met("42 min"),
        Criterion::new("rows", "every row of the backup is back", "0 rows lost").met("0 rows lost"),
    ];
    (r.plan.name, r.plan.sha256) = (scenario.to_owned(), Some("5e".repeat(32)));
    r.versions = vec![Version::new("veza-dr", "0.1.0"), Version::new("PostgreSQL", "15.8"), Version::unknown("redis")];
    r.people = vec![
        Person::new("ann@standby", "began", Some(minute(0))),
        Person::new("ben", "approved", Some(minute(31))).about("switch-dns"),
    ];
    for (id, from, to, status, marks) in [
        ("verify-copy", 0, 4, StepStatus::Done, None),
        ("fence-primary", 0, 2, StepStatus::Done, None),
        ("restore-database", 4, 26, StepStatus::Done, None),
        ("start-standby", 26, 29, StepStatus::Done, None),
        ("standby-healthy", 29, 31, StepStatus::Done, None),
        ("validate-standby", 31, 35, StepStatus::Done, Some("T5")),
        ("switch-dns", 35, 42, StepStatus::Done, Some("T6")),
        (
            "backup-from-standby",
            42,
            55,
            if week % 9 == 3 { StepStatus::TimedOut } else { StepStatus::Done },
            Some("T7"),
        ),
    ] {
        let text = if status == StepStatus::Done { "done as planned" } else { "it did not end in its time" };
        let mut step = TimelineStep::new(id, status).between(minute(from), minute(to));
        step = step.with_text(text, serde_json::json!({ "exit": 0, "lines": ["4 services healthy"] }));
        step.marks = marks.map(ToOwned::to_owned);
        r.steps.push(step);
    }
    (r.clock.t0, r.clock.t1, r.clock.t3) = (Some(minute(-12)), Some(minute(-8)), Some(minute(0)));
    (r.clock.t4, r.clock.t5, r.clock.t6) = (Some(minute(0)), Some(minute(35)), Some(minute(42)));
    r.recovery_time = RecoveryTime::of(&r.clock, Some(4.0 * 3600.0));
    (r.recovery_point.target_seconds, r.recovery_point.actual_seconds) = (Some(3600.0), Some(1260.0));
    (r.recovery_point.records_lost, r.recovery_point.method) = (Some(0), Some("heartbeat row".into()));
    let mut availability = Availability::new(minute(-30), minute(60), 3600, 5400);
    availability.target_percent = Some(99.9);
    availability.outage_seconds = Some(54.0 * 60.0);
    availability.vantage_points = vec!["operator".into(), "standby".into()];
    availability.spans = (-30..60)
        .map(|n| AvailabilitySpan {
            from: minute(n),
            to: minute(n + 1),
            good: if (-12..42).contains(&n) { 0 } else { 60 },
            total: if n == 50 { 0 } else { 60 },
        })
        .collect();
    r.availability = Some(availability);
    r.consistency.against = Some("the manifest of backup 20261123T104500Z-7f3a9c".into());
    for table in 0..40u64 {
        let one = Comparison::new("database", format!("public.table_{table}"), Outcome::Passed);
        let mut one = one.counted(table * 1313, table * 1313).digested("9a1f", "9a1f");
        (one.missing, one.extra, one.different) = (Some(0), Some(0), Some(0));
        r.consistency.compared.push(one);
    }
    let mut check = CheckLine::new("login", if week % 9 == 3 { Outcome::Failed } else { Outcome::Passed });
    (check.tolerance, check.measured) = (Some("p99 ≤ 800 ms".into()), Some("512 ms".into()));
    check.reason = (week % 9 == 3).then(|| "p99 was 1.9 s".to_owned());
    r.validation.push(check);
    let mut clean_up = CleanUp::default();
    let removed = CleanUpItem::new("containers of the project", Outcome::Passed, "0 of 6 left");
    let production = CleanUpItem::new("database", Outcome::Passed, "digest 9a1f… before and after");
    (clean_up.at, clean_up.removed, clean_up.production) = (Some(minute(56)), vec![removed], vec![production]);
    r.clean_up = Some(clean_up);
    if week % 9 == 3 {
        r.findings.push(Finding::new("F-1", FindingSeverity::Medium, "The backup from the standby takes too long."));
    }
    r.next_due = Some(began + TimeDelta::days(91));
    r.conclude();
    r
}

#[tokio::test]
async fn a_year_is_one_page() {
    let dir = tempfile::tempdir().unwrap();
    year(dir.path()).await;
    let desk = Desk::open(dir, None).await;
    desk.metrics.update(status("no restore was ever proven"));
    let (code, _, body) = desk.page("/", &[]).await;
    assert_eq!(code, 200);
    let page = Page::parse(&body);
    page.is_accessible("en");
    // Half a megabyte would not be painted in time over a slow line.
    assert!(body.len() < 150_000, "{}", body.len());
    let squares = page.elements.iter().filter(|(n, a)| n == "rect" && a["class"] != "day-none").count();
    assert!(squares >= 365, "{squares} days are known");
    let rings = page.elements.iter().filter(|(n, a)| n == "circle" && a["class"].starts_with("ring")).count();
    assert!(rings >= 2 + 52, "{rings}: a drill a week and the two of the key");
    let (_, _, all) = desk.page("/reports", &[]).await;
    assert_eq!(Page::parse(&all).text.matches("Isolated drill").count(), 208);
}

/// For `tests/benches/dashboard.sh`: serves a year until its standard input ends.
#[tokio::test]
#[ignore = "serves until it is told to stop: tests/benches/dashboard.sh"]
async fn serve_a_year() {
    let dir = tempfile::tempdir().unwrap();
    year(dir.path()).await;
    let desk = Desk::open(dir, std::env::var("VEZA_DR_BENCH_TOKEN").ok().as_deref()).await;
    desk.metrics.update(status("no restore was ever proven"));
    std::fs::write(std::env::var("VEZA_DR_BENCH_FILE").unwrap(), format!("http://{}", desk.at)).unwrap();
    let wait = || std::io::Read::read_to_end(&mut std::io::stdin(), &mut Vec::new());
    tokio::task::spawn_blocking(wait).await.unwrap().unwrap();
}
