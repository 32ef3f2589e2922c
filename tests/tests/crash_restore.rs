//! A restore killed with SIGKILL at every boundary: the live database is entirely the old one or entirely the new one,
//! and the restore that follows completes and tidies up.

use veza_dr_tests::{
    oracle::DatabaseState,
    postgres_server::PgOptions,
    scene::Scene,
    tripwire::{TripwireProxy, When},
    victim::{self, Deed, Victim},
};

#[tokio::test]
#[ignore = "not a test of its own: the others start it in a process of its own, to kill that"]
async fn victim() {
    victim::run().await.unwrap();
}

/// A scene with a backup, and the states of the live database: as backed up, and as it is now.
async fn scene(transfers: u32) -> (Scene, DatabaseState, DatabaseState) {
    let scene = Scene::with(PgOptions::default(), transfers).await;
    scene.backup().await;
    let backed_up = scene.state().await;
    scene.move_on().await;
    let moved_on = scene.state().await;
    (scene, backed_up, moved_on)
}

/// Lets a restore run up to a statement and kills it there.
async fn kill_at(scene: &Scene, text: &str, nth: usize, when: When) {
    let proxy = TripwireProxy::start(scene.server.port()).await.unwrap();
    let wire = proxy.wire(text, nth, when);
    let victim = Victim::start(scene, proxy.port(), Deed::Restore);
    wire.tripped().await;
    victim.kill9().await;
    proxy.cut();
}

async fn killed_before_the_swap_is_begun_again(points: &[(&str, usize, When)]) {
    let (scene, backed_up, moved_on) = scene(600).await;
    for (text, nth, when) in points {
        kill_at(&scene, text, *nth, *when).await;
        moved_on.assert_same(&scene.state().await);
        scene.restore().await;
        backed_up.assert_same(&scene.state().await);
        assert_eq!(scene.leftovers().await, Vec::<String>::new(), "after {when:?} {text}");
        // The next round begins where this one did.
        scene.move_on().await;
        moved_on.assert_same(&scene.state().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_staging_database_is_made() {
    killed_before_the_swap_is_begun_again(&[
        ("CREATE DATABASE", 1, When::Before),
        ("CREATE DATABASE", 1, When::After),
        ("COMMENT ON DATABASE", 1, When::After),
        ("CREATE SCHEMA veza_dr", 1, When::After),
        ("CREATE TABLE public.", 3, When::After),
        ("phase VALUES ('loading')", 1, When::Before),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_once_the_rows_are_in() {
    killed_before_the_swap_is_begun_again(&[
        ("phase VALUES ('finishing')", 1, When::Before),
        ("phase VALUES ('finishing')", 1, When::After),
        ("ADD CONSTRAINT", 2, When::After),
        ("DROP SCHEMA veza_dr", 1, When::After),
        ("OWNER TO", 9, When::After),
        ("RENAME TO", 1, When::Before),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_just_after_the_swap_the_new_database_is_live() {
    let (scene, backed_up, _) = scene(600).await;
    kill_at(&scene, "RENAME TO", 1, When::After).await;
    backed_up.assert_same(&scene.state().await);
    assert_eq!(scene.leftovers().await, Vec::<String>::new());
    scene.move_on().await;
    scene.restore().await;
    backed_up.assert_same(&scene.state().await);
    assert_eq!(scene.leftovers().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_was_killed_goes_on_and_loads_nothing_twice() {
    let (scene, backed_up, moved_on) = scene(2000).await;
    let chunks = "SELECT count(*) FROM veza_dr.chunks";
    let mut loaded_before = 0;
    // Each round is killed a little further on.
    for _ in 0..3 {
        kill_at(&scene, "FROM STDIN", 3, When::Before).await;
        moved_on.assert_same(&scene.state().await);
        let staging = scene.leftovers().await;
        assert_eq!(staging.len(), 1, "{staging:?}");
        let loaded: usize = scene.server.sql(&staging[0], chunks).await.unwrap().parse().unwrap();
        assert!(loaded > loaded_before, "{loaded} objects are in, {loaded_before} were before");
        loaded_before = loaded;
    }
    let manifest = scene.depot.latest().await.unwrap();
    let all = manifest.objects.iter().filter(|o| o.name.starts_with("data/")).count();
    let proxy = TripwireProxy::start(scene.server.port()).await.unwrap();
    let copies = proxy.count("FROM STDIN");
    let report = scene.depot.restore_in_place(&scene.via(proxy.port())).await.unwrap();
    assert_eq!(copies.seen(), all - loaded_before, "of {all} objects, {loaded_before} were in already");
    let said = format!("going on after {loaded_before} objects");
    assert!(report.report.steps.iter().any(|s| s.detail.contains(&said)), "{:#?}", report.report);
    backed_up.assert_same(&scene.state().await);
    assert_eq!(scene.leftovers().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_killed_when_an_index_was_built_already_goes_on() {
    // Large enough that the index is built while other tables are loaded.
    let (scene, backed_up, moved_on) = scene(50_000).await;
    kill_at(&scene, "CREATE INDEX transfer_note", 1, When::After).await;
    moved_on.assert_same(&scene.state().await);
    let report = scene.restore().await;
    assert!(report.report.steps.iter().any(|s| s.detail.contains("going on")), "{:#?}", report.report);
    backed_up.assert_same(&scene.state().await);
    assert_eq!(scene.leftovers().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_restore_of_another_backup_is_tidied_up() {
    let (scene, backed_up, moved_on) = scene(600).await;
    kill_at(&scene, "FROM STDIN", 2, When::Before).await;
    scene.backup().await;
    scene.restore().await;
    moved_on.assert_same(&scene.state().await);
    assert_ne!(backed_up, moved_on);
    assert_eq!(scene.leftovers().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_load_through_a_partitioned_parent_is_still_proven() {
    let (scene, ..) = scene(600).await;
    // Which partition an enum value hashes to depends on its OID: rows go in through the parent.
    let sql = "CREATE TYPE hue AS ENUM ('red', 'green', 'blue', 'grey', 'pink', 'teal'); \
         CREATE TABLE paint (h hue, n int) PARTITION BY HASH (h); \
         CREATE TABLE paint_0 PARTITION OF paint FOR VALUES WITH (MODULUS 3, REMAINDER 0); \
         CREATE TABLE paint_1 PARTITION OF paint FOR VALUES WITH (MODULUS 3, REMAINDER 1); \
         CREATE TABLE paint_2 PARTITION OF paint FOR VALUES WITH (MODULUS 3, REMAINDER 2); \
         INSERT INTO paint SELECT (enum_range(NULL::hue))[1 + i % 6], i FROM generate_series(1, 60000) AS i";
    scene.server.sql("ledger", sql).await.unwrap();
    scene.backup().await;
    let backed_up = scene.state().await;
    // The partitions are the largest tables, so they are loaded first.
    kill_at(&scene, "FROM STDIN", 8, When::Before).await;
    let report = scene.restore().await;
    assert!(report.report.steps.iter().any(|s| s.detail.contains("going on")), "{:#?}", report.report);
    backed_up.assert_same(&scene.state().await);
    assert_eq!(scene.leftovers().await, Vec::<String>::new());
}
