//! The page over real connections: the token is asked for on every path there is or is not, metrics come in the form
//! that is asked for with nothing made up, health means the schedule is met, and stopping is clean.

#![cfg(feature = "http")]

mod common;

use std::{net::SocketAddr, time::Duration};

use chrono::{TimeDelta, Utc};
use common::ask;
use veza_dr_core::{
    Action, Cx, ErrorKind, Event, EventSink, Phase, Rpo, SecretString, Verdict,
    status::{Attempt, BackupSummary, ComponentStatus, ProofSummary, Protection, Status, StoreStatus},
};
use veza_dr_failover::{
    http::{Server, ServerConfig, routes},
    metrics::Metrics,
};

const TOKEN: &str = "canary-0123456789abcdef";

async fn serve(metrics: &Metrics, token: Option<&str>) -> (SocketAddr, Cx, tokio::task::JoinHandle<()>) {
    let mut config = ServerConfig::new("127.0.0.1:0".parse().expect("a step of the scene"));
    if let Some(token) = token {
        config = config.with_token(SecretString::from(token.to_owned()));
    }
    let server = Server::bind(config, routes(metrics.registry(), metrics.clone())).await.expect("a step of the scene");
    let (at, cx) = (server.address(), Cx::background());
    let serving = cx.clone();
    (at, cx, tokio::spawn(async move { server.run(&serving).await.expect("a step of the scene") }))
}

fn store(name: &str, minutes_old: Option<i64>, on_schedule: Option<bool>) -> StoreStatus {
    let shows = Utc::now() - TimeDelta::minutes(minutes_old.unwrap_or(0));
    let last_success = minutes_old.map(|_| BackupSummary {
        id: "20261123T104500Z-7f3a9c".parse().expect("a step of the scene"),
        shows,
        finished_at: shows + TimeDelta::seconds(30),
        took: Duration::from_millis(1500),
        bytes: 4096,
        stored_bytes: 1024,
    });
    StoreStatus {
        store: name.into(),
        unknown: None,
        on_schedule,
        last_success,
        last_attempt: None,
        last_proof: None,
        last_proven_restore: None,
        backups: u64::from(minutes_old.is_some()),
        stored_bytes: 1024,
    }
}

fn status(stores: Vec<StoreStatus>) -> Status {
    let component = ComponentStatus {
        component: "database".parse().expect("a step of the scene"),
        engine: "postgres".into(),
        protection: Protection::Weak,
        reasons: vec![],
        rpo: Some(Rpo(Duration::from_secs(3600))),
        on_schedule: Some(true),
        expected_interval: Some(Duration::from_secs(1800)),
        next_run: None,
        running: false,
        stores,
    };
    Status { at: Utc::now(), components: vec![component] }
}

#[tokio::test]
async fn the_token_is_asked_for_on_every_path_known_or_not() {
    let (at, _cx, _task) = serve(&Metrics::new(), Some(TOKEN)).await;
    let right = format!("Bearer {TOKEN}");
    let wrong = [
        "",
        "Bearer",
        "Bearer ",
        "Bearer canary-0123456789abcdeF",
        "Bearer canary-0123456789abcde",
        "Basic canary-0123456789abcdef",
        TOKEN,
    ];
    let paths = ["/metrics", "/healthz", "/livez", "/", "/nope", "/metrics/", "//metrics", "/%6detrics", "/livez?x=1"];
    for path in paths {
        for method in ["GET", "HEAD", "POST", "OPTIONS"] {
            let (code, head, body) = ask(at, method, path, &[]).await;
            assert_eq!(code, 401, "{method} {path}");
            assert!(head.contains("www-authenticate: bearer") && !body.contains("canary"), "{head}");
        }
        for header in wrong {
            assert_eq!(ask(at, "GET", path, &[("Authorization", header)]).await.0, 401, "{path} {header:?}");
        }
    }
    let known = async |path: &str| ask(at, "GET", path, &[("Authorization", &right)]).await;
    for (path, code) in [("/metrics", 200), ("/livez", 200), ("/healthz", 503), ("/", 404), ("/nope", 404)] {
        let (found, head, _) = known(path).await;
        assert_eq!(found, code, "{path}");
        assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    }
    assert_eq!(ask(at, "POST", "/metrics", &[("Authorization", &right)]).await.0, 405);
    assert_eq!(ask(at, "GET", "/livez", &[("authorization", &format!("bearer {TOKEN}"))]).await.0, 200);
}

