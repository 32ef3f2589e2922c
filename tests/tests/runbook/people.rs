//! What people are asked and told while a run goes on.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use veza_dr_core::{Cx, Error, ErrorKind, Event, EventSink, Result, testing::MemoryStore};
use veza_dr_failover::{
    actions::Catalogue,
    runbook::{
        Approver, ApprovesElsewhere, Bound, Engine, Plan, Question, Record, RunOptions, RunStatus, StepStatus,
        read_journal,
    },
};

use crate::world::Stage;

const GATED: &str = "name: x
steps:
  - { id: gate, do: write, approval: true, needs: [fence], with: { name: gate, site: standby } }
  - { id: fence, do: fence, with: { name: fence, site: primary } }
  - { id: beside, do: verify, with: { name: beside, takes: 300 } }
";

/// Writes down what it is asked, and never answers.
#[derive(Debug, Default)]
struct Silent(Mutex<Vec<Question>>);

#[async_trait]
impl Approver for Silent {
    async fn approve(&self, cx: &Cx, question: &Question) -> Result<Option<String>> {
        self.0.lock().unwrap().push(question.clone());
        cx.run("wait", std::future::pending()).await
    }
}

async fn until(what: &str, mut there: impl FnMut() -> bool) {
    for _ in 0..600 {
        if there() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} never came about");
}

#[tokio::test]
async fn while_a_person_is_asked_other_steps_go_on_and_another_process_may_answer() {
    let stage = Stage::new();
    let bound = stage.bound(GATED);
    let asked = Arc::new(Silent::default());
    let engine = stage.engine().with_approver(asked.clone());
    let other = stage.engine();
    let answer = async {
        until("the step beside it", || stage.world.marks().contains_key("beside")).await;
        until("the question", || !asked.0.lock().unwrap().is_empty()).await;
        assert!(!stage.world.marks().contains_key("gate"));
        let run = stage.run_of();
        let unknown = RunOptions::default().with_approval("gatte");
        let e = other.approve(&Cx::background(), &run, &unknown).await.unwrap_err();
        assert!(e.kind() == ErrorKind::Config && e.help().unwrap().contains("gate, fence, beside"), "{e:?}");
        let yes = RunOptions::default().with_approval("gate");
        let yes = yes.in_the_name_of(Some("bob".to_owned()), Some("by telephone".to_owned()));
        other.approve(&Cx::background(), &run, &yes).await.unwrap()
    };
    let (cx, options) = (Cx::background(), RunOptions::default());
    let (report, seen) = tokio::join!(engine.start(&cx, &bound, options), answer);
    let report = report.unwrap();
    assert_eq!(report.status, RunStatus::Completed, "{report:?}");
    for approval in [&report.approvals[0], &seen.approvals[0]] {
        assert_eq!((approval.step.as_str(), approval.who.as_str()), ("gate", "bob (entered by ann)"));
        assert_eq!(approval.comment.as_deref(), Some("by telephone"));
    }
    let questions = asked.0.lock().unwrap().clone();
    assert_eq!(questions.len(), 1, "asked once");
    assert_eq!(
        (questions[0].commands.as_slice(), questions[0].site.as_deref()),
        (&["write gate".to_owned()][..], Some("standby"))
    );
    // Nothing of the request is left.
    let folder = stage.engine().path(&report.run).parent().unwrap().to_owned();
    let left: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test]
async fn an_approval_of_a_run_that_nobody_runs_changes_nothing() {
    let stage = Stage::new();
    let bound = stage.bound(GATED);
    let engine = stage.engine().with_approver(Arc::new(ApprovesElsewhere(Duration::from_millis(100))));
    let rested = engine.start(&Cx::background(), &bound, RunOptions::default()).await.unwrap();
    assert_eq!(rested.status, RunStatus::NeedsHuman);
    let before = std::fs::read(engine.path(&rested.run)).unwrap();
    let yes = RunOptions::default().with_approval("gate");
    let cx = Cx::background();
    let asking = engine.approve(&cx, &rested.run, &yes);
    let e = asking.await.unwrap_err();
    assert!(e.kind() == ErrorKind::Conflict && e.to_string().contains("did not take the approval up"), "{e}");
    assert_eq!(std::fs::read(engine.path(&rested.run)).unwrap(), before);
    let rested = stage.engine().resume(&cx, &rested.run, RunOptions::default()).await.unwrap();
    assert_eq!(rested.status, RunStatus::NeedsHuman, "the request is gone");
    let done = stage.engine().resume(&cx, &rested.run, yes).await.unwrap();
    assert_eq!(done.status, RunStatus::Completed);
}

/// Keeps what it is told, or refuses it.
#[derive(Debug, Default)]
struct Ear {
    heard: Mutex<Vec<String>>,
    broken: bool,
}

