//! The status as it is read from stores: attempts on record wherever a store answers, a store that cannot be asked is
//! unknown and never empty, damage is named, proofs count, and what cannot change is read once.

use std::{sync::Arc, time::Duration};

use veza_dr_backup::{
    BackupOptions, Encryption, Level, Repository, Selector, back_up,
    status::{AttemptRecord, ComponentQuery, StatusReader, record_attempt},
};
use veza_dr_core::{
    Clock, ComponentName, Cx, ErrorKind, Rpo, SystemClock, Verification,
    status::{ComponentStatus, Protection},
    testing::{Fault, Faulty, MemoryBackupTarget, MemoryDatabase, MemoryStore},
};

type Store = Faulty<MemoryStore>;

fn scene() -> (Vec<Store>, Vec<Repository>, MemoryBackupTarget) {
    let stores: Vec<Store> = ["a", "b"].map(|n| Faulty::new(MemoryStore::new(n))).into();
    let repositories = stores.iter().map(|s| Repository::new(Arc::new(s.clone()), Encryption::default())).collect();
    let target = MemoryBackupTarget::new("db", MemoryDatabase::with_keys(10)).expect("a target");
    (stores, repositories, target)
}

fn name() -> ComponentName {
    "db".parse().expect("a name")
}

async fn read(reader: &StatusReader, repositories: &[Repository]) -> ComponentStatus {
    let mut query = ComponentQuery::new(name(), "memory")
        .every(Duration::from_secs(60), Duration::from_secs(60))
        .with_rpo(Rpo(Duration::from_secs(3600)));
    query.repositories = repositories.to_vec();
    let mut status = reader.read(&Cx::background(), &SystemClock, &[query]).await.expect("a status");
    status.components.remove(0)
}

#[tokio::test]
async fn protection_grows_with_backups_and_proofs() {
    let (_, repositories, target) = scene();
    let (cx, reader) = (Cx::background(), StatusReader::new());
    let status = read(&reader, &repositories).await;
    assert_eq!((status.protection, status.on_schedule), (Protection::Broken, Some(false)));
    let report = back_up(&cx, &target, &repositories, &BackupOptions::default()).await.unwrap();
    let status = read(&reader, &repositories).await;
    assert_eq!((status.protection, status.on_schedule), (Protection::Weak, Some(true)));
    assert_eq!(status.reasons, ["no restore was ever proven"]);
    let manifest = repositories[0].manifest(&cx, &name(), &Selector::Latest).await.unwrap();
    let mut equal = Verification::default();
    equal.pass(10);
    repositories[0].record_proof(&cx, &manifest, Level::Restore, &equal).await.unwrap();
    let status = read(&reader, &repositories).await;
    assert_eq!((status.protection, status.reasons.as_slice()), (Protection::Good, [].as_slice()));
    let a = &status.stores[0];
    assert_eq!(a.last_proven_restore.as_ref().unwrap().backup, report.id);
    assert_eq!((a.backups, a.stored_bytes), (1, manifest.stored_bytes()));
    // A later look that finds a difference takes the proof back.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let mut different = Verification::default();
    different.differs("keys", "one is missing");
    repositories[0].record_proof(&cx, &manifest, Level::Objects, &different).await.unwrap();
    let status = read(&reader, &repositories).await;
    assert_eq!(status.protection, Protection::Weak);
    assert!(status.stores[0].last_proven_restore.is_none());
    let found = format!("a: the last verification (objects) of {} found differences", report.id);
    assert_eq!(status.reasons, [found, "no restore was ever proven".to_owned()]);
    // What looks as closely and finds none is right again: the restore stays proven.
    tokio::time::sleep(Duration::from_millis(5)).await;
    repositories[0].record_proof(&cx, &manifest, Level::Objects, &equal).await.unwrap();
    let status = read(&reader, &repositories).await;
    assert_eq!((status.protection, status.reasons.as_slice()), (Protection::Good, [].as_slice()));
}

