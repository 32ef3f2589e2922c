//! Two runs at once, runs that are cancelled, targets that are occupied or change under a plan.

use std::sync::Arc;
use std::time::{Duration, Instant};

use veza_dr_core::{Cx, ErrorKind, RestoreRequest, RestoreTarget};
use veza_dr_restore::postgres::PostgresRestore;
use veza_dr_tests::{
    postgres_server::PgOptions,
    product::Depot,
    scene::{LEDGER, Scene, unfinished},
    tripwire::{TripwireProxy, When},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_two_backups_is_told_who_runs() {
    let scene = Scene::new().await;
    let proxy = TripwireProxy::start(scene.server.port()).await.unwrap();
    let via = scene.via(proxy.port());
    let wire = proxy.wire("COPY ", 1, When::Before);
    let second = async {
        wire.tripped().await;
        let error = scene.depot.backup(&scene.config()).await.unwrap_err();
        wire.release();
        error
    };
    let (first, error) = tokio::join!(scene.depot.backup(&via), second);
    first.unwrap_or_else(|e| panic!("the first is not disturbed: {e:#?}"));
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:#?}");
    let me = format!("process {} on ", std::process::id());
    assert!(error.chain().contains(&me) && error.help().is_some(), "{error:#?}");
    scene.assert_store_is_sound(1).await;
    scene.backup().await;
    scene.assert_store_is_sound(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_two_restores_is_refused_and_a_backup_meanwhile_works() {
    let scene = Scene::new().await;
    scene.backup().await;
    let backed_up = scene.state().await;
    scene.move_on().await;
    let moved_on = scene.state().await;
    let proxy = TripwireProxy::start(scene.server.port()).await.unwrap();
    let via = scene.via(proxy.port());
    let wire = proxy.wire("FROM STDIN", 3, When::Before);
    let others = async {
        wire.tripped().await;
        let error = scene.depot.restore_in_place(&scene.config()).await.unwrap_err();
        let component = Depot::component();
        let target = PostgresRestore::new(component, scene.config()).unwrap();
        let rollback = target.rollback(&Cx::background()).await.unwrap_err();
        assert_eq!(rollback.kind(), ErrorKind::Conflict, "{rollback:#?}");
        // Not the manifest that the restore under way was planned with: a newer one.
        scene.backup().await;
        wire.release();
        error
    };
    let (first, error) = tokio::join!(scene.depot.restore_in_place(&via), others);
    first.unwrap_or_else(|e| panic!("the first is not disturbed: {e:#?}"));
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:#?}");
    assert!(error.chain().contains("under way") && error.help().is_some(), "{error:#?}");
    backed_up.assert_same(&scene.state().await);
    scene.assert_store_is_sound(2).await;
    // The backup that was taken meanwhile shows the database as it then was.
    scene.restore().await;
    moved_on.assert_same(&scene.state().await);
    assert_eq!(scene.leftovers().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_backup_ends_soon_and_leaves_no_trace() {
    let scene = Scene::new().await;
    for (text, nth) in
        [("LOCK TABLE ONLY", 1), ("pg_export_snapshot", 1), ("COPY ", 1), ("COPY ", 4), ("LOCK TABLE public.", 1)]
    {
        let proxy = TripwireProxy::start(scene.server.port()).await.unwrap();
        let via = scene.via(proxy.port());
        let wire = proxy.wire(text, nth, When::Before);
        let cx = Cx::background();
        let cancel = async {
            wire.tripped().await;
            cx.cancel();
            Instant::now()
        };
        let (outcome, cancelled) = tokio::join!(scene.depot.backup_with(&cx, &via), cancel);
        assert!(cancelled.elapsed() < Duration::from_secs(3), "{:?} at {text}", cancelled.elapsed());
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Cancelled);
        assert_eq!(unfinished(&scene.depot.repository).await, Vec::<String>::new(), "at {text}");
        proxy.cut();
        scene.assert_sessions_end().await;
        assert!(
            !scene.depot.files().iter().any(|(name, _)| name.starts_with("database/")),
            "{:?}",
            scene.depot.files()
        );
    }
    // The lease was given back: this one need not wait a minute for it.
    let started = Instant::now();
    scene.backup().await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    scene.assert_store_is_sound(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_restore_ends_soon_and_can_be_taken_up_again() {
    let scene = Scene::new().await;
    scene.backup().await;
    let backed_up = scene.state().await;
    scene.move_on().await;
    let moved_on = scene.state().await;
    for (text, nth) in [
        ("CREATE DATABASE", 1),
        ("CREATE TABLE public.", 2),
        ("FROM STDIN", 3),
        ("ADD CONSTRAINT", 1),
        ("RENAME TO", 1),
    ] {
        let proxy = TripwireProxy::start(scene.server.port()).await.unwrap();
        let via = scene.via(proxy.port());
        let wire = proxy.wire(text, nth, When::Before);
        let (cx, request) = (Cx::background(), RestoreRequest::in_place());
        let cancel = async {
            wire.tripped().await;
            cx.cancel();
            Instant::now()
        };
        let (outcome, cancelled) = tokio::join!(
            async {
                let outcome = scene.depot.restore_with(&cx, &via, &request).await;
                (outcome, Instant::now())
            },
            cancel
        );
        let took = outcome.1.duration_since(cancelled);
        assert!(took < Duration::from_secs(5), "{took:?} at {text}");
        assert_eq!(outcome.0.unwrap_err().kind(), ErrorKind::Cancelled, "at {text}");
        proxy.cut();
        scene.assert_sessions_end().await;
        moved_on.assert_same(&scene.state().await);
    }
    // A proof in a scratch place removes that place, also when it is cancelled.
    let proxy = TripwireProxy::start(scene.server.port()).await.unwrap();
    let via = scene.via(proxy.port());
    let wire = proxy.wire("FROM STDIN", 2, When::Before);
    let (cx, request) = (Cx::background(), RestoreRequest::scratch());
    let cancel = async {
        wire.tripped().await;
        cx.cancel();
        wire.release();
    };
    let (outcome, ()) = tokio::join!(scene.depot.restore_with(&cx, &via, &request), cancel);
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(scene.leftovers().await.iter().all(|name| !name.contains("scratch")), "{:?}", scene.leftovers().await);
    scene.restore().await;
    backed_up.assert_same(&scene.state().await);
    assert_eq!(scene.leftovers().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_occupied_target_is_a_blocker_and_stays_as_it_is() {
    let scene = Scene::new().await;
    scene.backup().await;
    scene.server.create_database("occupied").await.unwrap();
    scene.server.sql("occupied", "CREATE TABLE mine AS SELECT 1 AS a").await.unwrap();
    let before = scene.state_of("occupied").await;
    let request = RestoreRequest::in_place().to("occupied");
    let manifest = scene.depot.latest().await.unwrap();
    let target = PostgresRestore::new(Depot::component(), scene.config()).unwrap();
    let plan = target.plan(&Cx::background(), &request, &manifest).await.unwrap();
    assert!(plan.blockers.iter().any(|b| b.contains("occupied") && b.contains("not empty")), "{:?}", plan.blockers);
    let error = scene.depot.restore(&scene.config(), &request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:#?}");
    assert!(error.chain().contains("not empty"), "{}", error.chain());
    before.assert_same(&scene.state_of("occupied").await);
    assert_eq!(scene.leftovers().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_changed_since_the_plan_is_a_conflict() {
    let scene = Scene::new().await;
    scene.backup().await;
    scene.server.create_database("empty").await.unwrap();
    let (cx, manifest) = (Cx::background(), scene.depot.latest().await.unwrap());
    let target = PostgresRestore::new(Depot::component(), scene.config()).unwrap();
    let data = || Arc::new(scene.depot.repository.open(&manifest));
    let plan = target.plan(&cx, &RestoreRequest::in_place().to("empty"), &manifest).await.unwrap();
    assert_eq!(plan.blockers, Vec::<String>::new());
    scene.server.sql("empty", "CREATE TABLE late (a int)").await.unwrap();
    let before = scene.state_of("empty").await;
    let error = target.apply(&cx, plan, &manifest, data()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:#?}");
    assert!(error.help().is_some_and(|h| h.contains("plan")), "{error:#?}");
    before.assert_same(&scene.state_of("empty").await);
    let plan = target.plan(&cx, &RestoreRequest::in_place(), &manifest).await.unwrap();
    scene.server.drop_database(LEDGER).await.unwrap();
    let error = target.apply(&cx, plan, &manifest, data()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:#?}");
    scene.restore().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_is_named_and_nothing_is_swapped() {
    let scene = Scene::with(PgOptions::default().with("max_prepared_transactions", 5), 600).await;
    scene.backup().await;
    let backed_up = scene.state().await;
    scene.move_on().await;
    let moved_on = scene.state().await;
    scene.server.sql(LEDGER, "BEGIN; INSERT INTO empty_one VALUES (1); PREPARE TRANSACTION 'half done'").await.unwrap();
    let error = scene.depot.restore_in_place(&scene.config()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:#?}");
    assert!(error.chain().contains("'half done'"), "{}", error.chain());
    assert!(error.help().is_some_and(|h| h.contains("ROLLBACK PREPARED")), "{error:#?}");
    moved_on.assert_same(&scene.state().await);
    scene.server.sql(LEDGER, "ROLLBACK PREPARED 'half done'").await.unwrap();
    scene.restore().await;
    backed_up.assert_same(&scene.state().await);
    assert_eq!(scene.leftovers().await, Vec::<String>::new());
}

/// Clients that reconnect in a loop, some idle and some busy, see the old database or the new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_clients_sees_the_old_or_the_new_and_hardly_a_gap() {
    let scene = Scene::new().await;
    scene.backup().await;
    scene.move_on().await;
    let idle = scene.server.client(LEDGER).await.unwrap();
    let busy = scene.server.client(LEDGER).await.unwrap();
    let busy = tokio::spawn(async move { busy.batch_execute("SELECT pg_sleep(120)").await });
    let stop = Cx::background();
    let client = async {
        let (mut last, mut gap, mut seen) = (Instant::now(), Duration::ZERO, Vec::new());
        while !stop.is_cancelled() {
            // The later table and the later row are both there, or neither is.
            let sql = "SELECT to_regclass('later') IS NOT NULL, (SELECT count(*) FROM page_left WHERE n = -1), \
                 (SELECT count(*) FROM page_right WHERE n = -1)";
            let Ok(client) = scene.server.client(LEDGER).await else { continue };
            let Ok(row) = client.query_one(sql, &[]).await else { continue };
            let facts: (bool, i64, i64) = (row.get(0), row.get(1), row.get(2));
            gap = gap.max(last.elapsed());
            last = Instant::now();
            if seen.last() != Some(&facts) {
                seen.push(facts);
            }
        }
        (gap, seen)
    };
    let restore = async {
        let report = scene.restore().await;
        // Long enough that each client has met the new database.
        tokio::time::sleep(Duration::from_millis(500)).await;
        stop.cancel();
        report
    };
    let (report, one, two, three) =
        tokio::join!(restore, client, async { clients(&scene, &stop).await }, async { clients(&scene, &stop).await });
    let (gap, seen) = one;
    assert_eq!(seen, [(true, 1, 1), (false, 0, 0)]);
    assert!(gap < Duration::from_secs(3), "nobody could work for {gap:?}");
    assert!(two + three > 10, "the storm was none");
    assert!(report.replaced.is_some());
    assert!(idle.query("SELECT 1", &[]).await.is_err(), "a session of the old database lives on");
    assert!(busy.await.unwrap().is_err());
    assert_eq!(scene.leftovers().await, Vec::<String>::new());
}

/// Connects again and again; says how often it worked.
async fn clients(scene: &Scene, stop: &Cx) -> usize {
    let mut connected = 0;
    while !stop.is_cancelled() {
        if let Ok(client) = scene.server.client(LEDGER).await {
            connected += usize::from(client.query("SELECT count(*) FROM transfer", &[]).await.is_ok());
        }
    }
    connected
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_restore_of_everything_is_not_taken_for_one_of_a_table() {
    let scene = Scene::new().await;
    scene.backup().await;
    let whole = RestoreRequest::in_place().to("elsewhere");
    let one = whole.clone().only(["public.account".to_owned()]);
    scene.depot.restore(&scene.config(), &one).await.unwrap_or_else(|e| panic!("{e:#?}"));
    let alone = scene.state_of("elsewhere").await;
    scene.server.drop_database("elsewhere").await.unwrap();

    let proxy = TripwireProxy::start(scene.server.port()).await.unwrap();
    let via = scene.via(proxy.port());
    let wire = proxy.wire("FROM STDIN", 4, When::Before);
    let cut = async {
        wire.tripped().await;
        proxy.cut();
    };
    let (outcome, ()) = tokio::join!(scene.depot.restore(&via, &whole), cut);
    outcome.unwrap_err();
    scene.depot.restore(&scene.config(), &one).await.unwrap_or_else(|e| panic!("{e:#?}"));
    alone.assert_same(&scene.state_of("elsewhere").await);
    assert_eq!(scene.leftovers().await, Vec::<String>::new());
}
