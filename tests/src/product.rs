//! The product put to use by the journeys: a server, a store, a component called `database`.

use std::{path::Path, sync::Arc};

use tempfile::TempDir;
use veza_dr_backup::{
    BackupOptions, BackupReport, Encryption, Repository, Selector, back_up,
    postgres::{PostgresConfig, PostgresTarget},
    store::DirectoryStore,
};
use veza_dr_core::{ComponentName, Cx, Manifest, RestoreReport, RestoreRequest, RestoreTarget, Result, SecretString};
use veza_dr_restore::postgres::PostgresRestore;

use crate::postgres_server::PgServer;

/// The component of every journey.
pub const COMPONENT: &str = "database";

/// A directory store of its own and the ways to use it.
#[derive(Debug)]
pub struct Depot {
    dir: TempDir,
    /// The repository on it.
    pub repository: Repository,
    /// How backups are made.
    pub options: BackupOptions,
}

impl Depot {
    /// A fresh one, without encryption.
    pub fn new() -> Self {
        Self::with(Encryption::default())
    }

    /// A fresh one with these keys.
    pub fn with(encryption: Encryption) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = DirectoryStore::open("local", dir.path().join("store")).expect("a directory store");
        let repository = Repository::new(Arc::new(store), encryption);
        Self { dir, repository, options: BackupOptions::default() }
    }

    /// The store's folder.
    pub fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("store")
    }

    /// Looks at a copy of the store in another folder from now on.
    pub fn reopen(&mut self, path: &Path) {
        let store = DirectoryStore::open("local", path).expect("a directory store");
        self.repository = Repository::new(Arc::new(store), self.repository.encryption().clone());
    }

    /// The component's name.
    pub fn component() -> ComponentName {
        COMPONENT.parse().expect("a name")
    }

    /// Backs a database up.
    ///
    /// # Errors
    /// Those of the product.
    pub async fn backup(&self, config: &PostgresConfig) -> Result<BackupReport> {
        self.backup_with(&Cx::background(), config).await
    }

    /// Backs a database up under a given context.
    ///
    /// # Errors
    /// Those of the product.
    pub async fn backup_with(&self, cx: &Cx, config: &PostgresConfig) -> Result<BackupReport> {
        let target = PostgresTarget::new(Self::component(), config.clone())?;
        let report = back_up(cx, &target, std::slice::from_ref(&self.repository), &self.options).await?;
        report.ensure_complete()?;
        Ok(report)
    }

    /// The newest manifest.
    ///
    /// # Errors
    /// Those of the product.
    pub async fn latest(&self) -> Result<Manifest> {
        self.repository.manifest(&Cx::background(), &Self::component(), &Selector::Latest).await
    }

    /// The ids that have a manifest, oldest first.
    pub async fn complete(&self) -> Vec<String> {
        let entries = self.repository.list(&Cx::background(), &Self::component()).await.expect("a listing");
        entries.iter().filter(|e| e.manifest().is_some()).map(|e| e.id.to_string()).collect()
    }

    /// Restores the newest backup: plan, then apply.
    ///
    /// # Errors
    /// Those of the product.
    pub async fn restore(&self, config: &PostgresConfig, request: &RestoreRequest) -> Result<RestoreReport> {
        self.restore_with(&Cx::background(), config, request).await
    }

    /// Restores the newest backup over the live database.
    ///
    /// # Errors
    /// Those of the product.
    pub async fn restore_in_place(&self, config: &PostgresConfig) -> Result<RestoreReport> {
        self.restore(config, &RestoreRequest::in_place()).await
    }

    /// Restores the newest backup under a given context.
    ///
    /// # Errors
    /// Those of the product.
    pub async fn restore_with(
        &self,
        cx: &Cx,
        config: &PostgresConfig,
        request: &RestoreRequest,
    ) -> Result<RestoreReport> {
        let manifest = self.latest().await?;
        let target = PostgresRestore::new(Self::component(), config.clone())?;
        let plan = target.plan(cx, request, &manifest).await?;
        target.apply(cx, plan, &manifest, Arc::new(self.repository.open(&manifest))).await
    }

    /// Every file below the store's folder, sorted, with its size.
    pub fn files(&self) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        walk(&self.path(), &self.path(), &mut found);
        found.sort();
        found
    }
}

impl Default for Depot {
    fn default() -> Self {
        Self::new()
    }
}

fn walk(root: &Path, dir: &Path, out: &mut Vec<(String, u64)>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(root, &path, out);
        } else {
            let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            out.push((name, entry.metadata().map_or(0, |m| m.len())));
        }
    }
}

/// How the product reaches a database of a private server, as its superuser.
pub fn config(server: &PgServer, database: &str) -> PostgresConfig {
    PostgresConfig::new(server.url(database))
        .with_password(SecretString::from(server.password().to_owned()))
        .with_bin_dir(server.bin(""))
        .with_jobs(2)
}
