//! What a run lost, told by its journal: of a site that took over as the run's report tells it; of what was restored in
//! place at most what was written after the backup.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{DataLoss, LossPart};
use crate::runbook::{ComponentLoss, Entry, Plan, Record, Restored, RunReport, StepOutcome};

/// What a step put back in place.
#[derive(Debug)]
struct PutBack {
    backup: String,
    shows: Option<DateTime<Utc>>,
}

impl DataLoss {
    /// By the report of a run, its journal and its plan; `began` is when the outage did (T0).
    ///
    /// What a site that took over was given lost at most what was written between the instant that its backup shows and
    /// the instant at which the old site was **proven** to take no writes: one that is cut off may go on writing long
    /// after T0. Where nothing proved that, the span is unknown. What was restored in place, where no other site was
    /// fenced, lost at most what was written until T0, or until the last fence of the run where that is later. How many
    /// records that is nobody knows before they are counted. A run that restored nothing says nothing of what was lost:
    /// that is unknown, not nothing.
    #[must_use]
    pub fn of_run(report: &RunReport, entries: &[Entry], plan: &Plan, began: Option<DateTime<Utc>>) -> Self {
        let mut parts: Vec<LossPart> = report.data_loss.iter().map(|(name, loss)| taken_over(name, loss)).collect();
        let fenced = entries.iter().filter_map(|e| match &e.record {
            Record::Outcome { outcome: StepOutcome::Ok { done, .. }, .. } => done.fence.as_ref().map(|p| p.at),
            _ => None,
        });
        let until = began.max(fenced.max());
        for (component, put_back) in in_place(entries, plan) {
            if report.data_loss.contains_key(&component) {
                continue;
            }
            let basis = format!("what was written after backup {} was not counted", put_back.backup);
            let part = LossPart::new(component, basis);
            parts.push(match put_back.shows.zip(until) {
                Some((shows, until)) => part.with_times(shows, until),
                None => part,
            });
        }
        Self::of(parts)
    }
}

fn taken_over(component: &str, loss: &ComponentLoss) -> LossPart {
    let mut part = LossPart::new(component, &loss.basis);
    (part.records, part.changed) = (loss.records, loss.changed);
    match loss.written_until {
        Some(until) => part.with_times(loss.shows, until),
        None => part,
    }
}

/// What was restored in place and not undone, by component.
fn in_place(entries: &[Entry], plan: &Plan) -> BTreeMap<String, PutBack> {
    let mut found = BTreeMap::new();
    let own = |step: &String| plan.step(step).and_then(|s| s.parameters.get("component")?.as_str());
    for entry in entries {
        match &entry.record {
            // What went into a site is told by the report.
            Record::Outcome { step, outcome: StepOutcome::Ok { done, .. }, .. }
                if Restored::of(&done.evidence).is_none() =>
            {
                found.extend(put_back(&done.evidence, own(step)));
            }
            Record::UndoOutcome { step, error: None } => {
                own(step).and_then(|component| found.remove(component));
            }
            _ => {}
        }
    }
    found
}

