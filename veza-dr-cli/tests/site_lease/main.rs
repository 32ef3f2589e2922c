//! The lease of the site that serves, with the real daemon and a real Docker engine: the daemon is killed, the store goes
//! away, and a primary that nobody can reach is replaced only once its lease was waited out. Whoever writes to both sites
//! is never taken by both.
#![allow(clippy::unwrap_used, reason = "in a test a failure is what it is for")]
#![cfg(all(feature = "docker", feature = "redis", feature = "s3"))]

#[path = "../failover_sites/program.rs"]
#[expect(dead_code, reason = "the other program also kills its calls")]
mod program;
mod world;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use veza_dr_tests::{
    compose_site::ComposeScene,
    observer::{
        Observer,
        Site::{Primary, Standby},
        write_to_redis,
    },
};
use world::{ALL, Machine, Shared};

/// The shortest there is.
const LEASE: Duration = Duration::from_secs(15);
/// From then on others take the lease for ended.
const OTHERS: Duration = Duration::from_secs(20);
/// How long anything may take on a busy machine before it is called a failure.
const WAIT: Duration = Duration::from_secs(90);
/// Every policy but none: what the engine would start by itself.
const POLICIES: [&str; 2] = ["always", "unless-stopped"];

/// Both at the same time: most of it is waiting. Each with workers of its own for the networks: the stories block.
#[test]
fn a_site_serves_only_while_it_renews_its_lease() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let servers = runtime();
    let shared = Arc::new(servers.block_on(Shared::new()));
    std::thread::scope(|threads| {
        threads.spawn(|| runtime().block_on(alone(shared.clone())));
        threads.spawn(|| runtime().block_on(replaced(shared.clone())));
    });
}

/// Nobody takes over: a site closes by itself, and opens again by itself.
async fn alone(shared: Arc<Shared>) {
    let site = Machine::new(&shared, "alone", "127.0.0.4").await;
    site.up().await;
    let daemon = site.serve();
    site.tells(&daemon, "holds its lease and may serve").await;
    let policies = site.policies();
    assert!(POLICIES.iter().all(|p| policies.iter().any(|is| is == p)), "{policies:?}");

    // The daemon is killed. What it left behind closes the site, in time, and keeps it closed.
    daemon.kill();
    let killed = Instant::now();
    tokio::time::sleep(LEASE / 3).await;
    assert_eq!(site.running().len(), ALL, "while the lease lasts it serves");
    site.until("the watchdog closes it", || site.running().is_empty()).await;
    assert!(killed.elapsed() < OTHERS, "before anybody else may serve: {:?}", killed.elapsed());
    let mark = site.mark().unwrap();
    assert!(mark.starts_with("0\n") && mark.contains("the lease was not renewed"), "{mark}");
    site.until("the engine starts nothing by itself", || site.policies().iter().all(|p| p == "no")).await;
    assert!(!site.boot(), "nor does what starts it at boot");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(site.running().is_empty(), "it stays closed while the daemon is gone");

    let daemon = site.serve();
    site.serves().await;
    site.tells(&daemon, "holds its lease again and was started").await;
    assert_eq!((site.mark(), site.policies()), (None, policies.clone()), "as it was before");

    // The store goes away, for longer than the lease lasts.
    site.store.refuse().await;
    site.store.cut();
    let cut = Instant::now();
    tokio::time::sleep(LEASE / 3).await;
    assert_eq!(site.running().len(), ALL, "while the lease lasts it serves");
    site.until("it closes itself", || site.running().is_empty()).await;
    assert!(cut.elapsed() < OTHERS, "before anybody else may serve: {:?}", cut.elapsed());
    assert!(site.mark().unwrap().starts_with("0\n"), "{:?}", site.mark());
    site.tells(&daemon, "the site was closed").await;
    site.store.heal().await;
    site.serves().await;
    site.until("it is open again", || site.mark().is_none()).await;
    assert_eq!(site.policies(), policies);
    drop(daemon);
}

