//! Backups while other sessions truncate, alter, drop, create and index: each fails by name or shows one instant.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_postgres::Client;
use veza_dr_backup::Selector;
use veza_dr_core::{Cx, ErrorKind, Manifest, RestoreRequest, RestoreTarget, Verdict};
use veza_dr_restore::postgres::PostgresRestore;
use veza_dr_tests::{
    product::Depot,
    scene::{LEDGER, Scene},
};

/// What one writer does again and again; `{n}` is a number that grows.
const WRITERS: [&[&str]; 6] = [
    // The balances add up to 0 and are what the transfers say, in every instant.
    &[
        "BEGIN; INSERT INTO transfer (debit, credit, amount, note) VALUES (1 + {n} % 20, 1 + ({n} * 3 + 1) % 20, 5, 'storm {n}'); \
       UPDATE account SET balance = balance - 5 WHERE id = 1 + {n} % 20; \
       UPDATE account SET balance = balance + 5 WHERE id = 1 + ({n} * 3 + 1) % 20; COMMIT",
    ],
    // The two pages are the same in every instant.
    &[
        "BEGIN; TRUNCATE page_left, page_right; INSERT INTO page_left SELECT i, 'round {n}' FROM generate_series(1, {n} % 500) AS i; \
       INSERT INTO page_right SELECT * FROM page_left; COMMIT",
    ],
    // A rewrite of a table that is part of the first invariant.
    &["ALTER TABLE account ALTER balance TYPE numeric", "ALTER TABLE account ALTER balance TYPE bigint"],
    &[
        "CREATE TABLE storm_{n} AS SELECT i FROM generate_series(1, 50) AS i",
        "ALTER TABLE storm_{n} ADD b text DEFAULT 'x'",
        "DROP TABLE storm_{n}",
    ],
    &["CREATE INDEX storm_index ON transfer (amount)", "DROP INDEX storm_index"],
    &["ALTER TABLE transfer ADD extra int DEFAULT 7", "ALTER TABLE transfer DROP extra"],
];

async fn writer(client: Client, statements: &'static [&'static str], stop: Cx, done: Arc<AtomicUsize>) {
    // As a careful migration does: rather give up than queue every reader behind itself.
    client.batch_execute("SET lock_timeout = '400ms'").await.unwrap();
    let mut n = 0_u32;
    while !stop.is_cancelled() {
        n += 1;
        for statement in statements {
            let statement = statement.replace("{n}", &n.to_string());
            while !stop.is_cancelled() {
                if client.batch_execute(&statement).await.is_ok() {
                    done.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                // Timed out behind a backup, or in a deadlock with another writer.
                let _ = client.batch_execute("ROLLBACK").await;
            }
        }
    }
}

/// Restores one backup beside and looks at the invariants.
async fn assert_one_instant(scene: &Scene, manifest: &Manifest) {
    let cx = Cx::background();
    let target = PostgresRestore::new(Depot::component(), scene.config()).unwrap();
    let plan = target.plan(&cx, &RestoreRequest::in_place().to("proof"), manifest).await.unwrap();
    let data = Arc::new(scene.depot.repository.open(manifest));
    let report = target.apply(&cx, plan, manifest, data).await.unwrap_or_else(|e| panic!("{}: {e:#?}", manifest.id));
    assert_eq!(report.verification.verdict(), Verdict::Equal);
    let sql = "SELECT (SELECT sum(balance) FROM account), (SELECT count(*) FROM account AS a WHERE a.balance <> \
           coalesce((SELECT sum(amount) FROM transfer WHERE credit = a.id), 0) \
           - coalesce((SELECT sum(amount) FROM transfer WHERE debit = a.id), 0)), \
         (SELECT count(*) FROM (TABLE page_left EXCEPT ALL TABLE page_right) AS a), \
         (SELECT count(*) FROM (TABLE page_right EXCEPT ALL TABLE page_left) AS b), \
         (SELECT count(DISTINCT body) < 2 FROM page_left), (SELECT count(*) >= 2000 FROM transfer)";
    let found = scene.server.sql("proof", sql).await.unwrap();
    assert!(found == "0|0|0|0|t|t" || found == "0|0|0|0|f|t", "{}: {found}", manifest.id);
    scene.server.drop_database("proof").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_in_a_storm_of_changes_show_one_instant_or_fail_by_name() {
    let scene = Scene::new().await;
    // A view on the altered column would forbid the change of its type; the question itself needs none.
    scene.server.sql(LEDGER, "DROP VIEW drift").await.unwrap();
    let (stop, mut writers) = (Cx::background(), JoinSet::new());
    let mut counts = Vec::new();
    for statements in WRITERS {
        let done = Arc::new(AtomicUsize::new(0));
        counts.push(done.clone());
        writers.spawn(writer(scene.server.client(LEDGER).await.unwrap(), statements, stop.clone(), done));
    }
    let (started, mut failed, mut made) = (Instant::now(), Vec::new(), Vec::new());
    while made.len() < 12 && started.elapsed() < Duration::from_secs(40) {
        match scene.depot.backup(&scene.config()).await {
            Ok(report) => made.push(report.id),
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Conflict, "{e:#?}");
                assert!(e.help().is_some(), "{e:#?}");
                failed.push(e.to_string());
            }
        }
    }
    stop.cancel();
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    let counts: Vec<usize> = counts.iter().map(|c| c.load(Ordering::Relaxed)).collect();
    assert!(counts.iter().all(|c| *c > 2), "a writer got nothing done: {counts:?}, {failed:#?}");
    assert!(made.len() >= 4, "{} made; {failed:#?}", made.len());
    scene.assert_store_is_sound(made.len()).await;
    for id in made {
        let selector = Selector::Id(id);
        let manifest = scene.depot.repository.manifest(&Cx::background(), &Depot::component(), &selector).await;
        assert_one_instant(&scene, &manifest.unwrap()).await;
    }
    assert_eq!(scene.leftovers().await, Vec::<String>::new());
    scene.assert_all_works().await;
}
