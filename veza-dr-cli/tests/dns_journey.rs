//! Users led to the standby and back by the command line, seen by a DNS server that is none of ours.

#![cfg(feature = "route53")]

mod common;

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::mpsc::RecvTimeoutError,
    time::{Duration, Instant},
};

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
  verify_within: 4s
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

    let plan = run(&place, &["--json", "failover", "plan", "--scenario", "names"]);
    let sha = plan.json()["sha256"].as_str().unwrap().to_owned();
    // Between the plan and the run somebody else leads the name to neither site: theirs is not written over.
    server.upsert(&zone, API, "A", 1, &["192.0.2.99"]).await.unwrap();
    proxy.copy().await.unwrap();
    let decided = ["--override", "validated-before-dns", "--reason", "seen by eye"];
    let mut arguments = vec!["--json", "failover", "run", "--scenario", "names", "--plan-sha", &sha];
    arguments.extend(decided);
    let foreign = run(&place, &arguments);
    assert_eq!(foreign.exit, Exit::Unsafe, "{}", foreign.all());
    let told = foreign.json();
    assert_eq!((&told["refused"], &told["status"]), (&"known-names".into(), &"refused".into()), "{told}");
    let why = told["why"].as_str().unwrap();
    for word in [
        "step lead",
        API,
        "192.0.2.99",
        "primary (192.0.2.10)",
        "standby (192.0.2.20)",
        "dns show",
        "--override known-names",
    ] {
        assert!(why.contains(word), "{word}: {why}");
    }
    assert_eq!(knot.answers(API, "A").unwrap(), ["192.0.2.99"], "nothing was changed");
    let name = told["run"].as_str().unwrap().to_owned();
    let still = run(&place, &["--json", "failover", "resume", &name]);
    assert_eq!((still.exit, &still.json()["refused"]), (Exit::Unsafe, &"known-names".into()), "{}", still.all());
    // The same by hand; a plan alone shows it.
    let by_hand = ["--json", "dns", "switch", "--to", "standby", "--yes"];
    let refused = run(&place, &by_hand);
    assert_eq!(refused.exit, Exit::Conflict, "{}", refused.all());
    let context = &refused.json()["error"]["context"];
    assert!(context["record"].as_str().unwrap().contains(API), "{}", refused.all());
    assert_eq!(context["expected"], "192.0.2.10 or 192.0.2.20");
    assert!(context["there_now"].as_str().unwrap().contains("192.0.2.99"));
    assert!(refused.json()["error"]["help"].as_str().unwrap().contains("--force"), "{}", refused.all());
    assert_eq!(run(&place, &["dns", "switch", "--to", "standby", "--plan"]).exit, Exit::Ok);
    // A person decides to write over it, in their name; taken back, theirs is there again.
    let over = ["--json", "failover", "resume", &name, "--override", "known-names", "--reason", "a stray page"];
    let over = run(&place, &over);
    assert_eq!(over.exit, Exit::Ok, "{}", over.all());
    assert_eq!(over.json()["overrides"][1]["rule"], "known-names", "{}", over.all());
    assert_eq!(knot.answers(API, "A").unwrap(), ["192.0.2.20"]);
    let back = run(&place, &["--json", "failover", "resume", &name, "--rollback", "--yes"]);
    assert_eq!(back.exit, Exit::Ok, "{}", back.all());
    assert_eq!(knot.answers(API, "A").unwrap(), ["192.0.2.99"], "{}", back.all());
    let forced = run(&place, &["--json", "dns", "switch", "--to", "primary", "--yes", "--force"]);
    assert_eq!(forced.exit, Exit::Ok, "{}", forced.all());
    assert_eq!(knot.answers(API, "A").unwrap(), ["192.0.2.10"]);

    let mut arguments = vec!["--json", "failover", "run", "--scenario", "names", "--plan-sha", &sha];
    arguments.extend(decided);
    let done = run(&place, &arguments);
    assert_eq!(done.exit, Exit::Ok, "{}", done.all());
    assert_eq!(knot.answers(API, "A").unwrap(), ["192.0.2.20"]);
    assert!(!done.all().contains("canary"), "{}", done.all());

    let name = done.json()["run"].as_str().unwrap().to_owned();
    // Somebody else changes the record meanwhile: that is theirs, and it is told what is there.
    server.upsert(&zone, API, "A", 1, &["192.0.2.99"]).await.unwrap();
    proxy.copy().await.unwrap();
    let refused = run(&place, &["--json", "failover", "resume", &name, "--rollback", "--yes"]);
    assert_eq!(refused.exit, Exit::Partial, "{}", refused.all());
    let told = refused.json()["why"].to_string();
    assert!(told.contains("lead") && told.contains("somebody else changed the records"), "{}", refused.all());
    assert_eq!(knot.answers(API, "A").unwrap(), ["192.0.2.99"]);
    server.upsert(&zone, API, "A", 1, &["192.0.2.20"]).await.unwrap();
    proxy.copy().await.unwrap();
    let back = run(&place, &["--json", "failover", "resume", &name, "--rollback", "--yes"]);
    assert_eq!(back.exit, Exit::Ok, "{}", back.all());
    assert_eq!(knot.answers(API, "A").unwrap(), ["192.0.2.10"], "{}", back.all());
}

