//! One backup from lease to manifest, to every store it belongs in.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use veza_dr_core::{
    BackupId, BackupRequest, BackupTarget, Clock, Condition, Cx, Effect, Error, ErrorKind, Manifest, ObjectKey, Result,
    SystemClock,
};

use crate::{
    base::choose_base,
    codec::Compression,
    hooks::{BackupHooks, HookRun},
    recovery_point::RecoverySeat,
    repository::{Repository, backup_key},
    sink::{BackupSink, Lane},
    source::read_all,
    store::{Lease, LeaseGuard},
    sweep::{discard, sweep_abandoned_writes, sweep_dead_runs},
};

/// How long a cancelled backup may take to stop by itself.
const STOPPING: Duration = Duration::from_secs(10);

/// How often a source that was in the way of itself (DDL between our locks) is read anew.
const ATTEMPTS: u32 = 3;

/// How a backup is run.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct BackupOptions {
    /// How objects are compressed.
    pub compression: Compression,
    /// How long a silent holder of a component's lease is believed to be alive; 60 s when `None`.
    pub lease_ttl: Option<Duration>,
    /// What is called around the reading of the source.
    pub hooks: Option<Arc<dyn BackupHooks>>,
    /// The clock that identities and times are taken from; the machine's own when `None`.
    pub clock: Option<Arc<dyn Clock>>,
    /// This component's part in a recovery point, when others are backed up with it.
    pub(crate) recovery_seat: Option<RecoverySeat>,
}

impl BackupOptions {
    /// With this compression.
    #[must_use]
    pub fn with_compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// With this lease time.
    #[must_use]
    pub fn with_lease_ttl(mut self, ttl: Duration) -> Self {
        self.lease_ttl = Some(ttl);
        self
    }

    /// With these hooks around the reading of the source.
    #[must_use]
    pub fn with_hooks(mut self, hooks: Arc<dyn BackupHooks>) -> Self {
        self.hooks = Some(hooks);
        self
    }

    /// With times from this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone().unwrap_or_else(|| Arc::new(SystemClock))
    }
}

/// How a backup fared in one store.
#[derive(Debug)]
pub struct StoreResult {
    /// The store's name.
    pub store: String,
    /// The published manifest, or why there is none.
    pub result: Result<Manifest>,
}

/// What a run of [`back_up`] did.
#[derive(Debug)]
pub struct BackupReport {
    /// The backup's identity, the same in every store.
    pub id: BackupId,
    /// One result for each store that was asked for.
    pub stores: Vec<StoreResult>,
    /// From the first lease to the last manifest.
    pub took: Duration,
    /// Unfinished runs of the past that were swept, by store and id.
    pub swept: Vec<(String, BackupId)>,
    /// Why [`BackupHooks::after_read`] failed, if it did: something that was stopped may not have been started again.
    pub after_read: Option<Error>,
}

impl BackupReport {
    /// True when every store has it.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.stores.iter().all(|s| s.result.is_ok())
    }

    /// The names of the stores that have it.
    #[must_use]
    pub fn stores_that_have_it(&self) -> Vec<String> {
        self.stores.iter().filter(|s| s.result.is_ok()).map(|s| s.store.clone()).collect()
    }

    /// The manifest of the first store that has it.
    #[must_use]
    pub fn manifest(&self) -> Option<&Manifest> {
        self.stores.iter().find_map(|s| s.result.as_ref().ok())
    }

    /// An error when some store lacks it, naming each.
    ///
    /// # Errors
    /// `Partial` when others have it.
    pub fn ensure_complete(&self) -> Result<()> {
        let lacking: Vec<String> = self
            .stores
            .iter()
            .filter_map(|s| s.result.as_ref().err().map(|e| format!("{}: {}", s.store, e.chain())))
            .collect();
        if lacking.is_empty() {
            return Ok(());
        }
        let text = format!("backup {} is missing in {} of {} stores", self.id, lacking.len(), self.stores.len());
        Err(Error::new(ErrorKind::Partial, text).with_source(lacking.join("; ")))
    }
}

/// Backs `target` up into every repository. Holds each store's lease on the component meanwhile, sweeps what dead
/// runs of it left, and publishes with the manifest as its last write.
///
/// A source in whose way DDL stands is read anew, from another instant and under another id, up to twice.
///
/// A store that fails is given up while others go on; its result says why. A lease that another run holds in any of
/// them ends this run, so that two runs never share the stores out between them. On an error or cancellation nothing is
/// published anywhere, what was stored is deleted again as far as the stores still answer, and leases are released.
///
/// # Errors
/// `Conflict` when another run holds the component; those of the target; the store's when none is left.
pub async fn back_up(
    cx: &Cx,
    target: &dyn BackupTarget,
    repositories: &[Repository],
    options: &BackupOptions,
) -> Result<BackupReport> {
    let component = target.info().component.clone();
    options.compression.validate()?;
    if repositories.is_empty() {
        return Err(Error::new(ErrorKind::Config, format!("{component} has no store to go to")));
    }
    let mut attempt = 1;
    loop {
        let at_source = AtomicBool::new(false);
        match one_attempt(cx, target, repositories, options, &at_source).await {
            Err(e) if e.kind() == ErrorKind::Conflict && at_source.load(Ordering::Relaxed) && attempt < ATTEMPTS => {
                tracing::warn!(%component, attempt, error = %e.chain(), "the source is read anew");
                let pause = Duration::from_millis(500 * u64::from(attempt) + rand::random::<u64>() % 1000);
                let wait = async {
                    tokio::time::sleep(pause).await;
                    Ok(())
                };
                cx.run("wait to read anew", wait).await?;
                attempt += 1;
            }
            other => return other,
        }
    }
}

