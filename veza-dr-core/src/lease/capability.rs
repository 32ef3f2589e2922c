//! Finds out by trying what a store really does: some S3-compatible servers accept conditional writes and ignore them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::TimeDelta;
use serde::Serialize;

use crate::{BackupStore, Clock, Condition, Cx, Error, ErrorKind, ObjectKey, Result, SystemClock, VersionTag};

/// What a store was seen to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProbedCaps {
    /// A write that must not replace did not, and one that named an old version did not either.
    pub conditional_put: bool,
    /// The credentials may write.
    pub can_write: bool,
    /// The credentials may read, and what was read is what was written.
    pub can_read: bool,
    /// The credentials may delete. Not needed for backups; without it, retention cannot be applied.
    pub can_delete: bool,
    /// An object may be replaced by one that names its version. Leases need it.
    pub overwrite: bool,
    /// The quickest of the writes made.
    pub latency: Duration,
    /// How far the store's clock is ahead of this machine's; to the second, as stores tell no finer.
    pub clock_skew_seconds: i64,
    /// What was refused or ignored, in words.
    pub findings: Vec<String>,
}

impl ProbedCaps {
    /// The store's clock minus this machine's.
    #[must_use]
    pub fn clock_skew(&self) -> TimeDelta {
        TimeDelta::seconds(self.clock_skew_seconds)
    }
}

/// Writes a canary object under a name of its own below `locks/`, tries to replace it against its conditions, reads it
/// back, and deletes it.
///
/// ```
/// use veza_dr_core::{BackupStore, Cx, Result, lease::probe_conditional_put};
///
/// async fn may_hold_leases(cx: &Cx, store: &dyn BackupStore) -> Result<bool> {
///     let seen = probe_conditional_put(cx, store).await?;
///     Ok(seen.conditional_put && seen.overwrite)
/// }
/// ```
///
/// # Errors
/// When the store could not be asked: `Unavailable`, `Throttled`, `Cancelled`. What it refuses or ignores is a finding.
pub async fn probe_conditional_put(cx: &Cx, store: &dyn BackupStore) -> Result<ProbedCaps> {
    let key: ObjectKey = format!("locks/canary-{:016x}.json", rand::random::<u64>()).parse()?;
    let mut probe = Probe { cx, store, key, seen: ProbedCaps::nothing() };
    let ran = probe.run().await;
    // Even after a failure: the canary may be there.
    let deleted = probe.delete().await;
    ran?;
    deleted?;
    Ok(probe.seen)
}

impl ProbedCaps {
    fn nothing() -> Self {
        Self {
            conditional_put: false,
            can_write: false,
            can_read: false,
            can_delete: false,
            overwrite: false,
            latency: Duration::MAX,
            clock_skew_seconds: 0,
            findings: Vec::new(),
        }
    }
}

struct Probe<'a> {
    cx: &'a Cx,
    store: &'a dyn BackupStore,
    key: ObjectKey,
    seen: ProbedCaps,
}

/// How a trial write ended, when the store could be asked at all.
enum Trial {
    Written(VersionTag),
    /// The condition was held against it.
    Held,
    Refused,
}

impl Probe<'_> {
    async fn run(&mut self) -> Result<()> {
        let Trial::Written(first) = self.put("first", Condition::Absent).await? else { return Ok(()) };
        self.seen.can_write = true;
        self.look().await?;
        let absent_held = matches!(self.put("second", Condition::Absent).await?, Trial::Held);
        if !absent_held {
            self.note("a write with If-None-Match replaced an object that was there");
        }
        // Where `Absent` is ignored the object has changed, and with it the version to name.
        let current = match self.store.head(self.cx, &self.key).await? {
            Some(meta) => meta.tag,
            None => first,
        };
        let stale_held = match self.put("third", Condition::Matches(current.clone())).await? {
            Trial::Written(_) => {
                self.seen.overwrite = true;
                let held = matches!(self.put("fourth", Condition::Matches(current)).await?, Trial::Held);
                if !held {
                    self.note("a write with If-Match replaced a version other than the named one");
                }
                held
            }
            Trial::Held => {
                self.note("a write with If-Match was held back although the version is the named one");
                false
            }
            Trial::Refused => false,
        };
        let expected = if stale_held {
            "third"
        } else if self.seen.overwrite {
            "fourth"
        } else {
            "first"
        };
        self.read_back(if absent_held { expected } else { "" }).await?;
        self.seen.conditional_put = absent_held && (stale_held || !self.seen.overwrite);
        Ok(())
    }

    async fn put(&mut self, body: &'static str, condition: Condition) -> Result<Trial> {
        let began = Instant::now();
        let done = self.store.put(self.cx, &self.key, Bytes::from_static(body.as_bytes()), condition).await;
        self.seen.latency = self.seen.latency.min(began.elapsed());
        match done {
            Ok(tag) => Ok(Trial::Written(tag)),
            Err(e) if e.kind() == ErrorKind::Conflict => Ok(Trial::Held),
            Err(e) if refused(&e) => {
                self.note(format!("a write was refused: {}", e.chain()));
                Ok(Trial::Refused)
            }
            Err(e) => Err(e),
        }
    }

    async fn look(&mut self) -> Result<()> {
        if let Some(meta) = self.store.head(self.cx, &self.key).await? {
            self.seen.clock_skew_seconds = (meta.modified - SystemClock.now()).num_seconds();
        }
        Ok(())
    }

    /// An empty `expected` asks only whether reading is allowed.
    async fn read_back(&mut self, expected: &str) -> Result<()> {
        let read = async {
            let mut reader = self.store.get(self.cx, &self.key, 0).await?;
            let mut body = Vec::new();
            while let Some(piece) = reader.next().await? {
                body.extend_from_slice(&piece);
            }
            Ok::<_, Error>(body)
        };
        match read.await {
            Ok(body) if expected.is_empty() || body == expected.as_bytes() => self.seen.can_read = true,
            Ok(_) => self.note("what was read is not what the last successful write wrote"),
            Err(e) if refused(&e) => self.note(format!("a read was refused: {}", e.chain())),
            Err(e) => return Err(e),
        }
        Ok(())
    }

    async fn delete(&mut self) -> Result<()> {
        match self.store.delete(self.cx, &self.key).await {
            Ok(()) => self.seen.can_delete = true,
            Err(e) if refused(&e) => self.note(format!("a delete was refused: {}", e.chain())),
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn note(&mut self, finding: impl Into<String>) {
        self.seen.findings.push(finding.into());
    }
}

/// The store answered, and the answer is no.
fn refused(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::Denied | ErrorKind::Unsupported)
}
