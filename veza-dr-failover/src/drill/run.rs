//! One drill, from its lease to its record.

use std::{
    fmt::Debug,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use veza_dr_core::{
    ArtifactSource, BackupId, BackupStore, Clock, ComponentName, Cx, Error, ErrorKind, Manifest, Outcome, Result,
    Scenario, SystemClock,
    lease::{Lease, LeaseGuard},
};

use super::{
    clock::Chronicle,
    cold::ColdSource,
    course::Course,
    damage::Damage,
    ending::last_words,
    ground,
    judge::{self, Reference},
    ledger::{DrillLock, Ledger, Line},
    model::{ControlRecord, DrillFinding, DrillKind, DrillRecord, DrillValidation, Loss, PartRecord, TimelineEntry},
    place::PlaceSpec,
    plan_record::RehearsedPlan,
    platform::{CopyProof, DrillChecks, DrillPlatform},
    production::Seen,
    stage::RestoreInto,
    witness::Witness,
};

/// The lease of all drills of a store.
const LEASE: &str = "drills";
const LEASE_TTL: Duration = Duration::from_secs(60);
/// Good answers in a row that make a service served.
pub(super) const GOOD_ANSWERS: u32 = 3;

/// One component of a drill.
#[derive(Debug)]
#[non_exhaustive]
pub struct DrillPart {
    /// The component.
    pub component: ComponentName,
    /// The backup to bring back.
    pub manifest: Manifest,
    /// The store it comes from.
    pub store: String,
    /// Its objects.
    pub data: Arc<dyn ArtifactSource>,
    /// The objects of a damaged copy, for the negative control.
    pub damaged: Option<(Damage, Arc<dyn ArtifactSource>)>,
    /// Where a cold start reads it.
    pub cold: Option<ColdSource>,
    /// What it is restored into.
    pub spec: PlaceSpec,
    /// What restores it.
    pub restore: Arc<dyn RestoreInto>,
    /// What restores it into a service of the drill's platform, where one keeps it.
    pub service: Option<Arc<dyn RestoreInto>>,
    /// The disaster leaves it where it is: it is restored beforehand, and only compared afterwards.
    pub standing: bool,
    /// What proves that the backup is whole, for plans that demand it.
    pub proof: Option<Arc<dyn CopyProof>>,
}

impl DrillPart {
    /// A component brought back from `manifest` of `store`.
    #[must_use]
    pub fn new(
        manifest: Manifest,
        store: impl Into<String>,
        data: Arc<dyn ArtifactSource>,
        spec: PlaceSpec,
        restore: Arc<dyn RestoreInto>,
    ) -> Self {
        let component = manifest.component.clone();
        let (store, service, proof) = (store.into(), None, None);
        Self {
            component,
            manifest,
            store,
            data,
            damaged: None,
            cold: None,
            spec,
            restore,
            service,
            standing: false,
            proof,
        }
    }

    /// Kept by a service of the drill's platform.
    #[must_use]
    pub fn with_service(mut self, restore: Arc<dyn RestoreInto>) -> Self {
        self.service = Some(restore);
        self
    }

    /// Left where it is by the disaster, or not.
    #[must_use]
    pub fn left_standing(mut self, standing: bool) -> Self {
        self.standing = standing;
        self
    }

    /// With what proves its backup whole.
    #[must_use]
    pub fn with_proof(mut self, proof: Arc<dyn CopyProof>) -> Self {
        self.proof = Some(proof);
        self
    }

    /// With what a cold start begins with.
    #[must_use]
    pub fn with_cold(mut self, source: ColdSource) -> Self {
        self.cold = Some(source);
        self
    }

    /// With a damaged copy for the negative control.
    #[must_use]
    pub fn with_damaged(mut self, damage: Damage, data: Arc<dyn ArtifactSource>) -> Self {
        self.damaged = Some((damage, data));
        self
    }
}

/// Is told of each step as it ends.
pub trait DrillWatcher: Debug + Send + Sync + 'static {
    /// A step ended.
    fn step(&self, entry: &TimelineEntry);
}

/// Tells nobody.
#[derive(Debug)]
pub struct NobodyWatchesDrill;

impl DrillWatcher for NobodyWatchesDrill {
    fn step(&self, _: &TimelineEntry) {}
}

