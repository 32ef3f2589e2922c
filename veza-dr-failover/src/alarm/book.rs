//! What the lines of the book add up to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};

use super::record::{Entry, Incident, Message, Raised, Record};
use crate::alerts::SeriesState;

/// So many deliveries and so many alarms that are over are remembered for whoever looks.
const REMEMBERED: usize = 200;

#[derive(Debug, Clone)]
pub(super) struct OpenAlarm {
    pub(super) raised: Raised,
    pub(super) at: DateTime<Utc>,
    pub(super) acknowledged: Option<String>,
    pub(super) ended: Option<(DateTime<Utc>, String)>,
}

#[derive(Debug, Clone)]
pub(super) struct OpenIncident {
    pub(super) incident: Incident,
    /// Shares of the objective that were told or passed over.
    pub(super) passed: BTreeSet<u32>,
    pub(super) predicted: bool,
    /// Per level: when it was last called, and how often.
    pub(super) called: BTreeMap<usize, (DateTime<Utc>, u32)>,
    pub(super) acknowledged: Option<(String, DateTime<Utc>, DateTime<Utc>)>,
    pub(super) first_acknowledged: Option<DateTime<Utc>>,
}

/// A message on its way.
#[derive(Debug, Clone)]
pub(super) struct OnItsWay {
    /// Messages keep the order in which they were raised.
    pub(super) number: u64,
    pub(super) message: Message,
    pub(super) routes: Vec<RouteState>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct RouteState {
    pub(super) done: bool,
    /// How many tries failed, and when the last one was.
    pub(super) failures: u32,
    pub(super) last: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone)]
pub(super) struct Delivered {
    pub(super) at: DateTime<Utc>,
    pub(super) message: String,
    pub(super) way: String,
    pub(super) to: Option<String>,
    pub(super) attempts: u32,
    pub(super) error: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Book {
    pub(super) series: BTreeMap<String, SeriesState>,
    pub(super) alarms: BTreeMap<String, OpenAlarm>,
    pub(super) over: VecDeque<OpenAlarm>,
    pub(super) incident: Option<OpenIncident>,
    /// The last incidents that are over, with when they ended and when somebody first acknowledged them.
    pub(super) past: VecDeque<(OpenIncident, DateTime<Utc>)>,
    pub(super) outbox: BTreeMap<String, OnItsWay>,
    messages: u64,
    pub(super) deliveries: VecDeque<Delivered>,
}

impl Book {
    pub(super) fn add(&mut self, entry: &Entry) {
        let at = entry.at;
        match &entry.record {
            Record::Series { series, state } if *state == SeriesState::Quiet => {
                self.series.remove(series);
            }
            Record::Series { series, state } => {
                self.series.insert(series.clone(), state.clone());
            }
            Record::Raised { raised } => self.raise(raised, at),
            Record::Ended { id, why, noted } => self.end(id, at, why, *noted),
            Record::Incident { incident } => self.open(incident),
            Record::Passed { incident, percent } => self.on(incident, |i| i.passed.extend(percent)),
            Record::Called { incident, level, round } => self.on(incident, |i| {
                i.called.insert(*level, (at, *round));
            }),
            Record::Acknowledged { id, who, until } => {
                if let Some(alarm) = self.alarms.get_mut(id) {
                    alarm.acknowledged = Some(who.clone());
                }
                if let Some(until) = until {
                    self.on(id, |i| {
                        i.acknowledged = Some((who.clone(), at, *until));
                        i.first_acknowledged = i.first_acknowledged.or(Some(at));
                    });
                }
            }
            Record::Closed { incident, why } => {
                let part: Vec<String> = self
                    .alarms
                    .iter()
                    .filter(|(_, a)| a.raised.incident.as_deref() == Some(incident))
                    .map(|(id, _)| id.clone())
                    .collect();
                for id in part {
                    self.end(&id, at, why, false);
                }
                if let Some(closed) = self.incident.take_if(|i| i.incident.id == *incident) {
                    remember(&mut self.past, (closed, at));
                }
            }
            Record::Delivery { message, route, way, attempts, error, last } => {
                let to = self.outbox.get(message).and_then(|m| m.message.routes.get(*route)?.to.clone());
                let (message_id, way) = (message.clone(), way.clone());
                let done = Delivered { at, message: message_id, way, to, attempts: *attempts, error: error.clone() };
                remember(&mut self.deliveries, done);
                self.delivered(message, *route, error.is_none() || *last, at);
            }
            Record::Rehearsed {} => {}
        }
        if let Some(message) = &entry.message {
            let routes = vec![RouteState::default(); message.routes.len()];
            if !routes.is_empty() {
                self.messages += 1;
                let one = OnItsWay { number: self.messages, message: message.clone(), routes };
                self.outbox.insert(message.id.clone(), one);
            }
        }
    }

