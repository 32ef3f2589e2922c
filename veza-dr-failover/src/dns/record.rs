//! What can be switched, and to what.

use std::fmt;

use serde::{Deserialize, Serialize};
use veza_dr_core::{Error, ErrorKind, RecordKey, RecordSet, Result};

use super::{ask::comparable, wording::shown};

/// One of the two sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Where users are in normal times.
    Primary,
    /// Where they go in a disaster.
    Standby,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Standby => "standby",
        })
    }
}

/// The two weighted sets of one name, by their set identifiers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightedSets {
    /// The set that leads to the primary.
    pub primary: String,
    /// The set that leads to the standby.
    pub standby: String,
}

/// A name and where it leads on each side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SiteRecord {
    /// What the operator calls it.
    pub label: String,
    /// Which record; without a set identifier.
    pub key: RecordKey,
    /// The TTL in normal times, in seconds.
    pub ttl: u32,
    /// The values of the primary.
    pub primary: Vec<String>,
    /// The values of the standby.
    pub standby: Vec<String>,
    /// Set where the name has a weighted set for each side; a plain record otherwise.
    pub weighted: Option<WeightedSets>,
}

impl SiteRecord {
    /// A plain record.
    #[must_use]
    pub fn new(label: impl Into<String>, key: RecordKey, ttl: u32, primary: Vec<String>, standby: Vec<String>) -> Self {
        Self { label: label.into(), key, ttl, primary, standby, weighted: None }
    }

    /// Switched by weights, between these sets.
    #[must_use]
    pub fn with_weighted(mut self, sets: WeightedSets) -> Self {
        self.weighted = Some(sets);
        self
    }

    /// The values of a side.
    #[must_use]
    pub fn values(&self, side: Side) -> &[String] {
        match side {
            Side::Primary => &self.primary,
            Side::Standby => &self.standby,
        }
    }

    /// The record sets of the provider that belong to it, with the side each leads to where that is fixed.
    pub(super) fn keys(&self) -> Vec<(RecordKey, Option<Side>)> {
        let set = |id: &str| RecordKey { set_id: Some(id.to_owned()), ..self.key.clone() };
        match &self.weighted {
            None => vec![(self.key.clone(), None)],
            Some(sets) => {
                vec![(set(&sets.primary), Some(Side::Primary)), (set(&sets.standby), Some(Side::Standby))]
            }
        }
    }

    /// The record sets of the provider that belong to it.
    #[must_use]
    pub fn record_keys(&self) -> Vec<RecordKey> {
        self.keys().into_iter().map(|(key, _)| key).collect()
    }

    /// Whether `values` are those of this side.
    pub(super) fn leads_to(&self, side: Side, values: &[String]) -> bool {
        let sorted = |values: &[String]| {
            let mut all: Vec<String> = values.iter().map(|v| comparable(self.key.kind, v)).collect();
            all.sort();
            all
        };
        sorted(values) == sorted(self.values(side))
    }

    /// What a set is to become when users are led to `to`, `percent` of them where it is weighted.
    pub(super) fn wanted(
        &self,
        (key, side): (&RecordKey, Option<Side>),
        current: Option<&RecordSet>,
        (to, percent): (Side, u8),
        keep_ttl: bool,
    ) -> Result<RecordSet> {
        let Some(side) = side else {
            if percent != 100 {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("record {key} is not weighted: it leads to one side"),
                )
                .with_help("leave --percent out, or make weighted sets and name them in dns.records.….weighted"));
            }
            let values = self.values(to);
            if values.is_empty() {
                return Err(Error::new(ErrorKind::Config, format!("record {key} has no value for the {to}"))
                    .with_help(format!("set dns.records.{}.{to}", self.label)));
            }
            let ttl = current.filter(|c| keep_ttl && c.alias.is_none()).map_or(self.ttl, |c| c.ttl);
            return Ok(RecordSet::new(key.clone(), ttl, values.to_vec()));
        };
        let Some(current) = current else {
            return Err(Error::new(ErrorKind::NotFound, format!("weighted record {key} is not there"))
                .with_help("make both weighted sets beforehand, one with weight 0: docs/dns.md"));
        };
        if current.alias.is_none() && !self.leads_to(side, &current.values) {
            let text = format!("weighted record {key} does not lead to the {side}");
            return Err(Error::new(ErrorKind::Conflict, text)
                .with_context("expected", self.values(side).join(", "))
                .with_context("there_now", shown(Some(current)))
                .with_help(format!("correct it, or dns.records.{}.{side}", self.label)));
        }
        let mut wanted = current.clone();
        wanted.weight = Some(if side == to { percent } else { 100 - percent });
        Ok(wanted)
    }
}

/// What a switch is to bring about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Goal {
    /// All users to one side.
    To(Side),
    /// A share of the users to one side, the rest to the other; for weighted records only.
    Shift {
        /// The side.
        to: Side,
        /// 0 to 100.
        percent: u8,
    },
    /// TTLs above this many seconds down to it: done when trouble shows, as it helps only after the old TTL has run out.
    LowerTtl(u32),
    /// TTLs back to what they were before they were lowered.
    RestoreTtl,
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(side) => write!(f, "lead users to the {side}"),
            Self::Shift { to, percent } => write!(f, "lead {percent} % of users to the {to}"),
            Self::LowerTtl(ttl) => write!(f, "lower TTLs to {ttl} s"),
            Self::RestoreTtl => f.write_str("put back the TTLs that were lowered"),
        }
    }
}
