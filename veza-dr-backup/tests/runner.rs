//! The runner with sources and stores in memory: second attempts, recovery points, objects used again.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::Utc;
use veza_dr_backup::{
    BackupOptions, Encryption, RecoveryJob, Repository, RetentionPolicy, Selector, back_up, back_up_together, prune,
};
use veza_dr_core::{
    ArtifactSink, BackupCaps, BackupRequest, BackupStore, BackupTarget, Clock, ComponentName, Condition, Cx, ErrorKind,
    Manifest, Report, Result, SystemClock, TargetInfo, Verdict,
    manifest::{Codec, ConsistencyPoint, ContentRecord, SourceIdentity},
    testing::{Fault, Faulty, MemoryBackupTarget, MemoryDatabase, MemoryStore},
};

fn repository(name: &str) -> (MemoryStore, Repository) {
    let store = MemoryStore::new(name);
    (store.clone(), Repository::new(Arc::new(store), Encryption::default()))
}

fn memory(component: &str) -> Faulty<MemoryBackupTarget> {
    Faulty::new(MemoryBackupTarget::new(component, MemoryDatabase::with_keys(10)).expect("a step of the scene"))
}

async fn ids(repository: &Repository, component: &str) -> Vec<String> {
    let name: ComponentName = component.parse().expect("a step of the scene");
    repository
        .list(&Cx::background(), &name)
        .await
        .expect("a step of the scene")
        .iter()
        .map(|e| e.id.to_string())
        .collect()
}

#[tokio::test]
async fn a_source_in_its_own_way_is_read_anew_and_leaves_one_backup() {
    let (_, repository) = repository("one");
    let target = memory("db").on("create", 1, Fault::Fail(ErrorKind::Conflict));
    let report = back_up(&Cx::background(), &target, std::slice::from_ref(&repository), &BackupOptions::default())
        .await
        .unwrap();
    assert_eq!(target.calls("create"), 2);
    assert_eq!(ids(&repository, "db").await, [report.id.to_string()]);
}

#[tokio::test]
async fn it_gives_up_after_three_attempts_and_at_once_for_anything_else() {
    for (kind, calls) in [(ErrorKind::Conflict, 3), (ErrorKind::Denied, 1)] {
        let (_, repository) = repository("one");
        let target = memory("db").from("create", 1, Fault::Fail(kind));
        let e = back_up(&Cx::background(), &target, std::slice::from_ref(&repository), &BackupOptions::default())
            .await
            .unwrap_err();
        assert_eq!((e.kind(), target.calls("create")), (kind, calls));
        assert!(ids(&repository, "db").await.is_empty());
    }
}

#[tokio::test]
async fn components_backed_up_together_name_each_other() {
    let (_, repository) = repository("one");
    let job = |name: &str, healthy: bool| {
        let target = memory(name);
        let target = if healthy { target } else { target.from("create", 1, Fault::Fail(ErrorKind::Denied)) };
        RecoveryJob {
            target: Arc::new(target),
            repositories: vec![repository.clone()],
            options: BackupOptions::default(),
        }
    };
    let results = back_up_together(&Cx::background(), vec![job("a", true), job("b", false), job("c", true)]).await;
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    let stored = |name: &'static str| {
        let repository = repository.clone();
        async move { repository.manifest(&Cx::background(), &name.parse().unwrap(), &Selector::Latest).await.unwrap() }
    };
    let (a, c) = (stored("a").await, stored("c").await);
    let point = a.recovery_point.clone().unwrap();
    assert_eq!(Some(&point), c.recovery_point.as_ref());
    let members: Vec<_> = point.members.iter().map(|m| (m.component.as_str(), m.backup.clone(), m.at)).collect();
    assert_eq!(
        members,
        [
            ("a", Some(a.id.clone()), Some(a.consistency.at)),
            ("b", None, None),
            ("c", Some(c.id.clone()), Some(c.consistency.at)),
        ]
    );
    let apart = (a.consistency.at - c.consistency.at).num_milliseconds().unsigned_abs();
    assert_eq!(point.skew_ms, apart);
}

#[tokio::test]
async fn one_alone_makes_no_recovery_point() {
    let (_, repository) = repository("one");
    let options = BackupOptions::default();
    let job = RecoveryJob { target: Arc::new(memory("a")), repositories: vec![repository.clone()], options };
    back_up_together(&Cx::background(), vec![job]).await.remove(0).unwrap();
    let manifest = repository.manifest(&Cx::background(), &"a".parse().unwrap(), &Selector::Latest).await.unwrap();
    assert_eq!(manifest.recovery_point, None);
}

/// Stores one object and takes `part-0` of whatever base it is offered.
#[derive(Debug)]
struct Building(TargetInfo);

impl Building {
    fn new() -> Self {
        let component = "parts".parse().expect("a step of the scene");
        Self(TargetInfo { component, engine: "building".into(), location: "here".into() })
    }
}

#[async_trait]
impl BackupTarget for Building {
    fn info(&self) -> &TargetInfo {
        &self.0
    }

    fn capabilities(&self) -> BackupCaps {
        BackupCaps::new(true, false).with_incremental()
    }

