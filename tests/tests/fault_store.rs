//! The store fails, at every single call of a backup, and is full: a backup is published whole or not at all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use veza_dr_backup::{BackupOptions, BackupReport, back_up, postgres::PostgresTarget};
use veza_dr_core::{
    BackupStore, Cx, ErrorKind, Result,
    testing::{Fault, Faulty},
};
use veza_dr_tests::{
    product::Depot,
    scene::{Scene, repository_over, unfinished},
    tripwire::{TripwireProxy, When},
    victim::{self, Deed, Victim},
};

#[tokio::test]
#[ignore = "not a test of its own: the others start it in a process of its own"]
async fn victim() {
    victim::run().await.unwrap();
}

const METHODS: [&str; 8] = ["put", "create", "write", "finish", "list", "head", "get", "delete"];

/// A backup to `store`, waiting for a lease that a failed release left to run out.
async fn backup(scene: &Scene, store: Faulty<dyn BackupStore>) -> Result<BackupReport> {
    let target = PostgresTarget::new(Depot::component(), scene.config())?;
    let options = BackupOptions::default().with_lease_ttl(Duration::from_secs(2));
    let repository = repository_over(store.clone());
    let started = Instant::now();
    loop {
        let outcome = back_up(&Cx::background(), &target, std::slice::from_ref(&repository), &options).await;
        match outcome {
            Err(e) if e.to_string().contains("is held by") && started.elapsed() < Duration::from_secs(3) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            other => return other.and_then(|report| report.ensure_complete().map(|()| report)),
        }
    }
}

