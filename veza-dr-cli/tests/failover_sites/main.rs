//! A whole site fails over to another and back, by the real `veza-dr`: two Compose sites behind SSH with five services
//! each, a Route 53 endpoint with DNS servers behind it, an S3 server, and an observer that writes to both sites all the time.
#![allow(clippy::unwrap_used, reason = "in a test a failure is what it is for")]
#![cfg(all(feature = "docker", feature = "postgres", feature = "redis", feature = "s3", feature = "route53"))]

mod config;
mod counted;
mod killed;
mod program;
mod world;

use std::{collections::BTreeSet, time::Duration};

use observer::Site::{Primary, Standby};
use serde_json::Value;
pub(crate) use veza_dr_tests::observer;
use world::{World, listed};

/// One after the other in one world: a Docker engine and its images take longer to make than most of what is done here.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_site_fails_over_to_the_other_and_back() {
    let mut world = World::new().await;
    a_primary_that_was_stopped_is_left_for_the_last_sound_backup_and_returned_to(&mut world).await;
    a_primary_that_is_cut_off_while_it_writes_is_replaced_and_reseeded_when_it_returns(&mut world).await;
    let failover =
        killed::a_primary_that_died_half_way_is_replaced_by_a_program_that_is_killed_at_every_step(&mut world).await;
    world.refuses_what_it_should().await;
    killed::the_way_back_from_it_loses_nothing(&mut world, failover).await;
}

/// (a) The primary is stopped. The newest backup is not the one that is wanted: the data was tampered with before it.
async fn a_primary_that_was_stopped_is_left_for_the_last_sound_backup_and_returned_to(world: &mut World) {
    world.writes(Primary, 10).await;
    let shown = world.dr().ok(&["failover", "plan", "--scenario", "count"]).to_string();
    for command in ["docker network create --internal veza-primary_veza-dr-apart", "divergence.jsonl", "network rm"] {
        assert!(shown.contains(command), "{command}: {shown}");
    }
    let count = ["failover", "count", "--yes", "--approve", "old-site-may-be-read"];
    let told = world.dr().exits(3, &count);
    let why = step(&told, "count-database")["text"].as_str().unwrap();
    assert!(why.contains("no run on record moved database from primary"), "{told}");
    world.dr().ok(&["failover", "resume", "--abandon", "--reason", "nothing was lost"]);
    world.redis(Primary, &["set", "session:1", "ann"]);
    world.set(Primary, "sound");
    let sound = world.rows(Primary);
    world.backup();
    let sound_at = chrono::Utc::now();
    world.redis(Primary, &["set", "session:1", "mallory"]);
    world.set(Primary, "tampered with");
    world.writes(Primary, 10).await;
    world.backup();
    world.writes(Primary, 10).await;
    world.stop(Primary).await;

    // Closed off first; then it waits for a person, and for the time that only a person can name.
    let plan = world.dr().ok(&["failover", "plan", "--scenario", "security"]);
    let shown = plan.to_string();
    assert!(shown.contains("restore-files") && shown.contains("veza-dr restore files --site standby"), "{plan}");
    let sha = plan["sha256"].as_str().unwrap().to_owned();
    let told = world.dr().exits(22, &["failover", "run", "--scenario", "security", "--plan-sha", &sha]);
    assert_eq!(status(&told, "choose-clean-point"), "waiting", "{told}");
    let told = world.dr().exits(22, &["failover", "resume", "--approve", "choose-clean-point"]);
    assert!(step(&told, "verify-copy")["text"].as_str().unwrap().contains("--at TIME"), "{told}");
    assert!(world.containers(Standby, "veza-backend-api").is_empty(), "nothing of the standby's own data was used");
    let had = listed(&world.settings(Standby));
    let steps = ["restore-files", "restore-database", "restore-redis", "rotate-keys", "switch-dns"];
    let approve = steps.map(|step| ["--approve", step]);
    let at = sound_at.to_rfc3339();
    let mut resume = vec!["failover", "resume", "--at", &at];
    resume.extend(approve.iter().flatten());
    let told = world.dr().ok(&resume);
    assert_eq!(told["status"], "completed", "{told}");
    world.leads_to(Standby).await;
    assert_eq!(world.redis(Standby, &["get", "session:1"]), "ann");
    assert_eq!(world.setting(Standby), "sound", "the files are those of the sound time");
    let secrets = |site| listed(&world.settings(site).join("secrets"));
    assert_eq!(secrets(Standby), secrets(Primary), "owners, modes and times with them");
    world.writes(Standby, 5).await;
    let restored = world.rows(Standby);
    assert!(sound.is_subset(&restored), "what was there before the sound backup is there");
    let mut from_primary = restored.iter().filter(|id| observer::Site::of(**id) == Primary);
    assert!(from_primary.all(|id| world.observer.sent_before(*id, sound_at)), "and nothing later than it");
    let loss = &told["data_loss"]["database"];
    assert_eq!((&loss["records"], &loss["changed"]), (&Value::Null, &Value::Null), "nobody can count yet: {told}");
    assert!(loss["at_most_seconds"].as_f64().unwrap() > 0.0, "{told}");

    // Counted while the standby serves: which rows these are is seen once the primary is back.
    let (run, closed_at) = (told["run"].as_str().unwrap(), chrono::Utc::now());
    let lost = counted::counted(world, run).await;
    let told = world.dr().ok(&["failover", "status", run]);
    let loss = &told["data_loss"]["database"];
    assert_eq!((&loss["records"], &loss["changed"]), (&lost.len().into(), &0.into()), "{told}");

    // A mistake: back to the primary as it was. It has everything that it had acknowledged.
    let told = world.dr().ok(&["failover", "resume", run, "--rollback"]);
    assert_eq!(told["status"], "rolled_back", "{told}");
    world.leads_to(Primary).await;
    assert!(world.up(Standby).await.is_empty(), "the standby stopped");
    assert_eq!((world.setting(Standby).as_str(), listed(&world.settings(Standby))), ("of the standby", had));
    world.start(Primary).await;
    world.writes(Primary, 5).await;
    let acknowledged = world.observer.acknowledged(Primary);
    let now = world.rows(Primary);
    assert!(acknowledged.is_subset(&now), "nothing of the primary is lost");
    let had = now.into_iter().filter(|id| world.observer.sent_before(*id, closed_at));
    let missing: Vec<u64> = had.filter(|id| !restored.contains(id)).collect();
    assert!(
        missing.len() >= 20 && missing == lost,
        "exactly the rows that only the primary has: {missing:?}, {lost:?}"
    );
    world.observer.took_turns(&[Primary, Standby, Primary]);
}

