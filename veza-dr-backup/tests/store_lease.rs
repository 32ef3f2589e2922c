//! Leases: one holder at a time, lost when not renewed, refused by stores that only pretend to enforce conditions.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use veza_dr_backup::store::{DirectoryStore, Lease, LeaseGuard, probe_conditional_put};
use veza_dr_core::{
    BackupStore, Clock, Condition, Cx, ErrorKind, ObjectKey, ObjectMeta, ObjectReader, ObjectWriter, PutOptions,
    Result, StoreCaps, StoreInfo, VersionTag,
    testing::{Fault, Faulty, ManualClock, MemoryStore},
};

const TTL: Duration = Duration::from_secs(60);

fn key() -> ObjectKey {
    "locks/database.json".parse().unwrap()
}

async fn read(store: &dyn BackupStore) -> serde_json::Value {
    let mut reader = store.get(&Cx::background(), &key(), 0).await.unwrap();
    serde_json::from_slice(&reader.next().await.unwrap().unwrap()).unwrap()
}

/// Makes the stored lease that of a process elsewhere, of which nothing is known.
async fn make_foreign(store: &MemoryStore) {
    let mut record = read(store).await;
    record["holder"] = serde_json::json!({ "host": "far-away", "pid": 7, "op": "nightly" });
    record["nonce"] = "theirs".into();
    assert!(store.tamper(&key(), |body| *body = record.to_string().into_bytes()));
}

/// A store and a clock that both go by `clock`.
fn timed() -> (Arc<MemoryStore>, ManualClock) {
    let clock = ManualClock::default();
    (Arc::new(MemoryStore::with_clock("timed", Arc::new(clock.clone()))), clock)
}

async fn acquire(store: &Arc<MemoryStore>, clock: &ManualClock) -> Result<LeaseGuard> {
    let clock: Arc<dyn Clock> = Arc::new(clock.clone());
    Lease::acquire_with_clock(&Cx::background(), store.clone(), "database", TTL, clock).await
}

#[tokio::test]
async fn the_second_is_told_who_holds_it_and_until_when() {
    let (store, clock) = timed();
    let guard = acquire(&store, &clock).await.unwrap();
    guard.check().unwrap();
    make_foreign(&store).await;
    let e = acquire(&store, &clock).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
    let until = (clock.now() + TimeDelta::seconds(80)).format("%Y-%m-%dT%H:%M:%SZ").to_string();
    for part in ["process 7 on far-away", "nightly", "timed", &until] {
        assert!(e.to_string().contains(part), "`{part}` is not in `{e}`");
    }
}

#[tokio::test]
async fn a_released_lease_is_free_at_once_and_the_epoch_grows() {
    let (store, clock) = timed();
    for epoch in 1..4 {
        let guard = acquire(&store, &clock).await.unwrap();
        assert_eq!(guard.epoch(), epoch);
        assert_eq!(read(&*store).await["epoch"], epoch);
        guard.release(&Cx::background()).await.unwrap();
        assert_eq!(read(&*store).await["released"], true);
    }
}

#[tokio::test]
async fn a_silent_holder_keeps_it_for_its_time_and_a_margin() {
    let (store, clock) = timed();
    let silent = acquire(&store, &clock).await.unwrap();
    make_foreign(&store).await;
    clock.advance(TimeDelta::seconds(79));
    assert_eq!(acquire(&store, &clock).await.unwrap_err().kind(), ErrorKind::Conflict);
    clock.advance(TimeDelta::seconds(1));
    let next = acquire(&store, &clock).await.unwrap();
    assert_eq!(next.epoch(), 2);
    next.check().unwrap();
    // The first one knows, without asking, that its time is over.
    let e = silent.check().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn the_holders_clock_does_not_matter() {
    let (store, clock) = timed();
    let hour = TimeDelta::hours(1);
    for wrong in [clock.now() - hour, clock.now() + hour] {
        let theirs = ManualClock::at(wrong);
        let holder = acquire(&store, &theirs).await.unwrap();
        make_foreign(&store).await;
        assert_eq!(acquire(&store, &clock).await.unwrap_err().kind(), ErrorKind::Conflict);
        clock.advance(TimeDelta::seconds(80));
        let next = acquire(&store, &clock).await.unwrap();
        next.release(&Cx::background()).await.unwrap();
        drop(holder);
    }
}

#[tokio::test]
async fn a_holder_of_this_machine_that_is_dead_is_not_waited_for() {
    let (store, clock) = timed();
    let guard = acquire(&store, &clock).await.unwrap();
    let mut record = read(&*store).await;
    // This very process number, but of a process that began at another time.
    record["holder"]["started"] = 1.into();
    assert!(store.tamper(&key(), |body| *body = record.to_string().into_bytes()));
    assert_eq!(acquire(&store, &clock).await.unwrap().epoch(), 2);
    drop(guard);
}

#[tokio::test]
async fn of_many_that_want_it_one_gets_it() {
    let store: Arc<dyn BackupStore> = Arc::new(MemoryStore::new("race"));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let store = store.clone();
        tasks.spawn(async move { Lease::acquire(&Cx::background(), store, "database", TTL).await });
    }
    let outcomes = tasks.join_all().await;
    assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1);
    for lost in outcomes.into_iter().filter_map(Result::err) {
        assert_eq!(lost.kind(), ErrorKind::Conflict);
    }
}

