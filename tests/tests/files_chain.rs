//! Backups that build on earlier ones: what is unchanged is neither read nor stored, and each comes back exactly.

use std::collections::BTreeSet;

use veza_dr_backup::store::DirectoryStore;
use veza_dr_backup::{BackupOptions, Encryption, Repository, back_up, files::FilesTarget};
use veza_dr_core::{Cx, ErrorKind, Manifest, RestoreRequest, RestoreTarget};
use veza_dr_tests::files_scene::{FilesScene, assert_same, python, settle};

fn owners(manifest: &Manifest) -> BTreeSet<String> {
    manifest.objects.iter().map(|o| manifest.owner(o).to_string()).collect()
}

fn fresh_objects(manifest: &Manifest) -> Vec<&str> {
    manifest.objects.iter().filter(|o| o.stored_in.is_none()).map(|o| o.name.as_str()).collect()
}

fn populate(scene: &FilesScene) {
    for i in 0..60 {
        scene.put(&format!("d{}/f{i:02}", i % 4), format!("content {i} ").repeat(3000));
    }
    scene.put("big", vec![9; 5 << 20]);
    std::fs::hard_link(scene.at("big"), scene.at("big-too")).unwrap();
    std::os::unix::fs::symlink("big", scene.at("link")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_tree_stores_and_reads_nothing() {
    let scene = FilesScene::hostile();
    let first = scene.backup().await;
    settle();
    // Nobody could read these now: a backup that tried would fail, were it not root's.
    let second = scene.backup().await;
    assert_eq!(FilesScene::detail(&second).read, 0);
    assert_eq!(fresh_objects(&second), [""; 0]);
    assert_eq!(second.added_bytes(), 0);
    assert_eq!(second.contents, first.contents);
    assert_eq!(owners(&second), BTreeSet::from([first.id.to_string()]));
    assert_same(&scene.restored(&first).await, &scene.restored(&second).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_change_is_found_and_each_backup_stays_what_it_was() {
    let scene = FilesScene::new();
    populate(&scene);
    settle();
    let mut history = vec![(scene.backup().await, scene.state())];
    let changes: [(&str, &str, u64); 9] = [
        ("add", "open('d1/added','w').write('new')", 1),
        ("same size", "s=os.stat('d0/f00'); f=open('d0/f00','r+b'); f.write(b'CONTENT'); f.close()", 1),
        (
            "same size, time put back",
            "s=os.stat('d0/f04'); f=open('d0/f04','r+b'); f.write(b'CONTENT'); f.close(); os.utime('d0/f04', ns=(s.st_atime_ns, s.st_mtime_ns))",
            1,
        ),
        ("time alone", "os.utime('d2/f02')", 1),
        ("mode alone", "os.chmod('d2/f06', 0o600)", 1),
        ("delete", "os.unlink('d3/f03'); os.unlink('d3/f07')", 0),
        ("rename", "os.rename('d1', 'moved')", 15 + 1),
        (
            "replace by another kind",
            "os.unlink('d2/f10'); os.mkdir('d2/f10'); os.unlink('link'); os.symlink('elsewhere','link')",
            0,
        ),
        ("unlink one name", "os.unlink('big')", 1),
    ];
    for (what, script, read) in changes {
        python(&format!("import os,sys\nos.chdir(sys.argv[1])\n{script}"), &scene.live());
        settle();
        let manifest = scene.backup().await;
        // What was left alive in a segment that died is read again later on.
        let more = if history.len() > 7 { 20 } else { 0 };
        let found = FilesScene::detail(&manifest).read;
        assert!((read..=read + more).contains(&found), "{what}: {found} files read");
        assert!(manifest.added_bytes() < 200_000, "{what}: {} bytes added", manifest.added_bytes());
        assert_same(&scene.state(), &scene.restored(&manifest).await);
        history.push((manifest, scene.state()));
    }
    // Each of them, in the end.
    for (manifest, state) in &history {
        assert_same(state, &scene.restored(manifest).await);
    }
    let names: Vec<_> = history.iter().flat_map(|(m, _)| fresh_objects(m)).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "names of objects are never used twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_that_are_mostly_dead_are_let_go_of() {
    let scene = FilesScene::new();
    for i in 0..10 {
        scene.put(&format!("f{i}"), vec![i; 50_000]);
    }
    settle();
    let first = scene.backup().await;
    for i in 0..7 {
        std::fs::remove_file(scene.at(&format!("f{i}"))).unwrap();
    }
    settle();
    let second = scene.backup().await;
    assert!(owners(&second).contains(first.id.as_str()), "three of ten live there");
    settle();
    let third = scene.backup().await;
    assert_eq!(FilesScene::detail(&third).read, 3);
    assert!(!owners(&third).contains(first.id.as_str()), "{:?}", third.objects);
    assert_same(&scene.state(), &scene.restored(&third).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_backup_is_made_when_it_is_due_or_the_base_is_damaged() {
    let scene = FilesScene::new();
    populate(&scene);
    settle();
    let config = scene.config().with_full_every(2);
    let mut increments = Vec::new();
    let mut last = None;
    for _ in 0..5 {
        let manifest = scene.backup_with(config.clone()).await.unwrap();
        increments.push(FilesScene::detail(&manifest).increments);
        last = Some(manifest);
    }
    assert_eq!(increments, [0, 1, 2, 0, 1]);
    let last = last.unwrap();
    let detail = FilesScene::detail(&last);
    let index = last.object(&detail.index).unwrap();
    let path = scene.dir.path().join("store/files").join(last.owner(index).as_str()).join(&index.name);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let full = scene.backup().await;
    assert_eq!(owners(&full), BTreeSet::from([full.id.to_string()]), "nothing damaged is built upon");
    assert_same(&scene.state(), &scene.restored(&full).await);
    // A base that lost a segment is not whole, and is passed over as well.
    let lost = full.objects.iter().find(|o| o.name.starts_with("segment-")).unwrap();
    std::fs::remove_file(scene.dir.path().join("store/files").join(full.id.as_str()).join(&lost.name)).unwrap();
    let after = scene.backup().await;
    assert!(!owners(&after).contains(full.id.as_str()));
    assert_same(&scene.state(), &scene.restored(&after).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_store_gets_all_of_it_too() {
    let scene = FilesScene::new();
    populate(&scene);
    settle();
    scene.backup().await;
    let other = DirectoryStore::open("other", scene.dir.path().join("other")).unwrap();
    let both = [scene.repository.clone(), Repository::new(std::sync::Arc::new(other), Encryption::default())];
    let target = FilesTarget::new(FilesScene::component(), scene.config()).unwrap();
    let report = back_up(&Cx::background(), &target, &both, &BackupOptions::default()).await.unwrap();
    report.ensure_complete().unwrap();
    let manifest = report.manifest().unwrap();
    assert_eq!(owners(manifest), BTreeSet::from([manifest.id.to_string()]), "the new store has no base");
    let again = back_up(&Cx::background(), &target, &both, &BackupOptions::default()).await.unwrap();
    assert_eq!(again.manifest().unwrap().added_bytes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn excluded_paths_leave_and_come_back() {
    let scene = FilesScene::new();
    populate(&scene);
    settle();
    scene.backup().await;
    let exclude = scene.config().excluding(["f1*".to_owned(), scene.at("d3").display().to_string()]);
    let without = scene.backup_with(exclude).await.unwrap();
    let state = scene.restored(&without).await;
    assert!(!state.contains("f11") && !state.contains("'d3") && state.contains("f20"), "{state}");
    assert!(FilesScene::detail(&without).excluded > 5);
    // What went aside and is in no backup is spoken of before it is let go of.
    let next = |done: veza_dr_core::RestoreReport| done.next.join("\n");
    let said = next(scene.restore_from(&without, &RestoreRequest::in_place()).await.unwrap());
    assert!(said.contains("what the backup excludes or skipped lies only in"), "{said}");
    scene.target().rollback(&Cx::background()).await.unwrap();
    let with = scene.backup().await;
    assert_same(&scene.state(), &scene.restored(&with).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_backups_at_once_are_one_and_a_conflict() {
    let scene = FilesScene::new();
    populate(&scene);
    let (a, b) = tokio::join!(scene.backup_with(scene.config()), scene.backup_with(scene.config()));
    let refused = match (a, b) {
        (Ok(_), Err(e)) | (Err(e), Ok(_)) => e,
        (Ok(_), Ok(_)) => return assert_same(&scene.state(), &scene.restored(&scene.latest().await.unwrap()).await),
        (Err(a), Err(b)) => panic!("{} and {}", a.chain(), b.chain()),
    };
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{}", refused.chain());
    assert_same(&scene.state(), &scene.restored(&scene.latest().await.unwrap()).await);
}
