//! `kill -9` of `veza-dr` at each of the journal's steps.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    WAIT, counted, led_back,
    observer::Site::{Primary, Standby},
    step,
    world::World,
};

/// (c) A part of the primary died, the rest runs on. The program dies twice at each step, in the middle of it and right
/// after it, and is taken up again each time.
pub(crate) async fn a_primary_that_died_half_way_is_replaced_by_a_program_that_is_killed_at_every_step(
    world: &mut World,
) -> Failover {
    let served_before = world.observer.acknowledged(Standby);
    world.backup();
    world.writes(Primary, 10).await;
    world.kill(Primary, "postgres");
    world.kill(Primary, "veza-chat-server");

    let mut killed_at: BTreeSet<(String, &str)> = BTreeSet::new();
    let mut call = world.dr().start(&["failover", "run", "--scenario", "infrastructure", "--yes"]);
    let seen = world.journal().len();
    let mut first = true;
    let told = loop {
        let fresh = async |call: &mut crate::program::Call| {
            let began = Instant::now();
            loop {
                let journal = world.journal();
                // Until the run has begun, the newest journal is the one of the run before.
                let ours = if first && journal.len() <= seen && !begins(&journal) { Vec::new() } else { journal };
                let new = ours.iter().filter_map(moment).find(|m| !killed_at.contains(m));
                if new.is_some() {
                    return new;
                }
                if call.has_ended() {
                    return None;
                }
                assert!(began.elapsed() < WAIT * 2, "nothing happens any more: {:?}", ours.last());
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        };
        let Some(at) = fresh(&mut call).await else { break call.ends(0) };
        first = false;
        call.kill();
        killed_at.insert(at);
        // It was killed after its very last word.
        if world.journal().iter().any(|r| r["type"] == "ended") {
            break world.dr().ok(&["failover", "status"]);
        }
        call = world.dr().start(&["failover", "resume"]);
    };
    assert_eq!(told["status"], "completed", "{told}");
    let steps = told["steps"].as_array().unwrap();
    assert!(killed_at.len() >= 2 * steps.len() - 2, "killed at {killed_at:?}");
    for step in steps {
        assert_eq!(step["status"], "done", "{told}");
    }

    // The same end as without a kill: it serves what the backup showed, and nothing of it is doubled or missing.
    world.leads_to(Standby).await;
    world.writes(Standby, 10).await;
    world.same_settings();
    assert!(world.up(Primary).await.is_empty());
    assert_eq!(world.up(Standby).await.len(), 5);
    let there = world.rows(Standby);
    world.only(Primary, "postgres").await;
    let old = world.rows(Primary);
    world.stop(Primary).await;
    let from_primary = |id: &&u64| crate::observer::Site::of(**id) == Primary;
    let missing: Vec<u64> = old.difference(&there).filter(from_primary).copied().collect();
    assert!(missing.len() >= 10, "{missing:?}");
    // A backup shows one instant: what is missing is the end, without a hole.
    let last = there.intersection(&old).filter(from_primary).max().unwrap();
    assert!(missing.iter().all(|id| id > last), "the newest rows are missing, and no other: {missing:?}, {last}");
    assert_eq!(told["data_loss"]["database"]["records"], Value::Null);
    let run = told["run"].as_str().unwrap().to_owned();
    counted::counted_by_a_program_that_is_killed(world, &run, &missing).await;
    world.observer.took_turns(&[Primary, Standby, Primary, Standby, Primary, Standby]);
    Failover { run, missing, served_before }
}

/// What it left behind.
#[derive(Debug)]
pub(crate) struct Failover {
    run: String,
    /// Rows that only the old primary has.
    missing: Vec<u64>,
    /// Rows that the standby had taken before it.
    served_before: BTreeSet<u64>,
}

/// And the way back from it: nothing that the standby took is lost, the names lead home, and the count stands.
pub(crate) async fn the_way_back_from_it_loses_nothing(world: &mut World, it: Failover) {
    let back = led_back(world).await;
    let (served, now) = (world.observer.acknowledged(Standby), world.rows(Primary));
    let served: BTreeSet<u64> = served.difference(&it.served_before).copied().collect();
    assert!(served.len() >= 10 && served.is_subset(&now), "zero loss: every row of the standby came along");
    assert_eq!(back["data_loss"]["database"]["records"], 0, "{back}");
    let (_, kept) = world.kept_rows(Primary);
    assert!(it.missing.iter().all(|id| kept.contains(id) && !now.contains(id)), "what was lost is kept beside it");
    let told = world.dr().ok(&["failover", "status", &it.run]);
    let loss = &told["data_loss"]["database"];
    let compared = step(&back, "compare-database")["text"].as_str().unwrap();
    assert!(compared.starts_with(&format!("{} rows only in what", it.missing.len())), "as was counted: {back}");
    let basis = loss["basis"].as_str().unwrap();
    assert_eq!(loss["records"], it.missing.len(), "{told}");
    assert!(basis.starts_with("counted on the old site by run"), "{basis}");
    world.observer.took_turns(&[Primary, Standby, Primary, Standby, Primary, Standby, Primary]);
}

fn begins(journal: &[Value]) -> bool {
    journal.first().is_some_and(|r| r["type"] == "started" && r["plan"]["name"] == "infrastructure")
        && !journal.iter().any(|r| r["type"] == "ended")
}

/// A step that began, or succeeded.
fn moment(record: &Value) -> Option<(String, &'static str)> {
    let step = record["step"].as_str()?.to_owned();
    match record["type"].as_str()? {
        "intent" => Some((step, "began")),
        "outcome" if !record["outcome"]["ok"].is_null() => Some((step, "succeeded")),
        _ => None,
    }
}
