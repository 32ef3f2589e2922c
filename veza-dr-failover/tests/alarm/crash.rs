//! Killed between any two bytes: nothing that was raised is lost, nothing is raised twice, and what is told again is told
//! under the same name.

use std::{collections::BTreeSet, sync::Arc};

use chrono::{TimeDelta, TimeZone, Utc};
use veza_dr_core::{Cx, testing::ManualClock};
use veza_dr_failover::alarm::{Desk, Facts};
use veza_dr_failover::{alerts::Subject, measure::Outage};

use crate::scene::{Ears, Time, hours, record};

fn t0() -> Time {
    Utc.with_ymd_and_hms(2026, 11, 23, 10, 0, 0).unwrap()
}

/// An outage that has gone on for so many minutes, after a recovery that lost something.
fn facts(minutes: i64) -> Facts {
    let mut facts = Facts::at(t0() + TimeDelta::minutes(minutes));
    (facts.watched, facts.served, facts.strictest_rto) = (true, Some(false), Some(hours(2)));
    facts.outage = serde_json::from_value::<Outage>(
        serde_json::json!({ "began": t0(), "detected": t0() + TimeDelta::minutes(1) }),
    )
    .ok();
    let before = record("20261101T000000Z-aaaaaa", "recovery", "backend", t0() - TimeDelta::days(20), 90, Some(3));
    facts.ended = vec![Subject::of_record(&before)];
    facts
}

const LOOKS: [i64; 4] = [1, 60, 90, 125];

fn names(desk: &Desk) -> BTreeSet<String> {
    let view = desk.view().unwrap();
    let alerts = view.alerts.iter().map(|a| format!("{} {}", a.alert, a.subject));
    alerts.chain(view.incident.map(|i| format!("incident level {}", i.level))).collect()
}

#[tokio::test]
async fn a_book_that_was_cut_anywhere_is_taken_up_without_loss_or_doubles() {
    let cx = Cx::background();
    let place = tempfile::tempdir().unwrap();
    let book = place.path().join("alarms/book.jsonl");
    let clock = Arc::new(ManualClock::at(t0()));
    let whole = Ears::new();
    let desk = whole.desk(place.path(), clock.clone());
    for minutes in LOOKS {
        clock.set(t0() + TimeDelta::minutes(minutes));
        desk.evaluate(&facts(minutes)).unwrap();
        desk.deliver(&cx).await.unwrap();
    }
    let raised: usize = whole.0.iter().map(|(_, ear)| ear.ids().len()).sum();
    assert_eq!(raised, 10, "{:?}", whole.0.iter().map(|(n, e)| (n, e.ids())).collect::<Vec<_>>());
    let names_before = names(&desk);
    let bytes = std::fs::read(&book).unwrap();
    // Each line's end, its middle, and the byte before its end.
    let ends: Vec<usize> = bytes.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1).collect();
    let cuts = ends.iter().flat_map(|end| [*end, end - 1, end - 40]).chain([0]);
    for cut in cuts {
        std::fs::write(&book, &bytes[..cut]).unwrap();
        let ears = Ears::new();
        let desk = ears.desk(place.path(), clock.clone());
        for _ in 0..2 {
            desk.evaluate(&facts(125)).unwrap();
            assert_eq!(desk.deliver(&cx).await.unwrap(), 0, "cut at {cut}");
        }
        // What is open is what was open: once each.
        let view = desk.view().unwrap();
        let after = names(&desk);
        assert!(after.contains("incident level 2"), "cut at {cut}: {after:?}");
        assert_eq!(
            view.alerts.len(),
            view.alerts.iter().map(|a| (&a.alert, &a.subject)).collect::<BTreeSet<_>>().len()
        );
        for always in ["RecoveryTimeExceeded 20261101T000000Z-aaaaaa", "DataLossDetected 20261101T000000Z-aaaaaa"] {
            assert!(after.contains(always), "cut at {cut}: {after:?}");
        }
        assert!(after.iter().any(|a| a.starts_with("RtoBurn100")), "cut at {cut}: {after:?}");
        // Nothing is told twice by the one that takes over; and what it tells again has its old name.
        for (name, ear) in &ears.0 {
            let ids = ear.ids();
            assert_eq!(ids.len(), ids.iter().collect::<BTreeSet<_>>().len(), "cut at {cut}: {name}: {ids:?}");
        }
        // What the book has and does not know to have arrived is told again under its name; what arrived is not.
        let kept: Vec<serde_json::Value> =
            bytes[..cut].split_inclusive(|b| *b == b'\n').filter_map(|l| serde_json::from_slice(l).ok()).collect();
        let kept = kept.iter().take(bytes[..cut].iter().filter(|b| **b == b'\n').count());
        let (mut raised, mut arrived) = (BTreeSet::new(), BTreeSet::new());
        for line in kept {
            raised.extend(line["message"]["id"].as_str().map(str::to_owned));
            arrived.extend(line["record"]["message"].as_str().map(str::to_owned));
        }
        let told: BTreeSet<String> = ears.0.iter().flat_map(|(_, e)| e.ids()).collect();
        let missing: Vec<&String> = raised.difference(&arrived).filter(|id| !told.contains(*id)).collect();
        assert!(missing.is_empty(), "cut at {cut}: never told: {missing:?}");
        assert!(told.is_disjoint(&arrived), "cut at {cut}: told though it had arrived");
    }
    // Whole again: everything is delivered, nothing is left to tell.
    std::fs::write(&book, &bytes).unwrap();
    let ears = Ears::new();
    let desk = ears.desk(place.path(), clock.clone());
    assert!(desk.evaluate(&facts(125)).unwrap().is_empty());
    assert_eq!(desk.deliver(&cx).await.unwrap(), 0);
    assert!(ears.0.iter().all(|(_, e)| e.ids().is_empty()));
    assert_eq!(names(&desk), names_before);
}

