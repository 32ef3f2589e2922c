//! Writes that rest while a backup reads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use veza_dr_backup::BackupHooks;
use veza_dr_core::{BackupId, ComponentName, Cx, Result};

/// Every write of the service passes it, and none does while it is closed. Cheap to clone; clones are one gate.
///
/// A PostgreSQL backup is of one snapshot and needs no pause. A gate is for a service whose writes go to more than one
/// place, so that all of them show the same instant. It is memory alone: nothing has to be put right after a crash.
#[derive(Debug, Clone, Default)]
pub struct WriteGate {
    gate: Arc<RwLock<()>>,
    closed: Arc<Mutex<Option<Closed>>>,
}

/// For which backup it is closed: another that gave up waiting for it must not open it.
#[derive(Debug)]
struct Closed {
    backup: BackupId,
    _rest: OwnedRwLockWriteGuard<()>,
}

impl WriteGate {
    /// Waits until the gate is open, and keeps it so until the write is done and the returned guard is dropped.
    pub async fn pass(&self) -> OwnedRwLockReadGuard<()> {
        self.gate.clone().read_owned().await
    }

    /// Whether writes rest right now.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed().is_some()
    }

    fn closed(&self) -> MutexGuard<'_, Option<Closed>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl BackupHooks for WriteGate {
    /// Closed only once the writes under way are done.
    async fn before(&self, cx: &Cx, _: &ComponentName, backup: &BackupId) -> Result<()> {
        let closing = async { Ok(self.gate.clone().write_owned().await) };
        let rest = cx.run("wait for the writes under way", closing).await?;
        *self.closed() = Some(Closed { backup: backup.clone(), _rest: rest });
        Ok(())
    }

    async fn after_read(&self, _: &Cx, _: &ComponentName, backup: &BackupId) -> Result<()> {
        self.closed().take_if(|closed| closed.backup == *backup);
        Ok(())
    }
}
