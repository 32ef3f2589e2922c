//! Three small components, two stores and a scheduler over them, all by a simulated clock.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use veza_dr_backup::{
    Encryption, PrepareBackup, Prepared, Repository, RetentionPolicy, Schedule, ScheduledComponent, Scheduler,
    Timetable, Zone, store::DirectoryStore,
};
use veza_dr_core::{
    ArtifactSink, BackupCaps, BackupRequest, BackupTarget, Clock, Cx, Error, ErrorKind, Event, EventSink, Manifest,
    Report, Result, TargetInfo,
    testing::{MemoryBackupTarget, MemoryDatabase, SimulatedClock},
};

use crate::outage_store::OutageStore;

/// One component of the site.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Its name.
    pub name: &'static str,
    /// Its schedule, in Paris.
    pub cron: &'static str,
    /// How long reading it takes.
    pub takes: Duration,
    /// When its source refuses to be read.
    pub fails_at: Option<DateTime<Utc>>,
    /// What is kept.
    pub retention: RetentionPolicy,
}

/// Remembers every event.
#[derive(Debug, Clone, Default)]
pub struct Recorder(pub Arc<Mutex<Vec<Event>>>);

#[async_trait]
impl EventSink for Recorder {
    async fn tell(&self, _: &Cx, event: &Event) -> Result<()> {
        self.0.lock().unwrap().push(event.clone());
        Ok(())
    }
}

/// Folders, sources and what was told.
#[derive(Debug)]
pub struct Site {
    place: tempfile::TempDir,
    clock: SimulatedClock,
    outage: std::ops::Range<DateTime<Utc>>,
    specs: Vec<Spec>,
    /// Everything that any scheduler told.
    pub recorder: Recorder,
}

impl Site {
    /// A site whose second store cannot be reached during `outage`.
    pub fn new(clock: SimulatedClock, outage: std::ops::Range<DateTime<Utc>>, specs: Vec<Spec>) -> Self {
        Self { place: tempfile::tempdir().unwrap(), clock, outage, specs, recorder: Recorder::default() }
    }

    /// The folder of a store.
    pub fn folder(&self, store: &str) -> std::path::PathBuf {
        self.place.path().join(store)
    }

    /// A store, as the scheduler sees it.
    pub fn repository(&self, store: &str) -> Repository {
        let inner = Arc::new(DirectoryStore::open(store, self.folder(store)).unwrap());
        let never = DateTime::UNIX_EPOCH..DateTime::UNIX_EPOCH;
        let outage = if store == "offsite" { self.outage.clone() } else { never };
        let store = OutageStore { inner, clock: Arc::new(self.clock), outage };
        Repository::new(Arc::new(store), Encryption::default())
    }

    /// A scheduler over all components; `late` is the jitter, as that of another machine.
    pub fn scheduler(&self, late: Duration) -> Scheduler {
        let components = self.specs.iter().map(|spec| {
            let target = SlowTarget {
                inner: MemoryBackupTarget::new(spec.name, MemoryDatabase::with_keys(20))
                    .unwrap()
                    .with_clock(Arc::new(self.clock)),
                clock: self.clock,
                takes: spec.takes,
                fails_at: spec.fails_at,
            };
            let repositories = vec![self.repository("local"), self.repository("offsite")];
            let source = Arc::new(Fixed { target: Arc::new(target), repositories });
            let paris: Zone = "Europe/Paris".parse().unwrap();
            let table = Timetable::new(Schedule::parse(spec.cron, paris).unwrap()).with_jitter(late, "another machine");
            ScheduledComponent::new(spec.name.parse().unwrap(), source, Some(table))
                .with_retention(spec.retention.clone().with_zone(paris))
        });
        Scheduler::new(components.collect())
            .unwrap()
            .with_clock(Arc::new(self.clock))
            .with_events(Arc::new(self.recorder.clone()))
    }

    /// Runs a scheduler until `end`, which then stops dead, or is asked to stop.
    pub async fn run_until(&self, end: DateTime<Utc>, late: Duration, crash: bool) {
        let (cx, scheduler) = (Cx::background(), self.scheduler(late));
        let mut run = Box::pin(scheduler.run(&cx));
        tokio::select! {
            ended = &mut run => panic!("the scheduler ended by itself: {ended:?}"),
            () = self.clock.sleep_until(end) => {}
        }
        if crash {
            drop(run);
            // Tasks that were on blocking threads end; the machine is gone for longer than any lease lasts.
            tokio::time::sleep(Duration::from_secs(1)).await;
            for store in ["local", "offsite"] {
                age_leases(&self.folder(store));
            }
        } else {
            cx.cancel();
            run.await.unwrap();
        }
    }
}

/// Makes leases look as if nobody had renewed them for an hour.
fn age_leases(store: &Path) {
    for lease in std::fs::read_dir(store.join("locks")).unwrap() {
        let file = std::fs::File::options().append(true).open(lease.unwrap().path()).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    }
}

#[derive(Debug)]
struct Fixed {
    target: Arc<SlowTarget>,
    repositories: Vec<Repository>,
}

#[async_trait]
impl PrepareBackup for Fixed {
    async fn prepare(&self, _: &Cx) -> Result<Prepared> {
        let (target, repositories) = (self.target.clone(), self.repositories.clone());
        Ok(Prepared { target, repositories, unavailable: Vec::new() })
    }
}

/// Takes its time, and fails once at a given moment.
#[derive(Debug)]
struct SlowTarget {
    inner: MemoryBackupTarget,
    clock: SimulatedClock,
    takes: Duration,
    fails_at: Option<DateTime<Utc>>,
}

#[async_trait]
impl BackupTarget for SlowTarget {
    fn info(&self) -> &TargetInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> BackupCaps {
        self.inner.capabilities()
    }

    async fn create(&self, cx: &Cx, request: BackupRequest, out: Arc<dyn ArtifactSink>) -> Result<Manifest> {
        if self.fails_at.is_some_and(|at| (self.clock.now() - at).num_seconds() == 0) {
            return Err(Error::new(ErrorKind::Unavailable, "the source refuses connections"));
        }
        cx.run("read slowly", async {
            tokio::time::sleep(self.takes).await;
            Ok(())
        })
        .await?;
        self.inner.create(cx, request, out).await
    }

    async fn check(&self, cx: &Cx) -> Result<Report> {
        self.inner.check(cx).await
    }

    fn recipe(&self, manifest: &Manifest) -> String {
        self.inner.recipe(manifest)
    }
}
