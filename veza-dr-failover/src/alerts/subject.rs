//! What alerts are about: a recovery, a drill, or the service as it is now.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use veza_dr_core::Result;

use super::Reading;
use crate::{
    measure::{Availability, ClockPoints, RecoveryKind, RecoveryRecord},
    runbook::{RunReport, RunStatus},
};

/// What is known of one recovery or drill, or of the service itself.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Subject {
    /// The name of the run or drill; `service`.
    pub id: String,
    /// In earnest or rehearsed; `None`: the service itself.
    pub kind: Option<RecoveryKind>,
    /// The scenario.
    pub scenario: Option<String>,
    /// The recovery time objective that it is held to.
    pub rto: Option<Duration>,
    /// It has ended: what is not known now will not be.
    pub ended: bool,
    /// The clock points.
    pub points: ClockPoints,
    readings: BTreeMap<&'static str, Reading>,
}

impl Subject {
    /// The service, by what was seen in a window; or why nothing was.
    #[must_use]
    pub fn service(seen: Result<&Availability, &str>) -> Self {
        let mut subject = Self {
            id: "service".to_owned(),
            kind: None,
            scenario: None,
            rto: None,
            ended: false,
            points: ClockPoints::default(),
            readings: BTreeMap::new(),
        };
        subject.availability(seen);
        subject
    }

    /// The service, which another process looks at: what it sees is not known here, and nothing is missing.
    #[must_use]
    pub fn unseen() -> Self {
        let mut subject = Self::service(Err("another process looks"));
        subject.readings.values_mut().for_each(|reading| *reading = Reading::NotYet);
        subject
    }

    /// A run that is under way.
    #[must_use]
    pub fn of_run(report: &RunReport, kind: RecoveryKind, rto: Option<Duration>, now: DateTime<Utc>) -> Self {
        let points = ClockPoints::of(&report.points);
        Self::live(report.run.clone(), kind, report.scenario.clone(), rto, points, now)
    }

    /// A recovery or drill that is under way.
    #[must_use]
    pub fn live(
        id: impl Into<String>,
        kind: RecoveryKind,
        scenario: Option<String>,
        rto: Option<Duration>,
        points: ClockPoints,
        now: DateTime<Utc>,
    ) -> Self {
        let id = id.into();
        let readings = BTreeMap::new();
        let mut subject = Self { id, kind: Some(kind), scenario, rto, ended: false, points, readings };
        subject.times(now);
        for name in ["data_loss", "data_loss_time", "service_availability", "outage_time", "longest_outage"] {
            subject.readings.insert(name, Reading::NotYet);
        }
        subject
    }

