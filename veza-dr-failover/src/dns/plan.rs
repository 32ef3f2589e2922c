//! A switch as data: what is there, what is to be there. Making one changes nothing.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use veza_dr_core::{ChangeSet, Error, ErrorKind, RecordKey, RecordSet, Result};

use super::Goal;

/// One record set before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SwitchedRecord {
    /// What the operator calls it.
    pub label: String,
    /// Which one.
    pub key: RecordKey,
    /// What was there; `None` for nothing.
    pub before: Option<RecordSet>,
    /// What is to be there; `None` for nothing.
    pub after: Option<RecordSet>,
}

impl SwitchedRecord {
    pub(super) fn new(label: &str, key: RecordKey, before: Option<RecordSet>, after: Option<RecordSet>) -> Self {
        Self { label: label.to_owned(), key, before, after }
    }

    pub(super) fn changes(&self) -> bool {
        !same(self.before.as_ref(), self.after.as_ref())
    }
}

/// A record that leads to neither site: somebody else set it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ForeignRecord {
    /// What the operator calls it.
    pub label: String,
    /// Which one.
    pub key: RecordKey,
    /// The values of the primary.
    pub primary: Vec<String>,
    /// The values of the standby.
    pub standby: Vec<String>,
    /// What is there, in words.
    pub there_now: String,
}

/// Whether two record sets, or their absence, are the same but for the order of values.
pub(super) fn same(one: Option<&RecordSet>, two: Option<&RecordSet>) -> bool {
    one.map(RecordSet::sorted) == two.map(RecordSet::sorted)
}

/// What a switch will do. Plain data: it can be printed, kept, approved by its [`sha`](Self::sha) and carried out later,
/// when it is refused unless everything is as the plan found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SwitchPlan {
    /// What it is for.
    pub goal: Goal,
    /// Every record set that belongs to it; those that are as wanted already have equal sides.
    pub records: Vec<SwitchedRecord>,
    /// SHA-256 of what was there.
    pub digest: String,
    /// What the operator should know before agreeing.
    pub warnings: Vec<String>,
    /// Records that lead to neither site: the plan is refused until somebody decides to write over them.
    #[serde(default)]
    pub foreign: Vec<ForeignRecord>,
}

impl SwitchPlan {
    pub(super) fn new(goal: Goal, records: Vec<SwitchedRecord>, warnings: Vec<String>) -> Self {
        let digest = digest(records.iter().map(|r| (&r.key, r.before.as_ref())));
        Self { goal, records, digest, warnings, foreign: Vec::new() }
    }

    pub(super) fn with_foreign(mut self, foreign: Vec<ForeignRecord>) -> Self {
        self.foreign = foreign;
        self
    }

    /// Decides to write over what somebody else set; the records are still switched against exactly that.
    #[must_use]
    pub fn accepting_foreign(mut self) -> Self {
        self.foreign.clear();
        self
    }

    /// Fails where a record leads to neither site.
    ///
    /// # Errors
    /// `Conflict`, which names each record, where it leads, and where it may.
    pub fn ensure_known(&self) -> Result<()> {
        let told = |f: &ForeignRecord| {
            format!(
                "record {} is {}, which is neither the primary ({}) nor the standby ({})",
                f.key,
                f.there_now,
                f.primary.join(", "),
                f.standby.join(", ")
            )
        };
        let Some(first) = self.foreign.first() else { return Ok(()) };
        let all: Vec<String> = self.foreign.iter().map(told).collect();
        let text = format!("{}: somebody else changed it, and nothing was changed", all.join("; "));
        let expected = format!("{} or {}", first.primary.join(", "), first.standby.join(", "));
        Err(Error::new(ErrorKind::Conflict, text)
            .with_context("record", first.key.to_string())
            .with_context("expected", expected)
            .with_context("there_now", first.there_now.clone())
            .with_help(format!(
                "look (veza-dr dns show) and ask who changed it; put it back, or correct dns.records.{}",
                first.label
            )))
    }

    /// Whether nothing needs to be changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.records.iter().any(SwitchedRecord::changes)
    }

    /// The batch that it comes to.
    #[must_use]
    pub fn changes(&self) -> ChangeSet {
        let changing = self.records.iter().filter(|r| r.changes());
        ChangeSet { changes: changing.map(|r| (r.before.clone(), r.after.clone())).collect() }
    }

    /// The longest TTL of what is replaced: for so long resolvers may go on giving the old answer.
    #[must_use]
    pub fn old_ttl(&self) -> Option<u32> {
        self.records.iter().filter(|r| r.changes()).filter_map(|r| r.before.as_ref()).map(|r| r.ttl).max()
    }

    /// SHA-256 of the whole plan: whoever approves it approves this number.
    #[must_use]
    pub fn sha(&self) -> String {
        let sorted: Vec<_> = self
            .records
            .iter()
            .map(|r| (&r.key, r.before.as_ref().map(RecordSet::sorted), r.after.as_ref().map(RecordSet::sorted)))
            .collect();
        hash(&(self.goal, sorted))
    }
}

/// SHA-256 of record sets, whatever the order of their values.
pub(super) fn digest<'a>(records: impl Iterator<Item = (&'a RecordKey, Option<&'a RecordSet>)>) -> String {
    let mut sorted: Vec<_> = records.map(|(key, record)| (key, record.map(RecordSet::sorted))).collect();
    sorted.sort_by_key(|(key, _)| *key);
    hash(&sorted)
}

fn hash(value: &impl Serialize) -> String {
    // Structs and sequences alone: there is no map whose keys JSON could not hold.
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use veza_dr_core::RecordType;

    use super::{super::Side, *};

    fn plan(before: &[&str], after: &[&str]) -> SwitchPlan {
        let key = RecordKey { zone: "Z1".into(), name: "api.veza.com.".into(), kind: RecordType::A, set_id: None };
        let set = |v: &[&str]| Some(RecordSet::new(key.clone(), 60, v.iter().map(|v| (*v).to_owned()).collect()));
        let record = SwitchedRecord::new("api", key.clone(), set(before), set(after));
        SwitchPlan::new(Goal::To(Side::Standby), vec![record], Vec::new())
    }

    #[test]
    fn the_numbers_of_a_plan_follow_its_content_and_not_the_order_of_values() {
        let (one, two) =
            (plan(&["192.0.2.1", "192.0.2.2"], &["192.0.2.9"]), plan(&["192.0.2.2", "192.0.2.1"], &["192.0.2.9"]));
        assert_eq!((one.digest.as_str(), one.sha()), (two.digest.as_str(), two.sha()));
        let other = plan(&["192.0.2.1", "192.0.2.2"], &["192.0.2.8"]);
        assert_eq!(one.digest, other.digest);
        assert_ne!(one.sha(), other.sha());
        assert_ne!(one.digest, plan(&["192.0.2.1"], &["192.0.2.9"]).digest);
    }

    #[test]
    fn a_plan_whose_sides_are_equal_changes_nothing() {
        let plan = plan(&["192.0.2.1", "192.0.2.2"], &["192.0.2.2", "192.0.2.1"]);
        assert!(plan.is_empty() && plan.changes().is_empty());
        assert_eq!(plan.old_ttl(), None);
    }
}
