//! What a service's own test calls: its database backed up, restored beside, proven, looked at, gone again. On a real
//! PostgreSQL, with restores that lose rows, cannot tell, break off; and with tests that fail, panic, are given up.
#![expect(clippy::unwrap_used, reason = "in a test a failure is what it is for")]

use std::{future::pending, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::Notify;
use veza_dr_backup::postgres::{PostgresConfig, PostgresTarget};
use veza_dr_core::{
    ArtifactSource, Cx, Error, ErrorKind, Manifest, ObjectReader, Report, RestoreCaps, RestorePlan, RestoreReport,
    RestoreRequest, RestoreTarget, Result, SecretString, TargetInfo, Verification, manifest::ObjectRecord,
};
use veza_dr_restore::{
    postgres::PostgresRestore,
    testing::{PostgresScratch, Restored, RoundTrip, ScratchPlace},
};
use veza_dr_tests::postgres_server::{PgOptions, PgServer};

/// How a restore of the test goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    /// A row is lost after the restore has compared, so that its own report says "equal".
    LosesARow,
    /// It never compares.
    CannotTell,
    /// It breaks off among the rows.
    BreaksOff,
}

#[derive(Debug)]
struct Broken {
    inner: PostgresScratch,
    server: Arc<PgServer>,
    wrong: Wrong,
}

#[async_trait]
impl ScratchPlace for Broken {
    fn target(&self) -> &dyn RestoreTarget {
        self
    }

    async fn remove(&self, cx: &Cx) -> Result<()> {
        self.inner.remove(cx).await
    }
}

#[async_trait]
impl RestoreTarget for Broken {
    fn info(&self) -> &TargetInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> RestoreCaps {
        self.inner.capabilities()
    }

    async fn plan(&self, cx: &Cx, request: &RestoreRequest, from: &Manifest) -> Result<RestorePlan> {
        self.inner.plan(cx, request, from).await
    }

    async fn apply(
        &self,
        cx: &Cx,
        plan: RestorePlan,
        from: &Manifest,
        data: Arc<dyn ArtifactSource>,
    ) -> Result<RestoreReport> {
        let data = if self.wrong == Wrong::BreaksOff { Arc::new(ArchivesOnly(data)) } else { data };
        let done = self.inner.apply(cx, plan, from, data).await?;
        if self.wrong == Wrong::LosesARow {
            self.server.sql(self.inner.database(), "DELETE FROM orders WHERE id = 17").await.unwrap();
        }
        Ok(done)
    }

    async fn verify(&self, cx: &Cx, against: &Manifest) -> Result<Verification> {
        match self.wrong {
            Wrong::CannotTell => Ok(Verification::default()),
            _ => self.inner.verify(cx, against).await,
        }
    }

    async fn rollback(&self, cx: &Cx) -> Result<Report> {
        self.inner.rollback(cx).await
    }

    async fn release(&self, cx: &Cx) -> Result<Report> {
        self.inner.release(cx).await
    }
}

/// No scratch place at all: the source.
#[derive(Debug)]
struct TheSource(PostgresRestore);

#[async_trait]
impl ScratchPlace for TheSource {
    fn target(&self) -> &dyn RestoreTarget {
        &self.0
    }

    async fn remove(&self, _: &Cx) -> Result<()> {
        Ok(())
    }
}

/// The rows of a backup cannot be read.
struct ArchivesOnly(Arc<dyn ArtifactSource>);

#[async_trait]
impl ArtifactSource for ArchivesOnly {
    async fn open(&self, cx: &Cx, object: &ObjectRecord) -> Result<Box<dyn ObjectReader>> {
        if object.name.contains(".dump") {
            return self.0.open(cx, object).await;
        }
        Err(Error::new(ErrorKind::Denied, "the test lets this object be unreadable"))
    }
}

struct Scene {
    server: Arc<PgServer>,
    config: PostgresConfig,
}

impl Scene {
    async fn new() -> Self {
        let server = Arc::new(PgServer::start(PgOptions::default()).await.unwrap());
        server.create_database("shop").await.unwrap();
        let orders = "CREATE TABLE orders (id bigserial PRIMARY KEY, item text NOT NULL); \
            INSERT INTO orders (item) SELECT 'tea ' || n FROM generate_series(1, 1000) AS n";
        server.sql("shop", orders).await.unwrap();
        let config = PostgresConfig::new(server.url("shop"))
            .with_password(SecretString::from(server.password().to_owned()))
            .with_bin_dir(server.bin(""));
        Self { server, config }
    }

    fn place(&self) -> PostgresScratch {
        PostgresScratch::beside("database".parse().unwrap(), self.config.clone()).unwrap()
    }

    fn broken(&self, wrong: Wrong) -> Arc<Broken> {
        Arc::new(Broken { inner: self.place(), server: self.server.clone(), wrong })
    }

