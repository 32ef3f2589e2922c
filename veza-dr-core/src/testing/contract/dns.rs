//! What every [`DnsProvider`] must do.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;

use super::tools::{must_fail, soon};
use crate::{
    AliasTarget, ChangeId, ChangeSet, ChangeState, Cx, DnsProvider, ErrorKind, FailoverRole, RecordKey, RecordSet,
    RecordType, Result, diff,
};

/// How long a change may take until every authoritative server has it.
const IN_SYNC: Duration = Duration::from_secs(120);

/// A provider and a zone of it in which the suite may do as it likes.
#[derive(Debug, Clone)]
pub struct DnsPlace {
    /// The provider.
    pub provider: Arc<dyn DnsProvider>,
    /// The zone, as the provider names it.
    pub zone: String,
    /// The zone's domain, ending in a dot.
    pub domain: String,
}

impl DnsPlace {
    /// A name nobody has used.
    fn key(&self, kind: RecordType) -> RecordKey {
        let name = format!("case-{:012x}.{}", rand::random::<u64>() >> 16, self.domain);
        RecordKey { zone: self.zone.clone(), name, kind, set_id: None }
    }

    async fn read(&self, key: &RecordKey) -> Option<RecordSet> {
        self.provider.read(&Cx::background(), key).await.unwrap()
    }

    async fn apply(&self, old: Option<&RecordSet>, new: Option<&RecordSet>) -> Result<ChangeId> {
        let changes = ChangeSet { changes: vec![(old.cloned(), new.cloned())] };
        self.provider.apply(&Cx::background(), &changes).await
    }
}

fn a(key: &RecordKey, values: &[&str]) -> RecordSet {
    RecordSet::new(key.clone(), 60, values.iter().map(|v| (*v).to_owned()).collect())
}

fn same(current: Option<RecordSet>, wanted: &RecordSet) {
    assert!(diff(current.as_ref(), wanted).is_empty(), "{current:?} is not {wanted:?}");
}

/// What is not there reads as nothing.
pub async fn an_absent_record_reads_as_none(place: DnsPlace) {
    assert_eq!(place.read(&place.key(RecordType::A)).await, None);
}

/// A zone that the provider does not serve is `NotFound`.
pub async fn an_unknown_zone_is_not_found(place: DnsPlace) {
    let key = RecordKey { zone: "Z0NOSUCHZONE".into(), ..place.key(RecordType::A) };
    must_fail(place.provider.read(&Cx::background(), &key).await, ErrorKind::NotFound, "read");
}

/// Records are made, replaced and deleted, each time against what was there.
pub async fn records_come_and_go(place: DnsPlace) {
    for (kind, first, second) in [
        (RecordType::A, ["192.0.2.1"], ["192.0.2.2"]),
        (RecordType::Aaaa, ["2001:db8::1"], ["2001:db8::2"]),
        (RecordType::Cname, ["one.example.com."], ["two.example.com."]),
    ] {
        let key = place.key(kind);
        let (first, second) = (a(&key, &first), a(&key, &second));
        place.apply(None, Some(&first)).await.unwrap();
        same(place.read(&key).await, &first);
        place.apply(Some(&first), Some(&second)).await.unwrap();
        same(place.read(&key).await, &second);
        place.apply(Some(&second), None).await.unwrap();
        assert_eq!(place.read(&key).await, None, "{kind:?}");
    }
}

/// The order of values is no difference, neither in what is expected nor in what is read.
pub async fn the_order_of_values_does_not_matter(place: DnsPlace) {
    let key = place.key(RecordType::A);
    place.apply(None, Some(&a(&key, &["192.0.2.1", "192.0.2.2"]))).await.unwrap();
    let other_way_round = a(&key, &["192.0.2.2", "192.0.2.1"]);
    same(place.read(&key).await, &other_way_round);
    place.apply(Some(&other_way_round), Some(&a(&key, &["192.0.2.3"]))).await.unwrap();
    same(place.read(&key).await, &a(&key, &["192.0.2.3"]));
}