#[async_trait]
impl EventSink for Ear {
    async fn tell(&self, _: &Cx, event: &Event) -> Result<()> {
        if self.broken {
            return Err(Error::new(ErrorKind::Denied, "the door is shut"));
        }
        self.heard.lock().unwrap().push(event.text.clone());
        Ok(())
    }
}

#[tokio::test]
async fn a_channel_that_fails_is_told_of_and_holds_nothing_up() {
    let place = tempfile::tempdir().unwrap();
    let (ear, broken) = (Arc::new(Ear::default()), Arc::new(Ear { broken: true, ..Ear::default() }));
    let catalogue = Arc::new(Catalogue::new().with_channel("ops", ear.clone()).with_channel("mail", broken));
    let engine = Engine::new(place.path(), Arc::new(MemoryStore::new("copies")), catalogue.clone(), "ann");
    let yaml = "name: x
steps:
  - { id: tell, do: notify, with: { text: it begins } }
  - { id: mail, do: notify, with: { text: only mail, channels: [mail] } }
  - { id: then, do: note, with: { text: on }, needs: [tell, mail] }
";
    let bound = Bound::new(Plan::from_yaml(yaml, "plan.yml").unwrap(), catalogue.as_ref()).unwrap();
    let cx = Cx::background();
    let report = engine.start(&cx, &bound, RunOptions::default()).await.unwrap();
    assert_eq!(report.status, RunStatus::Completed);
    let text = |id: &str| report.steps.iter().find(|s| s.id == id).unwrap().text.clone();
    assert_eq!(text("tell"), "told ops; 1 could not be told");
    assert_eq!(text("mail"), "nobody could be told");
    let mut warnings = report.warnings.clone();
    warnings.sort();
    let why = "channel mail was not told: the door is shut";
    assert_eq!(warnings, [format!("step mail: {why}"), format!("step tell: {why}")]);
    assert_eq!(*ear.heard.lock().unwrap(), [format!("it begins (run {}, step tell)", report.run)]);
    let entries = read_journal(&engine.path(&report.run)).unwrap();
    let evidence = entries.iter().find_map(|e| match &e.record {
        Record::Outcome { step, outcome, .. } if step == "tell" => Some(serde_json::to_value(outcome).unwrap()),
        _ => None,
    });
    let deliveries = &evidence.unwrap()["ok"]["done"]["evidence"]["deliveries"];
    assert_eq!((&deliveries[0]["channel"], &deliveries[0]["delivered"]), (&"ops".into(), &true.into()));
    assert_eq!(deliveries[1]["error"], "the door is shut");

    // Killed after the channels were told and before that was on record: told again, and known for the same.
    let path = engine.path(&report.run);
    let text = std::fs::read_to_string(&path).unwrap();
    let upto =
        entries.iter().position(|e| matches!(&e.record, Record::Outcome { step, .. } if step == "tell")).unwrap();
    std::fs::write(&path, text.split_inclusive('\n').take(upto).collect::<String>()).unwrap();
    let again = engine.resume(&cx, &report.run, RunOptions::default()).await.unwrap();
    assert_eq!(again.status, RunStatus::Completed, "{again:?}");
    assert_eq!(ear.heard.lock().unwrap()[1], format!("it begins (run {}, step tell, told once more)", report.run));
}

#[test]
fn a_channel_that_is_not_there_is_named_with_those_that_are() {
    let bound = |catalogue: &Catalogue, with: &str| {
        let yaml = format!("name: x\nsteps: [{{ id: tell, do: notify, with: {{ text: a{with} }} }}]");
        Bound::new(Plan::from_yaml(&yaml, "plan.yml").unwrap(), catalogue)
    };
    let e = bound(&Catalogue::new(), "").unwrap_err();
    assert_eq!(e.to_string(), "plan.yml:2: step tell: there is nobody to notify");
    let one = Catalogue::new().with_channel("ops", Arc::new(Ear::default()));
    let e = bound(&one, ", channels: [opps]").unwrap_err();
    assert!(e.to_string().ends_with("there is no channel `opps`"), "{e}");
    assert_eq!(e.help(), Some("the channels are ops"));
    assert!(bound(&one, "").is_ok());
}

#[tokio::test]
async fn a_person_who_says_no_lets_the_run_rest() {
    #[derive(Debug)]
    struct No;
    #[async_trait]
    impl Approver for No {
        async fn approve(&self, _: &Cx, _: &Question) -> Result<Option<String>> {
            Ok(None)
        }
    }
    let stage = Stage::new();
    let engine = stage.engine().with_approver(Arc::new(No));
    let report = engine.start(&Cx::background(), &stage.bound(GATED), RunOptions::default()).await.unwrap();
    assert_eq!(report.status, RunStatus::NeedsHuman);
    let status = |id: &str| report.steps.iter().find(|s| s.id == id).unwrap().status;
    assert_eq!(
        (status("gate"), status("fence"), status("beside")),
        (StepStatus::Waiting, StepStatus::Done, StepStatus::Done)
    );
}