/// A drill that is about to begin.
///
/// ```no_run
/// # async fn f(
/// #     scenario: veza_dr_core::Scenario, part: veza_dr_failover::drill::DrillPart,
/// #     store: std::sync::Arc<dyn veza_dr_core::BackupStore>,
/// # ) -> veza_dr_core::Result<()> {
/// use veza_dr_core::Cx;
/// use veza_dr_failover::drill::{Drill, DrillOutcome, lock};
/// let lock = lock("/var/lib/veza-dr".as_ref())?;
/// let mut drill = Drill::new(scenario, "/var/lib/veza-dr", "/var/tmp");
/// drill.parts.push(part);
/// let record = drill.run(&Cx::background(), &lock, &[store]).await?;
/// assert_eq!(record.outcome, DrillOutcome::Passed);
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Drill {
    /// Its identity.
    pub id: BackupId,
    /// How it is carried out.
    pub kind: DrillKind,
    /// What it rehearses.
    pub scenario: Scenario,
    /// Who asked for it.
    pub by: String,
    /// Where this host keeps what a crash must not lose.
    pub state_dir: PathBuf,
    /// Where the private places are made; they take about twice the plain size of the backups.
    pub scratch_dir: PathBuf,
    /// The instant that was asked for; the newest backup where it is `None`.
    pub wanted: Option<DateTime<Utc>>,
    /// Which drill of the scenario it is.
    pub number: Option<u64>,
    /// Whether damaged copies are tried first.
    pub control: bool,
    /// The components.
    pub parts: Vec<DrillPart>,
    /// The platform that is made for it, of [`DrillKind::Compose`].
    pub platform: Option<Arc<dyn DrillPlatform>>,
    /// The plan that is followed in the platform; without one everything is restored and started at once.
    pub course: Option<Course>,
    /// What must pass on the platform once it serves again.
    pub checks: Option<Arc<dyn DrillChecks>>,
    /// What may not change.
    pub witnesses: Vec<Arc<dyn Witness>>,
    /// What it leaves out, for the record.
    pub exclusions: Vec<String>,
    /// What somebody has to look at, whatever it finds.
    pub findings: Vec<DrillFinding>,
    /// Who is told of each step.
    pub watcher: Arc<dyn DrillWatcher>,
}

/// What a drill found so far.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) chronicle: Chronicle,
    pub(super) parts: Vec<PartRecord>,
    pub(super) control: Option<ControlRecord>,
    pub(super) findings: Vec<DrillFinding>,
    pub(super) plan: Option<RehearsedPlan>,
    pub(super) validation: Vec<DrillValidation>,
}

impl Drill {
    /// A drill of `scenario` without components.
    #[must_use]
    pub fn new(scenario: Scenario, state_dir: impl Into<PathBuf>, scratch_dir: impl Into<PathBuf>) -> Self {
        Self {
            id: BackupId::new(&SystemClock),
            kind: DrillKind::Processes,
            scenario,
            by: "operator".to_owned(),
            state_dir: state_dir.into(),
            scratch_dir: scratch_dir.into(),
            wanted: None,
            number: None,
            control: false,
            parts: Vec::new(),
            platform: None,
            course: None,
            checks: None,
            witnesses: Vec::new(),
            exclusions: Vec::new(),
            findings: Vec::new(),
            watcher: Arc::new(NobodyWatchesDrill),
        }
    }

    /// Runs it under `lock`, and keeps its record in `stores`. It ends in any case with the removal of what was made:
    /// after a failure, and after `cx` was cancelled. What a killed process leaves is for [`super::reap`].
    ///
    /// # Errors
    /// `Conflict` when another drill of one of the stores is under way; `Full` when there is no room for it; `Config`
    /// without components or stores. Nothing was made then. Afterwards only `Unavailable` and the like when the record
    /// could be kept in no store; it lies in `state_dir` then. That the drill failed is no error: see the outcome.
    pub async fn run(self, cx: &Cx, lock: &DrillLock, stores: &[Arc<dyn BackupStore>]) -> Result<DrillRecord> {
        let _held = lock;
        if self.parts.is_empty() {
            let text = format!("scenario {} needs no component: there is nothing to bring back", self.scenario.kind);
            return Err(Error::new(ErrorKind::Config, text)
                .with_help("name what it needs: scenarios: { database: { needs: [database] } }"));
        }
        self.room()?;
        let leases = leases(cx, stores).await?;
        let inner = leases.first().map_or(cx, LeaseGuard::cx).clone();
        let done = self.under_lease(&inner, stores).await;
        let last = last_words();
        for lease in leases {
            if let Err(e) = lease.release(&last).await {
                tracing::debug!(error = %e.chain(), "the lease of the drill runs out by itself");
            }
        }
        done
    }

