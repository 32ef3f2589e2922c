//! Backups of one major restored on another: newer ones take them, older ones say what is in the way.

use std::sync::Arc;

use veza_dr_core::{Cx, RestoreRequest, RestoreTarget, Verdict};
use veza_dr_restore::postgres::PostgresRestore;
use veza_dr_tests::{
    oracle::Oracle,
    postgres_server::{PgOptions, PgServer},
    product::{Depot, config},
    scene::{LEDGER, Scene},
};

#[tokio::test(flavor = "multi_thread")]
async fn newer_majors_take_a_backup_of_15() {
    let scene = Scene::new().await;
    assert_eq!(scene.server.major(), 15);
    scene.backup().await;
    let rows = |state: veza_dr_tests::oracle::DatabaseState| {
        state
            .keys("rows/")
            .map(|key| (key.to_owned(), state.get(key).unwrap_or_default().to_owned()))
            .collect::<Vec<_>>()
    };
    let before = rows(scene.state().await);
    assert!(before.len() >= 5);
    for major in [16, 17, 18] {
        let newer = PgServer::start(PgOptions::major(major).unwrap()).await.unwrap();
        let report = scene.depot.restore_in_place(&config(&newer, LEDGER)).await;
        let report = report.unwrap_or_else(|e| panic!("{major}: {e:#?}"));
        assert_eq!(report.verification.verdict(), Verdict::Equal, "{major}: {:#?}", report.verification.findings);
        assert_eq!(rows(Oracle::of(&newer).read(LEDGER).await.unwrap()), before, "{major}");
        assert_eq!(newer.sql(LEDGER, "SELECT count(*) FROM drift").await.unwrap(), "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_major_warns_or_says_what_is_missing_and_stays_as_it_is() {
    let older = PgServer::start(PgOptions::major(15).unwrap()).await.unwrap();
    older.create_database(LEDGER).await.unwrap();
    older.sql(LEDGER, "CREATE TABLE mine AS SELECT 1 AS a").await.unwrap();
    let before = Oracle::of(&older).read(LEDGER).await.unwrap();
    for major in [16, 17] {
        let scene = Scene::with(PgOptions::major(major).unwrap(), 300).await;
        scene.backup().await;
        let manifest = scene.depot.latest().await.unwrap();
        let plan = async |config| {
            let target = PostgresRestore::new(Depot::component(), config).unwrap();
            let plan = target.plan(&Cx::background(), &RestoreRequest::in_place(), &manifest).await.unwrap();
            (target, plan)
        };
        // Its own tools cannot read the archive of a newer pg_dump.
        let (_, own) = plan(config(&older, LEDGER)).await;
        let client = manifest.details["client_major"].as_u64().unwrap();
        assert!(client >= u64::from(major));
        let wanted = format!("postgresql-client-{client}");
        assert!(own.blockers.iter().any(|b| b.contains(&wanted)), "{major}: {:?}", own.blockers);
        let with_newer = config(&older, LEDGER).with_bin_dir(scene.server.bin(""));
        let (target, newer) = plan(with_newer).await;
        let warned = newer.warnings.iter().any(|w| w.contains(&format!("is of PostgreSQL {major}, the target is 15")));
        assert!(warned, "{major}: {:?}", newer.warnings);
        let data = Arc::new(scene.depot.repository.open(&manifest));
        // From 17 on, the tools set what an older server does not know.
        match client {
            17.. => {
                let blocker = format!("pg_restore {client} cannot restore to PostgreSQL 15");
                assert!(newer.blockers.iter().any(|b| b.contains(&blocker)), "{major}: {:?}", newer.blockers);
                target.apply(&Cx::background(), newer, &manifest, data).await.unwrap_err();
                before.assert_same(&Oracle::of(&older).read(LEDGER).await.unwrap());
            }
            _ => {
                assert_eq!(newer.blockers, Vec::<String>::new());
                let report = target.apply(&Cx::background(), newer, &manifest, data).await.unwrap();
                assert_eq!(report.verification.verdict(), Verdict::Equal);
                target.rollback(&Cx::background()).await.unwrap();
                before.assert_same(&Oracle::of(&older).read(LEDGER).await.unwrap());
            }
        }
    }
}
