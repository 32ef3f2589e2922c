//! An event in words, and as JSON.

use serde_json::{Value, json};
use veza_dr_core::{Action, Event, Phase};

/// One line: how bad, what, of which component, in which store.
///
/// ```
/// use veza_dr_core::{Action, Event, Phase};
/// let event = Event::new(chrono::Utc::now(), Action::Backup, Phase::Failed, "no space left")
///     .about("database".parse().unwrap())
///     .in_store("offsite");
/// assert_eq!(veza_dr_failover::notify::subject(&event), "[high] backup of database in offsite failed");
/// ```
#[must_use]
pub fn subject(event: &Event) -> String {
    let what = match event.action {
        Action::Backup => "backup",
        Action::Prune => "retention",
        Action::Verify => "verification",
        Action::Quiesce => "stopping and starting services",
        Action::Drill => "drill",
        Action::Failover => "failover",
        Action::Alert => "alert",
        Action::Escalation => "escalation",
        _ => "work",
    };
    let did = match event.phase {
        Phase::Failed if event.action == Action::Alert => "is firing",
        Phase::Succeeded if matches!(event.action, Action::Alert | Action::Escalation) => "is resolved",
        Phase::Missed if event.action == Action::Alert => "cannot be judged",
        Phase::Failed if event.action == Action::Escalation => "calls you",
        Phase::Started => "started",
        Phase::Succeeded => "succeeded",
        Phase::Retrying => "failed and will be tried again",
        Phase::Failed => "failed",
        Phase::Missed => "was missed",
        _ => "changed",
    };
    let mut text = format!("[{}] {what}", event.severity());
    if let Some(name) = &event.name {
        text.push_str(&format!(" {name}"));
    }
    if let Some(component) = &event.component {
        text.push_str(&format!(" of {component}"));
    }
    if let Some(store) = &event.store {
        text.push_str(&format!(" in {store}"));
    }
    text.push(' ');
    text.push_str(did);
    // A line break would begin another header of a mail.
    text.replace(['\r', '\n'], " ")
}

/// All there is to say, a line each.
#[must_use]
pub fn body(event: &Event) -> String {
    let mut text = format!("{}\n\nwhen: {}\n", event.text, event.at.format("%Y-%m-%d %H:%M:%S UTC"));
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text.push_str(&format!("{name}: {value}\n"));
        }
    };
    line("what to do", event.help.clone());
    line("message", event.id.clone());
    line("component", event.component.as_ref().map(ToString::to_string));
    line("store", event.store.clone());
    line("backup", event.backup.as_ref().map(ToString::to_string));
    line("took", event.took.map(|t| format!("{:.1} s", t.as_secs_f64())));
    line("bytes stored", event.bytes.map(|n| n.to_string()));
    text
}

/// The event as machines read it: snake_case, UTC, seconds, bytes; what is not known is `null`.
#[must_use]
pub fn event_json(event: &Event) -> Value {
    json!({
        "at": event.at,
        "severity": event.severity(),
        "action": event.action,
        "phase": event.phase,
        "id": event.id,
        "name": event.name,
        "component": event.component,
        "store": event.store,
        "backup": event.backup,
        "text": event.text,
        "help": event.help,
        "took_seconds": event.took.map(|t| t.as_secs_f64()),
        "bytes": event.bytes,
    })
}