    /// Refuses what cannot fit, before anything is made.
    fn room(&self) -> Result<()> {
        let stat = rustix::fs::statvfs(&self.scratch_dir)
            .map_err(|e| ground::cannot("used for drills", &self.scratch_dir, &e.into()))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let needed = self.parts.iter().map(|p| p.manifest.bytes()).sum::<u64>().saturating_mul(2) + (200 << 20);
        if free < needed {
            let text = format!("a drill needs {needed} bytes in {}, {free} are free", self.scratch_dir.display());
            return Err(Error::new(ErrorKind::Full, text).with_help("name a larger folder: drills.scratch_dir"));
        }
        Ok(())
    }

    async fn under_lease(self, cx: &Cx, stores: &[Arc<dyn BackupStore>]) -> Result<DrillRecord> {
        let before = Seen::now(cx, &self.witnesses).await;
        cx.check("begin the drill")?;
        let folder = ground::folder_of(&self.scratch_dir, &self.id);
        let begun = Line::Begun {
            id: self.id.clone(),
            kind: self.kind,
            scenario: self.scenario.kind,
            by: self.by.clone(),
            at: SystemClock.now(),
        };
        let mut ledger = Ledger::begin(&self.state_dir, begun, &self.id)?;
        let mut found = self.fresh(&before);
        let rehearsed = async {
            ledger.note(&Line::Folder { path: folder.clone() })?;
            ground::make(&folder)?;
            if let Some(platform) = &self.platform {
                let engine = platform.engine().map(str::to_owned);
                let machine = platform.elsewhere().cloned();
                ledger.note(&Line::Project { name: platform.project().to_owned(), engine, machine })?;
            }
            self.rehearse(cx, &mut ledger, &mut found, &folder).await
        };
        let interrupted = match rehearsed.await {
            Ok(()) => false,
            Err(e) => {
                let cancelled = e.kind() == ErrorKind::Cancelled;
                found.findings.push(DrillFinding {
                    severity: veza_dr_core::Severity::High,
                    text: e.chain(),
                    help: e.help().map(str::to_owned),
                });
                self.tell(found.chronicle.note("drill", Outcome::Failed, e.chain(), Instant::now()));
                cancelled
            }
        };
        self.end(ledger, found, &before, &folder, interrupted, stores).await
    }

    fn fresh(&self, before: &Seen) -> Found {
        let part = |p: &DrillPart| PartRecord {
            component: p.component.clone(),
            engine: p.manifest.engine.clone(),
            store: p.store.clone(),
            backup: p.manifest.id.clone(),
            shows: p.manifest.consistency.at,
            bytes: p.manifest.bytes(),
            rows: p.manifest.rows(),
            baseline: None,
            recovery: None,
            rpa_ms: None,
            standing: p.standing,
            loss: self.loss(p, before),
        };
        let copy_of = self.platform.as_ref().map_or("", |platform| platform.copy_of());
        Found {
            chronicle: Chronicle::begin(),
            parts: self.parts.iter().map(part).collect(),
            control: None,
            findings: self.findings.clone(),
            plan: self.course.as_ref().map(|course| RehearsedPlan::of(course, copy_of)),
            validation: Vec::new(),
        }
    }

    /// What a disaster now would cost a component.
    fn loss(&self, part: &DrillPart, before: &Seen) -> Loss {
        if part.standing {
            return Loss { basis: "unknown: it was not looked at after the disaster".to_owned(), ..Loss::default() };
        }
        let reference = match (self.wanted, &self.course) {
            // A plan that goes back gives up all that came since, whoever wrote it.
            (Some(_), Some(course)) if course.asks_for_a_time() => Reference::GoneBackFrom,
            (Some(_), _) => Reference::Earlier,
            (None, _) => Reference::Now,
        };
        judge::loss(before.records(&part.component), &part.manifest.contents, reference)
    }

    pub(super) fn tell(&self, entry: TimelineEntry) {
        self.watcher.step(&entry);
    }
}

async fn leases(cx: &Cx, stores: &[Arc<dyn BackupStore>]) -> Result<Vec<LeaseGuard>> {
    let (mut held, mut failure) = (Vec::new(), None);
    for store in stores {
        match Lease::acquire(cx, store.clone(), LEASE, LEASE_TTL).await {
            Ok(lease) => held.push(lease),
            Err(e) if matches!(e.kind(), ErrorKind::Conflict | ErrorKind::Cancelled) => {
                for lease in held {
                    let _ = lease.release(&last_words()).await;
                }
                return Err(e);
            }
            Err(e) => failure = Some(e),
        }
    }
    match (held.is_empty(), failure) {
        (false, _) => Ok(held),
        (true, Some(e)) => Err(e),
        (true, None) => Err(Error::new(ErrorKind::Config, "there is no store that keeps the records of drills")),
    }
}