/// One run from lease to manifest; sets `at_source` when it was the source that failed.
async fn one_attempt(
    cx: &Cx,
    target: &dyn BackupTarget,
    repositories: &[Repository],
    options: &BackupOptions,
    at_source: &AtomicBool,
) -> Result<BackupReport> {
    let started = Instant::now();
    let component = target.info().component.clone();
    let clock = options.clock();
    let id = BackupId::new(clock.as_ref());
    let base = backup_key(&component, &id)?;
    let hooks = Arc::new(HookRun::new(options.hooks.clone(), component.clone(), id.clone()));
    let work = cx.child();
    let mut seats: Vec<Seat> = Vec::new();
    // In one order everywhere: of two runs that begin together, one gets past the first store.
    let mut repositories: Vec<&Repository> = repositories.iter().collect();
    repositories.sort_by(|a, b| a.name().cmp(b.name()));
    for repository in repositories {
        let lane = Arc::new(Lane::new(repository.store().clone(), repository.encryption().clone()));
        let ttl = options.lease_ttl.unwrap_or(Duration::from_secs(60));
        let lease = Lease::acquire(&work, repository.store().clone(), component.as_str(), ttl).await;
        let guard = match lease {
            Ok(guard) => Some(guard),
            Err(e) if e.kind() == ErrorKind::Conflict => {
                work.cancel();
                for seat in seats {
                    seat.leave(&base).await;
                }
                return Err(e);
            }
            Err(e) => {
                lane.fail(e);
                None
            }
        };
        seats.push(Seat { repository: repository.clone(), lane, guard, published: Published::No });
    }
    let mut swept = Vec::new();
    let outcome = if seats.iter().any(|s| s.lane.is_healthy()) {
        for seat in seats.iter().filter(|s| s.lane.is_healthy()) {
            sweep_abandoned_writes(&work, &seat.repository, clock.now()).await;
            for dead in sweep_dead_runs(&work, &seat.repository, &component).await {
                swept.push((seat.repository.name().to_owned(), dead));
            }
        }
        let lanes = seats.iter().map(|s| s.lane.clone()).collect();
        let sink = Arc::new(BackupSink::new(base.clone(), options.compression, lanes, hooks.clone()));
        let run = async {
            let mut request = BackupRequest::new(id.clone());
            if target.capabilities().incremental {
                let open: Vec<_> = seats.iter().filter(|s| s.lane.is_healthy()).collect();
                let places: Vec<_> = open.iter().map(|s| (&s.repository, s.lane.as_ref())).collect();
                request.base = choose_base(&work, &component, &places).await?;
            }
            hooks.before(&work).await?;
            let created = target.create(&work, request, sink).await;
            hooks.source_was_read().await;
            // A source that was stopped because the lease is lost ends with another error than that.
            let in_the_way = created.as_ref().is_err_and(|e| e.kind() == ErrorKind::Conflict);
            at_source.store(in_the_way, Ordering::Relaxed);
            let mut manifest = created?;
            if let Some(seat) = &options.recovery_seat {
                let point = seat.arrive(&work, &manifest).await?;
                manifest.recovery_point = Some(point);
            }
            Ok(manifest)
        };
        let ran = watch_leases(&work, &seats, run).await;
        // Also when the run was ended from outside.
        hooks.source_was_read().await;
        match ran {
            Ok(manifest) => {
                for seat in &mut seats {
                    match seat.publish(&work, target, &base, manifest.clone(), clock.as_ref()).await {
                        Ok(published) => seat.published = published,
                        Err(e) => seat.lane.fail(e),
                    }
                }
                Ok(())
            }
            Err(e) => Err(e),
        }
    } else {
        // Every lease was refused: the first refusal is the error, below.
        Ok(())
    };
    work.cancel();
    let mut stores = Vec::new();
    for seat in seats {
        stores.push(seat.leave(&base).await);
    }
    outcome?;
    if stores.iter().all(|s| s.result.is_err()) {
        cx.check("backup")?;
        let first = stores.into_iter().find_map(|s| s.result.err());
        return Err(first.unwrap_or_else(|| Error::new(ErrorKind::Unexpected, "no store took the backup")));
    }
    Ok(BackupReport { id, stores, took: started.elapsed(), swept, after_read: hooks.take_failure() })
}

