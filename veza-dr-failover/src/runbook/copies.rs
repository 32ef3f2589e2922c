//! The journal's copy in the store: as fresh as the store is quick, and never in the way of the run.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{sync::Notify, task::JoinHandle};
use veza_dr_core::{BackupStore, Condition, Cx, Error, ErrorKind, ObjectKey, Result};

/// How long the last copy may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Copies the journal whenever it grew.
#[derive(Debug)]
pub(super) struct Copies {
    store: Arc<dyn BackupStore>,
    path: PathBuf,
    key: ObjectKey,
    grew: Arc<Notify>,
    failed: Arc<Mutex<Option<String>>>,
    task: JoinHandle<()>,
}

impl Copies {
    pub(super) fn start(store: Arc<dyn BackupStore>, path: PathBuf, run: &str) -> Result<Self> {
        let key = key_of(run)?;
        let (grew, failed) = (Arc::new(Notify::new()), Arc::new(Mutex::new(None)));
        let task = tokio::spawn({
            let (store, path, key) = (store.clone(), path.clone(), key.clone());
            let (grew, failed) = (grew.clone(), failed.clone());
            async move {
                loop {
                    grew.notified().await;
                    if let Err(e) = copy(store.as_ref(), &path, &key).await {
                        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(e.chain());
                        // Not again at once: a store that is away stays away for a while.
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        });
        Ok(Self { store, path, key, grew, failed, task })
    }

    pub(super) fn grew(&self) {
        self.grew.notify_one();
    }

    /// What a copy failed by since this was last asked.
    pub(super) fn failure(&self) -> Option<String> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The last copy.
    pub(super) async fn finish(&self) -> Result<()> {
        // One under way would otherwise put an older state over this one.
        self.task.abort();
        copy(self.store.as_ref(), &self.path, &self.key).await
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Copies a journal that nobody writes to any more.
pub(super) async fn copy_once(store: &dyn BackupStore, path: &std::path::Path, run: &str) -> Result<()> {
    copy(store, path, &key_of(run)?).await
}

fn key_of(run: &str) -> Result<ObjectKey> {
    Ok(format!("failover/{run}/journal.jsonl").parse()?)
}

async fn copy(store: &dyn BackupStore, path: &std::path::Path, key: &ObjectKey) -> Result<()> {
    let body = tokio::fs::read(path).await.map_err(|e| {
        Error::new(ErrorKind::Unavailable, format!("the journal {} cannot be read", path.display())).with_source(e)
    })?;
    // Not under the run's context: the copy of an interrupted run is the one that is needed.
    let cx = Cx::background().with_deadline(SystemTime::now() + PATIENCE);
    cx.run("copy the journal", store.put(&cx, key, body.into(), Condition::Always)).await.map(drop)
}