/// Plays `fault` at every call of `methods`; returns how many backups are published in the end.
async fn sweep(scene: &Scene, methods: &[&str], fault: Fault, kind: ErrorKind) -> usize {
    let store = scene.depot.repository.store();
    // Not the first one: that finds neither a lease nor earlier backups to read.
    scene.backup().await;
    let whole = Faulty::over(Arc::clone(store));
    backup(scene, whole.clone()).await.unwrap();
    let mut published = scene.depot.complete().await.len();
    for method in methods {
        let calls = whole.calls(method);
        assert!(calls > 0 || *method == "delete", "{method} is never called");
        for nth in 1..=calls {
            let at = format!("{fault:?} at call {nth} of {calls} of {method}");
            let outcome = backup(scene, Faulty::over(Arc::clone(store)).on(method, nth, fault)).await;
            let now = scene.depot.complete().await.len();
            match outcome {
                Ok(_) => assert_eq!(now, published + 1, "{at}: success, but nothing is published"),
                Err(e) => {
                    assert_eq!(now, published, "{at}: an error, but a backup is published");
                    assert!(e.kind() == kind || e.kind() == ErrorKind::Partial, "{at}: {e:#?}");
                    assert!(e.chain().contains(method), "{at}: {}", e.chain());
                }
            }
            published = now;
        }
    }
    published
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_full_at_any_call() {
    let scene = Scene::with(Default::default(), 200).await;
    let published = sweep(&scene, &METHODS, Fault::Fail(ErrorKind::Full), ErrorKind::Full).await;
    scene.assert_store_is_sound(published).await;
    scene.assert_all_works().await;
    assert_eq!(unfinished(&scene.depot.repository).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_answer_is_lost_at_any_call() {
    let scene = Scene::with(Default::default(), 200).await;
    let published = sweep(&scene, &METHODS, Fault::LoseAnswer, ErrorKind::Unavailable).await;
    scene.assert_store_is_sound(published).await;
    scene.assert_all_works().await;
    assert_eq!(unfinished(&scene.depot.repository).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_even_delete_keeps_earlier_backups_whole() {
    let scene = Scene::with(Default::default(), 200).await;
    scene.backup().await;
    let store = scene.depot.repository.store();
    for nth in [1, 4, 7] {
        let broken = Faulty::over(Arc::clone(store)).from("finish", nth, Fault::Fail(ErrorKind::Full)).from(
            "delete",
            1,
            Fault::Fail(ErrorKind::Unavailable),
        );
        let error = backup(&scene, broken).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full, "{error:#?}");
        scene.assert_store_is_sound(1).await;
    }
    assert!(!unfinished(&scene.depot.repository).await.is_empty());
    scene.assert_all_works().await;
    // The next run swept what the broken ones could not delete.
    assert_eq!(unfinished(&scene.depot.repository).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_damaged_on_their_way_into_the_store_are_found() {
    let scene = Scene::with(Default::default(), 200).await;
    let store = scene.depot.repository.store();
    let broken = Faulty::over(Arc::clone(store)).on("write", 3, Fault::Truncate);
    let error = backup(&scene, broken).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:#?}");
    assert_eq!(scene.depot.complete().await, Vec::<String>::new());
    // One bit keeps the size: only reading back tells, which is what verify is for.
    let broken = Faulty::over(Arc::clone(store)).on("write", 3, Fault::Corrupt);
    let report = backup(&scene, broken).await.unwrap();
    let manifest = report.manifest().unwrap();
    let found = veza_dr_backup::verify_objects(&Cx::background(), &scene.depot.repository, manifest).await.unwrap();
    assert_eq!(found.verdict(), veza_dr_core::Verdict::Different);
    assert_eq!(found.findings.len(), 1, "{:#?}", found.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_store_ends_with_the_deadline() {
    let scene = Scene::with(Default::default(), 200).await;
    for method in ["create", "finish", "put", "list"] {
        let store = Faulty::over(Arc::clone(scene.depot.repository.store())).on(method, 2, Fault::Stall);
        let target = PostgresTarget::new(Depot::component(), scene.config()).unwrap();
        let deadline = std::time::SystemTime::now() + Duration::from_secs(2);
        let cx = Cx::background().with_deadline(deadline);
        let started = Instant::now();
        let outcome = back_up(&cx, &target, &[repository_over(store)], &BackupOptions::default()).await;
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Cancelled, "{method}");
        // On a busy machine the deadline comes earlier in the work: what is told of it afterwards has 20 s.
        assert!(started.elapsed() < Duration::from_secs(30), "{method}: {:?}", started.elapsed());
        assert_eq!(scene.depot.complete().await, Vec::<String>::new());
    }
    scene.assert_sessions_end().await;
    scene.assert_all_works().await;
}

/// A real file system without room, in a mount namespace of the child's own.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up() {
    let mut scene = Scene::with(Default::default(), 8000).await;
    let place = scene.depot.path();
    let limit = tempfile::tempdir().unwrap();
    let script =
        "mount -t tmpfs -o size=$SIZE tmpfs \"$STORE\" && \"$@\"; ended=$?; cp -r \"$STORE\" \"$COPY\"; exit $ended";
    let mut outcomes = Vec::new();
    for size in ["64k", "128k", "200k", "64m"] {
        let copy = limit.path().join(size);
        let ended = Victim::start_in(
            &scene,
            scene.server.port(),
            Deed::Backup,
            &["unshare", "-rm", "sh", "-c", script, "sh"],
            &[("SIZE", size), ("STORE", place.to_str().unwrap()), ("COPY", copy.to_str().unwrap())],
        )
        .ended()
        .await;
        scene.depot.reopen(&copy);
        let published = scene.depot.complete().await.len();
        assert_eq!(published, usize::from(ended.success()), "{size}: {ended}");
        scene.assert_store_is_sound(published).await;
        assert_eq!(unfinished(&scene.depot.repository).await, Vec::<String>::new());
        outcomes.push(ended.success());
    }
    assert_eq!(outcomes, [false, false, false, true]);
}

/// A lease that could not be given back is free once its time is up, and a third more.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_was_not_released_runs_out() {
    let scene = Scene::with(Default::default(), 200).await;
    let proxy = TripwireProxy::start(scene.server.port()).await.unwrap();
    let wire = proxy.wire("COPY ", 1, When::Before);
    let store = Faulty::over(Arc::clone(scene.depot.repository.store()));
    let target = PostgresTarget::new(Depot::component(), scene.via(proxy.port())).unwrap();
    let ttl = Duration::from_millis(900);
    let options = BackupOptions::default().with_lease_ttl(ttl);
    let repository = repository_over(store.clone());
    let cx = Cx::background();
    let run = back_up(&cx, &target, std::slice::from_ref(&repository), &options);
    let strike = async {
        wire.tripped().await;
        // From here on neither renewal nor release reaches the store.
        store.break_now("put", Fault::Fail(ErrorKind::Unavailable));
        Instant::now()
    };
    let (outcome, broken) = tokio::join!(run, strike);
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Conflict);
    wire.release();
    assert!(broken.elapsed() < Duration::from_secs(10), "{:?}", broken.elapsed());
    scene.assert_store_is_sound(0).await;
    scene.assert_sessions_end().await;
    store.heal();
    let again = backup(&scene, store).await;
    again.unwrap_or_else(|e| panic!("{e:#?}"));
    scene.assert_store_is_sound(1).await;
}
