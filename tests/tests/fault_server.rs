//! The server refuses, is away, or goes away: the run fails with the right class, and the next one succeeds.

use std::time::{Duration, Instant};

use veza_dr_core::{Effect, Error, ErrorKind, RestoreRequest, SecretString};
use veza_dr_tests::{
    postgres_server::PgOptions,
    product::config,
    scene::{LEDGER, Scene, unfinished},
    tcp_proxy::TcpProxy,
    tripwire::{TripwireProxy, When},
};

/// What every failed run must be: of this kind, with something to do about it, and the world as it was.
async fn assert_failed(scene: &Scene, error: &Error, kind: ErrorKind, published: usize) {
    assert_eq!(error.kind(), kind, "{error:#?}");
    assert!(error.help().is_some(), "no help: {error:#?}");
    scene.assert_store_is_sound(published).await;
    assert_eq!(unfinished(&scene.depot.repository).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_a_class_and_advice() {
    let scene = Scene::new().await;
    let right = scene.config();
    scene.backup().await;
    let before = scene.state().await;
    let wrong_password = right.clone().with_password(SecretString::from("wrong".to_owned()));
    let closed = veza_dr_tests::ports::free_port().unwrap();
    let down =
        veza_dr_backup::postgres::PostgresConfig::new(format!("postgres://postgres@127.0.0.1:{closed}/{LEDGER}"));
    for (config, kind, word) in [
        (wrong_password, ErrorKind::Denied, "password"),
        (config(&scene.server, "no_such_database"), ErrorKind::NotFound, "no_such_database"),
        (down, ErrorKind::Unavailable, "127.0.0.1"),
    ] {
        let error = scene.depot.backup(&config).await.unwrap_err();
        assert_failed(&scene, &error, kind, 1).await;
        assert!(error.chain().contains(word), "{}", error.chain());
        assert!(!format!("{error:#?}").contains(scene.server.password()));
        // A database that does not exist is one that a restore makes.
        if kind != ErrorKind::NotFound {
            let error = scene.depot.restore(&config, &RestoreRequest::in_place()).await.unwrap_err();
            assert_failed(&scene, &error, kind, 1).await;
        }
    }
    before.assert_same(&scene.state().await);
    assert_eq!(scene.leftovers().await, Vec::<String>::new());
    scene.assert_all_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_cut_in_a_backup_publishes_nothing() {
    let scene = Scene::new().await;
    let proxy = TcpProxy::start(&format!("127.0.0.1:{}", scene.server.port())).await.unwrap();
    let via = scene.via(proxy.port());
    scene.depot.backup(&via).await.unwrap();
    let whole = proxy.bytes_from_server();
    for part in 0..8 {
        proxy.cut_after(whole * part / 8 + 10);
        let error = scene.depot.backup(&via).await.unwrap_err();
        assert_failed(&scene, &error, ErrorKind::Unavailable, 1).await;
    }
    scene.assert_sessions_end().await;
    proxy.cut_after(u64::MAX);
    scene.depot.backup(&via).await.unwrap();
    scene.assert_store_is_sound(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_cut_in_a_restore_leaves_the_live_database() {
    let scene = Scene::new().await;
    scene.backup().await;
    let backed_up = scene.state().await;
    scene.move_on().await;
    let moved_on = scene.state().await;
    let proxy = TripwireProxy::start(scene.server.port()).await.unwrap();
    for (text, nth) in [
        ("CREATE TABLE public.", 2),
        ("FROM STDIN", 1),
        ("FROM STDIN", 5),
        ("ADD CONSTRAINT", 1),
        ("ANALYZE", 1),
        ("DROP SCHEMA veza_dr", 1),
    ] {
        let wire = proxy.wire(text, nth, When::Before);
        let via = scene.via(proxy.port());
        let restore = scene.depot.restore_in_place(&via);
        let cut = async {
            wire.tripped().await;
            proxy.cut();
        };
        let (outcome, ()) = tokio::join!(restore, cut);
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "cut at {text}: {error:#?}");
        moved_on.assert_same(&scene.state().await);
    }
    scene.restore().await;
    backed_up.assert_same(&scene.state().await);
    assert_eq!(scene.leftovers().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_during_a_backup() {
    let mut scene = Scene::with(PgOptions::default().with("fsync", "on"), 2000).await;
    scene.backup().await;
    for (text, nth) in [("pg_export_snapshot", 1), ("COPY ", 3), ("COMMIT", 1)] {
        let proxy = TripwireProxy::start(scene.server.port()).await.unwrap();
        let via = scene.via(proxy.port());
        let wire = proxy.wire(text, nth, When::Before);
        let backup = scene.depot.backup(&via);
        let kill = async {
            wire.tripped().await;
            scene.server.kill9();
            wire.release();
            Instant::now()
        };
        let (outcome, killed) = tokio::join!(backup, kill);
        assert!(killed.elapsed() < Duration::from_secs(15), "hung for {:?}", killed.elapsed());
        assert_failed(&scene, &outcome.unwrap_err(), ErrorKind::Unavailable, 1).await;
        scene.server.restart().await.unwrap();
    }
    scene.assert_all_works().await;
    scene.assert_store_is_sound(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_during_a_restore() {
    let mut scene = Scene::with(PgOptions::default().with("fsync", "on"), 2000).await;
    scene.backup().await;
    let backed_up = scene.state().await;
    scene.move_on().await;
    // A crash makes sequences jump ahead, unless they are at rest.
    scene.server.sql("postgres", "CHECKPOINT").await.unwrap();
    let moved_on = scene.state().await;
    for (text, nth) in [("CREATE SCHEMA veza_dr", 1), ("FROM STDIN", 4), ("ADD CONSTRAINT", 1), ("RENAME TO", 1)] {
        let proxy = TripwireProxy::start(scene.server.port()).await.unwrap();
        let via = scene.via(proxy.port());
        let wire = proxy.wire(text, nth, When::Before);
        let restore = scene.depot.restore_in_place(&via);
        let kill = async {
            wire.tripped().await;
            scene.server.kill9();
            wire.release();
            Instant::now()
        };
        let (outcome, killed) = tokio::join!(restore, kill);
        assert!(killed.elapsed() < Duration::from_secs(15), "hung for {:?}", killed.elapsed());
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "at {text}: {error:#?}");
        scene.server.restart().await.unwrap();
        moved_on.assert_same(&scene.state().await);
    }
    scene.restore().await;
    backed_up.assert_same(&scene.state().await);
    assert_eq!(scene.leftovers().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lost_in_the_commit_of_the_swap_says_what_is_true() {
    let scene = Scene::new().await;
    scene.backup().await;
    let backed_up = scene.state().await;
    scene.move_on().await;
    let moved_on = scene.state().await;
    let proxy = TripwireProxy::start(scene.server.port()).await.unwrap();
    let via = scene.via(proxy.port());
    for (when, effect, expected) in
        [(When::Before, Effect::None, &moved_on), (When::After, Effect::Applied, &backed_up)]
    {
        let wire = proxy.wire("RENAME TO", 1, when);
        let restore = scene.depot.restore_in_place(&via);
        let cut = async {
            wire.tripped().await;
            proxy.cut();
        };
        let (outcome, ()) = tokio::join!(restore, cut);
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Unavailable, effect), "{error:#?}");
        assert!(error.help().is_some(), "{error:#?}");
        expected.assert_same(&scene.state().await);
    }
    scene.restore().await;
    backed_up.assert_same(&scene.state().await);
    assert_eq!(scene.leftovers().await, Vec::<String>::new());
}