/// The program in a process of its own; killed when the test ends.
struct Process(Child);

impl Process {
    fn start(place: &Place, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_veza-dr"));
        command.arg("--config").arg(place.config()).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("the program"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a health checker gets: the status of the served flag.
fn flag_status(port: u16) -> Option<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET /veza-dr-flag/failover HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

async fn until(what: &str, mut there: impl FnMut() -> bool) {
    let began = Instant::now();
    while !there() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what} never came about");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_whose_process_was_killed_is_taken_back_by_the_daemon() {
    let server = Route53Server::start().await.unwrap();
    let zone = server.create_zone("example.test", "daemon").await.unwrap();
    let knot = Knot::start().await.unwrap();
    let resolver = CachingResolver::start(&knot).await.unwrap();
    let proxy = Route53Proxy::start(server.address(), &zone, vec![knot.control()]).await.unwrap();
    server.upsert(&zone, API, "A", 1, &["192.0.2.10"]).await.unwrap();
    proxy.copy().await.unwrap();
    let daemon = "serve: { listen: \"127.0.0.1:0\" }\nnotify: { ops: { command: [sh, -c, 'cat >> DIR/told'] } }\n";
    let place = Place::with(&config(&zone, &proxy, &knot, &resolver));
    let text = std::fs::read_to_string(place.config()).unwrap() + daemon;
    std::fs::write(place.config(), text.replace("DIR", &place.dir.path().display().to_string())).unwrap();

    let mut switch = Process::start(&place, &["dns", "switch", "--to", "standby", "--yes", "--confirm-within", "12s"]);
    let saved = place.path("state/dns/switch.json");
    until("the switch", || std::fs::read_to_string(&saved).is_ok_and(|s| s.contains("\"in_sync\""))).await;
    switch.0.kill().unwrap();
    switch.0.wait().unwrap();
    assert_eq!(knot.answers(API, "A").unwrap(), ["192.0.2.20"]);
    // Nobody is there to take it back.
    until("the end of its time", || run(&place, &["dns", "show"]).exit == Exit::NeedsHuman).await;
    assert_eq!(knot.answers(API, "A").unwrap(), ["192.0.2.20"]);

    let _serve = Process::start(&place, &["serve"]);
    until("the way back", || knot.answers(API, "A").is_ok_and(|a| a == ["192.0.2.10"])).await;
    let told = place.path("told");
    until("the news of it", || std::fs::read_to_string(&told).is_ok_and(|t| t.contains("it was taken back"))).await;
    let shown = run(&place, &["--json", "dns", "show"]);
    assert_eq!(shown.json()["last"]["phase"], "rolled_back", "{}", shown.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_flag_leads_users_over_without_a_provider() {
    let knot = Knot::start().await.unwrap();
    let port = veza_dr_tests::ports::free_port().unwrap();
    knot.control().update(&format!("add {API} 60 A 192.0.2.10\n")).unwrap();
    let place = Place::with(&format!(
        "state_dir: state
stores: {{ local: {{ directory: {{ path: store }} }} }}
failover: {{ runbooks: books }}
serve: {{ listen: \"127.0.0.1:0\" }}
sites:
  primary: {{ role: primary, address: 127.0.0.1, compose: {{ file: a.yml, project: a }} }}
  standby: {{ role: standby, address: 127.0.0.1, compose: {{ file: b.yml, project: b }} }}
dns:
  flag: {{ file: public/failover, listen: \"127.0.0.1:{port}\", url: \"http://127.0.0.1:{port}/veza-dr-flag/failover\" }}
  resolvers: [\"{0}\"]
  nameservers: [\"{0}\"]
  records:
    api: {{ name: api.example.test, type: A, primary: [192.0.2.10], standby: [192.0.2.20] }}
",
        knot.address()
    ));
    // Nobody serves it yet: raised, and not called done.
    let unseen = run(&place, &["--json", "dns", "switch", "--to", "standby", "--yes"]);
    assert_eq!(unseen.exit, Exit::Unverified, "{}", unseen.all());
    assert!(unseen.all().contains("raised and not served so"), "{}", unseen.all());
    let lowered = run(&place, &["dns", "switch", "--to", "primary"]);
    assert_eq!(lowered.exit, Exit::NotConfirmed);
    std::fs::remove_file(place.path("public/failover")).unwrap();

    let _serve = Process::start(&place, &["serve"]);
    let fetched = move || flag_status(port).unwrap_or(0);
    until("the daemon", || fetched() == 404).await;
    // What the health check of Route 53 and its name servers do.
    let control = knot.control();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let checker = std::thread::spawn(move || {
        let mut raised = false;
        while stopped.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
            let now = fetched() == 200;
            if now != raised {
                let to = if now { "192.0.2.20" } else { "192.0.2.10" };
                control.update(&format!("del {API} A\nadd {API} 60 A {to}\n")).unwrap();
                raised = now;
            }
        }
    });
    let led = run(&place, &["--json", "dns", "switch", "--to", "standby", "--yes"]);
    assert_eq!(led.exit, Exit::Ok, "{}", led.all());
    assert_eq!(led.json()["report"]["records"][0]["servers"][0]["agreement"], "wanted");
    assert_eq!(knot.answers(API, "A").unwrap(), ["192.0.2.20"]);
    let shown = run(&place, &["dns", "show"]);
    assert_eq!(shown.exit, Exit::Ok, "{}", shown.all());
    assert!(shown.stdout.contains("raised: users are led to the standby"), "{}", shown.stdout);
    let records = run(&place, &["--json", "dns", "switch", "--to", "standby", "--by", "records", "--yes"]);
    assert_eq!(records.exit, Exit::Usage, "{}", records.all());
    let back = run(&place, &["dns", "switch", "--to", "primary", "--yes"]);
    assert_eq!(back.exit, Exit::Ok, "{}", back.all());
    assert_eq!(knot.answers(API, "A").unwrap(), ["192.0.2.10"]);

    // The same as a step of a runbook.
    std::fs::create_dir(place.path("books")).unwrap();
    let plan = "name: names\nsteps: [ { id: lead, do: dns, with: { to: standby }, only_with: [dns], timeout: 1m } ]\n";
    std::fs::write(place.path("books/names.yml"), plan).unwrap();
    let arguments = ["--json", "failover", "run", "--scenario", "names", "--yes"];
    let mut decided = arguments.to_vec();
    decided.extend(["--override", "validated-before-dns", "--reason", "seen by eye"]);
    let done = run(&place, &decided);
    assert_eq!(done.exit, Exit::Ok, "{}", done.all());
    assert_eq!(knot.answers(API, "A").unwrap(), ["192.0.2.20"]);
    drop(stop);
    checker.join().unwrap();
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

#[test]
fn what_is_wrong_with_a_flag_and_a_lease_is_told_with_its_place() {
    let sites = "sites:
  primary: { role: primary, compose: { file: a.yml, project: a }, fence: { lease: failover, lease_time: 5s } }
  standby: { role: standby, compose: { file: /b.yml, project: b }, ssh: { host: far } }
serve: { site: standby }
";
    let place = Place::with(&format!(
        "{sites}dns: {{ flag: {{ file: flag, site: stanby, listen: nowhere, url: 'ftp://x' }} }}\n"
    ));
    let wrong = place.run(&["dns", "show"]);
    assert_eq!(wrong.exit, Exit::Usage);
    for part in [
        "`failover` cannot be the name of this lease",
        "is shorter than 15s",
        "site `standby` is on another machine",
        "there is no site `stanby`",
        "cannot be served from here",
        "`nowhere` is not an address and port",
        "the URL of an HTTP probe cannot be used",
    ] {
        assert!(wrong.stderr.contains(part), "{part}: {}", wrong.stderr);
    }
    let neither = Place::with("dns: { records: {} }\n").run(&["dns", "show"]);
    assert!(neither.stderr.contains("neither a provider nor a health flag"), "{}", neither.stderr);
}
