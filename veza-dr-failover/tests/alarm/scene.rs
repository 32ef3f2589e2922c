//! What the tests share: channels that remember, rules and levels of the guide, records of recoveries.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use veza_dr_core::{Clock, Cx, Error, ErrorKind, Event, EventSink, Result, RetryPolicy, Severity};
use veza_dr_failover::{
    alarm::Desk,
    alerts::{AlertRule, BUILT_IN},
    escalation::{Contact, EscalationPolicy, Level},
    measure::RecoveryRecord,
};

pub(crate) type Time = DateTime<Utc>;

pub(crate) fn hours(h: u64) -> Duration {
    Duration::from_secs(h * 3600)
}

/// Remembers what it was told; fails while it is told to.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    pub(crate) heard: Mutex<Vec<Event>>,
    pub(crate) deaf: Mutex<bool>,
}

impl Ear {
    pub(crate) fn ids(&self) -> Vec<String> {
        self.heard.lock().unwrap().iter().map(|e| e.id.clone().unwrap()).collect()
    }
}

#[async_trait]
impl EventSink for Ear {
    async fn tell(&self, _: &Cx, event: &Event) -> Result<()> {
        if *self.deaf.lock().unwrap() {
            return Err(Error::new(ErrorKind::Unavailable, "no answer"));
        }
        self.heard.lock().unwrap().push(event.clone());
        Ok(())
    }
}

/// The guide's three alerts.
pub(crate) fn rules() -> Vec<AlertRule> {
    [
        ("RecoveryTimeExceeded", "recovery_time > 3600", Severity::Critical),
        ("DataLossDetected", "data_loss > 0", Severity::High),
        ("ServiceUnavailable", "service_availability < 99.9", Severity::Critical),
    ]
    .map(|(name, condition, severity)| AlertRule::new(name, condition.parse().unwrap(), severity))
    .to_vec()
}

/// The guide's four levels, each with a contact of its own.
pub(crate) fn levels() -> EscalationPolicy {
    let guide = EscalationPolicy::guide();
    let level = |(level, who): (Level, &str)| level.calling(vec![Contact::new(who, [who, "spare"])]);
    EscalationPolicy::new(guide.levels.into_iter().zip(["devops", "dba", "cto", "board"]).map(level).collect())
}

/// The ears of a desk, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ears(pub(crate) Vec<(&'static str, Arc<Ear>)>);

impl Ears {
    pub(crate) fn new() -> Self {
        Self(["chat", "devops", "dba", "cto", "board", "spare"].map(|name| (name, Arc::default())).to_vec())
    }

    pub(crate) fn of(&self, name: &str) -> &Arc<Ear> {
        &self.0.iter().find(|(n, _)| *n == name).unwrap().1
    }

    /// A desk with these ears. `chat` is told of every alert.
    pub(crate) fn desk(&self, place: &std::path::Path, clock: Arc<dyn Clock>) -> Desk {
        let quick = RetryPolicy::default().with_attempts(1);
        let desk = Desk::open(place).unwrap().with_rules(rules(), &BUILT_IN).unwrap();
        let desk = desk.with_policy(levels()).with_clock(clock).with_patience(quick);
        self.0.iter().fold(desk, |desk, (name, ear)| match *name {
            "chat" => desk.with_channel(*name, ear.clone(), Severity::Low, true),
            name => desk.with_way(name, ear.clone()),
        })
    }
}

/// A recovery or drill that has ended.
pub(crate) fn record(
    run: &str,
    kind: &str,
    scenario: &str,
    t0: Time,
    minutes: i64,
    lost: Option<u64>,
) -> RecoveryRecord {
    let t6 = t0 + TimeDelta::minutes(minutes);
    serde_json::from_value(json!({
        "format": 1, "id": run, "run": run, "kind": kind, "scenario": scenario, "plan": scenario, "plan_sha": "x",
        "host": "here", "who": "ops", "tool_version": "0", "status": "completed", "began": t0, "ended": t6,
        "points": { "T0": t0, "T3": t0, "T6": t6 },
        "data_loss": { "parts": [{ "component": "database", "records": lost, "basis": "rows" }] },
    }))
    .unwrap()
}