    /// A recovery or drill that has ended.
    #[must_use]
    pub fn of_record(record: &RecoveryRecord) -> Self {
        let mut subject = Self {
            id: record.id.clone(),
            kind: Some(record.kind),
            scenario: record.scenario.clone(),
            rto: record.rto_seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()),
            ended: true,
            points: record.points,
            readings: BTreeMap::new(),
        };
        if record.points.t6.is_none() && matches!(record.status, RunStatus::Completed | RunStatus::CompletedWithSkips) {
            // Every step is done: users may have been served at any time before.
            for name in ["recovery_time", "rto_share", "recovery_time_from_decision", "recovery_time_from_start"] {
                subject.readings.insert(name, Reading::Missing("no step tells when users were served".to_owned()));
            }
        } else {
            subject.times(record.ended);
        }
        let loss = &record.data_loss;
        subject.readings.insert(
            "data_loss",
            match (loss.records(), loss.unknown()) {
                (Some(n), _) => Reading::Known(count(n)),
                (None, why) => match loss.records_at_least() {
                    0 => Reading::Missing(why.unwrap_or_default()),
                    n => Reading::Bound(count(n), why.unwrap_or_default()),
                },
            },
        );
        subject.readings.insert(
            "data_loss_time",
            match loss.span() {
                Some(span) => Reading::Known(span.as_secs_f64()),
                None => {
                    Reading::Missing("what was kept, or when the old site stopped writing, is not known".to_owned())
                }
            },
        );
        subject.availability(record.availability.as_ref().ok_or("nobody looked"));
        subject
    }

    /// What is known of a metric.
    #[must_use]
    pub fn reading(&self, metric: &str) -> Reading {
        self.readings.get(metric).cloned().unwrap_or_else(|| Reading::Missing("nothing measures it".to_owned()))
    }

    /// What it is, for people.
    #[must_use]
    pub fn title(&self) -> String {
        match (self.kind, &self.scenario) {
            (None, _) => "the service".to_owned(),
            (Some(kind), Some(scenario)) => format!("{kind} {} ({scenario})", self.id),
            (Some(kind), None) => format!("{kind} {}", self.id),
        }
    }

    /// Since when users are not served, as far as is known: at the latest when it was decided to recover.
    #[must_use]
    pub fn began(&self) -> Option<DateTime<Utc>> {
        let p = &self.points;
        p.t0.or(p.t1).or(p.t2).or(p.t3).or(p.t4)
    }

    fn times(&mut self, until: DateTime<Utc>) {
        let p = self.points;
        let whole = self.since(p.t0, self.began(), until, "when the outage began is not known");
        let share = match (&whole, self.rto.map(|r| r.as_secs_f64()).filter(|r| *r > 0.0)) {
            (_, None) => Reading::Missing("no recovery time objective is known".to_owned()),
            (whole, Some(rto)) => whole.scaled(100.0 / rto),
        };
        let decided = self.since(p.t3, p.t3, until, "when it was decided is not known");
        let planned = self.since(p.t4, p.t4, until, "when the first step began is not known");
        self.readings.insert("recovery_time", whole);
        self.readings.insert("rto_share", share);
        self.readings.insert("recovery_time_from_decision", decided);
        self.readings.insert("recovery_time_from_start", planned);
    }

    /// From `from` until users were served; by `at_latest` where `from` itself is not known.
    fn since(
        &self,
        from: Option<DateTime<Utc>>,
        at_latest: Option<DateTime<Utc>>,
        until: DateTime<Utc>,
        unknown: &str,
    ) -> Reading {
        let served = self.points.t6;
        let Some(known) = from.or(at_latest) else { return Reading::Missing(unknown.to_owned()) };
        let seconds = (served.unwrap_or(until) - known).as_seconds_f64().max(0.0);
        match (served, from) {
            (Some(_), Some(_)) => Reading::Known(seconds),
            (Some(_), None) => Reading::Bound(seconds, unknown.to_owned()),
            (None, _) if self.ended => Reading::Bound(seconds, "users were not served when it ended".to_owned()),
            (None, _) => Reading::AtLeast(seconds),
        }
    }

    fn availability(&mut self, seen: Result<&Availability, &str>) {
        let (percent, outage, longest) = match seen.map(|a| (a, a.percent())) {
            Ok((a, Some(percent))) => {
                (Reading::Known(percent), Reading::Known(a.outage_seconds), Reading::Known(a.longest_gap_seconds))
            }
            Ok((_, None)) => unseen("no probe of the window counts"),
            Err(why) => unseen(why),
        };
        self.readings.insert("service_availability", percent);
        self.readings.insert("outage_time", outage);
        self.readings.insert("longest_outage", longest);
    }
}

fn unseen(why: &str) -> (Reading, Reading, Reading) {
    let missing = || Reading::Missing(why.to_owned());
    (missing(), missing(), missing())
}

impl Reading {
    fn scaled(&self, by: f64) -> Self {
        match self {
            Self::Known(v) => Self::Known(v * by),
            Self::AtLeast(v) => Self::AtLeast(v * by),
            Self::Bound(v, why) => Self::Bound(v * by, why.clone()),
            other => other.clone(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 records one no longer counts")]
fn count(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        alerts::{Expression, Verdict},
        measure::{DataLoss, LossPart},
    };

    fn verdict(subject: &Subject, text: &str) -> Verdict {
        text.parse::<Expression>().unwrap().evaluate(&|name| subject.reading(name))
    }

    #[test]
    fn the_guides_alerts_of_a_recovery() {
        let mut record = crate::measure::record_for_tests("a", "backend", 61);
        let late = "recovery_time > 3600";
        assert_eq!(verdict(&Subject::of_record(&record), late), Verdict::True);
        assert_eq!(verdict(&Subject::of_record(&record), "rto_share > 50 and rto_share < 51%"), Verdict::True);
        assert!(matches!(verdict(&Subject::of_record(&record), "data_loss > 0"), Verdict::Missing(_)));
        record.data_loss = DataLoss::of(vec![
            LossPart::new("database", "rows").with_records(7),
            LossPart::new("redis", "keys were not compared"),
        ]);
        assert_eq!(verdict(&Subject::of_record(&record), "data_loss > 0"), Verdict::True);
        assert!(matches!(verdict(&Subject::of_record(&record), "data_loss > 7"), Verdict::Missing(_)));
        // When the outage began is not known: late by what is known, else not to be told.
        record.points.t0 = None;
        assert_eq!(verdict(&Subject::of_record(&record), late), Verdict::True);
        assert!(matches!(verdict(&Subject::of_record(&record), "recovery_time > 2h"), Verdict::Missing(_)));
        assert!(matches!(verdict(&Subject::of_record(&record), "service_availability < 99.9"), Verdict::Missing(_)));
    }
}