    async fn create(&self, cx: &Cx, request: BackupRequest, out: Arc<dyn ArtifactSink>) -> Result<Manifest> {
        let number = request.base.as_ref().map_or(0, |b| b.manifest.contents[0].rows + 1);
        if number > 0 {
            let record = out.reuse(cx, "part-0").await?;
            assert!(record.stored_in.is_some());
        }
        let mut part = out.create(cx, &format!("part-{number}"), None, None).await?;
        part.write(Bytes::from(format!("content {number}"))).await?;
        part.finish().await?;
        let consistency = ConsistencyPoint { at: Utc::now(), lsn: None, snapshot: None };
        let source = SourceIdentity::default();
        let mut manifest = Manifest::new(request.id, self.0.component.clone(), "building", source, consistency);
        manifest.contents.push(ContentRecord { name: "all".into(), rows: number, digest: None });
        Ok(manifest)
    }

    async fn check(&self, _: &Cx) -> Result<Report> {
        Ok(Report::default())
    }

    fn recipe(&self, _: &Manifest) -> String {
        String::new()
    }
}

async fn build(repositories: &[Repository]) -> Result<Manifest> {
    let report = back_up(&Cx::background(), &Building::new(), repositories, &BackupOptions::default()).await?;
    report.ensure_complete()?;
    Ok(report.manifest().expect("a step of the scene").clone())
}

#[tokio::test]
async fn objects_of_the_first_backup_are_found_from_the_third() {
    let (_, repository) = repository("one");
    let repositories = [repository.clone()];
    let first = build(&repositories).await.unwrap();
    build(&repositories).await.unwrap();
    let third = build(&repositories).await.unwrap();
    let parts: Vec<_> = third.objects.iter().map(|o| (o.name.as_str(), o.stored_in.as_ref())).collect();
    assert_eq!(parts, [("part-0.zst", Some(&first.id)), ("part-2.zst", None)]);
    assert!(third.added_bytes() < third.stored_bytes());
    let found = veza_dr_backup::verify_objects(&Cx::background(), &repository, &third).await.unwrap();
    assert_eq!((found.verdict(), found.equal), (Verdict::Equal, 2));
}

#[tokio::test]
async fn a_store_that_lacks_the_base_or_a_part_of_it_makes_the_next_backup_stand_alone() {
    let (store, one) = repository("one");
    let (_, two) = repository("two");
    let first = build(std::slice::from_ref(&one)).await.unwrap();
    // The second store never saw the first backup.
    let second = build(&[one.clone(), two.clone()]).await.unwrap();
    assert!(second.objects.iter().all(|o| o.stored_in.is_none()));
    assert_eq!(second.contents[0].rows, 0);
    let third = build(&[one.clone(), two.clone()]).await.unwrap();
    assert_eq!(third.objects[0].stored_in.as_ref(), Some(&second.id));
    // A manifest that somebody removed does not take along what later backups need.
    let manifest = format!("parts/{}/manifest.json", second.id);
    veza_dr_core::BackupStore::delete(&store, &Cx::background(), &manifest.parse().unwrap()).await.unwrap();
    build(std::slice::from_ref(&one)).await.unwrap();
    let found = veza_dr_backup::verify_objects(&Cx::background(), &one, &third).await.unwrap();
    assert_eq!(found.verdict(), Verdict::Equal);
    // What the newer ones need is gone: the oldest is still whole.
    let gone = format!("parts/{}/part-0.zst", second.id);
    veza_dr_core::BackupStore::delete(&store, &Cx::background(), &gone.parse().unwrap()).await.unwrap();
    let fourth = build(std::slice::from_ref(&one)).await.unwrap();
    assert_eq!(fourth.objects[0].stored_in.as_ref(), Some(&first.id));
}

async fn put_proof(store: &MemoryStore, manifest: &Manifest, name: &str) {
    let key = format!("parts/{}/verified/{name}.json", manifest.id).parse().expect("a step of the scene");
    let (cx, body) = (Cx::background(), Bytes::from_static(b"{}"));
    BackupStore::put(store, &cx, &key, body, Condition::Absent).await.expect("a step of the scene");
}

fn stands_alone(manifest: &Manifest) -> bool {
    manifest.objects.iter().all(|o| o.stored_in.is_none())
}

#[tokio::test]
async fn nothing_is_built_on_what_a_verification_found_different() {
    let ((store, one), (other, two)) = (repository("one"), repository("two"));
    let both = [one, two];
    let first = build(&both).await.unwrap();
    let second = build(&both).await.unwrap();
    assert_eq!(second.lenders().next(), Some(&first.id));
    // The one that lends to the newest, and in one store alone.
    put_proof(&other, &first, "20261101T000000000Z-objects-different").await;
    let third = build(&both).await.unwrap();
    assert!(stands_alone(&third));
    assert!(!stands_alone(&build(&both).await.unwrap()));
    let fourth = both[0].manifest(&Cx::background(), &"parts".parse().unwrap(), &Selector::Latest).await.unwrap();
    // The newest; that its objects are whole does not lift it, that it restores does.
    put_proof(&store, &fourth, "20261101T000000000Z-restore-different").await;
    put_proof(&store, &fourth, "20261101T000001000Z-objects-equal").await;
    assert!(stands_alone(&build(&both).await.unwrap()));
    let sixth = build(&both).await.unwrap();
    put_proof(&store, &sixth, "20261101T000000000Z-restore-different").await;
    put_proof(&store, &sixth, "20261101T000001000Z-restore-equal").await;
    assert!(!stands_alone(&build(&both).await.unwrap()));
}