    fn trip(&self, place: Arc<dyn ScratchPlace>) -> RoundTrip {
        let source = PostgresTarget::new("database".parse().unwrap(), self.config.clone()).unwrap();
        RoundTrip::new(Arc::new(source), place)
    }

    async fn ask(&self, database: &str, sql: &str) -> String {
        self.server.psql(database, &["-Atc", sql], None).await.unwrap().trim().to_owned()
    }

    async fn databases(&self) -> String {
        let sql = "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate";
        self.ask("postgres", sql).await
    }

    /// What the round trip fails with; the test must never see what was restored.
    async fn failure(&self, place: Arc<dyn ScratchPlace>) -> Error {
        let never = |restored: Restored| async move { panic!("shown although not proven: {restored:?}") };
        let done: Result<()> = self.trip(place).run(&Cx::background(), never).await;
        assert_eq!(self.databases().await, "postgres shop");
        done.unwrap_err()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_goes_round_and_nothing_stays_behind() {
    let scene = Scene::new().await;
    let cx = Cx::background();

    // What is shown is the backup's data, in a database of its own; what the test finds is returned.
    let place = Arc::new(scene.place());
    let seen = scene
        .trip(place.clone())
        .run(&cx, |restored| {
            let (scene, place) = (&scene, &place);
            async move {
                assert!(restored.location.ends_with(place.database()), "{}", restored.location);
                assert_eq!((restored.manifest.rows(), restored.verification.rows), (1000, 1000));
                scene.server.sql("shop", "DELETE FROM orders WHERE id > 900").await.unwrap();
                let next = scene.ask(place.database(), "SELECT nextval('orders_id_seq')").await;
                assert_eq!(next, "1001");
                Ok::<_, Error>(scene.ask(place.database(), "SELECT count(*), min(item), max(id) FROM orders").await)
            }
        })
        .await
        .unwrap();
    assert_eq!(seen, "1000|tea 1|1000");
    assert_eq!(scene.databases().await, "postgres shop");
    assert_eq!(scene.ask("shop", "SELECT count(*) FROM orders").await, "900", "the source is only read");

    // A lost row, a comparison that tells nothing, a restore that breaks off: no pass, nothing shown, nothing left.
    let lost = scene.failure(scene.broken(Wrong::LosesARow)).await;
    assert_eq!(lost.kind(), ErrorKind::Mismatch);
    assert!(lost.to_string().contains("orders: 899 rows, the backup has 900"), "{lost}");
    let unknown = scene.failure(scene.broken(Wrong::CannotTell)).await;
    assert_eq!(unknown.kind(), ErrorKind::Unverified);
    assert!(unknown.to_string().contains("0 of 900 rows were compared"), "{unknown}");
    let broken_off = scene.failure(scene.broken(Wrong::BreaksOff)).await;
    assert!(broken_off.chain().contains("the test lets this object be unreadable"), "{}", broken_off.chain());

    // A place that is the source itself, or another component's, is refused before anything is read.
    let other = PostgresScratch::beside("other".parse().unwrap(), scene.config.clone()).unwrap();
    assert_eq!(scene.failure(Arc::new(other)).await.kind(), ErrorKind::Config);
    let itself = PostgresRestore::new("database".parse().unwrap(), scene.config.clone()).unwrap();
    assert_eq!(scene.failure(Arc::new(TheSource(itself))).await.kind(), ErrorKind::Config);

    // The test's own failures come through as they are.
    let failing = |_: Restored| async { Err::<(), Box<dyn std::error::Error>>("not what I expected".into()) };
    let failed = scene.trip(Arc::new(scene.place())).run(&cx, failing).await.unwrap_err();
    assert_eq!(failed.to_string(), "not what I expected");
    assert_eq!(scene.databases().await, "postgres shop");

    let trip = scene.trip(Arc::new(scene.place()));
    let running = tokio::spawn(async move {
        let look = |_: Restored| async { panic!("an assertion of the test") };
        let done: Result<()> = trip.run(&Cx::background(), look).await;
        done
    });
    let panicked = running.await.unwrap_err().into_panic();
    assert_eq!(panicked.downcast_ref::<&str>(), Some(&"an assertion of the test"));
    assert_eq!(scene.databases().await, "postgres shop");

    // A test that is given up while it looks.
    let (trip, looking) = (scene.trip(Arc::new(scene.place())), Arc::new(Notify::new()));
    let told = looking.clone();
    let running = tokio::spawn(async move {
        let look = |_: Restored| async move {
            told.notify_one();
            pending::<Result<()>>().await
        };
        trip.run(&Cx::background(), look).await
    });
    tokio::time::timeout(Duration::from_secs(120), looking.notified()).await.unwrap();
    assert_ne!(scene.databases().await, "postgres shop");
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    assert_eq!(scene.databases().await, "postgres shop");
}
