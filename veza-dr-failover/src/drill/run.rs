//! One drill, from its lease to its record.

use std::{
    fmt::Debug,
    path::{Path, PathBuf},
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
    clock::{Chronicle, millis},
    cold::{self, ColdSource},
    control::control,
    damage::Damage,
    ending::last_words,
    ground, judge,
    ledger::{DrillLock, Ledger, Line},
    model::{
        ControlRecord, ControlVerdict, DrillFinding, DrillKind, DrillRecord, PartRecord, StageRecord, TimelineEntry,
    },
    place::{Place, PlaceSpec, Raised},
    platform::{self, DrillPlatform},
    production::Seen,
    stage::{RestoreInto, stage},
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
        Self { component, manifest, store: store.into(), data, damaged: None, cold: None, spec, restore, service: None }
    }

    /// Kept by a service of the drill's platform.
    #[must_use]
    pub fn with_service(mut self, restore: Arc<dyn RestoreInto>) -> Self {
        self.service = Some(restore);
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
    /// What may not change.
    pub witnesses: Vec<Arc<dyn Witness>>,
    /// What it leaves out, for the record.
    pub exclusions: Vec<String>,
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
            witnesses: Vec::new(),
            exclusions: Vec::new(),
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
                ledger.note(&Line::Project { name: platform.project().to_owned(), engine })?;
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
            loss: judge::loss(before.records(&p.component), &p.manifest.contents, self.wanted.is_some()),
        };
        Found {
            chronicle: Chronicle::begin(),
            parts: self.parts.iter().map(part).collect(),
            control: None,
            findings: Vec::new(),
        }
    }

    pub(super) fn tell(&self, entry: TimelineEntry) {
        self.watcher.step(&entry);
    }

    async fn rehearse(&self, cx: &Cx, ledger: &mut Ledger, found: &mut Found, folder: &Path) -> Result<()> {
        if self.control {
            ledger.phase("control")?;
            let since = Instant::now();
            let control = control(cx, &self.parts, folder).await?;
            let (outcome, detail) = match control.verdict {
                ControlVerdict::Caught => (Outcome::Ok, "every damaged copy was refused"),
                ControlVerdict::Missed => (Outcome::Failed, "a damaged copy passed"),
                ControlVerdict::Unclear => {
                    (Outcome::Failed, "it says nothing: a damaged copy failed for another reason")
                }
            };
            self.tell(found.chronicle.note("negative control", outcome, detail, since));
            found.control = Some(control);
        }
        if self.kind == DrillKind::ColdStart {
            // The site is gone, and with it everything but the store and the key.
            let t0 = found.chronicle.point("T0");
            self.age(found, t0);
            for point in ["T1", "T2", "T3"] {
                found.chronicle.point(point);
            }
        } else {
            ledger.phase("baseline")?;
            let since = Instant::now();
            let mut sites = Vec::new();
            self.raise_platform(cx, found, folder, "before").await?;
            for (n, staged) in self.stages(cx, folder, "before").await?.into_iter().enumerate() {
                found.parts[n].baseline = Some(staged.0);
                sites.extend(staged.1);
            }
            let whole = found.parts.iter().all(|p| p.baseline.as_ref().is_some_and(StageRecord::is_equal));
            let outcome = if whole { Outcome::Ok } else { Outcome::Failed };
            let detail = told(&found.parts, |p| p.baseline.as_ref());
            self.tell(found.chronicle.note("private site", outcome, detail, since));
            if !whole {
                return Ok(());
            }
            self.serve_platform(cx, found, "before").await?;
            self.disaster(cx, ledger, found, sites).await?;
        }
        ledger.phase("recovery")?;
        found.chronicle.point("T4");
        let since = Instant::now();
        let mut sites = Vec::new();
        self.raise_platform(cx, found, folder, "after").await?;
        for (n, staged) in self.stages(cx, folder, "after").await?.into_iter().enumerate() {
            found.parts[n].recovery = Some(staged.0);
            sites.extend(staged.1);
        }
        let whole = found.parts.iter().all(|p| p.recovery.as_ref().is_some_and(StageRecord::is_equal));
        let outcome = if whole { Outcome::Ok } else { Outcome::Failed };
        self.tell(found.chronicle.note("recovery", outcome, told(&found.parts, |p| p.recovery.as_ref()), since));
        if whole {
            found.chronicle.point("T5");
            self.serve_platform(cx, found, "after").await?;
            let since = Instant::now();
            for site in &sites {
                for _ in 0..GOOD_ANSWERS {
                    cx.check("ask the recovered site")?;
                    if !site.answers().await {
                        let text = format!("{} does not answer after its recovery", site.place.location());
                        return Err(Error::new(ErrorKind::Unavailable, text));
                    }
                }
            }
            found.chronicle.point("T6");
            let detail = format!("{} places answered {GOOD_ANSWERS} times in a row", sites.len());
            self.tell(found.chronicle.note("served again", Outcome::Ok, detail, since));
        }
        for site in sites {
            site.destroy().await?;
        }
        Ok(())
    }

    /// How old the data of each component were at the disaster.
    fn age(&self, found: &mut Found, t0: DateTime<Utc>) {
        let reference = self.wanted.unwrap_or(t0);
        for (record, part) in found.parts.iter_mut().zip(&self.parts) {
            record.rpa_ms = (reference - part.manifest.consistency.at).to_std().ok().map(millis);
        }
    }

    async fn disaster(&self, cx: &Cx, ledger: &mut Ledger, found: &mut Found, sites: Vec<Raised>) -> Result<()> {
        ledger.phase("disaster")?;
        let since = Instant::now();
        let mut places = Vec::new();
        for site in &sites {
            if !site.answers().await {
                let text = format!("{} does not answer before the disaster", site.place.location());
                return Err(Error::new(ErrorKind::Unavailable, text));
            }
            places.push(site.place.location());
        }
        let t0 = found.chronicle.point("T0");
        self.age(found, t0);
        if let Some(platform) = &self.platform {
            places.push(format!("project {}", platform.project()));
            platform.destroy(cx).await?;
        }
        for site in sites {
            let place = site.place.clone();
            site.destroy().await?;
            // Of a service the platform has looked it up: whatever is on the way may answer for an address that is gone.
            if !matches!(place, Place::Service { .. }) && place.answers().await {
                return Err(Error::new(ErrorKind::Unexpected, "what was destroyed still answers"));
            }
        }
        for point in ["T1", "T2", "T3"] {
            found.chronicle.point(point);
        }
        cx.check("recover")?;
        self.tell(found.chronicle.note("disaster", Outcome::Ok, format!("destroyed {}", places.join(", ")), since));
        Ok(())
    }

    /// Restores every component at the same time, as a recovery would.
    async fn stages(&self, cx: &Cx, folder: &Path, when: &str) -> Result<Vec<(StageRecord, Option<Raised>)>> {
        let each = self.parts.iter().map(|part| {
            let place = folder.join(format!("{when}-{}", part.component));
            async move {
                match self.kind {
                    DrillKind::ColdStart => cold::stage(cx, part, &place).await,
                    DrillKind::Compose => platform::stage(cx, self.platform.as_ref(), part, &place).await,
                    _ => stage(cx, part, &place, &part.data).await,
                }
            }
        });
        let mut all = Vec::new();
        for staged in futures::future::join_all(each).await {
            let staged = staged?;
            all.push((staged.record, staged.raised));
        }
        Ok(all)
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

fn told<'a>(parts: &'a [PartRecord], of: impl Fn(&'a PartRecord) -> Option<&'a StageRecord>) -> String {
    let one = |p: &'a PartRecord| match of(p) {
        Some(stage) if stage.is_equal() => format!("{} equal ({} records)", p.component, stage.rows),
        Some(StageRecord { error: Some(e), .. }) => format!("{}: {e}", p.component),
        Some(_) => format!("{} not proven equal", p.component),
        None => format!("{} not restored", p.component),
    };
    parts.iter().map(one).collect::<Vec<_>>().join(", ")
}
