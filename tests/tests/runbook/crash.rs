//! `kill -9` anywhere, then resume: the same end state, and nothing that must not be repeated done twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Stdio,
    sync::Arc,
};

use rustix::process::{Resource, Rlimit, setrlimit};
use veza_dr_core::{Cx, ErrorKind, testing::MemoryStore};
use veza_dr_failover::runbook::{Entry, Record, RunOptions, RunStatus, StepOutcome, StepStatus, read_journal};

use crate::world::{Moment, Stage, World, bound, engine};

const ENV: &str = "VEZA_DR_TESTS_RUNBOOK";
const PLAN: &str = "name: crash
steps:
  - { id: fence, do: fence, with: { name: fence, site: primary } }
  - { id: page, do: mark, with: { name: page, effects: at_most_once } }
  - { id: stop, do: mark, needs: [fence], with: { name: stop, effects: probeable } }
  - { id: write, do: write, needs: [stop], with: { name: write, site: standby, effects: probeable } }
  - { id: look, do: validate, needs: [write], with: { name: look, site: standby } }
  - { id: dns, do: dns, needs: [look, page], with: { name: dns, site: standby, effects: probeable } }
";
const STEPS: [&str; 6] = ["fence", "page", "stop", "write", "look", "dns"];

/// Runs the plan in a child that dies once its journal has `bytes`, or in the middle of a deed.
async fn victim(folder: &Path, bytes: Option<u64>, deed: Option<(&str, Moment)>) -> bool {
    let order = serde_json::json!({
        "folder": folder, "bytes": bytes, "deed": deed.map(|d| d.0),
        "after": deed.is_some_and(|d| d.1 == Moment::After),
    });
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "crash::victim_process", "--nocapture"])
        .env(ENV, order.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(30), child.wait()).await;
    ended.expect("the victim ends").unwrap().success()
}

#[tokio::test]
#[ignore = "the child process of the other tests"]
async fn victim_process() {
    let Ok(order) = std::env::var(ENV) else { return };
    let order: serde_json::Value = serde_json::from_str(&order).unwrap();
    let folder = Path::new(order["folder"].as_str().unwrap());
    let mut world = World::new(folder);
    let moment = if order["after"] == true { Moment::After } else { Moment::Before };
    world.die = order["deed"].as_str().map(|name| (name.to_owned(), moment));
    if let Some(bytes) = order["bytes"].as_u64() {
        // The kernel cuts the write that would pass this size, and the next one is the end of the process.
        setrlimit(Resource::Fsize, Rlimit { current: Some(bytes), maximum: Some(bytes) }).unwrap();
    }
    let engine = engine(folder, &world, Arc::new(MemoryStore::new("copies")));
    let bound = bound(&world, PLAN).unwrap();
    engine.start(&Cx::background(), &bound, RunOptions::default()).await.unwrap();
}