/// What is read of weighted, failover and alias records is all that it takes to put them back.
pub async fn every_setting_survives_a_round_trip(place: DnsPlace) {
    let plain = a(&place.key(RecordType::A), &["192.0.2.9"]);
    place.apply(None, Some(&plain)).await.unwrap();
    let set = |kind: RecordType, id: &str, key: &RecordKey| RecordKey { set_id: Some(id.into()), kind, ..key.clone() };
    let (weighted, failover, alias) = (place.key(RecordType::A), place.key(RecordType::A), place.key(RecordType::A));
    let mut sets = Vec::new();
    for (id, weight) in [("one", 0), ("two", 255)] {
        let mut one = a(&set(RecordType::A, id, &weighted), &["192.0.2.1", "192.0.2.2"]);
        one.weight = Some(weight);
        sets.push(one);
    }
    for (id, role) in [("first", FailoverRole::Primary), ("second", FailoverRole::Secondary)] {
        let mut one = a(&set(RecordType::A, id, &failover), &["192.0.2.3"]);
        one.failover = Some(role);
        sets.push(one);
    }
    let mut other = RecordSet::new(alias, 0, Vec::new());
    let (zone, name) = (place.zone.clone(), plain.key.name.clone());
    other.alias = Some(AliasTarget { zone, name, evaluate_health: false });
    sets.push(other);
    let batch = ChangeSet { changes: sets.iter().map(|s| (None, Some(s.clone()))).collect() };
    place.provider.apply(&Cx::background(), &batch).await.unwrap();
    for one in &sets {
        let read = place.read(&one.key).await.unwrap();
        assert_eq!(read.sorted(), one.sorted());
        place.apply(Some(&read), None).await.unwrap();
        place.apply(None, Some(&read)).await.unwrap();
        assert_eq!(place.read(&one.key).await.unwrap().sorted(), one.sorted());
    }
}

/// A change against something other than what is there is a conflict and changes nothing.
pub async fn a_stale_change_is_a_conflict(place: DnsPlace) {
    let key = place.key(RecordType::A);
    let (there, wrong, new) = (a(&key, &["192.0.2.1"]), a(&key, &["192.0.2.9"]), a(&key, &["192.0.2.2"]));
    must_fail(place.apply(Some(&wrong), Some(&new)).await, ErrorKind::Conflict, "replace what is absent");
    assert_eq!(place.read(&key).await, None);
    place.apply(None, Some(&there)).await.unwrap();
    must_fail(place.apply(None, Some(&new)).await, ErrorKind::Conflict, "create over what is there");
    must_fail(place.apply(Some(&wrong), Some(&new)).await, ErrorKind::Conflict, "replace another value");
    must_fail(place.apply(Some(&wrong), None).await, ErrorKind::Conflict, "delete another value");
    let other_ttl = RecordSet { ttl: 61, ..there.clone() };
    must_fail(place.apply(Some(&other_ttl), Some(&new)).await, ErrorKind::Conflict, "replace another TTL");
    same(place.read(&key).await, &there);
}

/// Changes of one batch take place together or not at all.
pub async fn a_batch_is_all_or_nothing(place: DnsPlace) {
    let (one, two) = (place.key(RecordType::A), place.key(RecordType::A));
    let (old, stale) = (a(&one, &["192.0.2.1"]), a(&two, &["192.0.2.9"]));
    place.apply(None, Some(&old)).await.unwrap();
    let (new_one, new_two) = (a(&one, &["192.0.2.2"]), a(&two, &["192.0.2.2"]));
    let half_bad =
        ChangeSet { changes: vec![(Some(old.clone()), Some(new_one.clone())), (Some(stale), Some(new_two.clone()))] };
    must_fail(place.provider.apply(&Cx::background(), &half_bad).await, ErrorKind::Conflict, "half-bad batch");
    same(place.read(&one).await, &old);
    assert_eq!(place.read(&two).await, None);
    let good = ChangeSet { changes: vec![(Some(old), Some(new_one.clone())), (None, Some(new_two.clone()))] };
    place.provider.apply(&Cx::background(), &good).await.unwrap();
    same(place.read(&one).await, &new_one);
    same(place.read(&two).await, &new_two);
}

