//! Runs that nobody kills: order, tries, decisions of people, and the way back.

use std::{sync::Arc, time::Duration};

use chrono::Utc;
use veza_dr_core::testing::{Fault, Faulty, MemoryStore};
use veza_dr_core::{BackupStore, Cx, ErrorKind};
use veza_dr_failover::runbook::{
    Attestation, Mode, Record, Rule, RunOptions, RunStatus, StepOutcome, StepStatus, predictions, read_journal,
};

use crate::world::{Stage, engine};

fn plan(steps: &[&str]) -> String {
    format!("name: x\nsteps:\n{}", steps.iter().map(|s| format!("  - {{ {s} }}\n")).collect::<String>())
}

const FENCE: &str = "id: fence, do: fence, skippable: true, with: { name: fence, site: primary }";
const WRITE: &str = "id: w, do: write, with: { name: w, site: standby }, needs: [fence]";

#[tokio::test]
async fn independent_steps_run_at_the_same_time_and_dependent_ones_in_order() {
    let stage = Stage::new();
    let step = |id, needs: &str| format!("id: {id}, do: verify, with: {{ name: {id}, takes: 150 }}, needs: [{needs}]");
    let bound = stage.bound(&plan(&[&step("d", "b, c"), &step("a", ""), &step("b", "a"), &step("c", "a")]));
    let report = stage.engine().start(&Cx::background(), &bound, RunOptions::default()).await.unwrap();
    assert_eq!(report.status, RunStatus::Completed);
    let at = |id: &str| {
        let step = report.steps.iter().find(|s| s.id == id).unwrap();
        (step.began.unwrap(), step.ended.unwrap())
    };
    assert!(at("a").1 <= at("b").0 && at("b").1 <= at("d").0 && at("c").1 <= at("d").0 && at("c").0 < at("b").1);
    assert!(at("b").0 < at("c").1, "b and c one after the other");
    // The copy in the store is the journal.
    let run = stage.run_of();
    let copy = stage.store.head(&Cx::background(), &format!("failover/{run}/journal.jsonl").parse().unwrap()).await;
    assert_eq!(copy.unwrap().unwrap().bytes, std::fs::metadata(stage.engine().path(&run)).unwrap().len());
    let known = predictions(&stage.engine(), "x").unwrap();
    assert!(known["a"].samples == 1 && known["a"].p95 >= Duration::from_millis(150), "{known:?}");
    assert_eq!((report.points["T0"], report.points["T6"]), (None, None));
    assert!(report.points["T4"].is_some());
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_what_may_not_is_not() {
    let stage = Stage::new();
    let retry = "retry: { max: 3, backoff: 1ms }";
    let twice = format!("id: a, do: verify, {retry}, with: {{ name: a, fails: 2 }}");
    let broken = format!("id: b, do: verify, {retry}, with: {{ name: b, broken: true }}, needs: [a]");
    let after = "id: c, do: verify, with: { name: c }, needs: [b]";
    let bound = stage.bound(&plan(&[&twice, &broken, after]));
    let report = stage.engine().start(&Cx::background(), &bound, RunOptions::default()).await.unwrap();
    assert_eq!(report.status, RunStatus::Failed);
    let told: Vec<(StepStatus, u32)> = report.steps.iter().map(|s| (s.status, s.attempts)).collect();
    assert_eq!(told, [(StepStatus::Done, 3), (StepStatus::Failed, 1), (StepStatus::Waiting, 0)]);
    assert_eq!(report.why.as_deref(), Some("step b: b does not work"));
    // Another run must not begin beside it.
    let e = stage.engine().start(&Cx::background(), &bound, RunOptions::default()).await.unwrap_err();
    assert!(e.kind() == ErrorKind::Conflict && e.to_string().contains(&report.run), "{e}");
    stage.engine().abandon(&Cx::background(), &report.run, "only a test").await.unwrap();
    assert_eq!(stage.engine().unfinished().unwrap(), None);
}

#[tokio::test]
async fn a_step_that_is_out_of_time_is_looked_up_before_it_is_done_again() {
    let stage = Stage::new();
    let step = |id, rest: &str| format!("id: {id}, do: mark, timeout: 100ms, with: {{ name: {id}, {rest} }}");
    let lost = step("lost", "effects: probeable, loses_answer: true");
    let slow = step("slow", "effects: probeable, takes: 5000");
    let report = |steps: Vec<String>| {
        let stage = &stage;
        async move {
            let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
            let bound = stage.bound(&plan(&steps));
            let report = stage.engine().start(&Cx::background(), &bound, RunOptions::default()).await.unwrap();
            let _ = stage.engine().abandon(&Cx::background(), &report.run, "only a test").await;
            report
        }
    };
    let found = report(vec![lost]).await;
    assert!(found.status == RunStatus::Completed && found.steps[0].recovered, "{found:?}");
    assert_eq!(stage.world.marks()["lost"], 1);
    let found = report(vec![slow]).await;
    assert_eq!((found.status, found.steps[0].status), (RunStatus::Failed, StepStatus::TimedOut));
    let page = step("page", "effects: at_most_once, loses_answer: true");
    let found = report(vec![page]).await;
    assert_eq!((found.status, found.steps[0].status), (RunStatus::NeedsHuman, StepStatus::Unknown));
}

#[tokio::test]
async fn a_person_says_whether_a_step_took_place_that_must_not_be_repeated() {
    for took_place in [true, false] {
        let stage = Stage::new();
        let step = "id: page, do: mark, with: { name: page, effects: at_most_once, loses_answer: true }";
        let then = "id: then, do: verify, with: { name: then }, needs: [page]";
        let bound = stage.bound(&plan(&[step, then]));
        let first = stage.engine().start(&Cx::background(), &bound, RunOptions::default()).await.unwrap();
        assert_eq!(first.status, RunStatus::NeedsHuman);
        let again = stage.engine().resume(&Cx::background(), &first.run, RunOptions::default()).await.unwrap();
        assert_eq!(again.status, RunStatus::NeedsHuman);
        assert!(again.why.unwrap().contains("--took-place page=yes"));
        assert_eq!(stage.world.marks()["page"], 1, "not done again by itself");
        let options = RunOptions::default().with_settled("page", took_place);
        let last = stage.engine().resume(&Cx::background(), &first.run, options).await.unwrap();
        // Done again, it loses its answer again.
        let wanted = if took_place { RunStatus::Completed } else { RunStatus::NeedsHuman };
        assert_eq!((last.status, stage.world.marks()["page"]), (wanted, if took_place { 1 } else { 2 }));
    }
}

#[tokio::test]
async fn a_skip_is_recorded_and_the_run_says_so() {
    let stage = Stage::new();
    let a = "id: a, do: verify, skippable: true, with: { name: a, broken: true }";
    let b = "id: b, do: verify, with: { name: b }, needs: [a]";
    let bound = stage.bound(&plan(&[a, b]));
    let cx = Cx::background();
    let first = stage.engine().start(&cx, &bound, RunOptions::default()).await.unwrap();
    assert_eq!(first.status, RunStatus::Failed);
    let wrong = RunOptions::default().with_skip("b", "no time");
    assert_eq!(stage.engine().resume(&cx, &first.run, wrong).await.unwrap_err().kind(), ErrorKind::Config);
    let skip = RunOptions::default().with_skip("a", "not needed today");
    let report = stage.engine().resume(&cx, &first.run, skip).await.unwrap();
    assert_eq!(report.status, RunStatus::CompletedWithSkips);
    assert_eq!(report.steps[0].text, "left out by ann: not needed today");
    assert_eq!(stage.engine().report(&first.run).unwrap().status, RunStatus::CompletedWithSkips);
    let e = stage.engine().resume(&cx, &first.run, RunOptions::default()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "it has ended");
}

#[tokio::test]
async fn a_gate_waits_for_its_approval() {
    let stage = Stage::new();
    let bound = stage.bound(&plan(&["id: a, do: verify, approval: true, with: { name: a }"]));
    let first = stage.engine().start(&Cx::background(), &bound, RunOptions::default()).await.unwrap();
    assert_eq!(first.status, RunStatus::NeedsHuman);
    assert!(first.why.unwrap().ends_with(&format!("resume {} --approve a", first.run)));
    assert!(stage.world.marks().is_empty());
    let yes = RunOptions::default().with_approval("a");
    let report = stage.engine().resume(&Cx::background(), &first.run, yes).await.unwrap();
    assert_eq!(report.status, RunStatus::Completed);
    let entries = read_journal(&stage.engine().path(&first.run)).unwrap();
    assert!(
        entries.iter().any(|e| matches!(&e.record, Record::Approved { step, who, .. } if step == "a" && who == "ann"))
    );
}

#[tokio::test]
async fn without_its_proof_a_write_is_refused_until_somebody_answers_for_it_by_name() {
    let stage = Stage::new();
    let bound = stage.bound(&plan(&[FENCE, WRITE]));
    let cx = Cx::background();
    let skip = RunOptions::default().with_skip("fence", "it is gone anyway");
    let first = stage.engine().start(&cx, &bound, skip).await.unwrap();
    assert_eq!((first.status, first.refused), (RunStatus::Refused, Some(Rule::OneWritableSite)));
    assert!(first.why.as_deref().unwrap().contains("was left out"), "{first:?}");
    assert!(stage.world.marks().is_empty());
    let risk = RunOptions::default().with_override(Rule::OneWritableSite, "the site burnt down");
    let report = stage.engine().resume(&cx, &first.run, risk).await.unwrap();
    assert_eq!(report.status, RunStatus::CompletedWithSkips);
    let told = &report.overrides[0];
    assert_eq!(
        (told.rule, told.who.as_str(), told.why.as_str()),
        (Rule::OneWritableSite, "ann", "the site burnt down")
    );
}

#[tokio::test]
async fn a_proof_that_expired_is_renewed_before_the_write() {
    let stage = Stage::new();
    let fence = "id: fence, do: fence, with: { name: fence, site: primary, holds: 400 }";
    let slow = "id: slow, do: verify, with: { name: slow, takes: 700 }, needs: [fence]";
    let write = "id: w, do: write, with: { name: w, site: standby }, needs: [slow]";
    let bound = stage.bound(&plan(&[fence, slow, write]));
    let report = stage.engine().start(&Cx::background(), &bound, RunOptions::default()).await.unwrap();
    assert_eq!(report.status, RunStatus::Completed);
    assert_eq!(stage.world.marks()["fence.times"], 2);
    let entries = read_journal(&stage.engine().path(&report.run)).unwrap();
    let reopened = entries.iter().filter(|e| matches!(&e.record, Record::Reopened { step, .. } if step == "fence"));
    assert_eq!(reopened.count(), 1);
    // The proof was the newer of the two when the write began.
    let write = entries.iter().position(|e| matches!(&e.record, Record::Intent { step, .. } if step == "w")).unwrap();
    let proof = entries[..write].iter().rev().find_map(|e| match &e.record {
        Record::Outcome { outcome: StepOutcome::Ok { done, .. }, .. } => done.fence.clone(),
        _ => None,
    });
    assert!(proof.unwrap().holds(entries[write].at));
}

#[tokio::test]
async fn what_was_done_is_undone_the_last_first() {
    let stage = Stage::new();
    let step = |id, needs: &str| {
        format!("id: {id}, do: mark, with: {{ name: {id}, effects: probeable, can_undo: true }}, needs: [{needs}]")
    };
    let page = "id: page, do: mark, with: { name: page, effects: at_most_once }, needs: [b]";
    let broken = "id: c, do: verify, with: { name: c, broken: true }, needs: [page]";
    let bound = stage.bound(&plan(&[&step("a", ""), &step("b", "a"), page, broken]));
    let cx = Cx::background();
    let first = stage.engine().start(&cx, &bound, RunOptions::default()).await.unwrap();
    assert_eq!(first.status, RunStatus::Failed);
    let report = stage.engine().rollback(&cx, &first.run, RunOptions::default()).await.unwrap();
    assert_eq!(report.status, RunStatus::RolledBack);
    assert_eq!(report.warnings, ["step page has no way back and stays"]);
    assert_eq!(std::fs::read_to_string(stage.world.folder.join("undone")).unwrap(), "b\na\n");
    let statuses: Vec<StepStatus> = report.steps.iter().map(|s| s.status).collect();
    assert_eq!(statuses, [StepStatus::Undone, StepStatus::Undone, StepStatus::Done, StepStatus::Failed]);
}

#[tokio::test]
async fn a_failure_undoes_the_steps_that_ask_for_it() {
    let stage = Stage::new();
    let a = "id: a, do: mark, with: { name: a, effects: probeable, can_undo: true }";
    let b = "id: b, do: mark, undo: on_failure, with: { name: b, effects: probeable, can_undo: true }, needs: [a]";
    let c = "id: c, do: verify, with: { name: c, broken: true }, needs: [b]";
    let bound = stage.bound(&plan(&[a, b, c]));
    let report = stage.engine().start(&Cx::background(), &bound, RunOptions::default()).await.unwrap();
    let statuses: Vec<StepStatus> = report.steps.iter().map(|s| s.status).collect();
    assert_eq!(statuses, [StepStatus::Done, StepStatus::Undone, StepStatus::Failed]);
    assert_eq!(std::fs::read_to_string(stage.world.folder.join("undone")).unwrap(), "b\n");
}

#[tokio::test]
async fn while_the_other_site_takes_writes_a_fence_is_not_lifted() {
    let stage = Stage::new();
    let fence = "id: fence, do: fence, with: { name: fence, site: primary, can_undo: true }";
    let bound = stage.bound(&plan(&[fence, WRITE]));
    let cx = Cx::background();
    let done = stage.engine().start(&cx, &bound, RunOptions::default()).await.unwrap();
    let report = stage.engine().rollback(&cx, &done.run, RunOptions::default()).await.unwrap();
    assert_eq!(report.steps[0].status, StepStatus::Done);
    assert!(report.warnings.iter().any(|w| w.starts_with("step fence stays: step w")), "{:?}", report.warnings);
}

#[tokio::test]
async fn a_run_that_is_asked_to_stop_rests_and_goes_on() {
    let stage = Stage::new();
    let slow = "id: slow, do: verify, with: { name: slow, takes: 400 }";
    let then = "id: then, do: verify, with: { name: then }, needs: [slow]";
    let bound = stage.bound(&plan(&[slow, then]));
    let cx = Cx::background();
    let stop = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        cx.cancel();
    };
    let engine = stage.engine();
    let (report, ()) = tokio::join!(engine.start(&cx, &bound, RunOptions::default()), stop);
    let report = report.unwrap();
    assert_eq!(report.status, RunStatus::Paused);
    assert!(stage.world.marks().is_empty());
    let report = engine.resume(&Cx::background(), &report.run, RunOptions::default()).await.unwrap();
    assert_eq!((report.status, stage.world.marks().len()), (RunStatus::Completed, 2));
}