    fn raise(&mut self, raised: &Raised, at: DateTime<Utc>) {
        // What could not be told and now fires is one alarm that took another form.
        if let Some(before) = self.alarm_of(&raised.series).map(|a| a.raised.id.clone()) {
            self.end(&before, at, "it is told in another form", false);
        }
        let state = if raised.missing { SeriesState::Missing } else { SeriesState::Firing };
        self.series.insert(raised.series.clone(), state);
        if let Some(percent) = raised.alert.strip_prefix("RtoBurn").and_then(|p| p.parse().ok())
            && let Some(incident) = &raised.incident
        {
            self.on(incident, |i| {
                i.passed.insert(percent);
            });
        } else if let Some(incident) = &raised.incident {
            self.on(incident, |i| i.predicted = true);
        }
        let alarm = OpenAlarm { raised: raised.clone(), at, acknowledged: None, ended: None };
        self.alarms.insert(raised.id.clone(), alarm);
    }

    fn end(&mut self, id: &str, at: DateTime<Utc>, why: &str, noted: bool) {
        let Some(mut alarm) = self.alarms.remove(id) else { return };
        if noted {
            self.series.insert(alarm.raised.series.clone(), SeriesState::Noted);
        } else {
            self.series.remove(&alarm.raised.series);
        }
        alarm.ended = Some((at, why.to_owned()));
        remember(&mut self.over, alarm);
    }

    fn open(&mut self, incident: &Incident) {
        match &mut self.incident {
            Some(open) if open.incident.id == incident.id => {
                // Shares of another objective are other shares.
                if open.incident.rto_seconds != incident.rto_seconds {
                    open.passed.clear();
                    open.predicted = false;
                }
                open.incident = incident.clone();
            }
            _ => {
                self.incident = Some(OpenIncident {
                    incident: incident.clone(),
                    passed: BTreeSet::new(),
                    predicted: false,
                    called: BTreeMap::new(),
                    acknowledged: None,
                    first_acknowledged: None,
                });
            }
        }
    }

    fn on(&mut self, incident: &str, how: impl FnOnce(&mut OpenIncident)) {
        if let Some(open) = self.incident.as_mut().filter(|i| i.incident.id == *incident) {
            how(open);
        }
    }

    fn delivered(&mut self, message: &str, route: usize, done: bool, at: DateTime<Utc>) {
        let Some(on_its_way) = self.outbox.get_mut(message) else { return };
        if let Some(state) = on_its_way.routes.get_mut(route) {
            state.done = done;
            state.last = Some(at);
            state.failures += u32::from(!done);
        }
        if on_its_way.routes.iter().all(|r| r.done) {
            self.outbox.remove(message);
        }
    }

    pub(super) fn alarm_of(&self, series: &str) -> Option<&OpenAlarm> {
        self.alarms.values().find(|a| a.raised.series == series)
    }

    /// The lines that the book's present state, and what happened lately, need: for a shorter file.
    pub(super) fn shortened(entries: &[Entry], now: DateTime<Utc>) -> Vec<Entry> {
        let mut book = Self::default();
        for entry in entries {
            book.add(entry);
        }
        let lately = now - TimeDelta::days(30);
        let open = book.incident.as_ref().map(|i| i.incident.id.as_str());
        let keep = |entry: &Entry| {
            if entry.at >= lately || entry.message.as_ref().is_some_and(|m| book.outbox.contains_key(&m.id)) {
                return true;
            }
            match &entry.record {
                Record::Series { series, state } => book.series.get(series) == Some(state),
                Record::Raised { raised } => {
                    book.alarms.contains_key(&raised.id) || book.series.get(&raised.series) == Some(&SeriesState::Noted)
                }
                Record::Acknowledged { id, .. } | Record::Ended { id, .. } => {
                    Some(id.as_str()) == open
                        || book.alarms.contains_key(id)
                        || entries.iter().any(|e| {
                            matches!(&e.record, Record::Raised { raised } if raised.id == *id
                                && book.series.get(&raised.series) == Some(&SeriesState::Noted))
                        })
                }
                Record::Incident { incident } => Some(incident.id.as_str()) == open,
                Record::Passed { incident, .. } | Record::Called { incident, .. } | Record::Closed { incident, .. } => {
                    Some(incident.as_str()) == open
                }
                Record::Delivery { message, .. } => book.outbox.contains_key(message),
                Record::Rehearsed {} => false,
            }
        };
        entries.iter().filter(|e| keep(e)).cloned().collect()
    }
}

fn remember<T>(list: &mut VecDeque<T>, one: T) {
    if list.len() >= REMEMBERED {
        list.pop_front();
    }
    list.push_back(one);
}
