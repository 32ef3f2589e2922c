//! `veza-dr validate`: the configuration's checks against a real server, as table, JSON, JUnit and exit code.

mod common;

use common::Place;
use serde_json::json;
use veza_dr_cli::Exit;
use veza_dr_tests::demo_http::{DemoChat, DemoHttp};

#[test]
fn a_site_is_validated_by_its_own_address() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (http, chat) = runtime.block_on(async { (DemoHttp::start("standby").await, DemoChat::start("s3cret").await) });
    let port = http.address().port();
    let chat_port = chat.url().rsplit_once(':').unwrap().1.trim_end_matches("/chat").to_owned();
    let config = format!(
        "sites:\n  standby:\n    role: standby\n    address: 127.0.0.1\n    compose: {{ file: /x.yml, project: veza }}\n\
         validation:\n\
         \x20 - {{ name: api, http: {{ url: \"http://api.veza.com:{port}/health\", contains: ok, \
             json: {{ status: ok, \"checks[0].lag\": 3 }}, site_header: {{ x-site: standby }}, within: 2s }} }}\n\
         \x20 - {{ name: chat, websocket: {{ port: {chat_port}, path: /chat, token_file: token, send: hi }} }}\n\
         \x20 - {{ name: live, stream: {{ port: {port}, path: /live, bytes: 4KiB }} }}\n\
         \x20 - {{ name: ab, load: {{ port: {port}, path: /work, requests: 20, concurrency: 2, errors: 0% }} }}\n"
    );
    let place = Place::with(&config);
    std::fs::write(place.path("token"), "s3cret\n").unwrap();
    let junit = place.path("result.xml").display().to_string();

    let plan = place.run(&["validate", "--site", "standby", "--plan"]);
    assert_eq!(plan.exit, Exit::Ok, "{}", plan.all());
    assert!(plan.stdout.contains("20 requests over 2 connections: p95 1 s, p99 2 s, errors 0 %"), "{}", plan.stdout);
    assert_eq!(http.seen().requests.load(std::sync::atomic::Ordering::SeqCst), 0);

    let ran = place.run(&["validate", "--site", "standby", "--json", "--junit", &junit]);
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.all());
    let told = ran.json();
    assert_eq!((&told["verdict"], &told["passed"], &told["site"]), (&json!("pass"), &json!(4), &json!("standby")));
    assert_eq!(*http.seen().host.lock().unwrap(), format!("api.veza.com:{port}"));
    let xml = std::fs::read_to_string(&junit).unwrap();
    assert!(xml.contains("<testsuite name=\"standby\" tests=\"4\" failures=\"0\""), "{xml}");

    // One that fails keeps load away, and both say why.
    std::fs::write(place.path("token"), "old\n").unwrap();
    let ran = place.run(&["validate", "--site", "standby"]);
    assert_eq!(ran.exit, Exit::ValidationFailed, "{}", ran.all());
    assert!(ran.stdout.contains("chat: it refuses the token"), "{}", ran.stdout);
    assert!(ran.stdout.contains("ab: check `chat` did not pass"), "{}", ran.stdout);
    assert!(ran.stdout.ends_with("next: veza-dr validate --site standby --only chat\n"), "{}", ran.stdout);
    assert_eq!(place.run(&["validate", "--only", "live"]).exit, Exit::Ok);
    let unknown = place.run(&["validate", "--only", "caht"]);
    assert!(unknown.exit == Exit::NotFound && unknown.all().contains("api, chat, live, ab"), "{}", unknown.all());
    let site = place.run(&["validate", "--site", "moon"]);
    assert!(site.exit == Exit::Usage && site.all().contains("has no site `moon`"), "{}", site.all());
}

#[test]
fn wrong_checks_are_told_with_their_place_and_the_guides_are_there_without_any() {
    let place = Place::with(
        "validation:\n  - { name: a, http: { path: / } }\n  - { name: a, load: { port: 1, rate: 5/s, requests: 3 } }\n\
         \x20 - { name: b, postgres: { source: db } }\n  - { name: c, load: { port: 1, errors: 200% } }\n",
    );
    let ran = place.run(&["validate"]);
    assert_eq!(ran.exit, Exit::Usage, "{}", ran.all());
    assert!(ran.all().contains("`200%` is not a share"), "{}", ran.all());
    let text = std::fs::read_to_string(place.config()).unwrap();
    std::fs::write(place.config(), text.replace("200%", "2%")).unwrap();
    let told = place.run(&["validate"]).all();
    for part in ["names neither `port` nor `url`", "another check is called `a`", "requests and rate", "no source `db`"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    let place = Place::with("sources:\n  db: { postgres: { url: \"postgres://u@127.0.0.1:1/d\" } }\n");
    let plan = place.run(&["validate", "--plan", "--json"]);
    let names: Vec<String> =
        plan.json()["checks"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect();
    let expected: &[&str] = if cfg!(feature = "postgres") {
        &["api", "stream", "chat", "db.canary", "db.sequences", "load"]
    } else {
        &["api", "stream", "chat", "load"]
    };
    assert_eq!(names, expected, "{}", plan.all());
}