#[tokio::test]
async fn a_run_becomes_ungraceful_while_it_runs() {
    let stage = Stage::new();
    let slow = "id: slow, do: verify, with: { name: slow, takes: 600 }";
    let then =
        "id: then, do: verify, with: { name: clean }, needs: [slow], ungraceful: { do: verify, with: { name: hard } }";
    let bound = stage.bound(&plan(&[slow, then]));
    let engine = stage.engine();
    let ask = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        engine.request_ungraceful(&stage.run_of()).unwrap();
    };
    let (cx, options) = (Cx::background(), RunOptions::default());
    let (report, ()) = tokio::join!(engine.start(&cx, &bound, options), ask);
    assert_eq!(report.unwrap().mode, Mode::Ungraceful);
    assert!(stage.world.marks().contains_key("hard") && !stage.world.marks().contains_key("clean"));
}

#[tokio::test]
async fn a_second_operator_is_told_who_is_at_work() {
    let stage = Stage::new();
    let bound = stage.bound(&plan(&["id: slow, do: verify, with: { name: slow, takes: 600 }"]));
    let other = tempfile::tempdir().unwrap();
    // On another machine: another state folder, the same store.
    let (first, second) = (stage.engine(), engine(other.path(), &stage.world, stage.store.clone()));
    let late = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let e = second.start(&Cx::background(), &bound, RunOptions::default()).await.unwrap_err();
        (e, second.holder(&Cx::background()).await.unwrap())
    };
    let (cx, options) = (Cx::background(), RunOptions::default());
    let (report, (e, holder)) = tokio::join!(first.start(&cx, &bound, options), late);
    assert_eq!(report.unwrap().status, RunStatus::Completed);
    let me = format!("process {}", std::process::id());
    assert!(e.kind() == ErrorKind::Conflict && e.to_string().contains(&me), "{e}");
    assert!(holder.unwrap().contains(&me));
    let after = second.start(&Cx::background(), &bound, RunOptions::default()).await.unwrap();
    assert!(after.epoch > 1, "the number grows with every run");
}

