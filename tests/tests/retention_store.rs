//! Retention on a real folder: cut off at any call, refused by the store, beside files of others, under a restore.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, TimeDelta, Utc};
use veza_dr_backup::{
    BackupOptions, Encryption, KeepReason, PruneReport, Repository, RetentionPolicy, RetentionVerdict, back_up,
    hold_for_restore, plan_prune, prune,
    store::{DirectoryStore, Lease},
    verify_objects,
};
use veza_dr_core::{
    BackupId, BackupStore, Clock, ComponentName, Cx, ErrorKind, Result, Verdict,
    testing::{Fault, Faulty, ManualClock, MemoryBackupTarget, MemoryDatabase},
};

fn component() -> ComponentName {
    "cache".parse().unwrap()
}

fn noon() -> DateTime<Utc> {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn keep(count: u32) -> RetentionPolicy {
    RetentionPolicy::default().with_keep_last(count).with_max_delete_percent(100)
}

fn open(folder: &Path) -> Arc<dyn BackupStore> {
    Arc::new(DirectoryStore::open("local", folder).unwrap())
}

fn over(store: Arc<dyn BackupStore>) -> Repository {
    Repository::new(store, Encryption::default())
}

/// So many backups, an hour apart, the last at noon; a proof beside the oldest.
async fn filled(folder: &Path, count: i64) -> Vec<BackupId> {
    let (cx, repository) = (Cx::background(), over(open(folder)));
    let target = MemoryBackupTarget::new("cache", MemoryDatabase::with_keys(30)).unwrap();
    let mut ids = Vec::new();
    for n in 0..count {
        let clock = ManualClock::at(noon() - TimeDelta::hours(count - 1 - n));
        let options = BackupOptions::default().with_clock(Arc::new(clock));
        let report = back_up(&cx, &target, std::slice::from_ref(&repository), &options).await.unwrap();
        ids.push(report.id);
    }
    ids
}

async fn pruned(store: Arc<dyn BackupStore>, policy: &RetentionPolicy) -> Result<PruneReport> {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(noon()));
    prune(&Cx::background(), &over(store), &component(), policy, &clock).await
}

async fn listed(folder: &Path) -> Vec<BackupId> {
    let entries = over(open(folder)).list(&Cx::background(), &component()).await.unwrap();
    entries.into_iter().map(|entry| entry.id).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|e| e.unwrap()) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("cache")).unwrap().map(|e| e.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|p| p.is_dir()).collect();
    found.sort();
    found
}

/// The holder is gone for an hour.
fn age_leases(folder: &Path) {
    for lease in std::fs::read_dir(folder.join("locks")).unwrap() {
        let file = std::fs::File::options().append(true).open(lease.unwrap().path()).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    }
}

