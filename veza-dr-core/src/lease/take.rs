//! The right to be the only one, for a limited time, held in the store itself by conditional writes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    Holder, ProbedCaps, probe_conditional_put,
    record::{Record, Stored, delta, read, write},
};
use crate::{BackupStore, Clock, Condition, Cx, Error, ErrorKind, ObjectKey, Result, SystemClock, VersionTag};

/// How often an acquisition may be overtaken between looking and writing before it gives up.
const OVERTAKEN_LIMIT: u32 = 5;
/// What the time of a store's last write does not tell: it is in whole seconds, and a clock that differs by less than two
/// counts as the same.
const UNTOLD: Duration = Duration::from_secs(3);

/// Takes leases; each is one small object `locks/<name>.json`.
///
/// A lease ends by release, or when the store saw no renewal for its time and a third more. That is measured by the
/// store's clock, as it was seen to differ from ours, so that the holder's clock does not matter. The lease of a
/// process of this machine that is known to be gone ends at once.
#[derive(Debug)]
pub struct Lease;

impl Lease {
    /// Takes the lease `name` for `ttl` and keeps renewing it until the guard is released, dropped or loses it.
    ///
    /// ```
    /// use std::{sync::Arc, time::Duration};
    /// use veza_dr_core::{BackupStore, Cx, Result, lease::Lease};
    ///
    /// async fn alone(cx: &Cx, store: Arc<dyn BackupStore>) -> Result<()> {
    ///     let lease = Lease::acquire(cx, store, "database", Duration::from_secs(60)).await?;
    ///     // Work under `lease.cx()`: it is cancelled when the lease is lost.
    ///     lease.check()?;
    ///     lease.release(cx).await
    /// }
    /// ```
    ///
    /// # Errors
    /// `Conflict` naming the holder; `Unsupported` where the store does not enforce conditions.
    pub async fn acquire(cx: &Cx, store: Arc<dyn BackupStore>, name: &str, ttl: Duration) -> Result<LeaseGuard> {
        Self::acquire_with_clock(cx, store, name, ttl, Arc::new(SystemClock)).await
    }

    /// Who holds the lease `name` now, as far as can be told by looking; nothing is written.
    ///
    /// # Errors
    /// Those of the store; `Corrupt` when the lease cannot be read.
    pub async fn holder(cx: &Cx, store: &dyn BackupStore, name: &str) -> Result<Option<String>> {
        let key: ObjectKey = format!("locks/{name}.json").parse()?;
        let stored = read(cx, store, &key).await?;
        let live = stored.filter(|s| refuse_live(&key, store, s, SystemClock.now()).is_err());
        Ok(live.map(|s| s.record.holder.to_string()))
    }

    /// Whether the lease under `key` is held by somebody who may be alive. One that cannot be read counts as held.
    ///
    /// # Errors
    /// Those of the store, and `Unsupported` where it does not enforce conditions.
    pub async fn is_live(cx: &Cx, store: &dyn BackupStore, key: &ObjectKey) -> Result<bool> {
        let skew = trusted_skew(cx, store).await?;
        match read(cx, store, key).await {
            Ok(None) => Ok(false),
            Ok(Some(stored)) => Ok(refuse_live(key, store, &stored, SystemClock.now() + skew).is_err()),
            Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => Ok(true),
            Err(e) => Err(e),
        }
    }

