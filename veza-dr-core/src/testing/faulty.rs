//! A decorator that makes chosen calls go wrong.

use std::{fmt::Debug, sync::Arc};

use super::fault_plan::{Fault, FaultPlan};

/// Wraps a store, probe, DNS provider, backup or restore target; calls go through to it but for the planned faults.
/// Calls are counted from 1 per method name, over all clones, writers and readers.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use veza_dr_core::{BackupStore, Cx, ErrorKind, testing::{Fault, Faulty, MemoryStore}};
/// let store = Faulty::new(MemoryStore::new("flaky")).on("list", 2, Fault::Fail(ErrorKind::Unavailable));
/// let cx = Cx::background();
/// assert!(store.list(&cx, "").await.is_ok());
/// assert_eq!(store.list(&cx, "").await.unwrap_err().kind(), ErrorKind::Unavailable);
/// assert!(store.list(&cx, "").await.is_ok());
/// # });
/// ```
#[derive(Debug)]
pub struct Faulty<T: ?Sized> {
    pub(super) inner: Arc<T>,
    pub(super) plan: FaultPlan,
}

impl<T: ?Sized> Clone for Faulty<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), plan: self.plan.clone() }
    }
}

impl<T> Faulty<T> {
    /// Wraps `inner`, without faults until some are planned.
    #[must_use]
    pub fn new(inner: T) -> Self {
        Self::over(Arc::new(inner))
    }
}

impl<T: ?Sized> Faulty<T> {
    /// Wraps what others hold too.
    #[must_use]
    pub fn over(inner: Arc<T>) -> Self {
        Self { inner, plan: FaultPlan::default() }
    }

    /// Makes the `nth` call of `method` go wrong.
    ///
    /// # Panics
    /// When no method has this name, or the fault damages bytes and the method carries none.
    #[must_use]
    pub fn on(self, method: &str, nth: u64, fault: Fault) -> Self {
        self.plan.add(method, nth, nth, fault);
        self
    }

    /// Makes the `nth` and all later calls of `method` go wrong.
    ///
    /// # Panics
    /// As [`Faulty::on`].
    #[must_use]
    pub fn from(self, method: &str, nth: u64, fault: Fault) -> Self {
        self.plan.add(method, nth, u64::MAX, fault);
        self
    }

    /// Plans no more faults: the other side has recovered.
    pub fn heal(&self) {
        self.plan.clear();
    }

    /// Makes all calls of `method` from now on go wrong.
    ///
    /// # Panics
    /// As [`Faulty::on`].
    pub fn break_now(&self, method: &str, fault: Fault) {
        self.plan.add(method, self.calls(method) + 1, u64::MAX, fault);
    }

    /// How often `method` was called.
    #[must_use]
    pub fn calls(&self, method: &str) -> u64 {
        self.plan.calls(method)
    }

    /// What is wrapped.
    #[must_use]
    pub fn inner(&self) -> &Arc<T> {
        &self.inner
    }
}