/// Whether the commit took place.
#[derive(Debug)]
enum Published {
    No,
    Yes(Box<Manifest>),
    /// The store took the manifest, or will, or will not.
    Unknown,
}

/// One store's part in a run.
struct Seat {
    repository: Repository,
    lane: Arc<Lane>,
    guard: Option<LeaseGuard>,
    published: Published,
}

impl Seat {
    async fn publish(
        &self,
        cx: &Cx,
        target: &dyn BackupTarget,
        base: &ObjectKey,
        mut manifest: Manifest,
        clock: &dyn Clock,
    ) -> Result<Published> {
        if !self.lane.is_healthy() {
            return Ok(Published::No);
        }
        manifest.objects = self.lane.records();
        manifest.encrypted_for = Some(self.repository.encryption().readers());
        manifest.finished_at = clock.now();
        let store = self.repository.store();
        // What the store lists must be what was written, before anything says that a backup exists.
        self.repository.check_listed(cx, &manifest).await?;
        let recipe = target.recipe(&manifest);
        store.put(cx, &base.join("RECOVER.md")?, recipe.into(), Condition::Absent).await?;
        // The last look before the commit point: a run that lost its lease must not publish beside its successor.
        if let Some(guard) = &self.guard {
            guard.check()?;
        }
        let key = base.join("manifest.json")?;
        let json = manifest.to_json()?;
        let Err(e) = store.put(cx, &key, json.clone().into(), Condition::Absent).await else {
            return Ok(Published::Yes(Box::new(manifest)));
        };
        // The answer may be what was lost; a store's own retry meets the trace of its first attempt as a conflict.
        if e.effect() != Effect::Unknown && e.kind() != ErrorKind::Conflict {
            return Err(e);
        }
        let cx = Cx::background().with_deadline(std::time::SystemTime::now() + Duration::from_secs(20));
        let look = async {
            let mut reader = store.get(&cx, &key, 0).await?;
            read_all(reader.as_mut(), json.len(), key.as_str()).await
        };
        match look.await {
            Ok(found) if found == json => Ok(Published::Yes(Box::new(manifest))),
            Ok(_) => Err(e),
            Err(looking) => {
                self.lane.fail(e);
                tracing::warn!(error = %looking.chain(), "whether the manifest was stored cannot be told");
                Ok(Published::Unknown)
            }
        }
    }

    async fn leave(self, base: &ObjectKey) -> StoreResult {
        // The run's own context may be cancelled; tidying gets a short one of its own.
        let cx = Cx::background().with_deadline(std::time::SystemTime::now() + Duration::from_secs(20));
        let failure = self.lane.take_failure();
        let store = self.repository.name().to_owned();
        // A manifest that may still arrive must find its objects: the next run sweeps them, should it never come.
        if matches!(self.published, Published::No)
            && self.guard.is_some()
            && let Err(e) = discard(&cx, &self.repository, base).await
        {
            tracing::warn!(%store, error = %e.chain(), "an unfinished backup stays behind until the next run");
        }
        if let Some(guard) = self.guard
            && let Err(e) = guard.release(&cx).await
        {
            tracing::warn!(%store, error = %e.chain(), "the lease runs out by itself");
        }
        let result = match (self.published, failure) {
            (Published::Yes(manifest), _) => Ok(*manifest),
            (_, Some(e)) => Err(e),
            _ => Err(Error::new(ErrorKind::Unexpected, "the run failed")),
        };
        StoreResult { store, result }
    }
}

/// Runs `work`, ending it when the lease of every store that is still written to was lost.
async fn watch_leases<T>(cx: &Cx, seats: &[Seat], work: impl Future<Output = Result<T>>) -> Result<T> {
    let lost = async {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            for seat in seats {
                if let Some(Err(e)) = seat.guard.as_ref().map(LeaseGuard::check) {
                    seat.lane.fail(e);
                }
            }
            if !seats.iter().any(|s| s.lane.is_healthy()) {
                let first = seats.iter().find_map(|s| s.lane.take_failure());
                return first.unwrap_or_else(|| Error::new(ErrorKind::Unexpected, "no store is left"));
            }
        }
    };
    let mut work = pin!(work);
    let lost = tokio::select! {
        done = &mut work => return done,
        e = lost => Some(e),
        () = cx.token().cancelled() => None,
    };
    cx.cancel();
    // Not dropped where it stands: what is being stored would be so after the run's objects are deleted.
    let ended = tokio::time::timeout(STOPPING, work).await;
    match (lost, ended) {
        // A store that was only stopped says nothing of why: the work does.
        (Some(e), Ok(Err(cause))) if e.kind() == ErrorKind::Cancelled => Err(cause),
        (Some(e), _) => Err(e),
        (None, Ok(done)) => done,
        (None, Err(_)) => Err(Error::new(ErrorKind::Cancelled, "backup: cancelled")),
    }
}
