//! What happens around the reading of a source: whatever writes to it is stopped before, and started right after.

use std::{
    fmt::Debug,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use tokio::sync::OnceCell;
use veza_dr_core::{BackupId, ComponentName, Cx, Error, Result};

/// How long starting again what was stopped may take before it is given up and reported.
const AFTER_READ_LIMIT: Duration = Duration::from_secs(300);

/// Is called around the reading of a source, by every backup that has it in its options.
///
/// Neither call is made when the backup never began, for want of a lease or a store. A process that is killed between
/// the two makes no second call: an implementation that stops things keeps a record of them and puts them right when
/// it starts next.
#[async_trait]
pub trait BackupHooks: Debug + Send + Sync + 'static {
    /// Called when every lease is held and nothing of the source was read yet.
    ///
    /// # Errors
    /// Any: the backup then fails before it reads, and [`BackupHooks::after_read`] is called all the same, to undo
    /// what this call did up to its failure.
    ///
    /// # Cancellation
    /// Cancelled with `cx`, or dropped; `after_read` follows in both cases.
    async fn before(&self, cx: &Cx, component: &ComponentName, backup: &BackupId) -> Result<()>;

    /// Called as soon as what is written to the source can change the backup no more, which can be long before it is
    /// stored; after success, failure, cancellation and panic alike. The source itself may still be read then, from its
    /// snapshot: this call must not take it away. `cx` is not the backup's own, so that a cancelled backup is tidied up
    /// too.
    ///
    /// May be called a second time when the first call was cut off: it must be safe to repeat.
    ///
    /// # Errors
    /// Any: they are told in [`crate::BackupReport::after_read`]; the backup itself is as good as before.
    async fn after_read(&self, cx: &Cx, component: &ComponentName, backup: &BackupId) -> Result<()>;
}

/// The hooks of one run, each called at its time and once.
#[derive(Debug)]
pub(crate) struct HookRun {
    hooks: Option<Arc<dyn BackupHooks>>,
    component: ComponentName,
    backup: BackupId,
    begun: AtomicBool,
    ended: OnceCell<()>,
    failure: Mutex<Option<Error>>,
}

impl HookRun {
    pub(crate) fn new(hooks: Option<Arc<dyn BackupHooks>>, component: ComponentName, backup: BackupId) -> Self {
        let (begun, ended, failure) = (AtomicBool::new(false), OnceCell::new(), Mutex::default());
        Self { hooks, component, backup, begun, ended, failure }
    }

    pub(crate) async fn before(&self, cx: &Cx) -> Result<()> {
        let Some(hooks) = &self.hooks else { return Ok(()) };
        self.begun.store(true, Ordering::SeqCst);
        cx.run("hook before the backup", hooks.before(cx, &self.component, &self.backup)).await
    }

    /// Tells the hooks once that the source may be written to. Safe to call at any time.
    pub(crate) async fn source_was_read(&self) {
        let Some(hooks) = &self.hooks else { return };
        if !self.begun.load(Ordering::SeqCst) {
            return;
        }
        self.ended
            .get_or_init(|| async {
                let cx = Cx::background().with_deadline(SystemTime::now() + AFTER_READ_LIMIT);
                let told = cx.run("hook after the read", hooks.after_read(&cx, &self.component, &self.backup)).await;
                if let Err(e) = told {
                    tracing::error!(component = %self.component, error = %e.chain(), "the hook after the read failed");
                    *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
                }
            })
            .await;
    }

    /// What is left to do when a run ends without a word: it panicked, or whoever ran it dropped it.
    fn owed(&self) -> Option<Arc<dyn BackupHooks>> {
        let owed = self.begun.load(Ordering::SeqCst) && !self.ended.initialized();
        self.hooks.clone().filter(|_| owed)
    }

    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for HookRun {
    fn drop(&mut self) {
        // Without a runtime the process is ending: what the hooks keep on disk is put right by its successor.
        let (Some(hooks), Ok(runtime)) = (self.owed(), tokio::runtime::Handle::try_current()) else { return };
        let (component, backup) = (self.component.clone(), self.backup.clone());
        runtime.spawn(async move {
            let cx = Cx::background().with_deadline(SystemTime::now() + AFTER_READ_LIMIT);
            if let Err(e) = cx.run("hook after the read", hooks.after_read(&cx, &component, &backup)).await {
                tracing::error!(%component, error = %e.chain(), "the hook after a run that broke off failed");
            }
        });
    }
}