/// Everything in the catalogue is whole, down to the last byte.
async fn assert_whole(folder: &Path, at: &str) {
    let (cx, repository) = (Cx::background(), over(open(folder)));
    for entry in repository.list(&cx, &component()).await.unwrap() {
        let manifest = entry.manifest().unwrap_or_else(|| panic!("{at}: {} is {:?}", entry.id, entry.state));
        repository.check_listed(&cx, manifest).await.unwrap_or_else(|e| panic!("{at}: {}", e.chain()));
        let found = verify_objects(&cx, &repository, manifest).await.unwrap();
        assert_eq!(found.verdict(), Verdict::Equal, "{at}: {}", entry.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_at_any_call_each_backup_is_whole_or_gone_and_the_next_prune_ends_it() {
    let place = tempfile::tempdir().unwrap();
    let full = place.path().join("full");
    let ids = filled(&full, 5).await;
    let whole = place.path().join("whole");
    copy(&full, &whole);
    let counting = Faulty::over(open(&whole));
    let report = pruned(Arc::new(counting.clone()), &keep(2)).await.unwrap();
    assert_eq!(report.deleted, ids[..3]);
    assert!(report.freed_bytes > 0 && report.refused.is_empty() && report.foreign.is_empty());
    assert_eq!(folders(&whole).len(), 2);
    let mut tried = 0;
    for method in ["put", "get", "head", "list", "delete"] {
        for fault in [Fault::Fail(ErrorKind::Unavailable), Fault::LoseAnswer] {
            for nth in 1..=counting.calls(method) {
                let at = format!("{fault:?} at call {nth} of {method}");
                let folder = place.path().join("cut");
                copy(&full, &folder);
                let store: Arc<dyn BackupStore> = Arc::new(Faulty::over(open(&folder)).on(method, nth, fault));
                let cut = pruned(store, &keep(2)).await;
                if let Err(e) = &cut {
                    assert_eq!(e.kind(), ErrorKind::Unavailable, "{at}: {e:#?}");
                }
                assert_whole(&folder, &at).await;
                assert!(listed(&folder).await.ends_with(&ids[3..]), "{at}");
                age_leases(&folder);
                pruned(open(&folder), &keep(2)).await.unwrap_or_else(|e| panic!("{at}: {}", e.chain()));
                assert_eq!(listed(&folder).await, ids[3..], "{at}");
                assert_eq!(folders(&folder).len(), 2, "{at}: {:?}", folders(&folder));
                assert_whole(&folder, &at).await;
                std::fs::remove_dir_all(&folder).unwrap();
                tried += 1;
            }
        }
    }
    assert!(tried > 50, "only {tried} calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_stays_and_is_told_each_time() {
    let place = tempfile::tempdir().unwrap();
    let ids = filled(place.path(), 3).await;
    let note = place.path().join(format!("cache/{}/notes/by-hand.txt", ids[0]));
    std::fs::create_dir_all(note.parent().unwrap()).unwrap();
    std::fs::write(&note, "keep me").unwrap();
    for _ in 0..2 {
        let report = pruned(open(place.path()), &keep(1)).await.unwrap();
        assert_eq!(report.foreign, [format!("cache/{}/notes/by-hand.txt", ids[0])]);
        assert!(report.deleted.contains(&ids[0]));
    }
    assert_eq!(listed(place.path()).await, ids[2..]);
    // The next backup sweeps dead runs, and this is none.
    let made = filled(place.path(), 1).await;
    assert_eq!(std::fs::read_to_string(&note).unwrap(), "keep me");
    assert_eq!(listed(place.path()).await.len(), 1 + made.len());
    assert_eq!(folders(place.path()).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_to_delete_is_named_and_no_failure() {
    let place = tempfile::tempdir().unwrap();
    let ids = filled(place.path(), 3).await;
    let locked = Faulty::over(open(place.path())).from("delete", 1, Fault::Fail(ErrorKind::Denied));
    let report = pruned(Arc::new(locked), &keep(1)).await.unwrap();
    assert_eq!((report.deleted.len(), report.refused.len()), (0, 2));
    assert!(report.refused.iter().all(|r| r.key.ends_with("/manifest.json")), "{:?}", report.refused);
    assert_eq!(listed(place.path()).await, ids);
    assert_whole(place.path(), "refused").await;
    // One manifest goes, the rest is refused: gone from the catalogue, and the objects are named.
    let half = Faulty::over(open(place.path())).from("delete", 2, Fault::Fail(ErrorKind::Denied));
    let report = pruned(Arc::new(half), &keep(1)).await.unwrap();
    assert_eq!(report.deleted, ids[1..2]);
    assert!(report.refused.iter().any(|r| r.key.starts_with(&format!("cache/{}/keys-", ids[1]))));
    assert_eq!(listed(place.path()).await, [ids[0].clone(), ids[2].clone()]);
    let report = pruned(open(place.path()), &keep(1)).await.unwrap();
    assert_eq!((report.deleted, report.refused.len()), (ids[..2].to_vec(), 0));
    assert_eq!(folders(place.path()).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_restore_reads_stays_until_it_lets_go() {
    let place = tempfile::tempdir().unwrap();
    let ids = filled(place.path(), 4).await;
    let (cx, repository) = (Cx::background(), over(open(place.path())));
    let entries = repository.list(&cx, &component()).await.unwrap();
    let oldest = entries[0].manifest().unwrap();
    // Two restores of one backup hinder neither each other nor a backup.
    let first = hold_for_restore(&cx, &repository, oldest).await.unwrap();
    let second = hold_for_restore(&cx, &repository, oldest).await.unwrap();
    let plan = plan_prune(&cx, &repository, &component(), &keep(1), noon()).await.unwrap();
    assert_eq!(plan.decisions[0].verdict, RetentionVerdict::Keep(vec![KeepReason::Restoring]));
    first.release(&cx).await.unwrap();
    let report = pruned(open(place.path()), &keep(1)).await.unwrap();
    assert_eq!(report.deleted, ids[1..3]);
    second.release(&cx).await.unwrap();
    let report = pruned(open(place.path()), &keep(1)).await.unwrap();
    assert_eq!(report.deleted, ids[..1]);
    // Too late.
    let e = hold_for_restore(&cx, &repository, oldest).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound, "{e:#?}");
    // Neither releases nor refusals leave marks behind.
    let left: Vec<_> = std::fs::read_dir(place.path().join("locks")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["cache.json"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_died_holds_nothing_for_long() {
    let place = tempfile::tempdir().unwrap();
    filled(place.path(), 3).await;
    let (cx, repository) = (Cx::background(), over(open(place.path())));
    let entries = repository.list(&cx, &component()).await.unwrap();
    let hold = hold_for_restore(&cx, &repository, entries[0].manifest().unwrap()).await.unwrap();
    drop(hold);
    assert_eq!(pruned(open(place.path()), &keep(1)).await.unwrap().deleted.len(), 1);
    age_leases(place.path());
    assert_eq!(pruned(open(place.path()), &keep(1)).await.unwrap().deleted.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_waits_for_nobody_and_disturbs_no_backup() {
    let place = tempfile::tempdir().unwrap();
    let ids = filled(place.path(), 3).await;
    let (cx, ttl) = (Cx::background(), Duration::from_secs(60));
    let lease = Lease::acquire(&cx, open(place.path()), "cache", ttl).await.unwrap();
    let e = pruned(open(place.path()), &keep(1)).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e:#?}");
    assert_eq!(listed(place.path()).await, ids);
    lease.release(&cx).await.unwrap();
    assert_eq!(pruned(open(place.path()), &keep(1)).await.unwrap().deleted.len(), 2);
}
