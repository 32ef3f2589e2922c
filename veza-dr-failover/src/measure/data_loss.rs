//! What a recovery lost.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What one component lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LossPart {
    /// The component.
    pub component: String,
    /// Rows, keys or files that were there when the source stopped taking writes and are not there now; `None`: not known.
    #[serde(default)]
    pub records: Option<u64>,
    /// Of those that are there, how many have other values than they had in the source: changes that were lost, or made since
    /// where they are now; `None`: not known.
    #[serde(default)]
    pub changed: Option<u64>,
    /// The time of the newest thing that was kept: the commit time of the newest verified row, or of the log's end.
    #[serde(default)]
    pub kept_until: Option<DateTime<Utc>>,
    /// The time of the newest thing that may have been there: when the source was proven to take no writes; when the
    /// outage began where it was restored in place, and nothing proved it.
    #[serde(default)]
    pub written_until: Option<DateTime<Utc>>,
    /// How that is known, or why it is not.
    pub basis: String,
}

impl LossPart {
    /// Nothing is known yet but why.
    #[must_use]
    pub fn new(component: impl Into<String>, basis: impl Into<String>) -> Self {
        let (component, basis) = (component.into(), basis.into());
        Self { component, records: None, changed: None, kept_until: None, written_until: None, basis }
    }

    /// So many records were lost.
    #[must_use]
    pub fn with_records(mut self, records: u64) -> Self {
        self.records = Some(records);
        self
    }

    /// So many records have older values.
    #[must_use]
    pub fn with_changed(mut self, changed: u64) -> Self {
        self.changed = Some(changed);
        self
    }

    /// What was written between these two instants may be lost.
    #[must_use]
    pub fn with_times(mut self, kept_until: DateTime<Utc>, written_until: DateTime<Utc>) -> Self {
        (self.kept_until, self.written_until) = (Some(kept_until), Some(written_until));
        self
    }

    /// The time that the loss covers; nothing was lost: zero.
    #[must_use]
    pub fn span(&self) -> Option<Duration> {
        match (self.kept_until, self.written_until) {
            (Some(kept), Some(written)) => Some((written - kept).to_std().unwrap_or_default()),
            _ if self.records == Some(0) => Some(Duration::ZERO),
            _ => None,
        }
    }
}

/// What a recovery lost, by component. Without any part nothing is known: that is not zero.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DataLoss {
    /// Each component that was recovered.
    #[serde(default)]
    pub parts: Vec<LossPart>,
}

impl DataLoss {
    /// Of these parts.
    ///
    /// ```
    /// use veza_dr_failover::measure::{DataLoss, LossPart};
    /// let known = LossPart::new("database", "compared row by row").with_records(0);
    /// assert_eq!(DataLoss::of(vec![known.clone()]).records(), Some(0));
    /// let unknown = LossPart::new("redis", "its keys were not compared");
    /// assert_eq!(DataLoss::of(vec![known, unknown]).records(), None);
    /// ```
    #[must_use]
    pub fn of(parts: Vec<LossPart>) -> Self {
        Self { parts }
    }

    /// Records lost in all; `None` as soon as one component's loss is not known.
    #[must_use]
    pub fn records(&self) -> Option<u64> {
        if self.parts.is_empty() {
            return None;
        }
        self.parts.iter().try_fold(0u64, |all, part| all.checked_add(part.records?))
    }

    /// At least so many records were lost: those of the components whose loss is known.
    #[must_use]
    pub fn records_at_least(&self) -> u64 {
        self.parts.iter().filter_map(|p| p.records).fold(0, u64::saturating_add)
    }

    /// The longest time that a loss covers: the recovery point that was achieved. `None` as soon as one is not known.
    #[must_use]
    pub fn span(&self) -> Option<Duration> {
        let spans = self.parts.iter().map(LossPart::span).collect::<Option<Vec<_>>>()?;
        spans.into_iter().max()
    }

    /// Whether it is known that nothing was lost: no record is missing, and none has an older value.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.records() == Some(0) && self.parts.iter().all(|p| p.changed.unwrap_or(0) == 0)
    }

    /// How each part is known, or why it is not; `None` without any part.
    #[must_use]
    pub fn basis(&self) -> Option<String> {
        let parts: Vec<String> = self.parts.iter().map(|p| format!("{}: {}", p.component, p.basis)).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// Why it is not known, where it is not.
    #[must_use]
    pub fn unknown(&self) -> Option<String> {
        if self.parts.is_empty() {
            return Some("nothing was compared".to_owned());
        }
        let blind: Vec<String> = self
            .parts
            .iter()
            .filter(|p| p.records.is_none())
            .map(|p| format!("{}: {}", p.component, p.basis))
            .collect();
        (!blind.is_empty()).then(|| blind.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn one_unknown_makes_the_whole_unknown_and_is_named() {
        let at = DateTime::UNIX_EPOCH;
        let some = LossPart::new("database", "rows").with_records(7).with_times(at, at + TimeDelta::minutes(4));
        let none = LossPart::new("redis", "not compared");
        let both = DataLoss::of(vec![some.clone(), none]);
        assert_eq!((both.records(), both.records_at_least(), both.span()), (None, 7, None));
        assert_eq!(both.unknown().as_deref(), Some("redis: not compared"));
        let one = DataLoss::of(vec![some]);
        assert_eq!((one.records(), one.span()), (Some(7), Some(Duration::from_secs(240))));
        assert_eq!(DataLoss::default().span(), None);
        assert_eq!(both.basis().as_deref(), Some("database: rows; redis: not compared"));
        // A record that has an older value is a loss, though none is missing.
        let part = || LossPart::new("database", "rows").with_records(0);
        let nothing = |part: LossPart| DataLoss::of(vec![part]).is_nothing();
        assert_eq!(
            [nothing(part()), nothing(part().with_changed(0)), nothing(part().with_changed(3))],
            [true, true, false]
        );
        assert!(!both.is_nothing() && !DataLoss::default().is_nothing());
    }
}