#[tokio::test]
async fn a_store_that_is_away_stops_nobody_who_answers_for_being_alone() {
    let stage = Stage::new();
    let away: Arc<dyn BackupStore> = {
        let fail = Fault::Fail(ErrorKind::Unavailable);
        Arc::new(Faulty::new(MemoryStore::new("away")).from("head", 1, fail).from("put", 1, fail))
    };
    let engine = engine(stage.place.path(), &stage.world, away);
    let bound = stage.bound(&plan(&["id: a, do: verify, with: { name: a }"]));
    let cx = Cx::background();
    let e = engine.start(&cx, &bound, RunOptions::default()).await.unwrap_err();
    assert!(e.help().unwrap().contains("--override one-run"), "{e:?}");
    let alone = RunOptions::default().with_override(Rule::OneRun, "I am the only one here");
    let report = engine.start(&cx, &bound, alone).await.unwrap();
    assert_eq!(report.status, RunStatus::Completed);
    assert!(report.warnings.iter().any(|w| w.contains("could not be copied to store")), "{:?}", report.warnings);
}

#[tokio::test]
async fn declarations_are_kept_under_their_names() {
    let stage = Stage::new();
    let bound = stage.bound(&plan(&["id: a, do: verify, approval: true, with: { name: a }"]));
    let cx = Cx::background();
    let says = |by: &str| RunOptions::default().with_attestation(Attestation::new(by, "it is off", Utc::now()));
    let first = stage.engine().start(&cx, &bound, says("ann")).await.unwrap();
    stage.engine().resume(&cx, &first.run, says("bob")).await.unwrap();
    let entries = read_journal(&stage.engine().path(&first.run)).unwrap();
    let by = entries.iter().filter_map(|e| match &e.record {
        Record::Attested { attestation } => Some(attestation.by.as_str()),
        _ => None,
    });
    assert_eq!(by.collect::<Vec<_>>(), ["ann", "bob"]);
}

#[tokio::test]
async fn twenty_steps_cost_less_than_two_seconds_of_our_own() {
    let stage = Stage::new();
    let step = |n: u32| {
        let needs = if n == 0 { String::new() } else { format!(", needs: [s{}]", n - 1) };
        format!("id: s{n}, do: verify, with: {{ name: s{n} }}{needs}")
    };
    let steps: Vec<String> = (0..20).map(step).collect();
    let bound = stage.bound(&plan(&steps.iter().map(String::as_str).collect::<Vec<_>>()));
    let began = std::time::Instant::now();
    let report = stage.engine().start(&Cx::background(), &bound, RunOptions::default()).await.unwrap();
    let took = began.elapsed();
    assert_eq!(report.status, RunStatus::Completed);
    assert!(took < Duration::from_secs(2), "{took:?}");
    println!("20 steps, one after the other: {took:?}");
}