/// The primary is out of the operator's reach.
async fn replaced(shared: Arc<Shared>) {
    let primary = Machine::new(&shared, "primary", "127.0.0.2").await;
    let scene = ComposeScene::small("standby", "127.0.0.3", primary.scene.ports, 0).unwrap();
    let standby = Machine::with(&shared, "standby", scene).await;
    primary.up().await;
    let daemon = primary.serve();
    primary.tells(&daemon, "holds its lease and may serve").await;
    let operator = world::operator(&shared, &primary, &standby);
    let at = |machine: &Machine| format!("{}:{}", machine.scene.address, machine.scene.ports.redis).parse().unwrap();
    let observer = Observer::start(at(&primary), at(&standby), write_to_redis);
    let writes = async |site, more: usize| {
        let before = observer.acknowledged(site).len();
        primary.until("it takes writes", || observer.acknowledged(site).len() >= before + more).await;
    };
    writes(Primary, 5).await;

    // (1) The daemon loses the store as well: it closes the site, and the run waits until it must have.
    primary.ssh.refuse().await;
    primary.ssh.cut();
    primary.store.blackhole();
    let began = Instant::now();
    let told = operator.ok(&["failover", "run", "--scenario", "infrastructure", "--yes"]);
    by_lease(&told, &operator.journal(&told));
    assert!(began.elapsed() >= LEASE, "waited out: {:?}", began.elapsed());
    assert!(primary.running().is_empty(), "it closed itself");
    writes(Standby, 5).await;
    observer.took_turns(&[Primary, Standby]);

    // Its store returns: the daemon finds out who serves, and stays closed.
    primary.store.heal().await;
    let number = format!("{}\n", told["epoch"]);
    primary.until("it knows of the run", || primary.mark().is_some_and(|mark| mark.starts_with(&number))).await;
    primary.tells(&daemon, "fenced it").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(primary.running().is_empty() && !primary.boot(), "it stays closed");
    observer.took_turns(&[Primary, Standby]);

    // The way back: only now may it serve.
    primary.ssh.heal().await;
    let run = told["run"].as_str().unwrap();
    let back = operator.ok(&["failover", "resume", run, "--rollback"]);
    assert_eq!(back["status"], "rolled_back", "{back}");
    assert!(standby.running().is_empty(), "the standby stopped");
    primary.until("it is open", || primary.mark().is_none()).await;
    primary.up().await;
    writes(Primary, 5).await;
    observer.took_turns(&[Primary, Standby, Primary]);
    primary.until("it renews again", || daemon.log().matches("holds its lease and may serve").count() == 2).await;

    // (2) The daemon is dead, which this machine can see, and its services run on: that proves nothing yet.
    primary.ssh.refuse().await;
    primary.ssh.cut();
    daemon.kill();
    let began = Instant::now();
    let told = operator.ok(&["failover", "run", "--scenario", "infrastructure", "--yes"]);
    by_lease(&told, &operator.journal(&told));
    assert!(began.elapsed() >= LEASE, "waited out: {:?}", began.elapsed());
    assert!(primary.running().is_empty(), "the watchdog closed it");
    writes(Standby, 5).await;
    observer.took_turns(&[Primary, Standby, Primary, Standby]);
}

/// The run completed, and what proved that the primary takes no writes is its lease, after its machine did not answer.
fn by_lease(told: &Value, journal: &[Value]) {
    assert_eq!(told["status"], "completed", "{told}");
    let done = |r: &&Value| r["type"] == "outcome" && r["step"] == "fence-primary" && !r["outcome"]["ok"].is_null();
    let fenced = journal.iter().find(done).unwrap_or_else(|| panic!("no fence: {journal:?}"));
    let text = fenced.to_string();
    assert!(text.contains(r#"{"lease_expired":{"lease":"site-primary"}}"#), "{text}");
    assert!(text.contains("stop: ") && text.contains("cannot be reached"), "{text}");
}
