//! What a run lost, told by its journal: at most what was written after the backups that it restored, exactly where
//! somebody counted.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{DataLoss, LossPart};
use crate::runbook::{Entry, Plan, Record, StepOutcome};

/// What a step put back.
#[derive(Debug)]
struct Restored {
    backup: String,
    shows: Option<DateTime<Utc>>,
    is_final: bool,
}

impl DataLoss {
    /// By the journal of a run and its plan; `began` is when the outage did. What was restored from a backup lost at most
    /// what was written between the instant that it shows and the outage; how many records that is nobody knows before
    /// they are counted. A run that restored nothing says nothing of what was lost: that is unknown, not nothing.
    #[must_use]
    pub fn of_journal(entries: &[Entry], plan: &Plan, began: Option<DateTime<Utc>>) -> Self {
        let mut restored: BTreeMap<String, Restored> = BTreeMap::new();
        let mut counted: BTreeMap<String, u64> = BTreeMap::new();
        for entry in entries {
            match &entry.record {
                Record::Outcome { step, outcome: StepOutcome::Ok { done, .. }, .. } => {
                    let own = plan.step(step).and_then(|s| s.parameters.get("component")?.as_str());
                    restored.extend(put_back(&done.evidence, own));
                }
                Record::UndoOutcome { step, error: None } => {
                    let own = plan.step(step).and_then(|s| s.parameters.get("component")?.as_str());
                    own.and_then(|component| restored.remove(component));
                }
                other => counted.extend(count(other)),
            }
        }
        let part = |(component, r): (String, Restored)| {
            let mut part = match counted.get(&component) {
                Some(records) => LossPart::new(component, "counted on the old site").with_records(*records),
                None if r.is_final => {
                    LossPart::new(component, format!("backup {} was the last: nothing was written after it", r.backup))
                        .with_records(0)
                }
                None => LossPart::new(component, format!("what was written after backup {} was not counted", r.backup)),
            };
            match (r.shows, began) {
                (Some(shows), _) if r.is_final => part = part.with_times(shows, shows),
                (Some(shows), Some(began)) => part = part.with_times(shows, began),
                _ => {}
            }
            part
        };
        Self::of(restored.into_iter().map(part).collect())
    }
}

/// What the evidence of a step says of a restore: `{"restored": {"component", "backup", "shows", "is_final"}}`, or the
/// backup and what it shows alone where the step names its component.
fn put_back(evidence: &Value, own: Option<&str>) -> Option<(String, Restored)> {
    let inner = evidence.get("restored").unwrap_or(evidence);
    let text = |key: &str| inner.get(key).and_then(Value::as_str);
    let shows = text("shows")?;
    let component = text("component").or(own)?;
    let restored = Restored {
        backup: text("backup").unwrap_or("unknown").to_owned(),
        shows: shows.parse().ok(),
        is_final: inner.get("is_final").and_then(Value::as_bool).unwrap_or(false),
    };
    Some((component.to_owned(), restored))
}

/// What was counted later, as `{"type": "loss_measured", "component", "records"}`.
fn count(record: &Record) -> Option<(String, u64)> {
    let value = serde_json::to_value(record).ok()?;
    if value["type"] != "loss_measured" {
        return None;
    }
    Some((value["component"].as_str()?.to_owned(), value["records"].as_u64()?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::TimeDelta;
    use serde_json::json;

    use super::*;
    use crate::runbook::{Done, Step};

    fn outcome(step: &str, evidence: Value) -> Entry {
        let record = json!({
            "type": "outcome", "step": step, "attempt": 1, "outcome": { "ok": { "done": Done::new("done", evidence) } },
        });
        serde_json::from_value(json!({ "seq": 1, "at": "2026-11-23T10:00:00Z", "record": record })).unwrap()
    }

    #[test]
    fn a_restore_loses_at_most_what_came_after_its_backup_and_how_many_is_not_known() {
        let plan = Plan::new("p")
            .with_step(Step::new("restore", "restore").with("component", "database"))
            .with_step(Step::new("look", "note"));
        let shows: DateTime<Utc> = "2026-11-23T09:00:00Z".parse().unwrap();
        let began = shows + TimeDelta::minutes(40);
        let restore = outcome("restore", json!({ "backup": "b1", "store": "local", "shows": shows }));
        let lost = DataLoss::of_journal(&[restore.clone(), outcome("look", json!({ "seen": 1 }))], &plan, Some(began));
        assert_eq!((lost.records(), lost.span()), (None, Some(Duration::from_secs(2400))));
        assert!(lost.unknown().unwrap().contains("b1"), "{lost:?}");
        // When the outage began is not known: neither is the span.
        assert_eq!(DataLoss::of_journal(&[restore], &plan, None).span(), None);
        let last = json!({ "restored": { "component": "redis", "backup": "b2", "shows": shows, "is_final": true } });
        let lost = DataLoss::of_journal(&[outcome("look", last)], &plan, Some(began));
        assert_eq!((lost.records(), lost.span()), (Some(0), Some(Duration::ZERO)));
        assert_eq!(DataLoss::of_journal(&[], &plan, Some(began)).records(), None, "nothing restored: not known");
    }
}
