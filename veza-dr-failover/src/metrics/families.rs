//! Each metric: its name, meaning, unit and samples.

use std::fmt;

use chrono::{DateTime, Utc};
use prometheus_client::{
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};
use veza_dr_core::status::{ComponentStatus, Protection, StoreStatus};

use super::collector::Known;

pub(super) type Labels = Vec<(&'static str, String)>;
pub(super) type Samples = Vec<(Labels, f64)>;

/// A time as Prometheus has it.
#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit a float's 53 bits for 285,000 years")]
pub(super) fn seconds(at: DateTime<Utc>) -> f64 {
    at.timestamp_millis() as f64 / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "samples are floats; beyond 2^53 a byte no longer counts")]
pub(super) fn number(n: u64) -> f64 {
    n as f64
}

pub(super) struct Writer<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Writer<'_> {
    pub(super) fn gauge(&mut self, name: &str, help: &str, unit: Option<Unit>, samples: Samples) -> fmt::Result {
        if samples.is_empty() {
            return Ok(());
        }
        let mut family = self.encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn counter(&mut self, name: &str, help: &str, samples: Vec<(Labels, u64)>) -> fmt::Result {
        if samples.is_empty() {
            return Ok(());
        }
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }
}

/// Labels without those that are empty: an absent label and an empty one are the same to Prometheus.
pub(super) fn labels(given: &[(&'static str, &str)]) -> Labels {
    given.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (*k, (*v).to_owned())).collect()
}

pub(super) fn encode(known: &Known, now: DateTime<Utc>, encoder: DescriptorEncoder<'_>) -> fmt::Result {
    let mut w = Writer { encoder };
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    w.gauge("build", "Always 1; the version is in the label.", None, vec![(version, 1.0)])?;
    let started = vec![(Vec::new(), seconds(known.started_at))];
    w.gauge("start_timestamp", "When the process began, since 1970.", Some(Unit::Seconds), started)?;
    components(&mut w, known, now)?;
    stores(&mut w, known, now)?;
    super::recovery::recoveries(&mut w, &known.recovery)?;
    super::recovery::service(&mut w, &known.recovery)?;
    super::recovery::alarms(&mut w, &known.recovery, now)?;
    actions(&mut w, known)
}

fn components(w: &mut Writer<'_>, known: &Known, now: DateTime<Utc>) -> fmt::Result {
    let Some(status) = &known.status else { return Ok(()) };
    let looked = vec![(Vec::new(), seconds(status.at))];
    w.gauge("status_timestamp", "When the stores were last looked at, since 1970.", Some(Unit::Seconds), looked)?;
    let each = |value: &dyn Fn(&ComponentStatus) -> Option<f64>| -> Samples {
        let sample = |c| Some((labels(&[("component", c_name(c))]), value(c)?));
        status.components.iter().filter_map(sample).collect()
    };
    let s = Some(Unit::Seconds);
    w.gauge(
        "expected_interval",
        "The longest time between two scheduled backups.",
        s.clone(),
        each(&|c| c.expected_interval.map(|d| d.as_secs_f64())),
    )?;
    w.gauge(
        "rpo_target",
        "How old the newest backup may be: the strictest recovery point objective.",
        s.clone(),
        each(&|c| c.rpo.map(|r| r.0.as_secs_f64())),
    )?;
    w.gauge(
        "age",
        "The age of the data that the newest backup of any store shows.",
        s.clone(),
        each(&|c| c.newest().map(|b| seconds(now) - seconds(b.shows))),
    )?;
    let next = each(&|c| c.next_run.map(seconds));
    w.gauge("next_run_timestamp", "When the next backup is due, since 1970.", s, next)?;
    w.gauge(
        "on_schedule",
        "1 when every store's newest backup is as young as the schedule demands.",
        None,
        each(&|c| c.on_schedule.map(|met| f64::from(u8::from(met)))),
    )?;
    let words = [
        (Protection::Good, "good"),
        (Protection::Weak, "weak"),
        (Protection::Broken, "broken"),
        (Protection::Unknown, "unknown"),
    ];
    let protection = status.components.iter().flat_map(|c| {
        words.map(|(p, word)| {
            (labels(&[("component", c_name(c)), ("state", word)]), f64::from(u8::from(c.protection == p)))
        })
    });
    w.gauge("protection", "1 for the state that a component's protection is in.", None, protection.collect())
}

fn c_name(c: &ComponentStatus) -> &str {
    c.component.as_str()
}

fn stores(w: &mut Writer<'_>, known: &Known, now: DateTime<Utc>) -> fmt::Result {
    let Some(status) = &known.status else { return Ok(()) };
    let pairs = || status.components.iter().flat_map(|c| c.stores.iter().map(move |s| (c, s)));
    let reachable = pairs().map(|(c, s)| (of_store(c, s), f64::from(u8::from(s.unknown.is_none())))).collect();
    w.gauge(
        "store_reachable",
        "1 when the store could be asked; other samples of it are absent else.",
        None,
        reachable,
    )?;
    let each = |value: &dyn Fn(&StoreStatus) -> Option<f64>| -> Samples {
        pairs().filter(|(_, s)| s.unknown.is_none()).filter_map(|(c, s)| Some((of_store(c, s), value(s)?))).collect()
    };
    let s = Some(Unit::Seconds);
    let b = Some(Unit::Bytes);
    w.gauge(
        "store_age",
        "The age of the data that the store's newest backup shows.",
        s.clone(),
        each(&|x| x.last_success.as_ref().map(|l| seconds(now) - seconds(l.shows))),
    )?;
    w.gauge(
        "last_proven_restore_timestamp",
        "When a restored copy was last compared with its backup's record and found equal, since 1970.",
        s.clone(),
        each(&|x| x.last_proven_restore.as_ref().map(|p| seconds(p.at))),
    )?;
    w.gauge(
        "backup_duration",
        "How long the newest backup took.",
        s,
        each(&|x| x.last_success.as_ref().map(|l| l.took.as_secs_f64())),
    )?;
    w.gauge(
        "backup",
        "Plain size of the newest backup.",
        b.clone(),
        each(&|x| x.last_success.as_ref().map(|l| number(l.bytes))),
    )?;
    w.gauge(
        "backup_stored",
        "What the newest backup added to the store.",
        b.clone(),
        each(&|x| x.last_success.as_ref().map(|l| number(l.stored_bytes))),
    )?;
    w.gauge("store_stored", "What all backups of the component take up.", b, each(&|x| Some(number(x.stored_bytes))))?;
    w.gauge("backups", "Complete backups of the component.", None, each(&|x| Some(number(x.backups))))
}

fn of_store(c: &ComponentStatus, s: &StoreStatus) -> Labels {
    labels(&[("component", c_name(c)), ("store", &s.store)])
}

/// The last outcomes of every action: of backups by the stores' own records, of the others as events told them.
fn actions(w: &mut Writer<'_>, known: &Known) -> fmt::Result {
    let (mut last, mut ok, mut success, mut took) = (Samples::new(), Samples::new(), Samples::new(), Samples::new());
    let told = &known.told;
    for c in known.status.iter().flat_map(|s| &s.components) {
        for s in c.stores.iter().filter(|s| s.unknown.is_none()) {
            let key = |action: &str| labels(&[("action", action), ("component", c_name(c)), ("store", &s.store)]);
            if let Some(attempt) = &s.last_attempt {
                last.push((key("backup"), seconds(attempt.at)));
                ok.push((key("backup"), f64::from(u8::from(attempt.error.is_none()))));
                took.extend(attempt.took.map(|t| (key("backup"), t.as_secs_f64())));
            }
            success.extend(s.last_success.as_ref().map(|l| (key("backup"), seconds(l.finished_at))));
            // What this process was told of is newer than, or the same as, what it found.
            let heard = told.outcomes.contains_key(&("verify".into(), c_name(c).into(), s.store.clone()));
            if let (Some(proof), false) = (&s.last_proof, heard) {
                let equal = proof.verdict == veza_dr_core::Verdict::Equal;
                last.push((key("verify"), seconds(proof.at)));
                ok.push((key("verify"), f64::from(u8::from(equal))));
                success.extend(equal.then(|| (key("verify"), seconds(proof.at))));
            }
        }
    }
    for ((action, component, store), outcomes) in &told.outcomes {
        let key = || labels(&[("action", action), ("component", component), ("store", store)]);
        last.extend(outcomes.last.map(|(at, _)| (key(), seconds(at))));
        ok.extend(outcomes.last.map(|(_, ok)| (key(), f64::from(u8::from(ok)))));
        success.extend(outcomes.last_success.map(|at| (key(), seconds(at))));
        took.extend(outcomes.last_seconds.map(|s| (key(), s)));
    }
    let s = Some(Unit::Seconds);
    w.gauge("last_attempt_timestamp", "When the action last ended, well or not, since 1970.", s.clone(), last)?;
    w.gauge("last_attempt_ok", "1 when the action last ended well, 0 when it did not.", None, ok)?;
    w.gauge("last_success_timestamp", "When the action last ended well, since 1970.", s.clone(), success)?;
    w.gauge("last_attempt_duration", "How long the action took when it last ended.", s, took)?;
    let running = told.running.iter().map(|((action, component), on)| {
        (labels(&[("action", action), ("component", component)]), f64::from(u8::from(*on)))
    });
    w.gauge("running", "1 while the action is under way in this process.", None, running.collect())?;
    let runs = told.runs.iter().map(|((action, component, outcome), n)| {
        (labels(&[("action", action), ("component", component), ("outcome", outcome)]), *n)
    });
    w.counter("runs", "How often the action came to this outcome since the process began.", runs.collect())?;
    let sent = told.notifications.iter();
    let sent = sent.map(|((channel, outcome), n)| (labels(&[("channel", channel), ("outcome", outcome)]), *n));
    w.counter("notifications", "Notifications by channel and what became of them.", sent.collect())
}
