//! The shop backs itself up: writes rest until its snapshot is taken and no longer, also when the read fails or panics;
//! metrics stand beside its own; its page tells; it ends with its backup finished. On a real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "in a test a failure is what it is for")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};
use veza_dr_backup::{
    BackupOptions, Encryption, Repository, RunRetries, SchedulerHandle, Selector, back_up,
    postgres::{PostgresConfig, PostgresTarget},
    store::DirectoryStore,
};
use veza_dr_core::{
    ArtifactSink, BackupCaps, BackupRequest, BackupTarget, ComponentName, Cx, Error, ErrorKind, Manifest, ObjectHandle,
    Report, Result, SecretString, TargetInfo, manifest::Codec, status::Attempt,
};
use veza_dr_examples::axum_service::{Settings, Shop};
use veza_dr_tests::{
    http,
    postgres_server::{PgOptions, PgServer},
};

/// The database, read when the test says so, and stored when it says so.
#[derive(Debug)]
struct Held {
    inner: PostgresTarget,
    began: Semaphore,
    go: Semaphore,
    fails: AtomicBool,
    panics: AtomicBool,
    store: Arc<Semaphore>,
}

/// Nothing is stored without the permit.
#[derive(Debug)]
struct HeldSink {
    inner: Arc<dyn ArtifactSink>,
    store: Arc<Semaphore>,
}

#[async_trait]
impl ArtifactSink for HeldSink {
    async fn create(
        &self,
        cx: &Cx,
        name: &str,
        codec: Option<Codec>,
        size_hint: Option<u64>,
    ) -> Result<Box<dyn ObjectHandle>> {
        let _permit = self.store.acquire().await.unwrap();
        self.inner.create(cx, name, codec, size_hint).await
    }

    async fn source_was_read(&self) {
        self.inner.source_was_read().await;
    }
}

#[async_trait]
impl BackupTarget for Held {
    fn info(&self) -> &TargetInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> BackupCaps {
        self.inner.capabilities()
    }

    async fn create(&self, cx: &Cx, request: BackupRequest, out: Arc<dyn ArtifactSink>) -> Result<Manifest> {
        self.began.add_permits(1);
        self.go.acquire().await.unwrap().forget();
        if self.fails.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Denied, "the test lets this read fail"));
        }
        assert!(!self.panics.load(Ordering::SeqCst), "the test lets this read panic");
        let out = Arc::new(HeldSink { inner: out, store: self.store.clone() });
        self.inner.create(cx, request, out).await
    }

    async fn check(&self, cx: &Cx) -> Result<Report> {
        self.inner.check(cx).await
    }

    fn recipe(&self, manifest: &Manifest) -> String {
        self.inner.recipe(manifest)
    }
}

struct Scene {
    postgres: PgServer,
    address: String,
    held: Arc<Held>,
    backups: SchedulerHandle,
    component: ComponentName,
}

impl Scene {
    fn order(&self) -> JoinHandle<u16> {
        let address = self.address.clone();
        tokio::spawn(async move { http::request(&address, "POST", "/orders", &[], b"tea").await.unwrap().status })
    }

    async fn in_table(&self) -> u64 {
        let told = self.postgres.psql("shop", &["-Atc", "SELECT count(*) FROM orders"], None).await.unwrap();
        told.trim().parse().unwrap()
    }

    async fn page(&self, path: &str) -> (u16, String) {
        let answer = http::get(&self.address, path).await.unwrap();
        (answer.status, String::from_utf8(http::dechunked(&answer).unwrap()).unwrap())
    }

    /// Asks for a backup; returns when its data is about to be read.
    async fn begin(&self) {
        self.backups.run_now(&self.component).unwrap();
        self.begun().await;
    }

    async fn begun(&self) {
        let began = tokio::time::timeout(Duration::from_secs(120), self.held.began.acquire()).await;
        began.expect("no backup began").unwrap().forget();
    }

    /// Lets the data be read; returns how the run ended.
    async fn finish(&self) -> Attempt {
        let before = self.backups.state(&self.component).unwrap().last_run;
        self.held.go.add_permits(1);
        self.ended(before).await
    }

