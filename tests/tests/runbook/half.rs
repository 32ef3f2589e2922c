//! A step that changed a part and failed: what was there before it is not forgotten, and a rollback puts that back.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use veza_dr_core::{Cx, Effect, Error, ErrorKind, Result, testing::MemoryStore};
use veza_dr_failover::runbook::{
    Actions, Applied, Bound, Done, Effects, Engine, Plan, Record, Rule, RunOptions, RunStatus, Safety, StepAction,
    StepContext, StepStatus, read_journal,
};

/// Starts one more service each time, says that it failed, and reaches three at last if it may go on that long.
#[derive(Debug, Clone)]
struct Services(PathBuf);

impl Services {
    fn running(&self) -> u64 {
        std::fs::read_to_string(&self.0).map_or(0, |t| t.trim().parse().unwrap())
    }

    fn set(&self, running: u64) {
        std::fs::write(&self.0, running.to_string()).unwrap();
    }
}

impl Actions for Services {
    fn kinds(&self) -> Vec<String> {
        vec!["start".to_owned()]
    }

    fn build(&self, _: &str, _: &Map<String, Value>) -> Result<Arc<dyn StepAction>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl StepAction for Services {
    fn commands(&self) -> Vec<String> {
        vec!["start three services".to_owned()]
    }

    fn effects(&self) -> Effects {
        Effects::Probeable
    }

    fn safety(&self) -> Vec<Safety> {
        vec![Safety::Writes]
    }

    fn site(&self) -> Option<&str> {
        Some("standby")
    }

    async fn prepare(&self, _: &Cx, _: &StepContext) -> Result<Value> {
        Ok(json!({ "running": self.running() }))
    }

    async fn act(&self, _: &Cx, _: &StepContext, _: &Value) -> Result<Done> {
        self.set(self.running() + 1);
        if self.running() >= 4 {
            return Ok(Done::new("all run", Value::Null));
        }
        Err(Error::new(ErrorKind::Unavailable, "one of them does not start").with_effect(Effect::Unknown))
    }

    async fn probe(&self, _: &Cx, _: &StepContext, _: &Value) -> Result<Applied> {
        Ok(if self.running() >= 4 { Applied::Yes(Value::Null) } else { Applied::No })
    }

    fn can_undo(&self) -> bool {
        true
    }

    async fn undo(&self, _: &Cx, _: &StepContext, before: &Value) -> Result<Done> {
        self.set(before["running"].as_u64().unwrap());
        Ok(Done::new("as before", Value::Null))
    }
}

/// One runs already; how many tries there are.
async fn run(tries: u32) -> (tempfile::TempDir, Services, Engine, veza_dr_failover::runbook::RunReport) {
    let place = tempfile::tempdir().unwrap();
    let services = Services(place.path().join("running"));
    services.set(1);
    let yaml = format!("name: half\nsteps: [{{ id: up, do: start, retry: {{ max: {tries}, backoff: 1ms }} }}]");
    let bound = Bound::new(Plan::from_yaml(&yaml, "half.yml").unwrap(), &services).unwrap();
    let store = Arc::new(MemoryStore::new("copies"));
    let engine =
        Engine::new(place.path(), store, Arc::new(services.clone()), "ann").with_keep_every(Duration::from_secs(600));
    let options = RunOptions::default().with_override(Rule::OneWritableSite, "a test");
    let report = engine.start(&Cx::background(), &bound, options).await.unwrap();
    (place, services, engine, report)
}

fn pre_images(engine: &Engine, run: &str) -> Vec<u64> {
    let entries = read_journal(&engine.path(run)).unwrap();
    let before = entries.iter().filter_map(|e| match &e.record {
        Record::Intent { before, .. } => before["running"].as_u64(),
        _ => None,
    });
    before.collect()
}

#[tokio::test]
async fn a_later_try_keeps_what_was_there_before_the_first() {
    let (_place, services, engine, report) = run(3).await;
    assert_eq!((report.status, services.running()), (RunStatus::Completed, 4));
    assert_eq!(pre_images(&engine, &report.run), [1, 1, 1]);
    let back = engine.rollback(&Cx::background(), &report.run, RunOptions::default()).await.unwrap();
    assert_eq!((back.status, services.running()), (RunStatus::RolledBack, 1), "{back:?}");
}

#[tokio::test]
async fn what_was_started_in_part_is_stopped_by_a_rollback() {
    let (_place, services, engine, report) = run(1).await;
    assert_eq!((report.status, services.running()), (RunStatus::Failed, 2));
    let again = engine.resume(&Cx::background(), &report.run, RunOptions::default()).await.unwrap();
    assert_eq!((again.status, services.running()), (RunStatus::Failed, 3));
    assert_eq!(pre_images(&engine, &report.run), [1, 1], "also in another process");
    let back = engine.rollback(&Cx::background(), &report.run, RunOptions::default()).await.unwrap();
    assert_eq!((back.status, services.running()), (RunStatus::RolledBack, 1), "{back:?}");
    assert_eq!(back.steps[0].status, StepStatus::Undone);
}
