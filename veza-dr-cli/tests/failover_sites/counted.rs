//! What was lost, counted on the old primary while the standby serves.

use std::time::Instant;

use serde_json::Value;

use crate::{
    WAIT,
    observer::Site::{Primary, Standby},
    status, step,
    world::World,
};

/// Counts what a run lost, and gives the rows that only the old primary has, in order. Everything is as before then.
pub(crate) async fn counted(world: &World, run: &str) -> Vec<u64> {
    let before = world.connected(Primary, "postgres");
    let served = world.observer.acknowledged(Standby).len();
    let told = world.dr().exits(22, &["failover", "count", "--yes"]);
    assert_eq!(status(&told, "old-site-may-be-read"), "waiting", "{told}");
    assert!(
        world.up(Primary).await.is_empty() && world.apart().is_empty(),
        "nothing was touched before a person agreed"
    );
    let told = world.dr().ok(&["failover", "resume", "--approve", "old-site-may-be-read"]);
    assert!(world.observer.acknowledged(Standby).len() > served, "the standby serves meanwhile");
    is_told_everywhere(world, run, &told, &before).await
}

/// The run, the count, and the report tell the same, and of the count nothing is left but that.
async fn is_told_everywhere(world: &World, run: &str, told: &Value, before: &Value) -> Vec<u64> {
    assert_eq!(told["status"], "completed", "{told}");
    assert_eq!(&world.connected(Primary, "postgres"), before, "as it was: networks, names, ports, restart policy");
    assert!(world.up(Primary).await.is_empty() && world.apart().is_empty());
    assert!(!world.is_published(Primary) && !world.boot(Primary), "still fenced");
    let by = told["run"].as_str().unwrap();
    let differences = differences(world, by);
    let only_old = differences.iter().filter(|d| d["kind"] == "only_a");
    let mut lost: Vec<u64> = only_old.map(|d| d["a"]["id"].as_u64().unwrap()).collect();
    lost.sort_unstable();
    let changed = differences.iter().filter(|d| d["kind"] == "differing").count();

    let moved = world.dr().ok(&["failover", "status", run]);
    let loss = &moved["data_loss"]["database"];
    assert_eq!((&loss["records"], &loss["changed"]), (&lost.len().into(), &changed.into()), "{moved}");
    assert_eq!(loss["basis"], format!("counted on the old site by run {by}"), "{moved}");
    let record: Value = world.json(&format!("failover/{run}.record.json"));
    let parts = record["data_loss"]["parts"].as_array().unwrap();
    let part = parts.iter().find(|p| p["component"] == "database").unwrap();
    assert_eq!((&part["records"], &part["basis"]), (&loss["records"], &loss["basis"]), "{record}");
    assert!(record["revision"].as_u64().unwrap() > 1, "the history has it anew: {record}");
    let report = world.dr().ok(&["failover", "status", run, "--report", "json"]);
    let method = report["recovery_point"]["method"].as_str().unwrap();
    assert!(method.contains(&format!("database: counted on the old site by run {by}")), "{method}");
    lost
}

fn differences(world: &World, run: &str) -> Vec<Value> {
    let file = world.state(&format!("failover/{run}.database.divergence.jsonl"));
    let told = std::fs::read_to_string(file).unwrap();
    told.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// `kill -9` while the old database runs; a disk that is full; a row that has taken the key of a lost one.
pub(crate) async fn counted_by_a_program_that_is_killed(world: &World, run: &str, missing: &[u64]) {
    let before = world.connected(Primary, "postgres");
    let taken = missing[missing.len() / 2];
    world.sql(Standby, &format!("INSERT INTO events (id, site) VALUES ({taken}, 'another')"));
    killed_while_it_reads(world).await;
    let told = world.dr().ok(&["failover", "resume", "--rollback"]);
    assert_eq!(
        (&told["status"], status(&told, "count-database").as_str()),
        (&"rolled_back".into(), "undone"),
        "{told}"
    );
    assert_eq!(world.connected(Primary, "postgres"), before, "put back, and nothing else");
    assert!(world.apart().is_empty() && world.up(Primary).await.is_empty());
    killed_while_it_reads(world).await;
    let told = world.dr().ok(&["failover", "resume"]);
    let lost = is_told_everywhere(world, run, &told, &before).await;
    let others: Vec<u64> = missing.iter().copied().filter(|id| *id != taken).collect();
    assert_eq!(lost, others, "the key is there");
    let found = differences(world, told["run"].as_str().unwrap());
    let differing: Vec<&Value> = found.iter().filter(|d| d["kind"] == "differing").collect();
    assert_eq!(differing.len(), 1, "{differing:?}");
    assert_eq!((&differing[0]["a"]["site"], &differing[0]["b"]["site"]), (&"primary".into(), &"another".into()));
    assert_eq!(differing[0]["a"]["id"], taken);

    // Once more, without it; and first on a disk that is full.
    world.sql(Standby, &format!("DELETE FROM events WHERE id = {taken}"));
    let told = world.dr().exits(22, &["failover", "count", "--yes"]);
    let by = told["run"].as_str().unwrap();
    let full = world.state(&format!("failover/{by}.database.divergence.jsonl.new"));
    std::os::unix::fs::symlink("/dev/full", &full).unwrap();
    let told = world.dr().exits(3, &["failover", "resume", "--approve", "old-site-may-be-read"]);
    let why = step(&told, "count-database")["text"].as_str().unwrap();
    assert!(why.contains("divergence.jsonl.new cannot be written: No space left"), "{told}");
    assert_eq!(world.connected(Primary, "postgres"), before, "all the same it is as it was");
    assert!(world.apart().is_empty() && world.up(Primary).await.is_empty());
    let told = world.dr().ok(&["failover", "resume", by]);
    assert_eq!(is_told_everywhere(world, run, &told, &before).await, missing, "counted by psql and by the run");
    let moved = world.dr().ok(&["failover", "status", run]);
    assert_eq!(moved["data_loss"]["database"]["changed"], 0, "what was counted last stands: {moved}");
}

/// Ends it as soon as the old database runs: that runs on then, and leads nowhere.
async fn killed_while_it_reads(world: &World) {
    let mut call = world.dr().start(&["failover", "count", "--yes", "--approve", "old-site-may-be-read"]);
    let began = Instant::now();
    while world.up(Primary).await != ["postgres"] {
        assert!(began.elapsed() < WAIT && !call.has_ended(), "it was never started");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    call.kill();
    let left = world.inspected(Primary, "postgres");
    assert_eq!((world.apart().as_str(), &left["State"]["Running"]), ("veza-primary_veza-dr-apart", &true.into()));
    assert!(!world.is_published(Primary), "{left}");
    assert!(left["NetworkSettings"]["Ports"].as_object().unwrap().values().all(Value::is_null), "{left}");
    assert!(!world.boot(Primary));
}
