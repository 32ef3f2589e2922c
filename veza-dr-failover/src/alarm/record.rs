//! What the book holds.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use veza_dr_core::{Event, Severity};

use crate::{alerts::SeriesState, measure::RecoveryKind};

/// One line. What is to be told is part of the line that says why: there is never one without the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) at: DateTime<Utc>,
    pub(super) record: Record,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<Message>,
}

/// Something that is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Message {
    /// Its name: the same however often it is sent.
    pub id: String,
    /// What is told.
    pub event: Event,
    /// To whom. Each is delivered by itself.
    pub routes: Vec<Route>,
}

/// One receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Route {
    /// The contact; `None`: whoever reads the channel.
    #[serde(default)]
    pub to: Option<String>,
    /// The channels by which they are reached: the next is taken when one fails.
    pub ways: Vec<String>,
}

impl Route {
    /// To this contact, or whoever reads the channel, by these ways.
    #[must_use]
    pub fn new(to: Option<String>, ways: Vec<String>) -> Self {
        Self { to, ways }
    }
}

/// An outage, a recovery, or both: what people are called about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Incident {
    /// Its name.
    pub id: String,
    /// Since when users are not served, as far as is known (T0).
    pub began: DateTime<Utc>,
    /// When it was noticed (T1).
    pub detected: DateTime<Utc>,
    /// Probes saw the outage themselves.
    pub seen: bool,
    /// The run that is to end it.
    #[serde(default)]
    pub run: Option<String>,
    /// The scenario of that run.
    #[serde(default)]
    pub scenario: Option<String>,
    /// The recovery time objective it is held to; before a run begins, the strictest.
    #[serde(default)]
    pub rto_seconds: Option<f64>,
}

/// An alarm that was raised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Raised {
    pub(super) id: String,
    pub(super) series: String,
    pub(super) alert: String,
    pub(super) severity: Severity,
    pub(super) subject: String,
    #[serde(default)]
    pub(super) kind: Option<RecoveryKind>,
    #[serde(default)]
    pub(super) scenario: Option<String>,
    pub(super) text: String,
    /// Its condition cannot be told.
    #[serde(default)]
    pub(super) missing: bool,
    /// The incident that it is part of.
    #[serde(default)]
    pub(super) incident: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub(super) enum Record {
    /// How long something has held.
    Series { series: String, state: SeriesState },
    /// An alarm is raised.
    Raised { raised: Box<Raised> },
    /// An alarm is over.
    Ended {
        id: String,
        why: String,
        /// Somebody took note: it is not raised again for the same subject.
        #[serde(default)]
        noted: bool,
    },
    /// An incident begins, or more is known of it.
    Incident { incident: Incident },
    /// Shares of the objective that had passed already when a greater one was told.
    Passed { incident: String, percent: Vec<u32> },
    /// A level was called, for so many times.
    Called { incident: String, level: usize, round: u32 },
    /// Somebody takes care.
    Acknowledged { id: String, who: String, until: Option<DateTime<Utc>> },
    /// An incident is over.
    Closed { incident: String, why: String },
    /// A try at a delivery. `error`: it failed; `last`: it is not tried again.
    Delivery {
        message: String,
        route: usize,
        way: String,
        attempts: u32,
        #[serde(default)]
        error: Option<String>,
        #[serde(default)]
        last: bool,
    },
    /// People were called for a rehearsal.
    Rehearsed {},
}