/// Resumes what a victim left, as an operator would, and compares the end.
async fn recovered(stage: &Stage, what: &str) -> BTreeSet<String> {
    let engine = stage.engine();
    let cx = Cx::background();
    let bound = stage.bound(PLAN);
    let run = engine.unfinished().unwrap();
    let mut report = match &run {
        Some(run) => engine.resume(&cx, run, RunOptions::default()).await.unwrap(),
        // Killed before anything was on record: nothing was done.
        None => {
            let nothing = stage.world.marks().is_empty();
            match engine.runs().unwrap().last().map(|r| engine.report(r)) {
                Some(Ok(report)) => report,
                Some(Err(e)) => {
                    assert!(nothing && e.kind() == ErrorKind::NotFound, "{what}: {e}");
                    engine.start(&cx, &bound, RunOptions::default()).await.unwrap()
                }
                None => engine.start(&cx, &bound, RunOptions::default()).await.unwrap(),
            }
        }
    };
    if report.status == RunStatus::NeedsHuman {
        let unknown: Vec<&str> =
            report.steps.iter().filter(|s| s.status == StepStatus::Unknown).map(|s| s.id.as_str()).collect();
        assert_eq!(unknown, ["page"], "{what}: only what cannot be looked up asks");
        let took_place = stage.world.marks().contains_key("page");
        let options = RunOptions::default().with_settled("page", took_place);
        report = engine.resume(&cx, &report.run, options).await.unwrap();
    }
    assert_eq!(report.status, RunStatus::Completed, "{what}: {report:?}");
    let mut marks = stage.world.marks();
    // How often the fence was made sure of may differ: it is idempotent.
    assert!(marks.remove("fence.times").is_some());
    let wanted: BTreeMap<String, u64> = STEPS.map(|s| (s.to_owned(), 1)).into();
    assert_eq!(marks, wanted, "{what}");
    let entries = read_journal(&engine.path(&report.run)).unwrap();
    let kinds = entries.iter().map(|e| match &e.record {
        Record::Resumed { .. } => "resumed".to_owned(),
        Record::Settled { .. } => "settled".to_owned(),
        _ => "other".to_owned(),
    });
    kinds.chain(report.steps.iter().filter(|s| s.recovered).map(|s| format!("recovered {}", s.id))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_around_each_record_of_the_journal_it_goes_on_to_the_same_end() {
    let whole = Stage::new();
    assert!(victim(whole.place.path(), None, None).await);
    let bytes = std::fs::read(whole.engine().path(&whole.run_of())).unwrap();
    // Each record's first byte, its middle, all of it but its end, and its end; what steps of the same time leave in
    // another order moves these a little, which any other byte would do as well.
    let mut cuts = BTreeSet::new();
    let mut start = 0;
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        let end = start + line.len() as u64;
        cuts.extend([start, start + 1, start + line.len() as u64 / 2, end - 1]);
        start = end;
    }
    // The marks of the world need a byte too.
    cuts.retain(|cut| *cut > 1);
    assert!(cuts.len() > 50, "{}", cuts.len());
    let whole_length = bytes.len() as u64;
    let mut seen = BTreeSet::new();
    let cuts: Vec<u64> = cuts.into_iter().collect();
    for some in cuts.chunks(4) {
        let stages = some.iter().map(|cut| async move {
            let stage = Stage::new();
            // A journal may be a few bytes shorter: a time without its last digits.
            let survived = victim(stage.place.path(), Some(*cut), None).await;
            assert!(!survived || cut + 16 > whole_length, "cut at {cut} of {whole_length}: it was killed");
            recovered(&stage, &format!("cut at {cut}")).await
        });
        seen.extend(futures::future::join_all(stages).await.into_iter().flatten());
    }
    // The cuts did what they are for.
    for wanted in ["resumed", "settled", "recovered stop", "recovered write", "recovered dns"] {
        assert!(seen.contains(wanted), "{wanted} is not among {seen:?}");
    }
}

/// What is left after a crash with `bytes` of the journal on disk: every deed of which an intent is whole may or may not
/// have taken place unless its outcome is there too, and no other did.
fn left_behind(entries: &[Entry], open_ones_done: bool) -> BTreeSet<String> {
    let mut done = BTreeSet::new();
    for entry in entries {
        match &entry.record {
            Record::Intent { step, .. } if open_ones_done => drop(done.insert(step.clone())),
            Record::Outcome { step, outcome: StepOutcome::Ok { .. }, .. } => drop(done.insert(step.clone())),
            _ => {}
        }
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cut_at_each_byte_of_the_journal_it_goes_on_to_the_same_end() {
    let whole = Stage::quick();
    let bound = whole.bound(PLAN);
    let done = whole.engine().start(&Cx::background(), &bound, RunOptions::default()).await.unwrap();
    assert_eq!(done.status, RunStatus::Completed);
    let path = whole.engine().path(&done.run);
    let (bytes, entries) = (std::fs::read(&path).unwrap(), read_journal(&path).unwrap());
    let name = path.file_name().unwrap().to_owned();
    let (bytes, entries, name) = (Arc::new(bytes), Arc::new(entries), Arc::new(name));
    let mut work = Vec::new();
    for lane in 0..4 {
        let (bytes, entries, name) = (bytes.clone(), entries.clone(), name.clone());
        work.push(tokio::spawn(async move {
            let mut seen = BTreeSet::new();
            let mut count = 0;
            for cut in (lane..=bytes.len()).step_by(4) {
                let lines = bytes[..cut].iter().filter(|b| **b == b'\n').count();
                let (none, all) = (left_behind(&entries[..lines], false), left_behind(&entries[..lines], true));
                let worlds = if none == all { vec![none] } else { vec![none, all] };
                for world in worlds {
                    let stage = Stage::quick();
                    let folder = stage.place.path().join("failover");
                    std::fs::create_dir(&folder).unwrap();
                    std::fs::write(folder.join(name.as_ref()), &bytes[..cut]).unwrap();
                    world.iter().for_each(|deed| stage.world.mark(deed));
                    seen.extend(recovered(&stage, &format!("cut at {cut}, done are {world:?}")).await);
                    count += 1;
                }
            }
            (seen, count)
        }));
    }
    let (mut seen, mut count) = (BTreeSet::new(), 0);
    for lane in work {
        let (kinds, some) = lane.await.unwrap();
        seen.extend(kinds);
        count += some;
    }
    assert!(count > bytes.len(), "{count} crashes in {} bytes", bytes.len());
    for wanted in ["resumed", "settled", "recovered stop", "recovered write", "recovered dns"] {
        assert!(seen.contains(wanted), "{wanted} is not among {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_in_the_middle_of_any_deed_it_goes_on_to_the_same_end() {
    for step in STEPS {
        for moment in [Moment::Before, Moment::After] {
            let stage = Stage::new();
            assert!(!victim(stage.place.path(), None, Some((step, moment))).await);
            let what = format!("{moment:?} {step}");
            let seen = recovered(&stage, &what).await;
            let after = moment == Moment::After && ["stop", "write", "dns"].contains(&step);
            assert_eq!(
                seen.contains(&format!("recovered {step}")),
                after || (step == "page" && moment == Moment::After),
                "{what}: {seen:?}"
            );
        }
    }
}