#[tokio::test]
async fn a_store_that_failed_is_told_of_by_the_others_and_one_that_is_away_is_unknown() {
    let (stores, repositories, target) = scene();
    let (cx, reader) = (Cx::background(), StatusReader::new());
    let options = BackupOptions::default();
    let first = back_up(&cx, &target, &repositories, &options).await;
    let record = AttemptRecord::of(SystemClock.now(), first.as_ref().unwrap());
    assert!(record_attempt(&repositories, &name(), &record).await.is_empty());
    // From here on b takes nothing: neither the second backup nor the record of it.
    let failing = stores[1].clone().from("put", stores[1].calls("put") + 1, Fault::Fail(ErrorKind::Full));
    let second = back_up(&cx, &target, &repositories, &options).await.unwrap();
    let record = AttemptRecord::of(SystemClock.now(), &second);
    let lost = record_attempt(&repositories, &name(), &record).await;
    assert_eq!(lost.iter().map(|(s, _)| s.as_str()).collect::<Vec<_>>(), ["b"]);
    let status = read(&reader, &repositories).await;
    assert!(status.stores[0].last_attempt.as_ref().unwrap().error.is_none());
    let attempt = status.stores[1].last_attempt.as_ref().unwrap();
    assert!(attempt.error.is_some() && attempt.at == record.at, "told by a: {attempt:?}");
    assert!(status.reasons[0].starts_with("b: the last attempt failed: "), "{:?}", status.reasons);
    assert_eq!(status.protection, Protection::Weak);
    failing.heal();
    let away = stores[1].clone().from("list", stores[1].calls("list") + 1, Fault::Fail(ErrorKind::Unavailable));
    let status = read(&reader, &repositories).await;
    let b = &status.stores[1];
    assert!(b.unknown.is_some() && b.last_success.is_none() && b.on_schedule.is_none(), "{b:?}");
    assert_eq!((status.protection, status.on_schedule), (Protection::Weak, None), "a protects still");
    let status = read(&reader, &repositories[1..]).await;
    assert_eq!(status.protection, Protection::Unknown, "it may hold all that is needed");
    away.heal();
    assert_eq!(read(&reader, &repositories[1..]).await.stores[0].backups, 1);
}

#[tokio::test]
async fn what_cannot_change_is_read_once_and_damage_is_named() {
    let (stores, repositories, target) = scene();
    let (cx, reader) = (Cx::background(), StatusReader::new());
    let one = &repositories[..1];
    for _ in 0..3 {
        back_up(&cx, &target, one, &BackupOptions::default()).await.unwrap();
    }
    assert_eq!(read(&reader, one).await.stores[0].backups, 3);
    let gets = stores[0].calls("get");
    assert_eq!(read(&reader, one).await.stores[0].backups, 3);
    let again = stores[0].calls("get") - gets;
    assert!(again <= 2, "the manifests were read again: {again}");
    // The newest manifest rots; a reader that begins today sees the one before it, and says so.
    let entries = one[0].list(&cx, &name()).await.unwrap();
    let newest = &entries.last().unwrap().id;
    let rotten = stores[0].clone().from("next", stores[0].calls("next") + 1, Fault::Truncate);
    let status = read(&StatusReader::new(), one).await;
    assert_eq!(status.stores[0].backups, 0, "{status:?}");
    assert!(status.reasons.iter().any(|r| r.starts_with(&format!("a: backup {newest}: "))), "{:?}", status.reasons);
    assert_eq!(status.protection, Protection::Broken);
    rotten.heal();
    assert_eq!(read(&reader, one).await.stores[0].last_success.as_ref().unwrap().id, *newest);
}

#[tokio::test]
async fn a_backup_under_way_is_seen_by_its_lease() {
    let (_, repositories, _) = scene();
    let store = repositories[0].store().clone();
    let cx = Cx::background();
    let guard = veza_dr_backup::store::Lease::acquire(&cx, store, "db", Duration::from_secs(60)).await.unwrap();
    assert!(read(&StatusReader::new(), &repositories).await.running);
    guard.release(&cx).await.unwrap();
    assert!(!read(&StatusReader::new(), &repositories).await.running);
}
