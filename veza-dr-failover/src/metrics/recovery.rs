//! Samples of recoveries and drills, of the service as users see it, and of alarms.

use std::{collections::BTreeMap, fmt};

use chrono::{DateTime, Utc};
use prometheus_client::registry::Unit;

use super::families::{Labels, Samples, Writer, labels, number, seconds};
use crate::{
    alarm::AlarmView,
    measure::{Availability, Forecast, Objectives, RecoveryRecord},
};

/// What is known; nothing of it is sampled before it is.
#[derive(Debug, Default)]
pub(super) struct RecoveryKnown {
    pub(super) past: Vec<RecoveryRecord>,
    pub(super) objectives: Vec<(String, Objectives)>,
    pub(super) forecasts: Vec<(String, Forecast)>,
    pub(super) alarms: Option<AlarmView>,
    /// What probes saw in the window, and whether users are served now.
    pub(super) service: Option<(Availability, Option<bool>)>,
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

/// The last recovery and the last drill of each scenario.
pub(super) fn recoveries(w: &mut Writer<'_>, known: &RecoveryKnown) -> fmt::Result {
    let s = || Some(Unit::Seconds);
    let of = |name: &str| labels(&[("scenario", name)]);
    let target = |value: &dyn Fn(&Objectives) -> f64| -> Samples {
        known.objectives.iter().map(|(name, o)| (of(name), value(o))).collect()
    };
    w.gauge("scenario_rto", "The recovery time objective.", s(), target(&|o| o.rto.as_secs_f64()))?;
    w.gauge("scenario_rpo", "The recovery point objective.", s(), target(&|o| o.rpo.as_secs_f64()))?;
    let mut last: BTreeMap<(String, String), &RecoveryRecord> = BTreeMap::new();
    for record in &known.past {
        let key = (record.scenario.clone().unwrap_or_default(), record.kind.to_string());
        if last.get(&key).is_none_or(|before| before.run <= record.run) {
            last.insert(key, record);
        }
    }
    let each = |value: &dyn Fn(&RecoveryRecord) -> Option<f64>| -> Samples {
        let sample = |((scenario, kind), r): (&(String, String), &&RecoveryRecord)| {
            Some((labels(&[("scenario", scenario), ("kind", kind)]), value(r)?))
        };
        last.iter().filter_map(sample).collect()
    };
    w.gauge(
        "recovery_time",
        "From the outage's beginning until users were served, of the last recovery and drill.",
        s(),
        each(&RecoveryRecord::recovery_time),
    )?;
    w.gauge(
        "recovery_time_from_decision",
        "The same from the decision to recover on.",
        s(),
        each(&|r| r.points.since_decision().map(|d| d.as_secs_f64())),
    )?;
    w.gauge(
        "recovery_time_from_start",
        "The same from the first step on.",
        s(),
        each(&|r| r.points.since_plan().map(|d| d.as_secs_f64())),
    )?;
    w.gauge(
        "data_loss_records",
        "Records that it lost; absent while that is not known.",
        None,
        each(&|r| r.data_loss.records().map(number)),
    )?;
    w.gauge(
        "data_loss_time",
        "The time that the loss covers: from the newest thing that was kept until the old site was proven to take no writes.",
        s(),
        each(&|r| r.data_loss.span().map(|d| d.as_secs_f64())),
    )?;
    w.gauge("recovery_rto_met", "1: within the objective, 0: not.", None, each(&|r| r.rto_met().map(flag)))?;
    w.gauge("recovery_rpo_met", "1: within the objective, 0: not.", None, each(&|r| r.rpo_met().map(flag)))?;
    w.gauge("recovery_timestamp", "When it ended, since 1970.", s(), each(&|r| Some(seconds(r.ended))))?;
    let mut times = Samples::new();
    let mut seen = Samples::new();
    for (scenario, forecast) in &known.forecasts {
        let Some(span) = forecast.recovery_time() else { continue };
        for (share, value) in [("0.5", span.p50_seconds), ("0.95", span.p95_seconds)] {
            times.push((labels(&[("scenario", scenario), ("share", share)]), value));
        }
        seen.push((of(scenario), number(span.samples as u64)));
    }
    w.gauge(
        "predicted_recovery_time",
        "How long a recovery will probably take: half of the times, 95 of 100.",
        s(),
        times,
    )?;
    w.gauge("predicted_recovery_samples", "From how many recoveries and drills that is known.", None, seen)
}

/// The service as users see it.
pub(super) fn service(w: &mut Writer<'_>, known: &RecoveryKnown) -> fmt::Result {
    let Some((seen, served)) = &known.service else { return Ok(()) };
    let s = || Some(Unit::Seconds);
    let one = |value: f64| vec![(Labels::new(), value)];
    let window = (seen.to - seen.from).as_seconds_f64();
    w.gauge("service_window", "The window that availability is told of.", s(), one(window))?;
    w.gauge(
        "service_availability_percent",
        "Good probes of a hundred in the window; a missing one is bad, one by nobody who could see is not counted.",
        None,
        seen.percent().map(one).unwrap_or_default(),
    )?;
    // Of a window in which nothing was seen nothing is told.
    let told = |value: f64| if seen.counted() > 0 { one(value) } else { Samples::new() };
    w.gauge("service_outage", "How long users were not served in the window.", s(), told(seen.outage_seconds))?;
    w.gauge("service_longest_outage", "The longest time in a row of that.", s(), told(seen.longest_gap_seconds))?;
    w.gauge("service_degraded", "How long answers were not as they should be.", s(), told(seen.degraded_seconds))?;
    w.gauge("service_unknown", "How long of the window nobody could tell.", s(), one(seen.unknown_seconds))?;
    let probes = [
        ("good", seen.good),
        ("degraded", seen.degraded),
        ("bad", seen.bad),
        ("missing", seen.missing),
        ("unknown", seen.unknown),
    ];
    let probes = probes.map(|(outcome, n)| (labels(&[("outcome", outcome)]), number(n))).to_vec();
    w.gauge("service_probes", "Probes in the window by what became of them.", None, probes)?;
    w.gauge(
        "service_served",
        "1: users are served now, 0: they are not.",
        None,
        served.map(flag).map(one).unwrap_or_default(),
    )
}

pub(super) fn alarms(w: &mut Writer<'_>, known: &RecoveryKnown, now: DateTime<Utc>) -> fmt::Result {
    let Some(view) = &known.alarms else { return Ok(()) };
    let s = || Some(Unit::Seconds);
    let firing = view.alerts.iter().map(|a| {
        let state = if a.missing { "missing" } else { "firing" };
        let severity = a.severity.to_string();
        let of = [("alert", a.alert.as_str()), ("subject", &a.subject), ("severity", &severity), ("state", state)];
        (labels(&of), 1.0)
    });
    w.gauge("alert", "1 for each alert that fires or cannot be judged.", None, firing.collect())?;
    let open = view.incident.as_ref();
    w.gauge(
        "incident",
        "1 while users are not served or a recovery is under way.",
        None,
        vec![(Labels::new(), flag(open.is_some()))],
    )?;
    if let Some(i) = open {
        let elapsed = seconds(now) - seconds(i.incident.began);
        let at = || labels(&[("incident", i.incident.id.as_str())]);
        w.gauge("incident_elapsed", "How long it goes on.", s(), vec![(at(), elapsed)])?;
        if let Some(rto) = i.incident.rto_seconds.filter(|r| *r > 0.0) {
            let help = "How much of the recovery time objective is used up, of a hundred.";
            w.gauge("incident_rto_percent", help, None, vec![(at(), elapsed * 100.0 / rto)])?;
        }
        w.gauge("escalation_level", "The level that was called; 0: none.", None, vec![(at(), number(i.level as u64))])?;
        let acknowledged = i.acknowledged_until.is_some_and(|until| until > now);
        w.gauge("incident_acknowledged", "1 while somebody takes care.", None, vec![(at(), flag(acknowledged))])?;
    }
    let waiting = vec![(Labels::new(), number(view.on_their_way as u64))];
    w.gauge("alarm_messages_waiting", "Messages that have not reached everybody.", None, waiting)
}
