//! Channels that fail, second ways, acknowledgements, and an alert that somebody took note of.

use std::sync::Arc;

use chrono::{TimeDelta, TimeZone, Utc};
use veza_dr_core::{Cx, ErrorKind, testing::ManualClock};
use veza_dr_failover::{
    alarm::{Facts, Links},
    alerts::Subject,
    escalation::AckKey,
    measure::Outage,
};

use crate::scene::{Ears, Time, hours, record};

fn t0() -> Time {
    Utc.with_ymd_and_hms(2026, 11, 23, 10, 0, 0).unwrap()
}

fn out(minutes: i64) -> Facts {
    let mut facts = Facts::at(t0() + TimeDelta::minutes(minutes));
    (facts.watched, facts.served, facts.strictest_rto) = (true, Some(false), Some(hours(8)));
    facts.outage = serde_json::from_value::<Outage>(serde_json::json!({ "began": t0(), "detected": t0() })).ok();
    facts.service = Subject::unseen();
    facts
}

#[tokio::test]
async fn the_second_way_is_taken_when_the_first_fails_and_each_try_is_on_record() {
    let (cx, place) = (Cx::background(), tempfile::tempdir().unwrap());
    let clock = Arc::new(ManualClock::at(t0()));
    let ears = Ears::new();
    let desk = ears.desk(place.path(), clock.clone());
    *ears.of("devops").deaf.lock().unwrap() = true;
    desk.evaluate(&out(0)).unwrap();
    assert_eq!(desk.deliver(&cx).await.unwrap(), 0);
    assert_eq!(ears.of("spare").ids().len(), 1);
    let record: Vec<(String, bool)> =
        desk.view().unwrap().deliveries.iter().map(|d| (d.way.clone(), d.error.is_none())).collect();
    assert_eq!(record, [("spare".to_owned(), true), ("devops".to_owned(), false)]);
    // Both fail: it stays on its way, is tried again later and not at once.
    *ears.of("spare").deaf.lock().unwrap() = true;
    clock.set(t0() + TimeDelta::minutes(30));
    desk.evaluate(&out(30)).unwrap();
    assert_eq!(desk.deliver(&cx).await.unwrap(), 1);
    assert_eq!(desk.deliver(&cx).await.unwrap(), 1);
    assert_eq!(desk.view().unwrap().deliveries.len(), 4, "not tried again at once");
    *ears.of("devops").deaf.lock().unwrap() = false;
    clock.advance(TimeDelta::minutes(1));
    assert_eq!(desk.deliver(&cx).await.unwrap(), 0);
    assert_eq!(ears.of("devops").ids().len(), 1);
}

#[tokio::test]
async fn acknowledged_nobody_is_called_until_it_runs_out_and_then_all_that_was_missed_are() {
    let (cx, place) = (Cx::background(), tempfile::tempdir().unwrap());
    let clock = Arc::new(ManualClock::at(t0()));
    let ears = Ears::new();
    let key = AckKey::open(&place.path().join("key")).unwrap();
    let desk = ears.desk(place.path(), clock.clone()).with_links(Links::new("https://dr.example/", key.clone()));
    let tick = |minutes: i64| {
        clock.set(t0() + TimeDelta::minutes(minutes));
        desk.evaluate(&out(minutes)).unwrap();
    };
    tick(0);
    desk.deliver(&cx).await.unwrap();
    let help = ears.of("devops").heard.lock().unwrap()[0].help.clone().unwrap();
    let id = desk.view().unwrap().incident.unwrap().incident.id;
    let link = help.split("or open ").nth(1).unwrap();
    let token = link.split("token=").nth(1).unwrap();
    assert!(link.starts_with(&format!("https://dr.example/acknowledge/{id}?by=devops&token=")), "{link}");
    assert!(key.check(token, &id, "devops", t0()).is_ok());
    // The link is nowhere on disk.
    assert!(!std::fs::read_to_string(place.path().join("alarms/book.jsonl")).unwrap().contains(token));

    assert_eq!(desk.acknowledge("inc-nothing", "ann").unwrap_err().kind(), ErrorKind::NotFound);
    clock.set(t0() + TimeDelta::minutes(100));
    let done = desk.acknowledge(&format!("{id}.l1.r1"), "ann").unwrap();
    assert_eq!(done.until, Some(t0() + TimeDelta::minutes(160)));
    for minutes in 101..160 {
        tick(minutes);
    }
    desk.deliver(&cx).await.unwrap();
    assert_eq!((ears.of("devops").ids().len(), ears.of("dba").ids().len()), (1, 0), "two hours passed, ann takes care");
    tick(160);
    desk.deliver(&cx).await.unwrap();
    assert_eq!(ears.of("dba").ids(), [format!("{id}.l2.r1")], "it runs out: the level that begun meanwhile is called");
    let mut back = Facts::at(t0() + TimeDelta::minutes(170));
    (back.watched, back.served) = (true, Some(true));
    clock.set(back.now);
    desk.evaluate(&back).unwrap();
    desk.deliver(&cx).await.unwrap();
    for name in ["devops", "dba"] {
        assert_eq!(ears.of(name).ids().last().unwrap(), &format!("{id}.over"));
    }
    assert!(ears.of("cto").ids().is_empty());
    assert!(desk.acknowledge(&id, "ann").unwrap().was_over);
}

#[tokio::test]
async fn a_fact_of_the_past_is_closed_by_who_took_note_and_not_raised_again() {
    let (cx, place) = (Cx::background(), tempfile::tempdir().unwrap());
    let clock = Arc::new(ManualClock::at(t0()));
    let ears = Ears::new();
    let mut facts = Facts::at(t0());
    facts.service = Subject::unseen();
    facts.ended = vec![Subject::of_record(&record("20261101T000000Z-aaaaaa", "recovery", "backend", t0(), 5, Some(9)))];
    let desk = ears.desk(place.path(), clock.clone());
    desk.evaluate(&facts).unwrap();
    let alert = desk.view().unwrap().alerts[0].clone();
    assert_eq!((alert.alert.as_str(), alert.missing), ("DataLossDetected", false));
    assert!(desk.acknowledge(&alert.id, "ann").unwrap().closed);
    for _ in 0..3 {
        let desk = ears.desk(place.path(), clock.clone());
        desk.evaluate(&facts).unwrap();
        desk.deliver(&cx).await.unwrap();
        assert!(desk.view().unwrap().alerts.is_empty());
    }
    assert_eq!(ears.of("chat").ids(), [format!("{}.fires", alert.id), format!("{}.ends", alert.id)]);
}

#[tokio::test]
async fn a_rehearsal_reaches_every_way_of_every_contact_and_names_who_cannot_be_reached() {
    let (cx, place) = (Cx::background(), tempfile::tempdir().unwrap());
    let ears = Ears::new();
    let desk = ears.desk(place.path(), Arc::new(ManualClock::at(t0())));
    *ears.of("cto").deaf.lock().unwrap() = true;
    let told = desk.rehearse(&cx, "the drill of the quarter").await.unwrap();
    let failed: Vec<&str> = told.iter().filter(|(_, r)| r.is_err()).map(|(r, _)| r.ways[0].as_str()).collect();
    assert_eq!((told.len(), failed), (8, vec!["cto"]));
    assert!(ears.of("spare").heard.lock().unwrap().iter().all(|e| e.text.contains("nothing is wrong")));
    assert!(desk.view().unwrap().incident.is_none());
}
