//! What goes wrong, and when: the plan a [`super::Faulty`] follows.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    future::{Future, pending},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use crate::{Cx, Effect, Error, ErrorKind, Result};

/// One way to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The call fails with this kind; the one behind it is not made.
    Fail(ErrorKind),
    /// The call is made, but its answer is lost: fails as `Unavailable` with [`Effect::Unknown`].
    LoseAnswer,
    /// Nothing happens until the context is cancelled or its deadline passes.
    Stall,
    /// One bit of the bytes that pass is flipped.
    Corrupt,
    /// The second half of the bytes that pass is missing; for a read, so is all that would follow.
    Truncate,
}

/// Calls that carry bytes.
const BYTES: [&str; 3] = ["put", "write", "next"];
/// All the others.
const PLAIN: [&str; 18] = [
    "create",
    "finish",
    "abort",
    "get",
    "head",
    "list",
    "list_groups",
    "delete",
    "sweep",
    "observe",
    "read",
    "apply",
    "status",
    "check",
    "plan",
    "verify",
    "rollback",
    "release",
];

#[derive(Debug)]
struct Entry {
    method: &'static str,
    from: u64,
    to: u64,
    fault: Fault,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    calls: BTreeMap<&'static str, u64>,
}

/// Shared by a decorator and the writers and readers it gave out.
#[derive(Debug, Clone, Default)]
pub(super) struct FaultPlan(Arc<Mutex<State>>);

impl FaultPlan {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, method: &str, from: u64, to: u64, fault: Fault) {
        let known = BYTES.iter().chain(&PLAIN).find(|m| **m == method);
        let Some(method) = known else { panic!("no method is called {method}; there are {BYTES:?} and {PLAIN:?}") };
        let carries = BYTES.contains(method);
        assert!(carries || !matches!(fault, Fault::Corrupt | Fault::Truncate), "{method} carries no bytes to damage");
        self.lock().entries.push(Entry { method, from, to, fault });
    }

    pub(super) fn clear(&self) {
        self.lock().entries.clear();
    }

    pub(super) fn calls(&self, method: &str) -> u64 {
        self.lock().calls.get(method).copied().unwrap_or_default()
    }

    /// Counts a call and says what is to go wrong with it.
    pub(super) fn next(&self, method: &'static str) -> Option<Fault> {
        let mut state = self.lock();
        let count = state.calls.entry(method).or_default();
        *count += 1;
        let count = *count;
        state.entries.iter().find(|e| e.method == method && (e.from..=e.to).contains(&count)).map(|e| e.fault)
    }

    /// Makes a call that carries no bytes of ours.
    pub(super) async fn call<T>(
        &self,
        cx: &Cx,
        method: &'static str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        match self.next(method) {
            Some(fault) => injected(cx, method, fault, work).await,
            None => work.await,
        }
    }
}

/// Makes a call that is to go wrong; damage to bytes is the caller's part, done before.
pub(super) async fn injected<T>(
    cx: &Cx,
    method: &'static str,
    fault: Fault,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    match fault {
        Fault::Fail(kind) => Err(Error::new(kind, format!("{method}: injected fault"))),
        Fault::Stall => cx.run(method, pending()).await,
        Fault::LoseAnswer => {
            // Lost is the answer alone: what the call changed stays changed, its own failure would look the same.
            let _ = work.await;
            let text = format!("{method}: injected loss of the answer");
            Err(Error::new(ErrorKind::Unavailable, text).with_effect(Effect::Unknown))
        }
        Fault::Corrupt | Fault::Truncate => work.await,
    }
}

/// The bytes as the fault leaves them.
pub(super) fn damaged(fault: Option<Fault>, bytes: Bytes) -> Bytes {
    match fault {
        Some(Fault::Corrupt) => {
            let mut changed = bytes.to_vec();
            let middle = changed.len() / 2;
            if let Some(byte) = changed.get_mut(middle) {
                *byte ^= 1;
            }
            changed.into()
        }
        Some(Fault::Truncate) => bytes.slice(..bytes.len() / 2),
        _ => bytes,
    }
}