    /// As [`Lease::acquire`], by the given clock.
    ///
    /// # Errors
    /// As [`Lease::acquire`].
    pub async fn acquire_with_clock(
        cx: &Cx,
        store: Arc<dyn BackupStore>,
        name: &str,
        ttl: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<LeaseGuard> {
        Self::take(cx, store, name, ttl, clock, refuse_live).await
    }

    /// As [`Lease::acquire`], but a holder that is known to be gone keeps its lease for its time, too: what it started
    /// and left running may still count on it, and ends by that time.
    ///
    /// # Errors
    /// As [`Lease::acquire`].
    pub async fn acquire_waited_out(
        cx: &Cx,
        store: Arc<dyn BackupStore>,
        name: &str,
        ttl: Duration,
    ) -> Result<LeaseGuard> {
        Self::take(cx, store, name, ttl, Arc::new(SystemClock), refuse_unended).await
    }

    async fn take(
        cx: &Cx,
        store: Arc<dyn BackupStore>,
        name: &str,
        ttl: Duration,
        clock: Arc<dyn Clock>,
        refuse: fn(&ObjectKey, &dyn BackupStore, &Stored, DateTime<Utc>) -> Result<()>,
    ) -> Result<LeaseGuard> {
        let key: ObjectKey = format!("locks/{name}.json").parse()?;
        let skew = trusted_skew(cx, store.as_ref()).await?;
        let fresh = Record::first(Holder::this_process(cx.op().as_str()), ttl, clock.now());
        for _ in 0..OVERTAKEN_LIMIT {
            let (record, condition) = match read(cx, store.as_ref(), &key).await? {
                None => (fresh.clone(), Condition::Absent),
                Some(stored) => {
                    refuse(&key, store.as_ref(), &stored, clock.now() + skew)?;
                    (fresh.clone().after(&stored.record), Condition::Matches(stored.tag))
                }
            };
            // Taken before the write: the lease must seem shorter to its holder than to anyone else.
            let (began, began_at) = (Instant::now(), clock.now());
            match write(cx, store.as_ref(), &key, &record, condition).await {
                Ok(tag) => return Ok(LeaseGuard::start(cx, store, key, clock, Held { record, tag, began, began_at })),
                Err(e) if e.kind() == ErrorKind::Conflict => {}
                Err(e) => return Err(e),
            }
        }
        let text = format!("lease {key} in store {} changes hands too quickly to be taken", store.info().name);
        Err(Error::new(ErrorKind::Conflict, text))
    }
}

/// The moment, by the store's clock, from which others may take the lease.
fn free_from(stored: &Stored) -> DateTime<Utc> {
    let ttl = Duration::from_millis(stored.record.ttl_ms);
    stored.modified.checked_add_signed(delta(ttl + ttl / 3)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

fn refuse_live(key: &ObjectKey, store: &dyn BackupStore, stored: &Stored, now: DateTime<Utc>) -> Result<()> {
    if stored.record.holder.is_known_dead() { Ok(()) } else { refuse_until_free(key, store, stored, now) }
}

fn refuse_unended(key: &ObjectKey, store: &dyn BackupStore, stored: &Stored, now: DateTime<Utc>) -> Result<()> {
    refuse_until_free(key, store, stored, now - delta(UNTOLD))
}

fn refuse_until_free(key: &ObjectKey, store: &dyn BackupStore, stored: &Stored, now: DateTime<Utc>) -> Result<()> {
    if stored.record.released || now >= free_from(stored) {
        return Ok(());
    }
    let until = free_from(stored).format("%Y-%m-%dT%H:%M:%SZ");
    let text = format!("lease {key} in store {} is held by {} until {until}", store.info().name, stored.record.holder);
    Err(Error::new(ErrorKind::Conflict, text)
        .with_help("wait for that run to end; a run that died loses its lease at the time given")
        .with_context("holder", stored.record.holder.to_string())
        .with_context("epoch", stored.record.epoch.to_string()))
}

/// Makes sure that the store enforces conditions; returns how far its clock is ahead of ours. Tried once per process.
async fn trusted_skew(cx: &Cx, store: &dyn BackupStore) -> Result<TimeDelta> {
    static PROBED: Mutex<Option<HashMap<String, ProbedCaps>>> = Mutex::new(None);
    let info = store.info();
    let unsupported = |why: &str| {
        let text = format!("store {} ({}) cannot hold a lease: {why}", info.name, info.location);
        Err(Error::new(ErrorKind::Unsupported, text).with_help(
            "use a store that enforces If-None-Match and If-Match (AWS S3, SeaweedFS, a directory), or a bucket policy \
             that allows replacing objects under locks/",
        ))
    };
    if !store.capabilities().conditional_put {
        return unsupported("it claims no conditional writes");
    }
    // The kernel's own rename and lock need no proof, and its clock is ours.
    if info.kind == "directory" {
        return Ok(TimeDelta::zero());
    }
    let id = format!("{} {} {}", info.kind, info.location, info.name);
    let known = PROBED.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(|m| m.get(&id).cloned());
    let caps = match known {
        Some(caps) => caps,
        None => {
            let caps = probe_conditional_put(cx, store).await?;
            if caps.conditional_put && caps.overwrite {
                let mut probed = PROBED.lock().unwrap_or_else(PoisonError::into_inner);
                probed.get_or_insert_default().insert(id, caps.clone());
            }
            caps
        }
    };
    if !caps.can_write {
        let why = caps.findings.join("; ");
        let text = format!("store {} ({}) cannot be written to: {why}", info.name, info.location);
        return Err(Error::new(ErrorKind::Denied, text).with_help("check the store's credentials and permissions"));
    }
    if !(caps.conditional_put && caps.overwrite) {
        return unsupported(&caps.findings.join("; "));
    }
    // Stores tell whole seconds: less than two is no difference.
    Ok(if caps.clock_skew_seconds.abs() < 2 { TimeDelta::zero() } else { caps.clock_skew() })
}

/// The lease as its holder last knew it to be.
#[derive(Debug)]
struct Held {
    record: Record,
    tag: VersionTag,
    began: Instant,
    began_at: DateTime<Utc>,
}

#[derive(Debug)]
struct Shared {
    store: Arc<dyn BackupStore>,
    key: ObjectKey,
    clock: Arc<dyn Clock>,
    ttl: Duration,
    held: Mutex<Held>,
    /// Set once and for good.
    lost: Mutex<Option<String>>,
    cx: Cx,
}

/// A held lease. Renews itself every third of its time. Dropped without [`LeaseGuard::release`], it stops renewing and
/// ends with its time, so that nobody else starts beside work that is still winding down.
#[derive(Debug)]
pub struct LeaseGuard {
    shared: Arc<Shared>,
    stop: CancellationToken,
    renewal: Option<JoinHandle<()>>,
    epoch: u64,
}

impl LeaseGuard {
    fn start(cx: &Cx, store: Arc<dyn BackupStore>, key: ObjectKey, clock: Arc<dyn Clock>, held: Held) -> Self {
        let epoch = held.record.epoch;
        let ttl = Duration::from_millis(held.record.ttl_ms);
        let shared =
            Arc::new(Shared { store, key, clock, ttl, held: Mutex::new(held), lost: Mutex::new(None), cx: cx.child() });
        let stop = CancellationToken::new();
        let renewal = tokio::spawn(renew(Arc::clone(&shared), stop.clone()));
        Self { shared, stop, renewal: Some(renewal), epoch }
    }

    /// The fencing number: greater than that of every earlier holder.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// A child of the context the lease was taken under; cancelled when the lease is lost. Run the work under it.
    #[must_use]
    pub fn cx(&self) -> &Cx {
        &self.shared.cx
    }

    /// Fails unless the lease is surely held now. To be asked right before anything that must not happen twice.
    ///
    /// # Errors
    /// `Conflict` when the lease was lost, or could not be renewed in time.
    pub fn check(&self) -> Result<()> {
        self.shared.check()
    }

    /// How long ago the last renewal that succeeded was begun: from then on its time runs.
    #[must_use]
    pub fn since_renewal(&self) -> Duration {
        self.shared.held.lock().unwrap_or_else(PoisonError::into_inner).began.elapsed()
    }

    /// Gives the lease back, so that the next holder need not wait.
    ///
    /// # Errors
    /// `Conflict` when it was lost before; `Unavailable` when the store could not be told, and the lease runs out.
    pub async fn release(mut self, cx: &Cx) -> Result<()> {
        self.stop.cancel();
        if let Some(renewal) = self.renewal.take() {
            // A renewal under way ends first: two writers of one lease would conflict with each other.
            let _ = cx.run("release lease", async { Ok(renewal.await) }).await;
        }
        let shared = &self.shared;
        if let Some(why) = shared.lost_why() {
            return Err(shared.lost_error(&why));
        }
        let (record, tag) = shared.last();
        let ended = record.released(shared.clock.now());
        let wrote = write(cx, shared.store.as_ref(), &shared.key, &ended, Condition::Matches(tag)).await;
        match wrote {
            // A renewal whose answer was lost left a version that we do not know the tag of.
            Err(e) if e.kind() == ErrorKind::Conflict => match shared.own_version(cx).await? {
                Some(tag) => {
                    write(cx, shared.store.as_ref(), &shared.key, &ended, Condition::Matches(tag)).await.map(|_| ())
                }
                None => Err(shared.lost_error("another holder took it").with_source(e)),
            },
            other => other.map(|_| ()),
        }
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        self.stop.cancel();
        self.shared.cx.cancel();
    }
}

impl Shared {
    fn last(&self) -> (Record, VersionTag) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        (held.record.clone(), held.tag.clone())
    }

    fn lost_why(&self) -> Option<String> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lost_error(&self, why: &str) -> Error {
        let text = format!("lease {} in store {} is no longer held: {why}", self.key, self.store.info().name);
        Error::new(ErrorKind::Conflict, text).with_help("run it again; nothing was published after the lease was lost")
    }

    /// The monotonic clock stands still while the machine sleeps, and the wall clock can be set back: both must agree.
    fn is_overdue(&self) -> bool {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.began.elapsed() >= self.ttl || self.clock.now() >= held.began_at + delta(self.ttl)
    }

    fn check(&self) -> Result<()> {
        match self.lost_why() {
            Some(why) => Err(self.lost_error(&why)),
            None if self.is_overdue() => Err(self.lost_error("it could not be renewed in time")),
            None => Ok(()),
        }
    }

    fn lose(&self, why: String) {
        tracing::warn!(lease = %self.key, store = %self.store.info().name, %why, "lease lost");
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        self.cx.cancel();
    }

    /// The tag of what is stored now, if this acquisition wrote it.
    async fn own_version(&self, cx: &Cx) -> Result<Option<VersionTag>> {
        let nonce = self.last().0.nonce;
        Ok(read(cx, self.store.as_ref(), &self.key).await?.filter(|s| s.record.nonce == nonce).map(|s| s.tag))
    }

    /// One renewal. `Conflict` means that somebody else holds the lease now.
    async fn renew_once(&self, cx: &Cx) -> Result<()> {
        let (record, tag) = self.last();
        let (began, began_at) = (Instant::now(), self.clock.now());
        let next = record.renewed(began_at);
        let wrote = write(cx, self.store.as_ref(), &self.key, &next, Condition::Matches(tag)).await;
        let tag = match wrote {
            Ok(tag) => tag,
            Err(e) if e.kind() == ErrorKind::Conflict => match self.own_version(cx).await? {
                Some(tag) => write(cx, self.store.as_ref(), &self.key, &next, Condition::Matches(tag)).await?,
                None => return Err(e),
            },
            Err(e) => return Err(e),
        };
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Held { record: next, tag, began, began_at };
        Ok(())
    }
}

/// Renews every third of the time; after a failure, more often, until the time is up.
async fn renew(shared: Arc<Shared>, stop: CancellationToken) {
    let mut pause = shared.ttl / 3;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        // Not under the holder's context: the lease must last while cancelled work winds down.
        let cx = Cx::background().with_deadline(std::time::SystemTime::now() + shared.ttl / 3);
        match cx.run("renew lease", shared.renew_once(&cx)).await {
            Ok(()) => pause = shared.ttl / 3,
            Err(e) if e.kind() == ErrorKind::Conflict => return shared.lose(e.to_string()),
            Err(e) if shared.is_overdue() => return shared.lose(format!("it could not be renewed: {}", e.chain())),
            Err(e) => {
                tracing::debug!(lease = %shared.key, error = %e.chain(), "lease not renewed yet");
                pause = shared.ttl / 12;
            }
        }
    }
}
