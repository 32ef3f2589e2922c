//! What people are told.

use std::time::Duration;

use chrono::{DateTime, Utc};
use veza_dr_core::{Action, Event, Phase, Severity};

use super::record::{Incident, Raised};
use crate::escalation::Level;

/// `1 h 3 min`, `4 min`, `20 s`.
pub(super) fn span(time: Duration) -> String {
    let (h, m, s) = (time.as_secs() / 3600, time.as_secs() / 60 % 60, time.as_secs() % 60);
    match (h, m) {
        (0, 0) => format!("{s} s"),
        (0, m) => format!("{m} min"),
        (h, 0) => format!("{h} h"),
        (h, m) => format!("{h} h {m} min"),
    }
}

fn how_to_acknowledge(id: &str) -> String {
    format!("acknowledge: veza-dr status --acknowledge {id}")
}

pub(super) fn fires(raised: &Raised, now: DateTime<Utc>, help: Option<&str>) -> Event {
    let phase = if raised.missing { Phase::Missed } else { Phase::Failed };
    let end = if raised.missing { "unknown" } else { "fires" };
    let help =
        help.map_or_else(|| how_to_acknowledge(&raised.id), |h| format!("{h}; {}", how_to_acknowledge(&raised.id)));
    Event::new(now, Action::Alert, phase, &raised.text)
        .named(&raised.alert)
        .with_id(format!("{}.{end}", raised.id))
        .with_severity(raised.severity)
        .with_help(help)
}

pub(super) fn ends(raised: &Raised, now: DateTime<Utc>, why: &str) -> Event {
    Event::new(now, Action::Alert, Phase::Succeeded, format!("{}: over: {why}", raised.text))
        .named(&raised.alert)
        .with_id(format!("{}.ends", raised.id))
        .with_severity(Severity::Info)
}

/// `users are not served since 10:45:00 UTC: 1 h 3 min, 53 % of the RTO of 2 h (backend)`.
pub(super) fn situation(incident: &Incident, now: DateTime<Utc>) -> String {
    let elapsed = (now - incident.began).to_std().unwrap_or_default();
    let since = incident.began.format("%Y-%m-%d %H:%M:%S UTC");
    let mut text = format!("users are not served since {since}: {}", span(elapsed));
    if let Some(rto) = incident.rto_seconds.filter(|r| *r > 0.0) {
        let share = elapsed.as_secs_f64() * 100.0 / rto;
        let rto = span(Duration::from_secs_f64(rto));
        text.push_str(&format!(", {share:.0} % of the RTO of {rto}"));
    }
    if let Some(scenario) = &incident.scenario {
        text.push_str(&format!(" ({scenario})"));
    }
    match &incident.run {
        Some(run) => text.push_str(&format!("; run {run} is under way")),
        None => text.push_str("; no recovery has begun"),
    }
    text
}

pub(super) fn calls(incident: &Incident, number: usize, level: &Level, round: u32, now: DateTime<Utc>) -> Event {
    let mut text = format!("level {}, {}: {}", number + 1, level.name, situation(incident, now));
    if round > 1 {
        text.push_str(&format!("; called for the {round}. time, nobody acknowledges"));
    }
    if let Some(authority) = &level.authority {
        text.push_str(&format!("; you may: {authority}"));
    }
    let next = match &incident.run {
        Some(run) => format!("veza-dr failover status {run}"),
        None => "veza-dr assess".to_owned(),
    };
    Event::new(now, Action::Escalation, Phase::Failed, text)
        .named(format!("{} level {}", incident.id, number + 1))
        .with_id(format!("{}.l{}.r{round}", incident.id, number + 1))
        .with_severity(Severity::Critical)
        .with_help(format!("{}; see: {next}", how_to_acknowledge(&incident.id)))
}

pub(super) fn over(incident: &Incident, now: DateTime<Utc>, why: &str) -> Event {
    let took = span((now - incident.began).to_std().unwrap_or_default());
    Event::new(now, Action::Escalation, Phase::Succeeded, format!("{} is over after {took}: {why}", incident.id))
        .named(&incident.id)
        .with_id(format!("{}.over", incident.id))
        .with_severity(Severity::High)
}
