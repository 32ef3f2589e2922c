//! Backups and restores of Redis servers by the product: a store and a state directory of a test's own.

use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use veza_dr_backup::redis::{RedisConfig, RedisTarget};
use veza_dr_backup::store::DirectoryStore;
use veza_dr_backup::{BackupOptions, Encryption, Repository, Selector, back_up};
use veza_dr_core::{
    ArtifactSource, ComponentName, Cx, Manifest, RestorePlan, RestoreReport, RestoreRequest, RestoreTarget, Result,
    SecretString, Verdict,
};
use veza_dr_restore::redis::{RedisRestore, RedisRestoreOptions};

use crate::oracle::DatabaseState;
use crate::redis_oracle;
use crate::redis_server::RedisServer;

/// A store, a state directory, and a component called `redis`.
#[derive(Debug)]
pub struct Recovery {
    dir: TempDir,
    /// Where backups go.
    pub repository: Repository,
}

impl Recovery {
    /// Fresh ones.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Self::at(dir)
    }

    fn at(dir: TempDir) -> Self {
        let store = DirectoryStore::open("local", dir.path().join("store")).expect("a store");
        Self { repository: Repository::new(Arc::new(store), Encryption::default()), dir }
    }

    /// The component's name.
    pub fn component() -> ComponentName {
        "redis".parse().expect("a name")
    }

    /// The folder of both.
    pub fn path(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// How restores go unless told otherwise.
    pub fn options(&self) -> RedisRestoreOptions {
        RedisRestoreOptions::new(self.dir.path().join("state"))
    }

    /// Backs a server up and returns the manifest.
    pub async fn backup(&self, server: &RedisServer) -> Manifest {
        self.backup_of(config(server)).await
    }

    /// Backs up what this configuration names.
    pub async fn backup_of(&self, config: RedisConfig) -> Manifest {
        let target = RedisTarget::new(Self::component(), config).expect("a target");
        let options = BackupOptions::default();
        let report = back_up(&Cx::background(), &target, std::slice::from_ref(&self.repository), &options).await;
        report.expect("a backup").ensure_complete().expect("a whole backup");
        self.latest().await
    }

    /// The newest manifest.
    pub async fn latest(&self) -> Manifest {
        let latest = self.repository.manifest(&Cx::background(), &Self::component(), &Selector::Latest).await;
        latest.expect("a manifest")
    }

    /// The plain objects of a backup.
    pub fn data(&self, manifest: &Manifest) -> Arc<dyn ArtifactSource> {
        Arc::new(self.repository.open(manifest))
    }

    /// A server as the component's own.
    pub fn target(&self, server: &RedisServer, options: RedisRestoreOptions) -> RedisRestore {
        RedisRestore::new(Self::component(), config(server), options).expect("a target")
    }

    /// Plans and applies the newest backup.
    ///
    /// # Errors
    /// Those of the product.
    pub async fn restore(&self, target: &RedisRestore, request: &RestoreRequest) -> Result<RestoreReport> {
        let manifest = self.latest().await;
        let cx = Cx::background();
        let plan = target.plan(&cx, request, &manifest).await?;
        target.apply(&cx, plan, &manifest, self.data(&manifest)).await
    }

    /// The plan for the newest backup, in place.
    ///
    /// # Errors
    /// Those of the product.
    pub async fn plan(&self, target: &RedisRestore) -> Result<RestorePlan> {
        target.plan(&Cx::background(), &RestoreRequest::in_place(), &self.latest().await).await
    }

    /// A restore in place that must succeed and be proven.
    pub async fn restored(&self, server: &RedisServer, options: RedisRestoreOptions) -> RestoreReport {
        let done = self.restore(&self.target(server, options), &RestoreRequest::in_place()).await;
        let done = done.unwrap_or_else(|e| panic!("restore: {e:#?}\n{}", server.log()));
        assert_eq!(done.verification.verdict(), Verdict::Equal, "{:#?}", done.verification.findings);
        done
    }

    /// Files that the state directory has, but for locks.
    pub fn state_files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.dir.path().join("state")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.file_name().is_some_and(|n| n != "lock") {
                    found.push(entry.file_name().to_string_lossy().into_owned());
                }
            }
        }
        found.sort();
        found
    }
}

impl Default for Recovery {
    fn default() -> Self {
        Self::new()
    }
}

/// How the product reaches a server as its user `default`.
pub fn config(server: &RedisServer) -> RedisConfig {
    RedisConfig::new(server.url()).with_password(SecretString::from(server.password().to_owned()))
}

/// Everything in a server, by the oracle's word.
pub async fn state(server: &RedisServer) -> DatabaseState {
    redis_oracle::state(server).await.expect("the oracle")
}

/// A setting of a server.
pub async fn setting(server: &RedisServer, name: &str) -> String {
    let answer = server.say(&format!("CONFIG GET {name}")).await.expect("a setting");
    answer.items().get(1).map(crate::redis_client::Reply::text).unwrap_or_default()
}

/// The server is a master, takes writes, and has no settings of a restore.
pub async fn assert_usable(server: &RedisServer) {
    assert!(server.is_alive(), "{}", server.log());
    assert_eq!(server.info_value("replication", "role").await.expect("a role"), "master");
    assert_eq!(setting(server, "masterauth").await, "");
    assert_eq!(setting(server, "masteruser").await, "");
    let set = tokio::time::timeout(std::time::Duration::from_secs(5), server.say("SET veza:probe 1")).await;
    assert_eq!(set.expect("writes are not held back").expect("a write").text(), "OK");
    server.say("DEL veza:probe").await.expect("a delete");
}
