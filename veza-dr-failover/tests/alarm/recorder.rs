//! Runs of a real engine, measured: the record is made once, kept here before it is stored, and revised when the journal says
//! more; the watchman tells of it once.

use std::{sync::Arc, time::Duration};

use chrono::{TimeDelta, Utc};
use veza_dr_core::{BackupStore, Cx, SystemClock, testing::MemoryStore};
use veza_dr_failover::{
    actions::Catalogue,
    alarm::Watchman,
    measure::{ClockPoints, Objectives, Recorder, RecoveryHistory, Run, forecast, predictions_of},
    runbook::{Bound, Engine, Plan, RunOptions, RunStatus, Step},
};

use crate::scene::{Ears, hours};

fn plan() -> Plan {
    let step = |id: &str| Step::new(id, "note").with("text", "done");
    let mut plan = Plan::new("small").with_step(step("first")).with_step(step("serve").after(["first"]).marking("T6"));
    plan.scenario = Some("backend".to_owned());
    plan
}

fn recorder(engine: &Engine) -> Recorder {
    Recorder::new(engine.journals().clone(), "here")
        .with_objectives("backend", Objectives::new(hours(2), Duration::ZERO))
}

#[tokio::test]
async fn a_run_is_recorded_once_and_revised_when_its_journal_says_more() {
    let (cx, place) = (Cx::background(), tempfile::tempdir().unwrap());
    let store: Arc<dyn BackupStore> = Arc::new(MemoryStore::new("m"));
    let catalogue = Arc::new(Catalogue::new());
    let engine = Engine::new(place.path(), store.clone(), catalogue.clone(), "ann@here");
    let bound = Bound::new(plan(), catalogue.as_ref()).unwrap();
    let began = Utc::now() - TimeDelta::minutes(90);
    let report = engine.start(&cx, &bound, RunOptions::default().with_outage_began(Some(began))).await.unwrap();
    assert_eq!(report.status, RunStatus::Completed, "{report:?}");

    let ears = Ears::new();
    let desk = Arc::new(ears.desk(place.path(), Arc::new(SystemClock)));
    let history = RecoveryHistory::new(store.clone());
    for _ in 0..3 {
        // Another process each time.
        let watchman = Watchman::new(desk.clone(), recorder(&engine), "here").watched_elsewhere();
        watchman.look().unwrap();
        watchman.keep_history(&cx, &history).await.unwrap();
        desk.deliver(&cx).await.unwrap();
        assert_eq!(watchman.past().len(), 1);
    }
    let mut names: Vec<String> =
        ears.of("chat").heard.lock().unwrap().iter().map(|e| e.name.clone().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["DataLossDetected", "RecoveryTimeExceeded"], "late, and what was lost is not known: once each");

    let Run::Ended(record) = recorder(&engine).read(&report.run, ClockPoints::default()).unwrap() else {
        panic!("it has ended");
    };
    let took = record.recovery_time().unwrap();
    assert!((5400.0..5460.0).contains(&took), "{took}");
    assert_eq!((record.revision, record.rto_met(), record.rpo_met()), (1, Some(true), None));
    let known = predictions_of(std::slice::from_ref(&*record), "small");
    let told = forecast(&plan(), &known, std::slice::from_ref(&*record));
    assert_eq!((told.unseen.len(), told.steps.unwrap().samples, told.whole.unwrap().samples), (0, 1, 1));

    // Undone afterwards: a revision, and the first one stays as it was written.
    engine.rollback(&cx, &report.run, RunOptions::default()).await.unwrap();
    let again = recorder(&engine);
    assert_eq!(again.publish(&cx, &history, &|_: &str| ClockPoints::default()).await.unwrap(), 1);
    assert_eq!(again.publish(&cx, &history, &|_: &str| ClockPoints::default()).await.unwrap(), 0);
    let all = RecoveryHistory::new(store).read_all(&cx).await.unwrap();
    assert_eq!((all.records.len(), all.records[0].revision, all.records[0].status), (1, 2, RunStatus::RolledBack));
    assert_eq!(history.read(&cx, &report.run).await.unwrap(), *record);
    assert_eq!(history.list(&cx).await.unwrap().len(), 2);

    // A damaged journal is an error, and is not taken for no run.
    let path = engine.journals().path(&report.run);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let e = recorder(&engine).read(&report.run, ClockPoints::default()).unwrap_err();
    assert_eq!(e.kind(), veza_dr_core::ErrorKind::Corrupt);
}
