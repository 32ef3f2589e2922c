//! The way back.

use veza_dr_core::{Cx, ErrorKind};
use veza_dr_failover::dns::{NoJournal, SwitchPhase};

use crate::world::{API, PRIMARY, STANDBY, TO_STANDBY, World, carry_out, listed};

#[tokio::test]
async fn a_rollback_puts_back_exactly_what_was_there() {
    let world = World::bare(true).await;
    // Neither the order nor the TTL is the configured one.
    world.server.upsert(&world.zone, API, "A", 77, &["192.0.2.12", "192.0.2.11"]).await.unwrap();
    world.proxy.copy().await.unwrap();
    let before = world.held().await;
    let switch = world.switch().await;
    // Somebody else set them: written over only when that is decided.
    assert_eq!(carry_out(&switch, TO_STANDBY).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(world.held().await, before);
    let cx = Cx::background();
    let plan = switch.plan(&cx, TO_STANDBY).await.unwrap().accepting_foreign();
    switch.apply(&cx, &plan, &NoJournal, None).await.unwrap();
    assert_eq!(world.held().await, [listed(2, STANDBY)]);
    let report = switch.rollback(&cx, false).await.unwrap();
    report.ensure_everywhere().unwrap();
    assert_eq!(world.held().await, before);
    assert_eq!(world.knot.answers(API, "A").unwrap(), ["192.0.2.11", "192.0.2.12"]);
    assert_eq!(switch.rollback(&cx, false).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_record_that_was_not_there_is_gone_after_a_rollback() {
    let world = World::bare(true).await;
    let switch = world.switch().await;
    carry_out(&switch, TO_STANDBY).await.unwrap().ensure_everywhere().unwrap();
    assert_eq!(world.held().await, [listed(2, STANDBY)]);
    switch.rollback(&Cx::background(), false).await.unwrap().ensure_everywhere().unwrap();
    assert_eq!(world.held().await, []);
    assert_eq!(world.knot.answers(API, "A").unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_rollback_over_somebody_elses_edit_is_refused_and_shows_both() {
    let world = World::new().await;
    let switch = world.switch().await;
    carry_out(&switch, TO_STANDBY).await.unwrap();
    world.server.upsert(&world.zone, API, "A", 2, &["192.0.2.99"]).await.unwrap();
    let changes = world.proxy.changes().len();
    let cx = Cx::background();
    let e = switch.rollback(&cx, false).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
    let context: Vec<(&str, &str)> = e.context().collect();
    for (what, value) in [("we_set", STANDBY), ("there_now", "192.0.2.99"), ("would_put_back", PRIMARY)] {
        assert!(context.iter().any(|(k, v)| *k == what && v.contains(value)), "{what}: {context:?}");
    }
    assert_eq!(world.proxy.changes().len(), changes);
    assert_eq!(world.held().await, [listed(2, "192.0.2.99")]);
    switch.rollback(&cx, true).await.unwrap().ensure_everywhere().unwrap();
    assert_eq!(world.held().await, [listed(2, PRIMARY)]);
}

#[tokio::test]
async fn a_switch_that_was_begun_and_never_sent_is_taken_back_without_a_change() {
    let world = World::new().await;
    let switch = world.switch().await;
    carry_out(&switch, TO_STANDBY).await.unwrap();
    // As after a crash between the file and the request.
    let file = world.state_dir().join("dns/switch.json");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("\"in_sync\""), "{text}");
    std::fs::write(&file, text.replace("\"in_sync\"", "\"begun\"")).unwrap();
    world.server.upsert(&world.zone, API, "A", 2, &[PRIMARY]).await.unwrap();
    world.proxy.copy().await.unwrap();
    assert_eq!(switch.confirm().unwrap_err().kind(), ErrorKind::Conflict);
    let changes = world.proxy.changes().len();
    let report = switch.rollback(&Cx::background(), false).await.unwrap();
    report.ensure_everywhere().unwrap();
    assert!(report.rolled_back && !report.changed);
    assert_eq!(world.proxy.changes().len(), changes);
    assert_eq!(switch.last().unwrap().unwrap().phase, SwitchPhase::RolledBack);
}