    /// Returns how the run ended that came after `before`.
    async fn ended(&self, before: Option<Attempt>) -> Attempt {
        let until = Instant::now() + Duration::from_secs(120);
        loop {
            let state = self.backups.state(&self.component).unwrap();
            if !state.running && state.last_run != before {
                return state.last_run.unwrap();
            }
            assert!(Instant::now() < until, "the backup did not end: {state:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_backs_itself_up() {
    let postgres = PgServer::start(PgOptions::default()).await.unwrap();
    postgres.create_database("shop").await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open("local", place.path()).unwrap();
    let repository = Repository::new(Arc::new(store), Encryption::default());
    let config = PostgresConfig::new(postgres.url("shop"))
        .with_password(SecretString::from(postgres.password().to_owned()))
        .with_bin_dir(postgres.bin(""));
    let component: ComponentName = "database".parse().unwrap();
    let held = Arc::new(Held {
        inner: PostgresTarget::new(component.clone(), config).unwrap(),
        began: Semaphore::new(0),
        go: Semaphore::new(0),
        fails: AtomicBool::new(false),
        panics: AtomicBool::new(false),
        store: Arc::new(Semaphore::new(1)),
    });
    let shop = Shop::open(Settings {
        database: postgres.url_with_password("shop").parse().unwrap(),
        target: held.clone(),
        repository: repository.clone(),
        schedule: "0 0 1 1 *".to_owned(),
        retries: RunRetries::default().with_attempts(1),
    })
    .await
    .unwrap();
    postgres.sql("shop", "INSERT INTO orders (item) SELECT 'tea' FROM generate_series(1, 3)").await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (backups, gate, cx) = (shop.backups(), shop.gate(), Cx::background());
    let scene = Scene { postgres, address, held, backups, component };
    let stop = cx.clone();
    let running = tokio::spawn(async move { shop.run(&stop, listener).await });

    // Never backed up, the database is at once. Writes rest while it is read, and go on right after.
    scene.begun().await;
    let (status, told) = scene.page("/dr").await;
    assert_eq!(status, 503, "nothing was backed up yet: {told}");
    assert!(gate.is_closed());
    let waiting = scene.order();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished(), "an order was answered while the data was read");
    assert_eq!(scene.in_table().await, 3);
    let run = scene.finish().await;
    assert_eq!(run.error, None);
    assert_eq!(waiting.await.unwrap(), 201);
    assert!(!gate.is_closed());
    assert_eq!(scene.in_table().await, 4);
    let first = repository.manifest(&cx, &scene.component, &Selector::Latest).await.unwrap();
    assert_eq!(first.rows(), 3, "the backup shows what was there before the order that waited");

    // The page and the metrics follow.
    let until = Instant::now() + Duration::from_secs(60);
    while scene.page("/dr").await.0 != 200 {
        assert!(Instant::now() < until, "{:?}", scene.page("/dr").await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (_, metrics) = scene.page("/metrics").await;
    assert!(metrics.contains("\nshop_orders_total 1\n"), "{metrics}");
    let ours = |part: &str| metrics.lines().any(|l| l.starts_with("shop_dr_") && l.contains(part));
    assert!(ours("component=\"database\"") && ours("store=\"local\""), "{metrics}");

    // A read that fails: told, and nobody waits on.
    scene.held.fails.store(true, Ordering::SeqCst);
    scene.begin().await;
    let waiting = scene.order();
    let run = scene.finish().await;
    assert!(run.error.as_ref().is_some_and(|e| e.contains("the test lets this read fail")), "{run:?}");
    assert_eq!(waiting.await.unwrap(), 201);
    assert!(!gate.is_closed());
    let newest = repository.manifest(&cx, &scene.component, &Selector::Latest).await.unwrap();
    assert_eq!(newest.id, first.id, "a failed backup is none");

    // The snapshot is taken, nothing is stored yet: orders are taken again, and the backup does not have them.
    scene.held.fails.store(false, Ordering::SeqCst);
    let storing = scene.held.store.clone().acquire_owned().await.unwrap();
    scene.begin().await;
    let waiting = scene.order();
    scene.held.go.add_permits(1);
    assert_eq!(waiting.await.unwrap(), 201);
    assert_eq!(scene.order().await.unwrap(), 201);
    assert!(!gate.is_closed());
    assert!(scene.backups.state(&scene.component).unwrap().running, "nothing of the backup can be stored yet");
    assert_eq!(scene.in_table().await, 7);
    drop(storing);
    let run = scene.ended(Some(run)).await;
    assert_eq!(run.error, None);
    let second = repository.manifest(&cx, &scene.component, &Selector::Latest).await.unwrap();
    assert_eq!(second.rows(), 5, "the backup shows what was there when writes rested");

    // Asked to end while the data is read: the order that waits is taken, the backup is finished.
    scene.begin().await;
    let waiting = scene.order();
    tokio::time::sleep(Duration::from_millis(500)).await;
    cx.cancel();
    scene.held.go.add_permits(1);
    assert_eq!(waiting.await.unwrap(), 201);
    running.await.unwrap().unwrap();
    let last = repository.manifest(&Cx::background(), &scene.component, &Selector::Latest).await.unwrap();
    assert_ne!(last.id, second.id);
    assert_eq!(last.rows(), 7);
    assert_eq!(scene.in_table().await, 8);

    // A read that panics opens the gate, too.
    scene.held.panics.store(true, Ordering::SeqCst);
    let (held, hooks) = (scene.held.clone(), Arc::new(gate.clone()));
    let running = tokio::spawn(async move {
        let options = BackupOptions::default().with_hooks(hooks);
        back_up(&Cx::background(), held.as_ref(), &[repository], &options).await
    });
    scene.begun().await;
    assert!(gate.is_closed());
    scene.held.go.add_permits(1);
    assert!(running.await.unwrap_err().is_panic());
    let passed = tokio::time::timeout(Duration::from_secs(60), gate.pass()).await;
    assert!(passed.is_ok(), "no write passes any more");
}
