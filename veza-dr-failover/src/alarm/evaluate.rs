//! One look: which alarms are raised, and which are over.

use chrono::{DateTime, Utc};
use veza_dr_core::OperationId;

use super::{
    book::Book,
    desk::Settings,
    facts::Facts,
    record::{Entry, Message, Raised, Record},
    text,
};
use crate::alerts::{AlertRule, Change, Scope, Subject};

/// The lines that a look adds. The book has them already.
pub(super) struct Look<'a> {
    pub(super) settings: &'a Settings,
    pub(super) book: &'a mut Book,
    pub(super) facts: &'a Facts,
    pub(super) entries: Vec<Entry>,
}

/// A short name of its own.
pub(super) fn fresh(what: &str) -> String {
    format!("{what}-{}", &OperationId::random().as_str()[..8])
}

impl Look<'_> {
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.facts.now
    }

    pub(super) fn write(&mut self, record: Record, message: Option<Message>) {
        let entry = Entry { at: self.now(), record, message };
        self.book.add(&entry);
        self.entries.push(entry);
    }

    pub(super) fn alerts(&mut self) {
        let (facts, settings) = (self.facts, self.settings);
        for (rule, scope) in &settings.rules {
            match scope {
                Scope::Service => self.judge(rule, &facts.service),
                Scope::Recovery => {
                    for subject in facts.subjects() {
                        self.judge(rule, subject);
                    }
                }
            }
        }
        self.superseded();
    }

    fn judge(&mut self, rule: &AlertRule, subject: &Subject) {
        let series = format!("{}/{}", rule.name, subject.id);
        let state = self.book.series.get(&series).cloned().unwrap_or_default();
        let verdict = rule.condition.evaluate(&|metric| subject.reading(metric));
        match state.look(rule, &verdict, self.now()) {
            Change::None => {}
            Change::Quietly(state) => self.write(Record::Series { series, state }, None),
            Change::Fires => {
                let text = format!("{} for {}", rule.condition, subject.title());
                self.raise(rule, subject, series, text, false);
            }
            Change::CannotTell(why) => {
                let text = format!("{} for {} cannot be told: {why}", rule.condition, subject.title());
                self.raise(rule, subject, series, text, true);
            }
            Change::Ends => self.end_series(&series, "its condition does not hold any more"),
        }
    }

    fn raise(&mut self, rule: &AlertRule, subject: &Subject, series: String, text: String, missing: bool) {
        let raised = Raised {
            id: fresh("alr"),
            series,
            alert: rule.name.clone(),
            severity: rule.severity,
            subject: subject.id.clone(),
            kind: subject.kind,
            scenario: subject.scenario.clone(),
            text,
            missing,
            incident: None,
        };
        let event = text::fires(&raised, self.now(), rule.help.as_deref());
        let routes = self.settings.alert_routes(rule.channels.as_deref(), raised.severity, false);
        let message = Message { id: event.id.clone().unwrap_or_default(), event, routes };
        self.write(Record::Raised { raised: Box::new(raised) }, Some(message));
    }

    fn end_series(&mut self, series: &str, why: &str) {
        if let Some(id) = self.book.alarm_of(series).map(|a| a.raised.id.clone()) {
            self.end(&id, why, false);
        }
    }

    pub(super) fn end(&mut self, id: &str, why: &str, noted: bool) {
        let Some(raised) = self.book.alarms.get(id).map(|a| a.raised.clone()) else { return };
        let event = text::ends(&raised, self.now(), why);
        let rule = self.settings.rules.iter().find(|(r, _)| r.name == raised.alert);
        let channels = rule.and_then(|(r, _)| r.channels.as_deref());
        let routes = self.settings.alert_routes(channels, raised.severity, true);
        let message = Message { id: event.id.clone().unwrap_or_default(), event, routes };
        self.write(Record::Ended { id: id.to_owned(), why: why.to_owned(), noted }, Some(message));
    }

    /// What was raised about a recovery is over once a newer one of its kind and scenario has ended; what the
    /// configuration no longer speaks of, at once.
    fn superseded(&mut self) {
        let facts = self.facts;
        let gone = |raised: &Raised| {
            if raised.incident.is_some() {
                return None;
            }
            if !self.settings.rules.iter().any(|(rule, _)| rule.name == raised.alert) {
                return Some("the configuration has no such alert any more".to_owned());
            }
            raised.kind?;
            if facts.live.iter().any(|s| s.id == raised.subject) {
                return None;
            }
            let newer = |s: &&Subject| s.kind == raised.kind && s.scenario == raised.scenario && s.id > raised.subject;
            facts.ended.iter().find(newer).map(|s| format!("{} came after it", s.title()))
        };
        let over: Vec<(String, String)> = self
            .book
            .alarms
            .values()
            .filter_map(|alarm| Some((alarm.raised.id.clone(), gone(&alarm.raised)?)))
            .collect();
        for (id, why) in over {
            self.end(&id, &why, false);
        }
    }
}