#[tokio::test]
async fn a_backup_for_other_readers_stands_alone() {
    let store = MemoryStore::new("one");
    let key = || age::x25519::Identity::generate().to_public().to_string();
    let (a, b) = (key(), key());
    let to = |recipients: &[&String]| {
        [Repository::new(Arc::new(store.clone()), Encryption::to_recipients(recipients).expect("recipients"))]
    };
    let built = |repositories: [Repository; 1]| async move { build(&repositories).await.unwrap() };
    let plain = built(to(&[])).await;
    assert_eq!(plain.encrypted_for.as_deref(), Some("none"));
    // On, another key, one more, the same in another order, off.
    for (recipients, alone) in [
        (vec![&a], true),
        (vec![&a], false),
        (vec![&b], true),
        (vec![&b, &a], true),
        (vec![&a, &b], false),
        (vec![], true),
        (vec![], false),
    ] {
        let made = built(to(&recipients)).await;
        assert_eq!(stands_alone(&made), alone, "{recipients:?}");
        let encrypted = |o: &veza_dr_core::manifest::ObjectRecord| o.codec.contains(&Codec::Age);
        assert!(made.objects.iter().all(|o| encrypted(o) != recipients.is_empty()), "{recipients:?}");
    }
    // Those written before this was recorded are built upon only where nothing is encrypted.
    let forget = async |manifest: &Manifest| {
        let mut old = manifest.clone();
        old.encrypted_for = None;
        let key = format!("parts/{}/manifest.json", old.id).parse().unwrap();
        let json = old.to_json().unwrap().into();
        BackupStore::put(&store, &Cx::background(), &key, json, Condition::Always).await.unwrap();
    };
    forget(&built(to(&[])).await).await;
    let made = built(to(&[])).await;
    assert!(!stands_alone(&made));
    forget(&made).await;
    let made = built(to(&[&a])).await;
    assert!(stands_alone(&made));
    forget(&made).await;
    let made = built(to(&[&a])).await;
    assert!(stands_alone(&made));
    forget(&made).await;
    assert!(stands_alone(&built(to(&[])).await));
}

#[tokio::test]
async fn what_a_backup_that_the_store_kept_is_made_of_stays() {
    let (store, repository) = repository("one");
    let one = std::slice::from_ref(&repository);
    let first = build(one).await.unwrap();
    let second = build(one).await.unwrap();
    put_proof(&store, &second, "20261101T000000000Z-restore-different").await;
    let third = build(one).await.unwrap();
    assert!(!stands_alone(&second) && stands_alone(&third));
    let policy = RetentionPolicy::default().with_keep_last(1).with_max_delete_percent(100);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let component: ComponentName = "parts".parse().unwrap();
    let locked = Faulty::over(Arc::new(store.clone()) as Arc<dyn BackupStore>);
    let locked =
        Repository::new(Arc::new(locked.on("delete", 1, Fault::Fail(ErrorKind::Denied))), Encryption::default());
    let report = prune(&Cx::background(), &locked, &component, &policy, &clock).await.unwrap();
    assert_eq!((report.deleted.len(), report.refused.len()), (0, 1), "{report:?}");
    for whole in [&first, &second, &third] {
        let found = veza_dr_backup::verify_objects(&Cx::background(), &repository, whole).await.unwrap();
        assert_eq!(found.verdict(), Verdict::Equal);
    }
    let report = prune(&Cx::background(), &repository, &component, &policy, &clock).await.unwrap();
    assert_eq!(report.deleted, [first.id, second.id]);
}

#[tokio::test]
async fn writes_abandoned_a_week_ago_are_freed_by_the_next_backup() {
    let folder = tempfile::tempdir().unwrap();
    let store = veza_dr_backup::store::DirectoryStore::open("local", folder.path()).unwrap();
    let repository = Repository::new(Arc::new(store), Encryption::default());
    back_up(&Cx::background(), &memory("db"), std::slice::from_ref(&repository), &BackupOptions::default())
        .await
        .unwrap();
    let day = std::time::Duration::from_secs(24 * 3600);
    let mut kept = Vec::new();
    for days in [2, 9] {
        let path = folder.path().join(format!(".tmp/left{days}.part"));
        let file = std::fs::File::create(&path).unwrap();
        file.set_modified(std::time::SystemTime::now() - day * days).unwrap();
        kept.push(path);
    }
    back_up(&Cx::background(), &memory("db"), &[repository], &BackupOptions::default()).await.unwrap();
    assert_eq!(kept.iter().map(|p| p.exists()).collect::<Vec<_>>(), [true, false]);
}
