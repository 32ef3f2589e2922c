//! What a switch does on a bad day.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use veza_dr_core::{Cx, Effect, Error, ErrorKind, Result};
use veza_dr_failover::dns::{Agreement, Goal, NoJournal, SavedSwitch, Side, SwitchJournal, SwitchPhase};
use veza_dr_tests::route53_proxy::Trouble;

use crate::world::{API, PRIMARY, STANDBY, TO_STANDBY, World, carry_out, listed};

#[tokio::test]
async fn an_edit_between_plan_and_switch_is_a_conflict_that_shows_it() {
    let world = World::new().await;
    let switch = world.switch().await;
    let cx = Cx::background();
    let plan = switch.plan(&cx, TO_STANDBY).await.unwrap();
    world.server.upsert(&world.zone, API, "A", 2, &["192.0.2.99"]).await.unwrap();
    let e = switch.apply(&cx, &plan, &NoJournal, None).await.unwrap_err();
    assert_eq!((e.kind(), e.effect()), (ErrorKind::Conflict, Effect::None));
    assert!(e.context().any(|(k, v)| k == "there_now" && v.contains("192.0.2.99")), "{e:?}");
    assert_eq!(world.proxy.changes(), [""; 0]);
    assert_eq!(world.held().await, [listed(2, "192.0.2.99")]);
    assert_eq!(switch.last().unwrap(), None);
}

#[tokio::test]
async fn an_edit_between_the_last_read_and_the_write_is_a_conflict_too() {
    let world = World::new().await;
    let switch = world.switch().await;
    world.proxy.make(Trouble { foreign_edit: Some((API.into(), 2, "192.0.2.99".into())), ..Trouble::default() });
    let e = carry_out(&switch, TO_STANDBY).await.unwrap_err();
    assert_eq!((e.kind(), e.effect()), (ErrorKind::Conflict, Effect::None), "{e:?}");
    assert!(e.context().any(|(k, v)| k == "there_now" && v.contains("192.0.2.99")), "{e:?}");
    let sent = world.proxy.changes();
    assert_eq!(sent.len(), 1, "the batch that lost the race, and nothing after it");
    assert!(sent[0].contains("DELETE") && sent[0].contains("CREATE") && !sent[0].contains("UPSERT"), "{}", sent[0]);
    assert_eq!(world.held().await, [listed(2, "192.0.2.99")]);
    assert_eq!(switch.last().unwrap(), None);
}

#[tokio::test]
async fn throttling_and_a_busy_zone_are_waited_out_but_not_past_the_deadline() {
    let world = World::new().await;
    let switch = world.switch().await;
    world.proxy.make(Trouble { throttle: 2, busy: 2, ..Trouble::default() });
    carry_out(&switch, TO_STANDBY).await.unwrap().ensure_everywhere().unwrap();
    assert_eq!(world.proxy.changes().len(), 1);
    assert_eq!(world.held().await, [listed(2, STANDBY)]);

    world.proxy.make(Trouble { busy: 1000, ..Trouble::default() });
    let plan = switch.plan(&Cx::background(), Goal::To(Side::Primary)).await.unwrap();
    let cx = Cx::background().with_deadline(SystemTime::now() + Duration::from_millis(150));
    let e = switch.apply(&cx, &plan, &NoJournal, None).await.unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::Cancelled | ErrorKind::Throttled), "{e:?}");
    assert_eq!(world.held().await, [listed(2, STANDBY)]);
}

#[tokio::test]
async fn a_change_that_stays_pending_is_told_as_applied_with_what_to_do() {
    let world = World::new().await;
    let mut settings = world.settings(world.record());
    settings.in_sync_within = Duration::from_secs(2);
    let switch = world.switch_of(settings).await;
    world.proxy.make(Trouble { pending: u32::MAX, ..Trouble::default() });
    let e = carry_out(&switch, TO_STANDBY).await.unwrap_err();
    assert_eq!((e.kind(), e.effect()), (ErrorKind::Unverified, Effect::Applied));
    assert!(e.to_string().contains("still pending"), "{e}");
    assert!(e.help().unwrap().contains("dns rollback"));
    assert_eq!(switch.last().unwrap().unwrap().phase, SwitchPhase::Submitted);
    world.proxy.make(Trouble { pending: 1, ..Trouble::default() });
    switch.rollback(&Cx::background(), false).await.unwrap().ensure_everywhere().unwrap();
    assert_eq!(world.held().await, [listed(2, PRIMARY)]);
}

