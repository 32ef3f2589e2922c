//! A backup killed with SIGKILL at every call to the store and at every step on the server: nothing half is ever
//! published, and the backup that follows need not wait, sweeps what is left, and completes.

use veza_dr_tests::{
    scene::{Scene, unfinished},
    tripwire::{TripwireProxy, When},
    victim::{self, Deed, Victim},
};

#[tokio::test]
#[ignore = "not a test of its own: the others start it in a process of its own, to kill that"]
async fn victim() {
    victim::run().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_call_to_the_store() {
    let scene = Scene::with(Default::default(), 300).await;
    let (mut published, mut killed, mut left_something) = (0, 0, 0);
    let mut call = 0;
    loop {
        call += 1;
        // The manifest is the commit: killed just before it, nothing is published; just after, it is.
        let mut finished = false;
        for ended in [false, true] {
            let status = Victim::start(&scene, scene.server.port(), Deed::BackupUntil { call, ended }).ended().await;
            let now = scene.depot.complete().await.len();
            if status.success() {
                finished = true;
                published += 1;
                assert_eq!(now, published);
                break;
            }
            killed += 1;
            assert!(now == published || now == published + 1, "{now} published, {published} before");
            published = now;
            left_something += unfinished(&scene.depot.repository).await.len();
        }
        if finished {
            break;
        }
    }
    assert!(killed > 40 && left_something > 30, "killed {killed} times, {left_something} runs left something");
    // The dead holder's lease of ten minutes is not waited for.
    scene.backup().await;
    scene.assert_store_is_sound(published + 1).await;
    assert_eq!(unfinished(&scene.depot.repository).await, Vec::<String>::new());
    scene.assert_sessions_end().await;
    scene.assert_all_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_step_on_the_server() {
    let scene = Scene::with(Default::default(), 300).await;
    let before = scene.state().await;
    for (text, nth, when) in [
        ("LOCK TABLE ONLY", 1, When::After),
        ("pg_export_snapshot", 1, When::After),
        ("SET TRANSACTION SNAPSHOT", 1, When::After),
        ("COPY ", 2, When::Before),
        ("COMMIT", 1, When::Before),
        ("COMMIT", 1, When::After),
    ] {
        let proxy = TripwireProxy::start(scene.server.port()).await.unwrap();
        let wire = proxy.wire(text, nth, when);
        let victim = Victim::start(&scene, proxy.port(), Deed::Backup);
        wire.tripped().await;
        victim.kill9().await;
        proxy.cut();
        assert_eq!(scene.depot.complete().await, Vec::<String>::new(), "{when:?} {text}");
        scene.assert_sessions_end().await;
    }
    scene.backup().await;
    scene.assert_store_is_sound(1).await;
    assert_eq!(unfinished(&scene.depot.repository).await, Vec::<String>::new());
    before.assert_same(&scene.state().await);
}