/// What the evidence of a step says of a restore: the backup and the instant that it shows.
fn put_back(evidence: &Value, own: Option<&str>) -> Option<(String, PutBack)> {
    let text = |key: &str| evidence.get(key).and_then(Value::as_str);
    let shows = text("shows")?;
    let component = text("component").or(own)?;
    let backup = text("backup").unwrap_or("unknown").to_owned();
    Some((component.to_owned(), PutBack { backup, shows: shows.parse().ok() }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::TimeDelta;
    use serde_json::json;

    use super::*;
    use crate::{
        report::RecoveryPoint,
        runbook::{Done, Step, loss_in_words},
    };

    const SHOWS: &str = "2026-11-23T09:00:00Z";

    fn at(minutes: i64) -> DateTime<Utc> {
        SHOWS.parse::<DateTime<Utc>>().unwrap() + TimeDelta::minutes(minutes)
    }

    fn plan() -> Plan {
        Plan::new("p")
            .with_step(Step::new("fence", "fence").with("site", "primary"))
            .with_step(Step::new("restore", "restore").with("component", "database"))
            .with_step(Step::new("restore-redis", "restore").with("component", "redis"))
            .with_step(Step::new("look", "note"))
    }

    fn entry(seq: u64, record: Value) -> Entry {
        serde_json::from_value(json!({ "seq": seq, "at": at(60), "record": record })).unwrap()
    }

    fn outcome(step: &str, done: &Done) -> Value {
        json!({ "type": "outcome", "step": step, "attempt": 1, "outcome": { "ok": { "done": done } } })
    }

    fn found(step: &str, evidence: Value) -> Value {
        outcome(step, &Done::new("done", evidence))
    }

    fn fence(minutes: i64) -> Value {
        let mut done = json!(Done::new("fenced", Value::Null));
        done["fence"] =
            json!({ "site": "primary", "how": "confirmed_stop", "at": at(minutes), "expires": at(minutes + 30) });
        outcome("fence", &serde_json::from_value(done).unwrap())
    }

    fn into_standby(step: &str, component: &str, engine: &str, is_final: bool) -> Value {
        let restored = Restored::new(component, "standby", "b1", at(0)).from_final(is_final).of_engine(engine);
        found(step, json!({ "backup": "b1", "store": "local", "shows": at(0), "restored": restored }))
    }

    /// A run whose outage began 40 minutes after the backup.
    fn run(records: Vec<Value>) -> (RunReport, Vec<Entry>) {
        let started = json!({
            "type": "started", "run": "r", "plan": plan(), "plan_sha": "00", "who": "ann", "epoch": 1, "mode": "graceful",
            "outage_began": at(40),
        });
        let all = std::iter::once(started).chain(records);
        let entries: Vec<Entry> = all.zip(1..).map(|(record, seq)| entry(seq, record)).collect();
        (RunReport::of_entries(&entries).unwrap(), entries)
    }

    fn lost((report, entries): &(RunReport, Vec<Entry>)) -> DataLoss {
        DataLoss::of_run(report, entries, &plan(), report.points["T0"])
    }

    #[test]
    fn a_restore_in_place_loses_at_most_what_came_after_its_backup_and_how_many_is_not_known() {
        let restore = || found("restore", json!({ "backup": "b1", "store": "local", "shows": at(0) }));
        let mut one = run(vec![restore(), found("look", json!({ "seen": 1 }))]);
        let told = lost(&one);
        assert_eq!((told.records(), told.span()), (None, Some(Duration::from_secs(2400))));
        assert!(told.unknown().unwrap().contains("b1"), "{told:?}");
        // When the outage began is not known: neither is the span.
        one.0.points.insert("T0", None);
        assert_eq!(lost(&one).span(), None);
        assert_eq!(lost(&run(vec![fence(55), restore()])).span(), Some(Duration::from_secs(3300)));
        let undone = json!({ "type": "undo_outcome", "step": "restore" });
        assert_eq!(lost(&run(vec![restore(), undone])), DataLoss::default());
        assert_eq!(lost(&run(vec![])).records(), None, "nothing restored: not known");
    }

    #[test]
    fn an_old_site_that_goes_on_writing_loses_until_it_is_proven_to_write_no_more_everywhere_alike() {
        // The outage began at 40, the proof came at 55: a quarter of an hour of writes in between.
        let one = run(vec![fence(55), into_standby("restore", "database", "postgres", false)]);
        let told = lost(&one);
        let loss = &one.0.data_loss["database"];
        assert_eq!((loss.at_most_seconds, loss.written_until), (Some(3300.0), Some(at(55))));
        assert_eq!((told.span(), told.records()), (Some(Duration::from_secs(3300)), None));
        let point = RecoveryPoint::of_loss(&told);
        assert_eq!((point.actual_seconds, point.records_lost, point.newest_at), (Some(3300.0), None, Some(at(0))));
        assert!(point.method.unwrap().contains("veza-dr failover back"));
        // Made sure of once more, as the first proof had expired: it may have written until then.
        let again = run(vec![fence(55), fence(90), into_standby("restore", "database", "postgres", false)]);
        assert_eq!(again.0.data_loss["database"].at_most_seconds, Some(5400.0));
        assert_eq!(lost(&again).span(), Some(Duration::from_secs(5400)));
        // Closed off before the outage was seen: nothing was written after the proof.
        let early = run(vec![fence(30), into_standby("restore", "database", "postgres", false)]);
        assert_eq!(lost(&early).span(), Some(Duration::from_secs(1800)));
    }

    #[test]
    fn without_a_proof_the_span_is_unknown_whatever_the_outage_and_says_why() {
        let one = run(vec![into_standby("restore", "database", "postgres", false)]);
        let told = lost(&one);
        assert_eq!((one.0.data_loss["database"].at_most_seconds, told.span(), told.records()), (None, None, None));
        assert!(told.unknown().unwrap().contains("nothing proved when the old site stopped writing"), "{told:?}");
        assert_eq!(RecoveryPoint::of_loss(&told).actual_seconds, None);
        let undone = json!({ "type": "undo_outcome", "step": "fence" });
        let open = run(vec![fence(55), into_standby("restore", "database", "postgres", false), undone]);
        assert_eq!(lost(&open).span(), None, "a fence that was lifted proves nothing");
    }

    #[test]
    fn what_was_counted_later_counts_and_redis_says_why_it_was_not() {
        let counted =
            json!({ "type": "loss_measured", "component": "database", "records": 12, "changed": 3, "by": "back-1" });
        let (database, redis) = (
            into_standby("restore", "database", "postgres", false),
            into_standby("restore-redis", "redis", "redis", false),
        );
        let one = run(vec![fence(55), database, redis, counted]);
        let told = lost(&one);
        assert_eq!((told.records(), told.records_at_least()), (None, 12), "one unknown leaves the whole unknown");
        assert_eq!(
            told.parts.iter().map(|p| (p.records, p.changed)).collect::<Vec<_>>(),
            [(Some(12), Some(3)), (None, None)]
        );
        let why = told.unknown().unwrap();
        assert!(why.starts_with("redis: keys written after backup b1 are not counted"), "{why}");
        let document = serde_json::to_value(&one.0).unwrap();
        assert!(document["data_loss"]["redis"]["records"].is_null());
        assert!(document["data_loss"]["redis"]["basis"].as_str().unwrap().contains("are not counted"), "{document}");
        let words = loss_in_words(&one.0.data_loss).unwrap();
        for part in [
            "database: 12 records and 3 changes (at most 3300 s",
            "back-1",
            "redis: unknown (at most 3300 s",
            "are not counted",
        ] {
            assert!(words.contains(part), "{part}: {words}");
        }
        let method = RecoveryPoint::of_loss(&told).method.unwrap();
        assert!(
            method.contains("database: counted on the old site by run back-1") && method.contains("redis: keys"),
            "{method}"
        );
        // The last backup of a planned move, as was seen: nothing.
        let last = lost(&run(vec![fence(55), into_standby("restore-redis", "redis", "redis", true)]));
        assert_eq!((last.is_nothing(), last.span()), (true, Some(Duration::ZERO)));
    }
}