/// (b) and (d): cut off the network, it goes on writing; the standby waits until something proves that it cannot, and
/// the network comes back while the standby takes over.
async fn a_primary_that_is_cut_off_while_it_writes_is_replaced_and_reseeded_when_it_returns(world: &mut World) {
    let earlier = world.observer.acknowledged(Standby);
    world.redis(Primary, &["set", "session:2", "bob"]);
    world.backup();
    world.writes(Primary, 10).await;
    world.network.refuse().await;
    world.break_hook(true);
    let outage = chrono::Utc::now();
    let began = outage.to_rfc3339();
    let run = ["failover", "run", "--scenario", "infrastructure", "--yes", "--outage-began", &began];
    let told = world.dr().exits(22, &run);
    let fence = step(&told, "fence-primary");
    assert!(fence["text"].as_str().unwrap().contains("--attest"), "{told}");
    world.writes(Primary, 5).await;
    assert!(world.up(Standby).await.is_empty(), "nothing starts before the proof");

    world.break_hook(false);
    let child = world.dr().start(&["failover", "resume"]);
    let fenced = |r: &Value| r["type"] == "outcome" && r["step"] == "fence-primary" && !r["outcome"]["ok"].is_null();
    world.journal_says(fenced).await;
    world.network.heal().await;
    let told = child.ends(0);
    assert_eq!(told["status"], "completed", "{told}");
    let warnings = told["warnings"].to_string();
    assert!(warnings.contains("came back with") && warnings.contains("fenced again"), "{told}");
    assert!(world.up(Primary).await.is_empty(), "the primary that came back was stopped");
    world.leads_to(Standby).await;
    assert_eq!(world.redis(Standby, &["get", "session:2"]), "bob");
    world.same_settings();
    world.writes(Standby, 10).await;
    let run = told["run"].as_str().unwrap().to_owned();
    let loss = &told["data_loss"]["database"];
    assert_eq!(loss["records"], Value::Null, "{told}");
    let span = loss["at_most_seconds"].as_f64().unwrap();
    assert!(span >= world.observer.span_since(Primary, loss["shows"].as_str().unwrap()), "{told}");
    // It went on writing after the outage began and until it was closed off: record and report count all of that.
    loss_is_one_truth(world, &told, outage, loss["written_until"].as_str().unwrap());
    let why = told["data_loss"]["redis"]["basis"].as_str().unwrap();
    assert_eq!(told["data_loss"]["redis"]["records"], Value::Null);
    assert!(why.contains("are not counted"), "{why}");
    // What its machine would start at boot is refused by the mark.
    assert!(!world.boot(Primary), "a fenced primary does not boot into service");

    // The way back: nothing that the standby acknowledged is missing, and what only the old primary had is told.
    let back = led_back(world).await;
    assert_eq!(world.redis(Primary, &["get", "session:2"]), "bob");
    // Before the rows are read: it goes on writing.
    let acknowledged = world.observer.acknowledged(Primary);
    let now = world.rows(Primary);
    // What it had taken before was left with it by the rollback.
    let served: BTreeSet<u64> = world.observer.acknowledged(Standby).difference(&earlier).copied().collect();
    assert!(served.len() >= 10 && served.is_subset(&now), "zero loss: every row of the standby came along");
    let (kept, old) = world.kept_rows(Primary);
    let lost: Vec<u64> = old.difference(&now).copied().collect();
    assert!(lost.len() >= 10, "{lost:?}");
    // All that the old primary acknowledged is either here or told as lost.
    assert!(acknowledged.is_subset(&now.union(&old).copied().collect()));
    let told = world.dr().ok(&["failover", "status", &run]);
    assert_eq!(told["data_loss"]["database"]["records"], lost.len(), "counted by psql and by the run: {told}");
    let late = lost.iter().filter(|id| !world.observer.sent_before(**id, outage)).count();
    assert!(late > 0, "rows that were written after the outage began are among those that were counted");
    let report = world.dr().ok(&["failover", "status", &run, "--report", "json"]);
    let method = report["recovery_point"]["method"].as_str().unwrap();
    assert!(method.contains("database: counted on the old site by run") && method.contains("redis: keys"), "{method}");
    assert_eq!(report["recovery_point"]["records_lost"], Value::Null, "redis was not counted");
    assert_eq!(
        (&back["data_loss"]["database"]["records"], &back["data_loss"]["database"]["at_most_seconds"]),
        (&0.into(), &0.0.into())
    );
    let file = world.state(&format!("failover/{}.database.divergence.jsonl", back["run"].as_str().unwrap()));
    let told: Vec<Value> =
        std::fs::read_to_string(file).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let mut only_old: Vec<u64> =
        told.iter().filter(|d| d["kind"] == "only_a").map(|d| d["a"]["id"].as_u64().unwrap()).collect();
    only_old.sort_unstable();
    assert_eq!(only_old, lost, "each of them, with its values");
    let told = world.dr().ok(&["release", "database", "--site", "primary", "--yes"]);
    assert!(told.to_string().contains(&kept), "{told}");
    // What the standby had of its own is there until it is let go.
    world.dr().ok(&["rollback", "files", "--site", "standby"]);
    assert_eq!(world.setting(Standby), "of the standby");
    world.dr().ok(&["release", "files", "--site", "standby", "--yes"]);
    assert_eq!(world.setting(Standby), "of the standby");
    world.observer.took_turns(&[Primary, Standby, Primary, Standby, Primary]);
}