/// Of several changes against the same old value exactly one takes place.
pub async fn one_of_several_changes_wins(place: DnsPlace) {
    let key = place.key(RecordType::A);
    let old = a(&key, &["192.0.2.1"]);
    place.apply(None, Some(&old)).await.unwrap();
    let mut tasks = JoinSet::new();
    for n in 2..6 {
        let (place, old) = (place.clone(), old.clone());
        let new = a(&key, &[&format!("192.0.2.{n}")]);
        tasks.spawn(async move {
            let done = place.apply(Some(&old), Some(&new)).await;
            (new, done)
        });
    }
    let (won, lost): (Vec<_>, Vec<_>) = tasks.join_all().await.into_iter().partition(|(_, done)| done.is_ok());
    assert_eq!(won.len(), 1, "{won:?}");
    for (_, done) in lost {
        must_fail(done, ErrorKind::Conflict, "losing change");
    }
    same(place.read(&key).await, &won[0].0);
}

/// A submitted change is in sync sooner or later, and stays so.
pub async fn a_change_comes_into_sync(place: DnsPlace) {
    let key = place.key(RecordType::A);
    let id = place.apply(None, Some(&a(&key, &["192.0.2.1"]))).await.unwrap();
    let cx = Cx::background();
    let wait = async {
        while place.provider.status(&cx, &id).await.unwrap() == ChangeState::Pending {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    assert!(tokio::time::timeout(IN_SYNC, wait).await.is_ok(), "still pending after {IN_SYNC:?}");
    assert_eq!(place.provider.status(&cx, &id).await.unwrap(), ChangeState::InSync);
}

/// A change that the provider never saw is `NotFound`.
pub async fn an_unknown_change_is_not_found(place: DnsPlace) {
    let unknown = ChangeId("C0NOSUCHCHANGE".into());
    must_fail(place.provider.status(&Cx::background(), &unknown).await, ErrorKind::NotFound, "status");
}

/// Nothing begins under a cancelled context, and nothing changes.
pub async fn nothing_begins_when_cancelled(place: DnsPlace) {
    let key = place.key(RecordType::A);
    let cx = Cx::background();
    cx.cancel();
    let changes = ChangeSet { changes: vec![(None, Some(a(&key, &["192.0.2.1"])))] };
    soon("calls", async {
        must_fail(place.provider.read(&cx, &key).await, ErrorKind::Cancelled, "read");
        must_fail(place.provider.apply(&cx, &changes).await, ErrorKind::Cancelled, "apply");
        must_fail(place.provider.status(&cx, &ChangeId("C1".into())).await, ErrorKind::Cancelled, "status");
    })
    .await;
    assert_eq!(place.read(&key).await, None);
}

/// Emits the suite for a DNS provider: one `#[tokio::test]` per case of [`crate::testing::contract::dns`].
///
/// The argument is a future of `(DnsPlace, K)`, where `K` must live as long as the test.
#[macro_export]
macro_rules! dns_contract {
    ($fresh:expr) => {
        $crate::contract_cases! { dns, $fresh;
            an_absent_record_reads_as_none
            an_unknown_zone_is_not_found
            records_come_and_go
            the_order_of_values_does_not_matter
            every_setting_survives_a_round_trip
            a_stale_change_is_a_conflict
            a_batch_is_all_or_nothing
            one_of_several_changes_wins
            a_change_comes_into_sync
            an_unknown_change_is_not_found
            nothing_begins_when_cancelled
        }
    };
}
