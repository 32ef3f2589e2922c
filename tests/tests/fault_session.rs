//! Single sessions and child processes die while a backup or restore is under way.

use std::path::Path;
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use veza_dr_core::ErrorKind;
use veza_dr_tests::{
    scene::{Scene, unfinished},
    tripwire::{TripwireProxy, When, Wire},
};

/// Ends the sessions with this application name; says how many there were.
async fn terminate(scene: &Scene, name: &str) -> usize {
    let sql = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}'");
    scene.server.sql("postgres", &sql).await.unwrap().lines().count()
}

/// Client tools of this very process that connect through `port`.
fn tools(name: &str, port: u16) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        let read =
            |file: &str| std::fs::read(Path::new("/proc").join(entry.file_name()).join(file)).unwrap_or_default();
        let environment = read("environ");
        let mine = environment.split(|b| *b == 0).any(|v| v == format!("PGPORT={port}").as_bytes());
        if mine && read("comm").starts_with(name.as_bytes()) {
            found.push(pid);
        }
    }
    found
}

async fn assert_backup_fails(scene: &Scene, proxy: &TripwireProxy, wire: &Arc<Wire>, act: impl AsyncFnOnce()) {
    let via = scene.via(proxy.port());
    let backup = scene.depot.backup(&via);
    let strike = async {
        wire.tripped().await;
        act().await;
        wire.release();
    };
    let (outcome, ()) = tokio::join!(backup, strike);
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:#?}");
    assert!(error.help().is_some(), "{error:#?}");
    scene.assert_store_is_sound(0).await;
    assert_eq!(unfinished(&scene.depot.repository).await, Vec::<String>::new());
    scene.assert_sessions_end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_a_backup_are_terminated() {
    let scene = Scene::new().await;
    let before = scene.state().await;
    for (victim, text, nth) in
        [("veza-dr backup", "COPY ", 2), ("veza-dr backup stream", "COPY ", 2), ("pg_dump", "LOCK TABLE public.", 1)]
    {
        let proxy = TripwireProxy::start(scene.server.port()).await.unwrap();
        let wire = proxy.wire(text, nth, When::Before);
        assert_backup_fails(&scene, &proxy, &wire, async || {
            assert!(terminate(&scene, victim).await > 0, "no session of {victim}");
        })
        .await;
    }
    before.assert_same(&scene.state().await);
    scene.assert_all_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_an_administrator_cancels_is_not_our_cancellation() {
    let scene = Scene::with(Default::default(), 20_000).await;
    let proxy = TripwireProxy::start(scene.server.port()).await.unwrap();
    // Held between the server and us, the statement is still under way there: its rows do not fit in between.
    let wire = proxy.wire("COPY ", 1, When::After);
    assert_backup_fails(&scene, &proxy, &wire, async || {
        let sql = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY %' AND state = 'active'";
        scene.server.sql("postgres", sql).await.unwrap();
        // Whether it was caught in the act or between two, its session does not survive it.
        terminate(&scene, "veza-dr backup stream").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_pg_dump_fails_the_backup() {
    let scene = Scene::new().await;
    let proxy = TripwireProxy::start(scene.server.port()).await.unwrap();
    let wire = proxy.wire("LOCK TABLE public.", 1, When::Before);
    assert_backup_fails(&scene, &proxy, &wire, async || {
        let found = tools("pg_dump", proxy.port());
        assert!(!found.is_empty(), "no pg_dump runs");
        kill_process(found[0], Signal::KILL).unwrap();
    })
    .await;
    scene.assert_all_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_tools_of_a_restore_are_terminated() {
    let scene = Scene::new().await;
    scene.backup().await;
    let backed_up = scene.state().await;
    scene.move_on().await;
    let moved_on = scene.state().await;
    for (victim, text, nth) in [
        ("veza-dr restore", "CREATE TABLE public.", 2),
        ("veza-dr restore stream", "FROM STDIN", 2),
        ("veza-dr restore", "ADD CONSTRAINT", 1),
        ("pg_restore", "ADD CONSTRAINT", 2),
        ("killed pg_restore", "ADD CONSTRAINT", 1),
    ] {
        let proxy = TripwireProxy::start(scene.server.port()).await.unwrap();
        let via = scene.via(proxy.port());
        let wire = proxy.wire(text, nth, When::Before);
        let restore = scene.depot.restore_in_place(&via);
        let strike = async {
            wire.tripped().await;
            if victim == "killed pg_restore" {
                for pid in tools("pg_restore", proxy.port()) {
                    let _ = kill_process(pid, Signal::KILL);
                }
            } else {
                assert!(terminate(&scene, victim).await > 0, "no session of {victim}");
            }
            wire.release();
        };
        let (outcome, ()) = tokio::join!(restore, strike);
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{victim} at {text}: {error:#?}");
        moved_on.assert_same(&scene.state().await);
    }
    scene.restore().await;
    backed_up.assert_same(&scene.state().await);
    assert_eq!(scene.leftovers().await, Vec::<String>::new());
}