/// The way back, which a person agrees to; the primary serves then, and the standby does not.
async fn led_back(world: &World) -> Value {
    let there = world.dr().exits(22, &["failover", "back", "--yes"]);
    assert_eq!(status(&there, "stop-writers"), "waiting", "{there}");
    let back = world.dr().ok(&["failover", "resume", "--approve", "primary-is-sound"]);
    assert_eq!(back["status"], "completed", "{back}");
    world.leads_to(Primary).await;
    world.writes(Primary, 5).await;
    assert!(world.up(Standby).await.is_empty());
    back
}

/// The run, its record in the history and its report tell the same of what was lost: until the proof of the fence, which
/// came after the outage had begun.
fn loss_is_one_truth(world: &World, told: &Value, outage: chrono::DateTime<chrono::Utc>, proof: &str) {
    let proof: chrono::DateTime<chrono::Utc> = proof.parse().unwrap();
    assert!(proof > outage && world.observer.last_before(Primary, proof) > outage, "{told}");
    let run = told["run"].as_str().unwrap();
    let record: Value = world.json(&format!("failover/{run}.record.json"));
    let parts = record["data_loss"]["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 3, "{record}");
    let mut longest: f64 = 0.0;
    for part in parts {
        let loss = &told["data_loss"][part["component"].as_str().unwrap()];
        assert_eq!(
            (&part["kept_until"], &part["written_until"], &part["records"], &part["basis"]),
            (&loss["shows"], &loss["written_until"], &loss["records"], &loss["basis"]),
            "{record}"
        );
        longest = longest.max(loss["at_most_seconds"].as_f64().unwrap());
    }
    let report = world.dr().ok(&["failover", "status", run, "--report", "json"]);
    let point = &report["recovery_point"];
    let span = point["actual_seconds"].as_f64().unwrap();
    assert!((span - longest).abs() < 0.01, "{span} {longest}: {point}");
    assert_eq!(point["records_lost"], Value::Null, "nobody has counted yet");
    assert!(point["method"].as_str().unwrap().contains("redis: keys"), "{point}");
}

fn step<'a>(told: &'a Value, id: &str) -> &'a Value {
    let steps = told["steps"].as_array().unwrap_or_else(|| panic!("no steps: {told}"));
    steps.iter().find(|s| s["id"] == id).unwrap_or_else(|| panic!("no step {id}: {told}"))
}

fn status(told: &Value, id: &str) -> String {
    step(told, id)["status"].as_str().unwrap().to_owned()
}

/// How long anything may take on a busy machine before it is called a failure.
const WAIT: Duration = Duration::from_secs(90);