#[tokio::test]
async fn it_is_renewed_while_it_is_held() {
    let store = Arc::new(MemoryStore::new("renewed"));
    let ttl = Duration::from_millis(300);
    let guard = Lease::acquire(&Cx::background(), store.clone(), "database", ttl).await.unwrap();
    tokio::time::sleep(ttl * 4).await;
    guard.check().unwrap();
    assert!(!guard.cx().is_cancelled());
    assert!(read(&*store).await["renewals"].as_u64().unwrap() >= 4);
    let e = Lease::acquire(&Cx::background(), store.clone(), "database", ttl).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
    guard.release(&Cx::background()).await.unwrap();
    let renewals = read(&*store).await["renewals"].clone();
    tokio::time::sleep(ttl).await;
    assert_eq!(read(&*store).await["renewals"], renewals, "renewed after its release");
}

#[tokio::test]
async fn one_that_was_taken_away_is_noticed_and_stays_lost() {
    let store = Arc::new(MemoryStore::new("stolen"));
    let ttl = Duration::from_millis(300);
    let guard = Lease::acquire(&Cx::background(), store.clone(), "database", ttl).await.unwrap();
    let mut record = read(&*store).await;
    record["nonce"] = "theirs".into();
    let cx = Cx::background();
    store.put(&cx, &key(), record.to_string().into(), Condition::Always).await.unwrap();
    tokio::time::timeout(ttl * 2, guard.cx().token().cancelled()).await.unwrap();
    let e = guard.check().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
    let e = guard.release(&cx).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
    assert_eq!(read(&*store).await["nonce"], "theirs", "the new holder's lease was touched");
}

#[tokio::test]
async fn a_store_that_fails_now_and_then_does_not_cost_the_lease() {
    let store = Arc::new(Faulty::new(MemoryStore::new("flaky")));
    let ttl = Duration::from_millis(600);
    let guard = Lease::acquire(&Cx::background(), store.clone(), "database", ttl).await.unwrap();
    // One renewal fails, the answer of the next is lost.
    let puts = store.calls("put");
    let store = Arc::new((*store).clone().on("put", puts + 1, Fault::Fail(ErrorKind::Unavailable)));
    let store = Arc::new((*store).clone().on("put", puts + 2, Fault::LoseAnswer));
    tokio::time::sleep(ttl * 3).await;
    guard.check().unwrap();
    assert!(store.calls("put") > puts + 3);
    guard.release(&Cx::background()).await.unwrap();
}

#[tokio::test]
async fn a_store_that_stays_away_costs_the_lease_in_time() {
    let store = Arc::new(Faulty::new(MemoryStore::new("away")));
    let ttl = Duration::from_millis(600);
    let guard = Lease::acquire(&Cx::background(), store.clone(), "database", ttl).await.unwrap();
    store.break_now("put", Fault::Stall);
    tokio::time::sleep(ttl + Duration::from_millis(50)).await;
    // By now another may begin soon: ours must know already.
    assert_eq!(guard.check().unwrap_err().kind(), ErrorKind::Conflict);
    tokio::time::timeout(ttl, guard.cx().token().cancelled()).await.unwrap();
}

#[tokio::test]
async fn an_acquisition_whose_answer_is_lost_is_found_out() {
    let store = Arc::new(Faulty::new(MemoryStore::new("lost")));
    let first = Lease::acquire(&Cx::background(), store.clone(), "other", TTL).await.unwrap();
    let next = store.calls("put") + 1;
    let store = Arc::new((*store).clone().on("put", next, Fault::LoseAnswer));
    let guard = Lease::acquire(&Cx::background(), store.clone(), "database", TTL).await.unwrap();
    guard.check().unwrap();
    guard.release(&Cx::background()).await.unwrap();
    drop(first);
}

#[tokio::test]
async fn a_broken_record_is_named_and_not_overwritten() {
    let (store, clock) = timed();
    store.put(&Cx::background(), &key(), "{ half".into(), Condition::Absent).await.unwrap();
    let e = acquire(&store, &clock).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Corrupt);
    assert!(e.help().unwrap().contains("locks/database.json"));
    assert_eq!(store.bytes(&key()).unwrap(), "{ half");
}

#[tokio::test]
async fn a_directory_holds_leases_too() {
    let place = tempfile::tempdir().unwrap();
    let store = Arc::new(DirectoryStore::open("local", place.path()).unwrap());
    let ttl = Duration::from_millis(300);
    let guard = Lease::acquire(&Cx::background(), store.clone(), "database", ttl).await.unwrap();
    let e = Lease::acquire(&Cx::background(), store.clone(), "database", ttl).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
    tokio::time::sleep(ttl * 3).await;
    guard.check().unwrap();
    guard.release(&Cx::background()).await.unwrap();
    Lease::acquire(&Cx::background(), store, "database", ttl).await.unwrap();
}