#[tokio::test]
async fn what_was_raised_and_not_delivered_is_delivered_by_the_next_process_once() {
    let (cx, place) = (Cx::background(), tempfile::tempdir().unwrap());
    let clock = Arc::new(ManualClock::at(t0() + TimeDelta::minutes(60)));
    let first = Ears::new();
    let raised = first.desk(place.path(), clock.clone()).evaluate(&facts(60)).unwrap();
    assert!(first.0.iter().all(|(_, e)| e.ids().is_empty()));
    let second = Ears::new();
    let desk = second.desk(place.path(), clock.clone());
    desk.evaluate(&facts(60)).unwrap();
    desk.deliver(&cx).await.unwrap();
    let mut told: Vec<String> = second.0.iter().flat_map(|(_, e)| e.ids()).collect();
    let mut expected: Vec<String> = raised.iter().map(|m| m.id.clone()).collect();
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
    // Killed after the channel had it and before that was on record: told again, under the same name.
    let book = place.path().join("alarms/book.jsonl");
    let text = std::fs::read_to_string(&book).unwrap();
    let lines: Vec<&str> = text.lines().filter(|l| !l.contains("\"delivery\"")).collect();
    std::fs::write(&book, lines.join("\n") + "\n").unwrap();
    let third = Ears::new();
    third.desk(place.path(), clock).deliver(&cx).await.unwrap();
    let mut again: Vec<String> = third.0.iter().flat_map(|(_, e)| e.ids()).collect();
    again.sort();
    assert_eq!(again, expected);
}

#[tokio::test]
async fn two_processes_at_one_book_raise_and_tell_each_alarm_once() {
    let (cx, place) = (Cx::background(), tempfile::tempdir().unwrap());
    let clock = Arc::new(ManualClock::at(t0()));
    let ears = Ears::new();
    let (one, two) = (ears.desk(place.path(), clock.clone()), ears.desk(place.path(), clock.clone()));
    for minutes in 1..=130 {
        clock.set(t0() + TimeDelta::minutes(minutes));
        for desk in [&one, &two] {
            desk.evaluate(&facts(minutes)).unwrap();
        }
        let (a, b) = tokio::join!(one.deliver(&cx), two.deliver(&cx));
        a.unwrap();
        b.unwrap();
    }
    two.deliver(&cx).await.unwrap();
    let incident = one.view().unwrap().incident.unwrap().incident.id;
    let calls = ears.of("devops").ids();
    assert_eq!(calls, [1, 2, 3, 4].map(|round| format!("{incident}.l1.r{round}")));
    assert_eq!(ears.of("dba").ids(), [format!("{incident}.l2.r1")]);
    let chat: Vec<String> = ears.of("chat").heard.lock().unwrap().iter().map(|e| e.name.clone().unwrap()).collect();
    let once: BTreeSet<&String> = chat.iter().collect();
    assert_eq!((chat.len(), once.len()), (7, 7), "{chat:?}");
}

#[tokio::test]
async fn a_disk_that_takes_nothing_does_not_silence_the_alarm() {
    let (cx, place) = (Cx::background(), tempfile::tempdir().unwrap());
    let clock = Arc::new(ManualClock::at(t0() + TimeDelta::minutes(60)));
    let ears = Ears::new();
    let desk = ears.desk(place.path(), clock.clone());
    let book = place.path().join("alarms/book.jsonl");
    // A folder in the book's place: every write fails.
    std::fs::create_dir(&book).unwrap();
    desk.evaluate(&facts(60)).unwrap();
    desk.deliver(&cx).await.unwrap();
    let told: usize = ears.0.iter().map(|(_, e)| e.ids().len()).sum();
    assert!(told >= 4 && !desk.is_durable(), "{told}");
    std::fs::remove_dir(&book).unwrap();
    assert!(desk.evaluate(&facts(60)).unwrap().is_empty(), "not raised again");
    assert!(desk.is_durable());
    let next = Ears::new();
    let desk = next.desk(place.path(), clock);
    assert!(desk.evaluate(&facts(60)).unwrap().is_empty());
    assert_eq!(desk.deliver(&cx).await.unwrap(), 0);
    assert!(next.0.iter().all(|(_, e)| e.ids().is_empty()), "what was told is on record by now");
}