#[tokio::test]
async fn others_than_this_machine_need_a_token() {
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let config = ServerConfig::new(listen.parse().unwrap());
        let e = Server::bind(config, axum::Router::new()).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Config, "{listen}");
        assert!(e.help().unwrap().contains("token_file"));
    }
    let empty = ServerConfig::new("127.0.0.1:0".parse().unwrap()).with_token(SecretString::from(" ".to_owned()));
    let e = Server::bind(empty, axum::Router::new()).await.unwrap_err();
    assert!(e.kind() == ErrorKind::Config && e.to_string().contains("empty"), "{e:?}");
    let open = ServerConfig::new("0.0.0.0:0".parse().unwrap()).with_token(SecretString::from(TOKEN));
    assert!(!format!("{open:?}").contains("canary"));
    let server = Server::bind(open, axum::Router::new()).await.unwrap();
    let taken = ServerConfig::new(SocketAddr::from(([127, 0, 0, 1], server.address().port())));
    assert_eq!(Server::bind(taken, axum::Router::new()).await.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn what_is_not_known_has_no_sample() {
    let metrics = Metrics::new();
    let (at, _cx, _task) = serve(&metrics, None).await;
    let scrape = async || ask(at, "GET", "/metrics", &[]).await.2;
    let text = scrape().await;
    assert!(!text.contains("component="), "nothing is known yet: {text}");
    let mut known = store("local", Some(10), Some(true));
    known.last_attempt = Some(Attempt { at: Utc::now(), took: None, error: Some("x".into()) });
    let backup = known.last_success.as_ref().unwrap().id.clone();
    let proof = ProofSummary { backup, level: "restore".into(), verdict: Verdict::Equal, at: Utc::now() };
    (known.last_proof, known.last_proven_restore) = (Some(proof.clone()), Some(proof));
    let away = StoreStatus { unknown: Some("no answer".into()), ..store("offsite", None, None) };
    metrics.update(status(vec![known, away]));
    metrics.tell(&Cx::background(), &Event::new(Utc::now(), Action::Prune, Phase::Failed, "x")).await.unwrap();
    let text = scrape().await;
    let sample = |line: &str| assert!(text.lines().any(|l| l.starts_with(line)), "{line} in\n{text}");
    sample("veza_dr_store_reachable{component=\"database\",store=\"local\"} 1.0");
    sample("veza_dr_store_reachable{component=\"database\",store=\"offsite\"} 0.0");
    sample("veza_dr_rpo_target_seconds{component=\"database\"} 3600.0");
    sample("veza_dr_expected_interval_seconds{component=\"database\"} 1800.0");
    sample("veza_dr_age_seconds{component=\"database\"} 600.");
    sample("veza_dr_backup_bytes{component=\"database\",store=\"local\"} 4096.0");
    sample("veza_dr_backup_duration_seconds{component=\"database\",store=\"local\"} 1.5");
    sample("veza_dr_backups{component=\"database\",store=\"local\"} 1.0");
    sample("veza_dr_last_attempt_ok{action=\"backup\",component=\"database\",store=\"local\"} 0.0");
    sample("veza_dr_last_attempt_ok{action=\"verify\",component=\"database\",store=\"local\"} 1.0");
    sample("veza_dr_last_attempt_ok{action=\"prune\"} 0.0");
    sample("veza_dr_last_success_timestamp_seconds{action=\"backup\",component=\"database\",store=\"local\"} 1");
    sample("veza_dr_last_proven_restore_timestamp_seconds{component=\"database\",store=\"local\"} 1");
    sample("veza_dr_runs_total{action=\"prune\",outcome=\"failed\"} 1");
    let offsite: Vec<&str> = text.lines().filter(|l| l.contains("offsite")).collect();
    assert_eq!(offsite.len(), 1, "a store that cannot be asked has no other sample: {offsite:?}");
    assert!(!text.contains("last_success_timestamp_seconds{action=\"prune\""), "it never ended well");
}

#[tokio::test]
async fn each_scraper_gets_its_form() {
    let metrics = Metrics::new();
    metrics.tell(&Cx::background(), &Event::new(Utc::now(), Action::Backup, Phase::Failed, "x")).await.unwrap();
    let (at, _cx, _task) = serve(&metrics, None).await;
    let (_, head, text) = ask(at, "GET", "/metrics", &[]).await;
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(text.contains("# TYPE veza_dr_runs_total counter") && !text.contains("# EOF"), "{text}");
    let open = [("Accept", "application/openmetrics-text; version=1.0.0, text/plain;q=0.5")];
    let (_, head, text) = ask(at, "GET", "/metrics", &open).await;
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(text.contains("# TYPE veza_dr_runs counter") && text.ends_with("# EOF\n"), "{text}");
}

#[tokio::test]
async fn health_is_the_schedule_being_met_and_not_the_process_being_up() {
    let metrics = Metrics::new();
    let (at, _cx, _task) = serve(&metrics, None).await;
    let health = async || {
        let (code, _, body) = ask(at, "GET", "/healthz", &[]).await;
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        (code, body["reasons"].to_string())
    };
    assert_eq!(health().await.0, 503, "nothing was looked at yet");
    metrics.update(status(vec![store("local", Some(10), Some(true))]));
    assert_eq!(health().await, (200, "[]".to_owned()));
    metrics.update(status(vec![store("local", Some(10), Some(true)), store("offsite", None, Some(false))]));
    assert_eq!(health().await, (503, "[\"database in offsite: no backup\"]".to_owned()));
    let away = StoreStatus { unknown: Some("no answer".into()), ..store("local", None, None) };
    metrics.update(status(vec![away]));
    assert_eq!(health().await, (503, "[\"database in local: unknown, no answer\"]".to_owned()));
    let mut old = status(vec![store("local", Some(10), Some(true))]);
    old.at = Utc::now() - TimeDelta::hours(1);
    metrics.update(old);
    assert_eq!(health().await.0, 503, "whoever looks at the stores hangs");
    assert_eq!(ask(at, "GET", "/livez", &[]).await.0, 200);
}

#[tokio::test]
async fn it_stops_when_asked_also_while_somebody_holds_a_connection() {
    let (at, cx, task) = serve(&Metrics::new(), None).await;
    let idle = tokio::net::TcpStream::connect(at).await.unwrap();
    assert_eq!(ask(at, "GET", "/livez", &[]).await.0, 200);
    cx.cancel();
    tokio::time::timeout(Duration::from_secs(8), task).await.expect("it ends within seconds").unwrap();
    assert!(tokio::net::TcpStream::connect(at).await.is_err());
    drop(idle);
}