/// Ignores what it is told to ignore and says that all is well, as some S3-compatible servers do.
#[derive(Debug)]
struct Careless {
    inner: MemoryStore,
    absent: bool,
    matches: bool,
}

impl Careless {
    fn ignoring(absent: bool, matches: bool) -> Arc<Self> {
        Arc::new(Self { inner: MemoryStore::new("careless"), absent, matches })
    }
}

#[async_trait]
impl BackupStore for Careless {
    fn info(&self) -> &StoreInfo {
        self.inner.info()
    }
    fn capabilities(&self) -> StoreCaps {
        self.inner.capabilities()
    }
    async fn create(&self, cx: &Cx, key: &ObjectKey, options: PutOptions) -> Result<Box<dyn ObjectWriter>> {
        self.inner.create(cx, key, options).await
    }
    async fn put(&self, cx: &Cx, key: &ObjectKey, body: Bytes, condition: Condition) -> Result<VersionTag> {
        let condition = match condition {
            Condition::Absent if self.absent => Condition::Always,
            Condition::Matches(_) if self.matches => Condition::Always,
            other => other,
        };
        self.inner.put(cx, key, body, condition).await
    }
    async fn get(&self, cx: &Cx, key: &ObjectKey, offset: u64) -> Result<Box<dyn ObjectReader>> {
        self.inner.get(cx, key, offset).await
    }
    async fn head(&self, cx: &Cx, key: &ObjectKey) -> Result<Option<ObjectMeta>> {
        self.inner.head(cx, key).await
    }
    async fn list(&self, cx: &Cx, prefix: &str) -> Result<Vec<ObjectMeta>> {
        self.inner.list(cx, prefix).await
    }
    async fn list_groups(&self, cx: &Cx, prefix: &str) -> Result<Vec<String>> {
        self.inner.list_groups(cx, prefix).await
    }
    async fn delete(&self, cx: &Cx, key: &ObjectKey) -> Result<()> {
        self.inner.delete(cx, key).await
    }
    async fn sweep(&self, cx: &Cx, before: DateTime<Utc>) -> Result<u64> {
        self.inner.sweep(cx, before).await
    }
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_found_out_and_holds_no_lease() {
    let cx = Cx::background();
    for (absent, matches, finding) in
        [(true, false, "If-None-Match"), (false, true, "If-Match"), (true, true, "If-None-Match")]
    {
        let store = Careless::ignoring(absent, matches);
        let seen = probe_conditional_put(&cx, &*store).await.unwrap();
        assert!(!seen.conditional_put, "{seen:?}");
        assert!(seen.can_write && seen.can_read && seen.can_delete && seen.overwrite, "{seen:?}");
        assert!(seen.findings.iter().any(|f| f.contains(finding)), "{seen:?}");
        assert_eq!(store.list(&cx, "").await.unwrap(), [], "the canary was left behind");
        let e = Lease::acquire(&cx, store.clone(), "database", TTL).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Unsupported);
        assert!(e.help().is_some());
        assert_eq!(store.head(&cx, &key()).await.unwrap(), None);
    }
}

#[tokio::test]
async fn an_honest_store_passes_the_probe() {
    let cx = Cx::background();
    let store = MemoryStore::new("honest");
    let seen = probe_conditional_put(&cx, &store).await.unwrap();
    assert!(seen.conditional_put && seen.can_write && seen.can_read && seen.can_delete && seen.overwrite);
    assert_eq!((seen.findings, seen.clock_skew_seconds), (vec![], 0));
    assert!(seen.latency < Duration::from_secs(1));
    assert_eq!(store.list(&cx, "").await.unwrap(), []);
}

#[tokio::test]
async fn what_is_forbidden_is_a_finding_and_what_is_down_an_error() {
    let cx = Cx::background();
    let denied = |method| Faulty::new(MemoryStore::new("x")).from(method, 1, Fault::Fail(ErrorKind::Denied));
    let seen = probe_conditional_put(&cx, &denied("put")).await.unwrap();
    assert!(!seen.can_write && !seen.conditional_put && !seen.findings.is_empty());
    let seen = probe_conditional_put(&cx, &denied("get")).await.unwrap();
    assert!(seen.can_write && !seen.can_read && seen.conditional_put);
    let seen = probe_conditional_put(&cx, &denied("delete")).await.unwrap();
    assert!(seen.can_write && !seen.can_delete && seen.conditional_put);
    let down = Faulty::new(MemoryStore::new("x")).from("put", 2, Fault::Fail(ErrorKind::Unavailable));
    assert_eq!(probe_conditional_put(&cx, &down).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(down.list(&cx, "").await.unwrap(), [], "the canary was left behind");
    let e = Lease::acquire(&cx, Arc::new(denied("put")), "database", TTL).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Denied);
}
