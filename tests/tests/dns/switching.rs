//! What a switch does when nothing is in its way.

use std::time::{Duration, Instant};

use veza_dr_core::{Cx, ErrorKind};
use veza_dr_failover::dns::{Agreement, Goal, NoJournal, Side, SwitchPhase, SwitchStep, Waited, WeightedSets};
use veza_dr_failover::runbook::{Applied, StepAction, StepContext};

use crate::world::{API, PRIMARY, STANDBY, TO_STANDBY, World, carry_out, listed};

#[tokio::test]
async fn a_switch_is_seen_by_every_authority_and_by_a_cache_once_its_ttl_has_run_out() {
    let world = World::new().await;
    // Longer than a switch takes on the busiest machine: the cache must still hold the old answer when it is asked.
    let ttl = 12;
    world.server.upsert(&world.zone, API, "A", ttl, &[PRIMARY]).await.unwrap();
    world.proxy.copy().await.unwrap();
    let switch = world.switch().await;
    assert_eq!(world.resolver.answers(API, "A").unwrap(), [PRIMARY]);
    let asked = Instant::now();
    let report = carry_out(&switch, TO_STANDBY).await.unwrap();
    report.ensure_everywhere().unwrap();
    assert_eq!(world.held().await, [listed(2, STANDBY)]);
    for knot in [&world.knot, &world.second] {
        assert_eq!(knot.answers(API, "A").unwrap(), [STANDBY]);
    }
    let record = &report.records[0];
    assert_eq!(record.servers.len(), 2);
    assert!(record.servers.iter().all(|s| s.agreement == Agreement::Wanted), "{record:?}");
    // The cache still has the old answer, and the report says for how long.
    let cached = &record.resolvers[0];
    assert_eq!(cached.agreement, Agreement::Before, "{cached:?} {:?}", asked.elapsed());
    assert!(cached.answer.as_ref().unwrap().ttl.unwrap() <= ttl);
    let clear = report.caches_clear_at.unwrap();
    assert_eq!((clear - report.in_sync_at.unwrap()).num_seconds(), i64::from(ttl));
    while chrono::Utc::now() < clear {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(world.resolver.answers(API, "A").unwrap(), [STANDBY]);
    let view = switch.show(&Cx::background()).await.unwrap();
    assert_eq!((view.records[0].side, view.differences.as_slice()), (Some(Side::Standby), &[][..]));
}

#[tokio::test]
async fn a_plan_writes_nothing_and_an_empty_one_changes_nothing() {
    let world = World::new().await;
    let switch = world.switch().await;
    let cx = Cx::background();
    let plan = switch.plan(&cx, TO_STANDBY).await.unwrap();
    assert_eq!((plan.changes().changes.len(), plan.old_ttl()), (1, Some(2)));
    let there = switch.plan(&cx, Goal::To(Side::Primary)).await.unwrap();
    assert!(there.is_empty());
    let report = switch.apply(&cx, &there, &NoJournal, None).await.unwrap();
    report.ensure_everywhere().unwrap();
    assert!(!report.changed && report.change.is_none());
    assert_eq!(world.proxy.changes(), [""; 0]);
    assert_eq!(std::fs::read_dir(world.state_dir().join("dns")).unwrap().count(), 1, "more than the lock");
    // A kept plan is carried out as it was approved.
    let kept: veza_dr_failover::dns::SwitchPlan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
    assert_eq!(kept.sha(), plan.sha());
    switch.apply(&cx, &kept, &NoJournal, None).await.unwrap().ensure_everywhere().unwrap();
}

#[tokio::test]
async fn an_unconfirmed_switch_goes_back_and_a_confirmed_one_stays() {
    let world = World::new().await;
    let switch = world.switch().await;
    let cx = Cx::background();
    let within = |millis| Some(Duration::from_millis(millis));
    let plan = switch.plan(&cx, TO_STANDBY).await.unwrap();
    let report = switch.apply(&cx, &plan, &NoJournal, within(700)).await.unwrap();
    let id = report.id.unwrap();
    assert_eq!(world.held().await, [listed(2, STANDBY)]);
    let Waited::Reverted(back) = switch.wait_confirmed(&cx, &id, Duration::from_millis(50)).await.unwrap() else {
        panic!("not taken back");
    };
    back.ensure_everywhere().unwrap();
    assert_eq!(world.held().await, [listed(2, PRIMARY)]);

    let plan = switch.plan(&cx, TO_STANDBY).await.unwrap();
    let report = switch.apply(&cx, &plan, &NoJournal, within(6000)).await.unwrap();
    let id = report.id.unwrap();
    // Another process of the same host confirms.
    world.switch().await.confirm().unwrap();
    let waited = switch.wait_confirmed(&cx, &id, Duration::from_millis(50)).await.unwrap();
    assert_eq!(waited, Waited::Confirmed);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(switch.revert_if_overdue(&cx).await.unwrap(), None);
    assert_eq!(world.held().await, [listed(2, STANDBY)]);
}

#[tokio::test]
async fn a_switch_whose_process_died_unconfirmed_is_told_refused_and_taken_back_by_the_next() {
    let world = World::new().await;
    let cx = Cx::background();
    {
        let switch = world.switch().await;
        let plan = switch.plan(&cx, TO_STANDBY).await.unwrap();
        switch.apply(&cx, &plan, &NoJournal, Some(Duration::from_millis(1))).await.unwrap();
    }
    let next = world.switch().await;
    let view = next.show(&cx).await.unwrap();
    assert!(view.overdue && view.last.unwrap().phase == SwitchPhase::InSync);
    let e = carry_out(&next, Goal::To(Side::Primary)).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
    assert!(e.help().unwrap().contains("dns rollback"), "{e:?}");
    let report = next.revert_if_overdue(&cx).await.unwrap().unwrap();
    assert!(report.rolled_back && report.changed);
    assert_eq!(world.held().await, [listed(2, PRIMARY)]);
    assert!(!next.show(&cx).await.unwrap().overdue);
}

#[tokio::test]
async fn users_are_shifted_by_weights_and_brought_back_to_where_the_first_step_began() {
    let world = World::bare(true).await;
    for (set, value) in [(("first", 100), PRIMARY), (("second", 0), STANDBY)] {
        world.server.upsert_weighted(&world.zone, API, set, value).await.unwrap();
    }
    world.proxy.copy().await.unwrap();
    let sets = WeightedSets { primary: "first".into(), standby: "second".into() };
    let switch = world.switch_of(world.settings(world.record().with_weighted(sets))).await;
    let weights = async || -> Vec<u32> { world.held().await.iter().map(|l| l.weighted.clone().unwrap().1).collect() };
    for percent in [5, 25] {
        carry_out(&switch, Goal::Shift { to: Side::Standby, percent }).await.unwrap();
        assert_eq!(weights().await, [100 - u32::from(percent), u32::from(percent)]);
    }
    carry_out(&switch, TO_STANDBY).await.unwrap().ensure_everywhere().unwrap();
    assert_eq!(weights().await, [0, 100]);
    assert_eq!(world.knot.answers(API, "A").unwrap(), [STANDBY]);
    let too_much = Goal::Shift { to: Side::Standby, percent: 101 };
    assert_eq!(carry_out(&switch, too_much).await.unwrap_err().kind(), ErrorKind::Config);
    switch.rollback(&Cx::background(), false).await.unwrap().ensure_everywhere().unwrap();
    assert_eq!(weights().await, [100, 0]);

    let plain = world.switch().await;
    let e = carry_out(&plain, TO_STANDBY).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "a plain record beside weighted ones: {e:?}");
    assert_eq!(weights().await, [100, 0]);
}