#[tokio::test]
async fn a_lost_answer_is_looked_into_and_nothing_is_done_twice() {
    let world = World::new().await;
    let switch = world.switch().await;
    world.proxy.make(Trouble { lose_answer: 1, ..Trouble::default() });
    let report = carry_out(&switch, TO_STANDBY).await.unwrap();
    report.ensure_everywhere().unwrap();
    assert!(report.in_sync_at.is_some());
    assert_eq!(world.held().await, [listed(2, STANDBY)]);
    let sent = world.proxy.changes();
    assert_eq!(sent.len(), 2);
    // The second sets the same again, only to get a change that can be waited for.
    assert!(!sent[1].contains(PRIMARY), "{}", sent[1]);
}

#[tokio::test]
async fn a_name_server_that_does_not_follow_is_named() {
    let world = World::bare(false).await;
    world.server.upsert(&world.zone, API, "A", 2, &[PRIMARY]).await.unwrap();
    world.proxy.copy().await.unwrap();
    world.second.control().update(&format!("add {API} 2 A {PRIMARY}\n")).unwrap();
    let mut settings = world.settings(world.record());
    settings.verify_within = Duration::from_secs(1);
    let switch = world.switch_of(settings).await;
    let report = carry_out(&switch, TO_STANDBY).await.unwrap();
    let agreed: Vec<Agreement> = report.records[0].servers.iter().map(|s| s.agreement).collect();
    assert_eq!(agreed, [Agreement::Wanted, Agreement::Before]);
    let e = report.ensure_everywhere().unwrap_err();
    assert_eq!((e.kind(), e.effect()), (ErrorKind::Mismatch, Effect::Applied));
    assert!(e.to_string().contains(&world.second.address()), "{e}");
    assert!(!e.to_string().contains(&world.knot.address()), "{e}");
    let view = switch.show(&Cx::background()).await.unwrap();
    assert!(view.differences.iter().any(|d| d.contains(&world.second.address())), "{:?}", view.differences);
}

#[tokio::test]
async fn a_name_server_that_is_silent_is_named_and_no_pass() {
    let world = World::new().await;
    let mut settings = world.settings(world.record());
    let gone = format!("127.0.0.1:{}", veza_dr_tests::ports::free_port().unwrap());
    settings.name_servers.push(gone.parse().unwrap());
    settings.verify_within = Duration::from_secs(1);
    let report = carry_out(&world.switch_of(settings).await, TO_STANDBY).await.unwrap();
    let e = report.ensure_everywhere().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unverified);
    assert!(e.to_string().contains(&gone), "{e}");
}

#[tokio::test]
async fn a_zone_that_cannot_be_read_is_an_error_and_never_empty() {
    let world = World::new().await;
    let switch = world.switch().await;
    for trouble in [
        Trouble { unreadable: u32::MAX, ..Trouble::default() },
        Trouble { cut: u32::MAX, ..Trouble::default() },
        Trouble { outage: true, ..Trouble::default() },
    ] {
        world.proxy.make(trouble.clone());
        let e = carry_out(&switch, TO_STANDBY).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Unavailable, "{trouble:?}: {e:?}");
        let view = switch.show(&Cx::background()).await.unwrap();
        assert!(view.records[0].problem.is_some() && view.records[0].held.is_empty(), "{view:?}");
    }
    world.proxy.make(Trouble::default());
    assert_eq!(world.proxy.changes(), [""; 0]);
    assert_eq!(world.held().await, [listed(2, PRIMARY)]);
    // A page that fails for a moment is asked for again.
    world.proxy.make(Trouble { unreadable: 1, ..Trouble::default() });
    carry_out(&switch, TO_STANDBY).await.unwrap().ensure_everywhere().unwrap();
}

#[derive(Debug)]
struct FullJournal;

#[async_trait]
impl SwitchJournal for FullJournal {
    async fn before_change(&self, _: &Cx, saved: &SavedSwitch) -> Result<()> {
        assert_eq!(saved.phase, SwitchPhase::Begun);
        assert_eq!(saved.records[0].before.as_ref().unwrap().values, [PRIMARY]);
        Err(Error::new(ErrorKind::Full, "no room"))
    }
}

#[tokio::test]
async fn what_was_there_is_kept_before_the_change_or_there_is_none() {
    let world = World::new().await;
    let switch = world.switch().await;
    let cx = Cx::background();
    let plan = switch.plan(&cx, TO_STANDBY).await.unwrap();
    assert_eq!(switch.apply(&cx, &plan, &FullJournal, None).await.unwrap_err().kind(), ErrorKind::Full);
    // A folder that cannot be made.
    let mut settings = world.settings(world.record());
    settings.state_dir = world.state_dir().join("file");
    std::fs::write(&settings.state_dir, "").unwrap();
    let nowhere = world.switch_of(settings).await;
    assert!(nowhere.apply(&cx, &plan, &NoJournal, None).await.is_err());
    assert_eq!(world.proxy.changes(), [""; 0]);
    assert_eq!(world.held().await, [listed(2, PRIMARY)]);
}
