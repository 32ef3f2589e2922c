//! Incidents: when one begins and ends, how much of its objective is used up, and who is called.

use std::time::Duration;

use chrono::TimeDelta;
use veza_dr_core::Severity;

use super::{
    evaluate::{Look, fresh},
    record::{Incident, Message, Raised, Record, Route},
    text,
};
use crate::{alerts::Subject, measure::RecoveryKind};

/// Shares of the recovery time objective that are told, and how bad each is.
const BURN: [(u32, Severity); 4] =
    [(50, Severity::Medium), (75, Severity::High), (90, Severity::High), (100, Severity::Critical)];

impl Look<'_> {
    pub(super) fn incident(&mut self) {
        let facts = self.facts;
        let unserved = |s: &&Subject| s.kind == Some(RecoveryKind::Recovery) && s.points.t6.is_none();
        let live = facts.live.iter().find(unserved);
        self.follow(live);
        if self.book.incident.is_none() {
            return;
        }
        self.burn();
        self.call();
    }

    /// Opens an incident, adds to it what is known now, or closes it.
    fn follow(&mut self, live: Option<&Subject>) {
        let (facts, now) = (self.facts, self.now());
        let open = self.book.incident.as_ref().map(|i| i.incident.clone());
        let began = [facts.outage.map(|o| o.began), live.and_then(Subject::began)].into_iter().flatten().min();
        if live.is_none() && facts.outage.is_none() {
            let Some(open) = open else { return };
            // What probes saw begin is over when they see it end, not when they see nothing.
            if open.seen && facts.watched && facts.served != Some(true) {
                return;
            }
            let served = facts.served == Some(true)
                || facts.ended.iter().any(|s| open.run.as_deref() == Some(s.id.as_str()) && s.points.t6.is_some())
                || facts.live.iter().any(|s| open.run.as_deref() == Some(s.id.as_str()) && s.points.t6.is_some());
            let why = if served {
                "users are served again"
            } else {
                "its run has ended; nothing saw whether users are served"
            };
            self.close(&open, why);
            return;
        }
        let rto = live.and_then(|s| s.rto).map(|r| r.as_secs_f64());
        let strictest = facts.strictest_rto.map(|r| r.as_secs_f64());
        let before = open.clone();
        let mut is = open.unwrap_or_else(|| Incident {
            id: fresh("inc"),
            began: began.unwrap_or(now),
            detected: facts.outage.map_or(now, |o| o.detected),
            seen: false,
            run: None,
            scenario: None,
            rto_seconds: strictest,
        });
        is.began = began.map_or(is.began, |b| b.min(is.began));
        is.seen |= facts.outage.is_some();
        if let Some(live) = live {
            is.run = Some(live.id.clone());
            is.scenario.clone_from(&live.scenario);
            is.rto_seconds = rto.or(is.rto_seconds);
        }
        if before.as_ref().is_some_and(|b| b.rto_seconds != is.rto_seconds) {
            let rto = text::span(Duration::try_from_secs_f64(is.rto_seconds.unwrap_or_default()).unwrap_or_default());
            self.end_all_of(&is, &format!("from here on an RTO of {rto} counts, that of the run's scenario"));
        }
        if before.as_ref() != Some(&is) {
            self.write(Record::Incident { incident: is }, None);
        }
    }

    /// What was raised about the objective of an incident is over.
    fn end_all_of(&mut self, incident: &Incident, why: &str) {
        let part = |a: &&super::book::OpenAlarm| a.raised.incident.as_deref() == Some(&incident.id);
        let alarms: Vec<String> = self.book.alarms.values().filter(part).map(|a| a.raised.id.clone()).collect();
        for id in alarms {
            self.end(&id, why, false);
        }
    }

    fn close(&mut self, incident: &Incident, why: &str) {
        self.end_all_of(incident, why);
        let event = text::over(incident, self.now(), why);
        let called = self.book.incident.as_ref().map(|i| i.called.keys().copied().collect::<Vec<_>>());
        let mut routes: Vec<Route> = Vec::new();
        for level in called.into_iter().flatten() {
            for route in self.settings.level_routes(level) {
                if !routes.contains(&route) {
                    routes.push(route);
                }
            }
        }
        let message = Message { id: event.id.clone().unwrap_or_default(), event, routes };
        self.write(Record::Closed { incident: incident.id.clone(), why: why.to_owned() }, Some(message));
    }

    /// How much of the objective is used up, and whether it will be missed.
    fn burn(&mut self) {
        let now = self.now();
        let Some(open) = &self.book.incident else { return };
        let incident = open.incident.clone();
        let Some(rto) = incident.rto_seconds.filter(|r| *r > 0.0) else { return };
        let elapsed = (now - incident.began).as_seconds_f64();
        let share = elapsed * 100.0 / rto;
        let reached: Vec<(u32, Severity)> = BURN
            .into_iter()
            .filter(|(percent, _)| share >= f64::from(*percent) && !open.passed.contains(percent))
            .collect();
        let predicted = open.predicted;
        // Of several that passed while nobody looked, the greatest is told.
        if let Some(((percent, severity), before)) = reached.split_last() {
            if !before.is_empty() {
                let percent = before.iter().map(|(p, _)| *p).collect();
                self.write(Record::Passed { incident: incident.id.clone(), percent }, None);
            }
            let text =
                format!("{percent} % of the recovery time objective is used up: {}", text::situation(&incident, now));
            self.raise_of(&incident, format!("RtoBurn{percent}"), *severity, text);
        }
        if let Some(left) = self.facts.left_seconds
            && !predicted
            && share < 100.0
            && elapsed + left > rto
        {
            let over = text::span(Duration::from_secs_f64((elapsed + left - rto).max(0.0)));
            let text = format!("the objective will probably be missed by {over}: {}", text::situation(&incident, now));
            self.raise_of(&incident, "RtoBreachPredicted".to_owned(), Severity::High, text);
        }
    }

    fn raise_of(&mut self, incident: &Incident, alert: String, severity: Severity, text: String) {
        let raised = Raised {
            id: fresh("alr"),
            series: format!("{alert}/{}", incident.id),
            alert,
            severity,
            subject: incident.id.clone(),
            kind: None,
            scenario: incident.scenario.clone(),
            text,
            missing: false,
            incident: Some(incident.id.clone()),
        };
        let event = text::fires(&raised, self.now(), None);
        let routes = self.settings.alert_routes(None, severity, false);
        let message = Message { id: event.id.clone().unwrap_or_default(), event, routes };
        self.write(Record::Raised { raised: Box::new(raised) }, Some(message));
    }

    /// Calls the levels that have begun, and the highest of them again while nobody acknowledges.
    fn call(&mut self) {
        let (now, policy) = (self.now(), &self.settings.policy);
        let Some(open) = &self.book.incident else { return };
        if open.acknowledged.as_ref().is_some_and(|(_, _, until)| now < *until) {
            return;
        }
        let incident = open.incident.clone();
        let elapsed = (now - incident.began).to_std().unwrap_or_default();
        let rto = incident.rto_seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
        let Some(highest) = policy.level_at(elapsed, rto, open.predicted) else { return };
        let repeat = TimeDelta::from_std(policy.repeat).unwrap_or(TimeDelta::MAX);
        let top = open.called.keys().max().copied().unwrap_or(highest).max(highest);
        let due = |level: usize| match open.called.get(&level) {
            None => Some(1),
            Some((last, round)) if level == top && now - *last >= repeat => Some(round.saturating_add(1)),
            Some(_) => None,
        };
        let due: Vec<(usize, u32)> = (0..=highest.max(top)).filter_map(|l| Some((l, due(l)?))).collect();
        for (number, round) in due {
            let Some(level) = policy.levels.get(number) else { continue };
            let event = text::calls(&incident, number, level, round, now);
            let routes = self.settings.level_routes(number);
            let message = Message { id: event.id.clone().unwrap_or_default(), event, routes };
            self.write(Record::Called { incident: incident.id.clone(), level: number, round }, Some(message));
        }
    }
}
