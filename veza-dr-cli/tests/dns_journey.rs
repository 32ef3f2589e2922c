//! Users led to the standby and back by the command line, seen by a DNS server that is none of ours.

#![cfg(feature = "route53")]

mod common;

use std::time::Duration;

use common::{Place, Ran};
use veza_dr_cli::Exit;
use veza_dr_tests::{
    knot::{CachingResolver, Knot},
    route53_proxy::Route53Proxy,
    route53_server::Route53Server,
};

const API: &str = "api.example.test.";

/// The program makes a runtime of its own, which another one's thread cannot.
fn run(place: &Place, args: &[&str]) -> Ran {
    tokio::task::block_in_place(|| std::thread::scope(|s| s.spawn(|| place.run(args)).join().expect("a run")))
}

fn config(zone: &str, proxy: &Route53Proxy, knot: &Knot, resolver: &CachingResolver) -> String {
    format!(
        "state_dir: state
dns:
  route53: {{ zone: {zone}, endpoint: \"{}\", access_key_id: key, secret_access_key: canary-secret }}
  resolvers: [\"{}\"]
  nameservers: [\"{}\"]
  verify_within: 1s
  records:
    api: {{ name: api.example.test, type: A, primary: [192.0.2.10], standby: [192.0.2.20], ttl: 1 }}
",
        proxy.endpoint(),
        resolver.address(),
        knot.address(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_led_to_the_standby_and_back() {
    let server = Route53Server::start().await.unwrap();
    let zone = server.create_zone("example.test", "cli").await.unwrap();
    let knot = Knot::start().await.unwrap();
    let resolver = CachingResolver::start(&knot).await.unwrap();
    let proxy = Route53Proxy::start(server.address(), &zone, vec![knot.control()]).await.unwrap();
    server.upsert(&zone, API, "A", 1, &["192.0.2.10"]).await.unwrap();
    proxy.copy().await.unwrap();
    let place = Place::with(&config(&zone, &proxy, &knot, &resolver));

    let shown = run(&place, &["--json", "dns", "show"]);
    assert_eq!(shown.exit, Exit::Ok, "{}", shown.all());
    assert_eq!(shown.json()["records"][0]["side"], "primary");

    let plan = run(&place, &["--json", "dns", "switch", "--to", "standby", "--plan"]);
    assert_eq!(plan.exit, Exit::Ok, "{}", plan.all());
    assert_eq!(plan.json()["applied"], false);
    let unasked = run(&place, &["--json", "dns", "switch", "--to", "standby"]);
    assert_eq!(unasked.exit, Exit::NotConfirmed, "{}", unasked.all());
    assert_eq!(knot.answers(API, "A").unwrap(), ["192.0.2.10"]);

    let switched = run(&place, &["--json", "dns", "switch", "--to", "standby", "--yes"]);
    assert_eq!(switched.exit, Exit::Ok, "{}", switched.all());
    assert_eq!(switched.json()["report"]["records"][0]["servers"][0]["agreement"], "wanted");
    assert_eq!(knot.answers(API, "A").unwrap(), ["192.0.2.20"]);

    server.upsert(&zone, API, "A", 1, &["192.0.2.99"]).await.unwrap();
    let refused = run(&place, &["--json", "dns", "rollback"]);
    assert_eq!(refused.exit, Exit::Conflict, "{}", refused.all());
    assert!(refused.json()["error"]["context"]["there_now"].as_str().unwrap().contains("192.0.2.99"));
    let forced = run(&place, &["dns", "rollback", "--force"]);
    assert_eq!(forced.exit, Exit::Ok, "{}", forced.all());
    assert_eq!(knot.answers(API, "A").unwrap(), ["192.0.2.10"]);

    // Nobody confirms: it is taken back while the command waits.
    let reverted = run(&place, &["--json", "dns", "switch", "--to", "standby", "--yes", "--confirm-within", "500ms"]);
    assert_eq!(reverted.exit, Exit::NotConfirmed, "{}", reverted.all());
    assert_eq!(knot.answers(API, "A").unwrap(), ["192.0.2.10"]);

    let canary = |ran: &Ran| assert!(!ran.all().contains("canary"), "{}", ran.all());
    [&shown, &plan, &switched, &refused, &forced, &reverted].into_iter().for_each(canary);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let shown = run(&place, &["dns", "show"]);
    assert_eq!(shown.exit, Exit::Ok, "{}", shown.all());
    assert!(shown.stdout.contains("leads to the primary") && shown.stdout.contains("rolled back"), "{}", shown.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runbook_leads_users_to_the_standby_once_it_is_validated_and_takes_them_back() {
    let server = Route53Server::start().await.unwrap();
    let zone = server.create_zone("example.test", "runbook").await.unwrap();
    let knot = Knot::start().await.unwrap();
    let resolver = CachingResolver::start(&knot).await.unwrap();
    let proxy = Route53Proxy::start(server.address(), &zone, vec![knot.control()]).await.unwrap();
    server.upsert(&zone, API, "A", 1, &["192.0.2.10"]).await.unwrap();
    proxy.copy().await.unwrap();
    let sites = "stores: { local: { directory: { path: store } } }
failover: { runbooks: books }
sites:
  primary: { role: primary, address: 127.0.0.1, compose: { file: a.yml, project: a } }
  standby: { role: standby, address: 127.0.0.1, compose: { file: b.yml, project: b } }
";
    let place = Place::with(&format!("{sites}{}", config(&zone, &proxy, &knot, &resolver)));
    std::fs::create_dir(place.path("books")).unwrap();
    let plan = "name: names\nsteps: [ { id: lead, do: dns, with: { to: standby }, only_with: [dns], timeout: 1m } ]\n";
    std::fs::write(place.path("books/names.yml"), plan).unwrap();

    // Nothing validated the standby: refused by name, and nobody is led anywhere.
    let unsafe_run = run(&place, &["--json", "failover", "run", "--scenario", "names", "--yes"]);
    assert_eq!(unsafe_run.exit, Exit::Unsafe, "{}", unsafe_run.all());
    assert!(unsafe_run.all().contains("validated-before-dns"), "{}", unsafe_run.all());
    assert_eq!(knot.answers(API, "A").unwrap(), ["192.0.2.10"]);

    let decided = ["--override", "validated-before-dns", "--reason", "seen by eye"];
    let mut arguments = vec!["--json", "failover", "run", "--scenario", "names", "--yes"];
    arguments.extend(decided);
    let done = run(&place, &arguments);
    assert_eq!(done.exit, Exit::Ok, "{}", done.all());
    assert_eq!(knot.answers(API, "A").unwrap(), ["192.0.2.20"]);
    assert!(!done.all().contains("canary"), "{}", done.all());

    let name = done.json()["run"].as_str().unwrap().to_owned();
    let back = run(&place, &["--json", "failover", "resume", &name, "--rollback", "--yes"]);
    assert_eq!(knot.answers(API, "A").unwrap(), ["192.0.2.10"], "{}", back.all());
}

#[test]
fn a_file_without_dns_says_what_to_add_and_a_wrong_one_where_it_is_wrong() {
    let none = Place::with("sources: {}\n").run(&["dns", "show"]);
    assert_eq!(none.exit, Exit::Usage);
    assert!(none.stderr.contains("docs/dns.md"), "{}", none.stderr);
    let wrong = Place::with(
        "dns:\n  route53: { zone: Z1, access_key_id: canary }\n  resolvers: [one.one.one.one]\n  records:\n    api: \
         { name: api, type: A, primary: [\"::1\"], standby: [\"::1\"] }\n",
    );
    let wrong = wrong.run(&["dns", "show"]);
    assert_eq!(wrong.exit, Exit::Usage);
    for part in ["full domain name", "IPv4 address", "one of them is missing", "not a DNS server", "change nothing"] {
        assert!(wrong.stderr.contains(part), "{part}: {}", wrong.stderr);
    }
    assert!(!wrong.stderr.contains("canary"));
}