#[tokio::test]
async fn a_ttl_is_lowered_kept_low_by_a_switch_and_put_back() {
    let world = World::new().await;
    world.server.upsert(&world.zone, API, "A", 300, &[PRIMARY]).await.unwrap();
    let switch = world.switch().await;
    let report = carry_out(&switch, Goal::LowerTtl(60)).await.unwrap();
    report.ensure_everywhere().unwrap();
    assert_eq!((report.caches_clear_at.unwrap() - report.in_sync_at.unwrap()).num_seconds(), 300);
    assert_eq!(world.held().await, [listed(60, PRIMARY)]);
    carry_out(&switch, Goal::LowerTtl(30)).await.unwrap();
    carry_out(&switch, TO_STANDBY).await.unwrap().ensure_everywhere().unwrap();
    assert_eq!(world.held().await, [listed(30, STANDBY)]);
    assert_eq!(switch.show(&Cx::background()).await.unwrap().records[0].normal_ttl, Some(300));
    carry_out(&switch, Goal::RestoreTtl).await.unwrap().ensure_everywhere().unwrap();
    assert_eq!(world.held().await, [listed(300, STANDBY)]);
    assert_eq!(carry_out(&switch, Goal::RestoreTtl).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn as_a_step_of_a_runbook_it_is_prepared_done_found_again_and_undone() {
    let world = World::new().await;
    let step = SwitchStep::new(world.switch().await, TO_STANDBY);
    let (cx, context) = (Cx::background(), StepContext::new("run", "dns", 1, 1));
    let before = step.prepare(&cx, &context).await.unwrap();
    assert_eq!(step.probe(&cx, &context, &before).await.unwrap(), Applied::No);
    step.act(&cx, &context, &before).await.unwrap();
    assert!(matches!(step.probe(&cx, &context, &before).await.unwrap(), Applied::Yes(_)));
    let changes = world.proxy.changes().len();
    step.act(&cx, &context, &before).await.unwrap();
    assert_eq!((changes, world.proxy.changes().len()), (1, 1), "done twice");
    // Another host resumes the run: its own files know nothing of the switch.
    std::fs::remove_file(world.state_dir().join("dns/switch.json")).unwrap();
    step.undo(&cx, &context, &before).await.unwrap();
    assert_eq!(world.held().await, [listed(2, PRIMARY)]);
    step.undo(&cx, &context, &before).await.unwrap();
    assert_eq!(world.proxy.changes().len(), 2, "undone twice");
    world.server.upsert(&world.zone, API, "A", 2, &["192.0.2.99"]).await.unwrap();
    assert!(matches!(step.probe(&cx, &context, &before).await.unwrap(), Applied::Unclear(_)));
    assert_eq!(step.undo(&cx, &context, &before).await.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn the_servers_of_a_zone_are_found_by_its_delegation() {
    let world = World::new().await;
    let mut settings = world.settings(world.record());
    settings.name_servers.clear();
    let view = world.switch_of(settings).await.show(&Cx::background()).await.unwrap();
    let answers = view.records[0].answers.as_ref().unwrap();
    let found: Vec<&str> = answers.servers.iter().map(|s| s.server.as_str()).collect();
    assert_eq!((found.as_slice(), &answers.problem), (&["ns.example.test. (127.0.0.1)"][..], &None));
}
