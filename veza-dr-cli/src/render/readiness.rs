//! What `status` tells of recovery, for people and as JSON.

use std::time::Duration;

use chrono::{DateTime, Local, Utc};
use comfy_table::{Cell, Color};
use serde_json::{Value, json};
use veza_dr_failover::{
    alarm::{Acknowledged, AlarmView},
    measure::{Forecast, RecoveryRecord},
};

use super::{
    Paint,
    human::{right, table},
    report::findings_json,
    words::{local, many, span},
};
use crate::commands::{Readiness, ScenarioReady};

fn time(seconds: f64) -> String {
    span(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// A table of scenarios, then availability and what is wrong now.
pub(crate) fn readiness_text(ready: &Readiness, now: DateTime<Utc>, paint: Paint) -> String {
    let heads = ["scenario", "RTO", "predicted (p50 / p95)", "from", "last recovery", "last drill"];
    let mut out = table(paint, &heads);
    for s in &ready.scenarios {
        out.add_row(row(s, ready.history_unknown.is_some(), now));
    }
    let mut text = format!("\n{}\n", out.trim_fmt());
    if let Some(why) = &ready.history_unknown {
        text.push_str(&format!("{}: {why}\n", paint.bad("the history is not known in full")));
    }
    for s in &ready.scenarios {
        let unseen = s.forecast.as_ref().map(|f| f.unseen.as_slice()).unwrap_or_default();
        if !unseen.is_empty() && s.forecast.as_ref().is_some_and(|f| f.whole.is_some()) {
            text.push_str(&format!("{}: never seen: {}\n", s.scenario, unseen.join(", ")));
        }
    }
    if let Some(a) = &ready.availability {
        let window = time((a.to - a.from).as_seconds_f64());
        match a.percent() {
            Some(percent) => text.push_str(&format!(
                "service availability: {percent:.3} % of {} probes in the last {window}; outage {}, longest {}, unknown {}\n",
                a.counted(),
                time(a.outage_seconds),
                time(a.longest_gap_seconds),
                time(a.unknown_seconds)
            )),
            None => text.push_str(&format!("service availability: unknown, nobody looked in the last {window}\n")),
        }
    }
    if let Some(alarms) = &ready.alarms {
        text.push_str(&alarms_text(alarms, now, paint));
    }
    if let Some(open) = ready.findings.as_ref().filter(|open| !open.is_empty()) {
        let today = now.with_timezone(&Local).date_naive();
        let overdue = match open.iter().filter(|f| f.is_overdue(today)).count() {
            0 => "none overdue".to_owned(),
            n => paint.bad(&format!("{n} overdue")),
        };
        let open = many(open.len() as u64, "finding", "findings");
        text.push_str(&format!("{open} of drills and recoveries to be mended, {overdue}: veza-dr report findings\n"));
    }
    text
}

fn row(s: &ScenarioReady, unknown: bool, now: DateTime<Utc>) -> Vec<Cell> {
    let rto = s.objectives.rto.as_secs_f64();
    let predicted = s.forecast.as_ref().and_then(Forecast::recovery_time);
    let (told, from) = match predicted {
        Some(p) => {
            let late = p.p95_seconds > rto;
            let cell = right(format!("{} / {}", time(p.p50_seconds), time(p.p95_seconds)));
            (cell.fg(if late { Color::Red } else { Color::Green }), right(p.samples.to_string()))
        }
        None => (Cell::new("unknown").fg(Color::Yellow), right("0".to_owned())),
    };
    let last = |r: &Option<RecoveryRecord>| match r {
        Some(r) => {
            let took = r.recovery_time().map_or_else(|| "time unknown".to_owned(), time);
            let ago = span((now - r.ended).to_std().unwrap_or_default());
            let cell = Cell::new(format!("{took}, {ago} ago"));
            match r.rto_met() {
                Some(true) => cell.fg(Color::Green),
                Some(false) => cell.fg(Color::Red),
                None => cell.fg(Color::Yellow),
            }
        }
        None if unknown => Cell::new("unknown").fg(Color::Yellow),
        None => Cell::new("never").fg(Color::Yellow),
    };
    vec![Cell::new(&s.scenario), right(span(s.objectives.rto)), told, from, last(&s.last_recovery), last(&s.last_drill)]
}

fn alarms_text(alarms: &AlarmView, now: DateTime<Utc>, paint: Paint) -> String {
    let mut text = String::new();
    if let Some(i) = &alarms.incident {
        let elapsed = span((now - i.incident.began).to_std().unwrap_or_default());
        let care = match (&i.acknowledged_by, i.acknowledged_until) {
            (Some(who), Some(until)) if until > now => format!("{who} takes care until {}", local(until)),
            _ => format!("nobody takes care; next: veza-dr status --acknowledge {}", i.incident.id),
        };
        let head = format!("incident {}", i.incident.id);
        text.push_str(&format!("{}: for {elapsed}, level {} was called; {care}\n", paint.bad(&head), i.level));
    }
    for a in &alarms.alerts {
        let noted = a.acknowledged_by.as_ref().map(|who| format!(" (noted by {who})")).unwrap_or_default();
        let head = format!("[{}] {} {}", a.severity, a.alert, a.id);
        text.push_str(&format!("{}: {}{noted}\n", paint.bad(&head), a.text));
    }
    if alarms.on_their_way > 0 {
        text.push_str(&format!("{} messages have not reached everybody\n", alarms.on_their_way));
    }
    text
}

/// Adds to the document of `status`.
pub(crate) fn readiness_json(ready: &Readiness, all: &mut Value) {
    let record = |r: &Option<RecoveryRecord>| match r {
        Some(r) => json!({
            "id": r.id, "ended": r.ended, "status": r.status, "recovery_time_seconds": r.recovery_time(),
            "rto_met": r.rto_met(), "rpo_met": r.rpo_met(), "data_loss_records": r.data_loss.records(),
            "data_loss_seconds": r.data_loss.span().map(|d| d.as_secs_f64()),
            "service_availability": r.availability.as_ref().and_then(|a| a.percent()),
        }),
        None => Value::Null,
    };
    let scenarios = ready.scenarios.iter().map(|s| {
        let forecast = s.forecast.as_ref();
        json!({
            "scenario": s.scenario,
            "rto_seconds": s.objectives.rto.as_secs_f64(),
            "rpo_seconds": s.objectives.rpo.as_secs_f64(),
            "predicted": forecast.and_then(Forecast::recovery_time),
            "predicted_by_steps": forecast.and_then(|f| f.steps),
            "predicted_by_recoveries": forecast.and_then(|f| f.whole),
            "unseen_steps": forecast.map(|f| &f.unseen),
            "last_recovery": record(&s.last_recovery),
            "last_drill": record(&s.last_drill),
        })
    });
    all["scenarios"] = scenarios.collect();
    all["history_unknown"] = json!(ready.history_unknown);
    let today = Local::now().date_naive();
    all["findings"] = ready.findings.as_ref().map_or(Value::Null, |open| findings_json(open, today));
    all["service_availability"] = match &ready.availability {
        Some(a) => {
            let mut seen = json!(a);
            seen["percent"] = json!(a.percent());
            seen
        }
        None => Value::Null,
    };
    all["alarms"] = json!(ready.alarms);
}

pub(crate) fn acknowledged_text(done: &Acknowledged, paint: Paint) -> String {
    match (done.was_over, done.closed, done.until) {
        (true, ..) => format!("{} is over already; nothing was changed", done.id),
        (_, true, _) => format!("{} {}", done.id, paint.good("is closed")),
        (_, _, Some(until)) => {
            format!("{} {}: nobody else is called until {}", done.id, paint.good("is acknowledged"), local(until))
        }
        _ => format!("{} {}; it goes on until its cause is gone", done.id, paint.good("is noted")),
    }
}
