//! `assess` from the command line: what is looked at, exit codes, the document, and settings that make no sense.

mod common;

use std::net::TcpListener;

use common::Place;
use veza_dr_cli::Exit;

#[test]
fn a_disk_with_room_is_healthy_and_one_without_is_degraded() {
    let place = Place::with("disks: [ { path: /, free: 1KiB, inodes: 0% } ]");
    let ran = place.run(&["assess", "--json"]);
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.all());
    let json = ran.json();
    assert_eq!((&json["condition"], &json["scenario"]), (&"healthy".into(), &serde_json::Value::Null));
    assert_eq!(json["disks"][0]["probe"], "disk /");
    let place = Place::with("disks: [ { path: /, free: 8000TiB } ]");
    let ran = place.run(&["assess"]);
    assert_eq!(ran.exit, Exit::Degraded, "{}", ran.all());
    assert!(ran.stdout.contains("disk: disk /: less than wanted"), "{}", ran.stdout);
}

#[test]
fn a_docker_socket_that_is_not_there_leaves_its_services_unknown() {
    let config = "
sites:
  primary:
    { role: primary, address: 127.0.0.1, compose: { file: production.yml, project: veza, docker_host: 'unix:///no/such.sock' } }
";
    let place = Place::with(config);
    std::fs::write(place.path("production.yml"), "services: { postgres: { image: postgres } }").unwrap();
    let ran = place.run(&["assess", "--json", "--deadline", "2s"]);
    assert_eq!(ran.exit, Exit::Unknown, "{}", ran.all());
    let json = ran.json();
    // The guide's five are looked at where none is named.
    let services = json["sites"][0]["services"].as_array().unwrap();
    let names: Vec<&str> = services.iter().filter_map(|s| s["service"].as_str()).collect();
    assert_eq!(names, ["veza-backend-api", "veza-chat-server", "veza-stream-server", "postgres", "redis"]);
    assert!(services.iter().all(|s| s["condition"] == "unknown"), "{json:#}");
    assert_eq!(json["scenario"], serde_json::Value::Null);
    assert!(json["next"][0].as_str().unwrap().contains("veza-dr check"), "{json:#}");
}

#[test]
fn services_are_asked_at_the_address_of_the_site() {
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "
sites: {{ primary: {{ role: primary, address: 127.0.0.1, compose: {{ file: production.yml, project: veza }} }} }}
services:
  api: {{ probes: [ {{ tcp: {{ port: {} }} }} ] }}
  postgres: {{ alias: db, kind: database, probes: [ {{ tcp: {{ port: {closed} }} }} ] }}
",
        open.local_addr().unwrap().port(),
    );
    let place = Place::with(&config);
    std::fs::write(place.path("production.yml"), "services: { postgres: { image: postgres } }").unwrap();
    let ran = place.run(&["assess", "--json"]);
    assert_eq!(ran.exit, Exit::Degraded, "{}", ran.all());
    let json = ran.json();
    assert_eq!((&json["condition"], &json["scenario"]), (&"down".into(), &"database".into()), "{json:#}");
    assert_eq!(json["next"], serde_json::json!(["veza-dr recover db", "veza-dr failover plan --scenario database"]));
    let ran = place.run(&["assess", "--suspect-compromise"]);
    assert!(ran.stdout.contains("next: veza-dr failover plan --scenario security"), "{}", ran.stdout);
    assert_eq!(place.run(&["assess", "--site", "nowhere"]).exit, Exit::Usage);
}

#[test]
fn settings_that_make_no_sense_are_told_with_their_place() {
    let refused = |config: &str, message: &str| {
        let ran = Place::with(config).run(&["assess"]);
        assert_eq!(ran.exit, Exit::Usage, "{config}: {}", ran.all());
        assert!(ran.stderr.contains(message), "{config}: {}", ran.stderr);
    };
    refused("disks: [ { path: /, free: lots } ]", "`lots` is neither a share such as 10% nor a size");
    refused("services: { api: { probes: [ { http: { path: /health } } ] } }", "needs a url or a port");
    refused("services: { api: { probes: [ { htpp: { port: 80 } } ] } }", "unknown kind `htpp`");
    refused("services: { api: { sites: [primry] } }", "there is no site `primry`");
    refused("services: { a: { alias: x }, b: { alias: x } }", "`x` means service `a` already");
    refused("{}", "names nothing that could be looked at");
}
