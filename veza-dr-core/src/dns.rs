//! DNS records as data, and who serves them.

use std::fmt::Debug;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Cx, Result};

/// The record types a failover touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names are the DNS's own")]
pub enum RecordType {
    A,
    Aaaa,
    Cname,
    Txt,
    Mx,
}

impl RecordType {
    /// As zone files spell it.
    ///
    /// ```
    /// assert_eq!(veza_dr_core::RecordType::Aaaa.as_str(), "AAAA");
    /// ```
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Txt => "TXT",
            Self::Mx => "MX",
        }
    }
}

impl std::fmt::Display for RecordType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What names one record set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecordKey {
    /// The zone, as the provider names it.
    pub zone: String,
    /// The fully qualified name.
    pub name: String,
    /// The type.
    pub kind: RecordType,
    /// Tells apart weighted or failover records of one name.
    pub set_id: Option<String>,
}

impl std::fmt::Display for RecordKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.kind)?;
        self.set_id.as_ref().map_or(Ok(()), |id| write!(f, " ({id})"))
    }
}

/// Which of two record sets of one name answers while both are healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailoverRole {
    /// This one.
    Primary,
    /// The other one.
    Secondary,
}

/// Another name, inside the provider, that a record set takes its answers from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasTarget {
    /// The zone of that name, as the provider names it.
    pub zone: String,
    /// The name.
    pub name: String,
    /// Whether the health of that name counts as this one's.
    pub evaluate_health: bool,
}

/// One record set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordSet {
    /// Which one.
    pub key: RecordKey,
    /// Seconds a resolver may keep it; 0 for an alias, which has none of its own.
    pub ttl: u32,
    /// The values, in no particular order; none for an alias.
    pub values: Vec<String>,
    /// The weight, where the set is weighted.
    pub weight: Option<u8>,
    /// The role, where the set is one of a failover pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<FailoverRole>,
    /// The health check that the provider heeds for it, as the provider names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<String>,
    /// Where the answers come from, where it is an alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<AliasTarget>,
}

impl RecordSet {
    /// A plain record set.
    #[must_use]
    pub fn new(key: RecordKey, ttl: u32, values: Vec<String>) -> Self {
        Self { key, ttl, values, weight: None, failover: None, health_check: None, alias: None }
    }

    /// The same with its values sorted: equal sets are equal so.
    ///
    /// ```
    /// use veza_dr_core::{RecordKey, RecordSet, RecordType};
    /// let key = RecordKey { zone: "Z1".into(), name: "api.veza.com.".into(), kind: RecordType::A, set_id: None };
    /// let one = RecordSet::new(key.clone(), 60, vec!["192.0.2.2".into(), "192.0.2.1".into()]);
    /// let two = RecordSet::new(key, 60, vec!["192.0.2.1".into(), "192.0.2.2".into()]);
    /// assert_eq!(one.sorted(), two.sorted());
    /// ```
    #[must_use]
    pub fn sorted(&self) -> Self {
        let mut sorted = self.clone();
        sorted.values.sort();
        sorted
    }
}

/// Changes that take place together or not at all, each with what must be there before.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChangeSet {
    /// Pairs of the expected old and the wanted new record set; `None` is absence.
    pub changes: Vec<(Option<RecordSet>, Option<RecordSet>)>,
}

impl ChangeSet {
    /// True when there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// Names a submitted change at its provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChangeId(pub String);

/// How far a submitted change has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeState {
    /// Accepted; not every authoritative server has it.
    Pending,
    /// Every authoritative server of the provider answers with it.
    InSync,
}

/// The changes that lead from `current` to `desired`; empty when they are equal but for the order of values.
///
/// ```
/// use veza_dr_core::{diff, RecordKey, RecordSet, RecordType};
/// let key = RecordKey { zone: "Z1".into(), name: "api.veza.com.".into(), kind: RecordType::A, set_id: None };
/// let old = RecordSet::new(key.clone(), 60, vec!["192.0.2.1".into()]);
/// let new = RecordSet::new(key, 60, vec!["192.0.2.2".into()]);
/// assert_eq!(diff(Some(&old), &new).changes.len(), 1);
/// assert!(diff(Some(&new), &new).is_empty());
/// ```
#[must_use]
pub fn diff(current: Option<&RecordSet>, desired: &RecordSet) -> ChangeSet {
    match current {
        Some(c) if c.sorted() == desired.sorted() => ChangeSet::default(),
        other => ChangeSet { changes: vec![(other.cloned(), Some(desired.clone()))] },
    }
}

/// Serves DNS records and changes them atomically.
#[async_trait]
pub trait DnsProvider: Debug + Send + Sync + 'static {
    /// The provider's name.
    fn name(&self) -> &str;

    /// The record set as the provider holds it now; `None` only when the provider said that there is none.
    ///
    /// # Errors
    /// `NotFound` for an unknown zone; `Unsupported` for a set with settings that [`RecordSet`] cannot hold, as putting
    /// it back would lose them; `Denied`, `Unavailable`, `Throttled` as met.
    async fn read(&self, cx: &Cx, key: &RecordKey) -> Result<Option<RecordSet>>;

    /// Submits all changes as one atomic batch.
    ///
    /// # Errors
    /// `Conflict` when an expected old value is not what is there; nothing is changed then. With
    /// [`Effect::Unknown`](crate::Effect) when no answer came: read, then decide.
    async fn apply(&self, cx: &Cx, changes: &ChangeSet) -> Result<ChangeId>;

    /// How far a change has come.
    ///
    /// # Errors
    /// `NotFound` for a change this provider does not know.
    async fn status(&self, cx: &Cx, id: &ChangeId) -> Result<ChangeState>;
}
