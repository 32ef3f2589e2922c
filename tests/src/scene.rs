//! Where faults are played: a server with the ledger database, a store, and the questions to ask afterwards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use veza_dr_backup::{Encryption, Level, Repository, postgres::PostgresConfig, verify_objects};
use veza_dr_core::{BackupStore, Cx, RestoreReport, RestoreRequest, SecretString, Verdict};

use crate::fixtures::fixture;
use crate::oracle::{DatabaseState, Oracle};
use crate::postgres_server::{PgOptions, PgServer};
use crate::product::{Depot, config};

/// The database of every scene.
pub const LEDGER: &str = "ledger";

/// A server with the ledger database, and a store.
#[derive(Debug)]
pub struct Scene {
    /// The server; tests that kill it need it mutable.
    pub server: PgServer,
    /// The store.
    pub depot: Depot,
}

impl Scene {
    /// A server and a ledger of 2000 transfers, about half a megabyte.
    pub async fn new() -> Self {
        Self::with(PgOptions::default(), 2000).await
    }

    /// A server with these options and a ledger of so many transfers.
    pub async fn with(options: PgOptions, transfers: u32) -> Self {
        let server = PgServer::start(options).await.expect("a server");
        server.create_database(LEDGER).await.expect("a database");
        let count = transfers.to_string();
        server.psql_file(LEDGER, &fixture("ledger.sql"), &[("transfers", &count)]).await.expect("the ledger");
        Self { server, depot: Depot::new() }
    }

    /// How the product reaches the ledger: two streams, objects of 64 KiB.
    pub fn config(&self) -> PostgresConfig {
        config(&self.server, LEDGER).with_chunk_bytes(64 * 1024)
    }

    /// The same through another port, a proxy's.
    pub fn via(&self, port: u16) -> PostgresConfig {
        PostgresConfig::new(format!("postgres://postgres@127.0.0.1:{port}/{LEDGER}"))
            .with_password(SecretString::from(self.server.password().to_owned()))
            .with_bin_dir(self.server.bin(""))
            .with_jobs(2)
            .with_chunk_bytes(64 * 1024)
    }

    /// Everything in the ledger, by the word of psql and pg_dump.
    pub async fn state(&self) -> DatabaseState {
        self.state_of(LEDGER).await
    }

    /// Everything in a database.
    pub async fn state_of(&self, database: &str) -> DatabaseState {
        Oracle::of(&self.server).read(database).await.expect("the oracle")
    }

    /// Changes the live ledger, so that it differs from the backup.
    pub async fn move_on(&self) {
        let sql = "INSERT INTO page_left VALUES (-1, 'later'); INSERT INTO page_right VALUES (-1, 'later'); \
             SELECT nextval('ticket'); CREATE TABLE later (a int)";
        self.server.sql(LEDGER, sql).await.expect("a change");
    }

    /// A backup that must succeed.
    pub async fn backup(&self) {
        self.depot.backup(&self.config()).await.unwrap_or_else(|e| panic!("backup: {e:#?}"));
    }

    /// A restore in place that must succeed and be proven.
    pub async fn restore(&self) -> RestoreReport {
        let report = self.depot.restore(&self.config(), &RestoreRequest::in_place()).await;
        let report = report.unwrap_or_else(|e| panic!("restore: {e:#?}"));
        assert_eq!(report.verification.verdict(), Verdict::Equal, "{:#?}", report.verification.findings);
        report
    }

    /// Databases that a restore was filling and that nobody uses.
    pub async fn leftovers(&self) -> Vec<String> {
        let sql = r"SELECT datname FROM pg_database WHERE datname ~ '__vdr_(new|scratch)_'";
        let found = self.server.sql("postgres", sql).await.expect("the databases");
        found.lines().map(str::to_owned).collect()
    }

    /// Waits until no session of the product is left on the server; panics with those that stay.
    pub async fn assert_sessions_end(&self) {
        let sql = "SELECT pid, application_name, state, query FROM pg_stat_activity \
             WHERE application_name ~ '^(veza-dr (backup|restore|verify)|pg_dump|pg_restore)'";
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let left = self.server.sql("postgres", sql).await.expect("the sessions");
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "sessions stay:\n{left}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Every published backup is whole, and no lease is held. `published` is how many there must be.
    pub async fn assert_store_is_sound(&self, published: usize) {
        assert_sound(&self.depot.repository, published).await;
    }

    /// A backup, its restore beside the live database, and the comparison of both by the oracle.
    pub async fn assert_all_works(&self) {
        self.backup().await;
        let report = self.depot.restore(&self.config(), &RestoreRequest::in_place().to("proof")).await;
        let report = report.unwrap_or_else(|e| panic!("restore: {e:#?}"));
        assert_eq!(report.verification.verdict(), Verdict::Equal, "{:#?}", report.verification.findings);
        let (live, proof) = (self.state().await, self.state_of("proof").await);
        live.assert_same(&proof);
        self.server.drop_database("proof").await.expect("a drop");
        assert_eq!(self.leftovers().await, Vec::<String>::new());
    }
}

/// Every published backup of `repository` verifies, and so many are published.
pub async fn assert_sound(repository: &Repository, published: usize) {
    let cx = Cx::background();
    let entries = repository.list(&cx, &Depot::component()).await.expect("a listing");
    let manifests: Vec<_> = entries.iter().filter_map(|e| e.manifest()).collect();
    assert_eq!(manifests.len(), published, "{entries:#?}");
    for manifest in manifests {
        let found = verify_objects(&cx, repository, manifest).await.expect("a verification");
        assert_eq!(found.verdict(), Verdict::Equal, "{}: {:#?}", manifest.id, found.findings);
        let found =
            veza_dr_restore::postgres::verify_structure(&cx, repository, manifest).await.expect("a verification");
        assert_eq!(
            found.verdict(),
            Verdict::Equal,
            "{} at level {}: {:#?}",
            manifest.id,
            Level::Structure,
            found.findings
        );
    }
}

/// The same store behind something else.
pub fn repository_over(store: impl BackupStore) -> Repository {
    Repository::new(Arc::new(store), Encryption::default())
}

/// The ids under which something is stored, without a manifest.
pub async fn unfinished(repository: &Repository) -> Vec<String> {
    let entries = repository.list(&Cx::background(), &Depot::component()).await.expect("a listing");
    entries.iter().filter(|e| e.manifest().is_none()).map(|e| e.id.to_string()).collect()
}
