//! What the book tells whoever looks.

use chrono::{DateTime, Utc};
use serde::Serialize;
use veza_dr_core::{Result, Severity};

use super::{
    book::{OpenAlarm, OpenIncident},
    desk::Desk,
    record::Incident,
};

/// An alert.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct AlertView {
    /// Its name, which acknowledges it.
    pub id: String,
    /// The alert's name.
    pub alert: String,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: a run, a drill, an incident, the service.
    pub subject: String,
    /// What is told.
    pub text: String,
    /// Its condition cannot be told.
    pub missing: bool,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Who took note.
    pub acknowledged_by: Option<String>,
    /// When it was over, and why.
    pub ended: Option<DateTime<Utc>>,
    /// Why it was over.
    pub why: Option<String>,
}

/// An incident.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct IncidentView {
    /// What it is.
    #[serde(flatten)]
    pub incident: Incident,
    /// The level that was called, counted from 1; 0: none.
    pub level: usize,
    /// How often that level was called.
    pub calls: u32,
    /// Who takes care, and until when nobody else is called.
    pub acknowledged_by: Option<String>,
    /// Until when.
    pub acknowledged_until: Option<DateTime<Utc>>,
    /// When somebody first took care.
    pub first_acknowledged: Option<DateTime<Utc>>,
    /// When it was over.
    pub ended: Option<DateTime<Utc>>,
}

/// A try at a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeliveryView {
    /// When.
    pub at: DateTime<Utc>,
    /// The message.
    pub message: String,
    /// To which contact.
    pub to: Option<String>,
    /// By which channel.
    pub way: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it failed; `None`: it was delivered.
    pub error: Option<String>,
}

/// All that is open, and what was lately.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct AlarmView {
    /// The incident that goes on.
    pub incident: Option<IncidentView>,
    /// Alerts that fire or cannot be told, the worst first.
    pub alerts: Vec<AlertView>,
    /// Alerts that are over, the newest first.
    pub over: Vec<AlertView>,
    /// Incidents that are over, the newest first.
    pub past: Vec<IncidentView>,
    /// The last tries at deliveries, the newest first.
    pub deliveries: Vec<DeliveryView>,
    /// Messages that have not reached everybody.
    pub on_their_way: usize,
}

impl AlarmView {
    /// The incident during which something was going on at that time, if one was.
    #[must_use]
    pub fn incident_of(&self, run: &str) -> Option<&IncidentView> {
        self.incident.iter().chain(&self.past).find(|i| i.incident.run.as_deref() == Some(run))
    }
}

impl Desk {
    /// What is open and what was lately.
    ///
    /// # Errors
    /// When the book cannot be read.
    pub fn view(&self) -> Result<AlarmView> {
        self.change(|book, _| {
            let mut alerts: Vec<AlertView> = book.alarms.values().map(alert).collect();
            alerts.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.since.cmp(&b.since)));
            let deliveries = book.deliveries.iter().rev().map(|d| DeliveryView {
                at: d.at,
                message: d.message.clone(),
                to: d.to.clone(),
                way: d.way.clone(),
                attempts: d.attempts,
                error: d.error.clone(),
            });
            let view = AlarmView {
                incident: book.incident.as_ref().map(|i| incident(i, None)),
                alerts,
                over: book.over.iter().rev().map(alert).collect(),
                past: book.past.iter().rev().map(|(i, at)| incident(i, Some(*at))).collect(),
                deliveries: deliveries.collect(),
                on_their_way: book.outbox.len(),
            };
            (Vec::new(), view)
        })
    }
}

fn alert(alarm: &OpenAlarm) -> AlertView {
    let raised = &alarm.raised;
    AlertView {
        id: raised.id.clone(),
        alert: raised.alert.clone(),
        severity: raised.severity,
        subject: raised.subject.clone(),
        text: raised.text.clone(),
        missing: raised.missing,
        since: alarm.at,
        acknowledged_by: alarm.acknowledged.clone(),
        ended: alarm.ended.as_ref().map(|(at, _)| *at),
        why: alarm.ended.as_ref().map(|(_, why)| why.clone()),
    }
}

fn incident(open: &OpenIncident, ended: Option<DateTime<Utc>>) -> IncidentView {
    let top = open.called.iter().next_back();
    IncidentView {
        incident: open.incident.clone(),
        level: top.map_or(0, |(level, _)| level + 1),
        calls: top.map_or(0, |(_, (_, round))| *round),
        acknowledged_by: open.acknowledged.as_ref().map(|(who, ..)| who.clone()),
        acknowledged_until: open.acknowledged.as_ref().map(|(_, _, until)| *until),
        first_acknowledged: open.first_acknowledged,
        ended,
    }
}
