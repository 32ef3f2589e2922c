//! The end of a drill, however it went: removal, the second look at production, the record.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use veza_dr_core::{
    BackupId, BackupStore, Clock, Cx, Error, ErrorKind, Outcome, Result, SystemClock, lease::Holder, manifest::Tool,
};

use super::{
    archive,
    clock::{Chronicle, millis},
    ground, judge,
    ledger::{Ledger, Line},
    model::{CleanUp, CleanUpState, DrillOutcome, DrillRecord, Objectives, PartRecord, RECORD_FORMAT, TimelineEntry},
    platform::DrillMachine,
    production::{self, Seen},
    programme,
    run::{Drill, Found},
};

/// Removal, the second look at production and the record get this long each, also when the drill was stopped.
const LAST_WORDS: Duration = Duration::from_secs(120);

impl Drill {
    /// From here on nothing stops it but the end of the process.
    pub(super) async fn end(
        self,
        mut ledger: Ledger,
        found: Found,
        before: &Seen,
        folder: &Path,
        interrupted: bool,
        stores: &[Arc<dyn BackupStore>],
    ) -> Result<DrillRecord> {
        let Found { mut chronicle, parts, control, findings, plan, validation } = found;
        let steps = programme::steps(self.kind, self.course.as_ref());
        let objectives = Objectives { rto_ms: millis(self.scenario.rto.0), rpo_ms: millis(self.scenario.rpo.0) };
        let criteria = programme::criteria(&self);
        // That it cannot be told must not keep anything from being removed.
        let plan_sha256 = programme::sha256(&objectives, &criteria, &parts, &steps).unwrap_or_default();
        let rta_ms = chronicle.between("T0", "T6");
        let mut record = DrillRecord {
            format: RECORD_FORMAT,
            id: self.id.clone(),
            tool: Tool { name: "veza-dr".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
            host: Holder::this_process("").host,
            by: self.by.clone(),
            kind: self.kind,
            scenario: self.scenario.kind,
            number: self.number,
            outcome: DrillOutcome::Interrupted,
            started_at: self.id.started_at(),
            ended_at: chronicle.now(),
            wanted: self.wanted,
            objectives,
            criteria,
            plan_sha256,
            steps,
            exclusions: self.exclusions.clone(),
            clock: chronicle.points(),
            rta_ms,
            rpa_ms: rta_ms.and_then(|_| oldest(&parts)),
            parts,
            control,
            plan,
            validation,
            timeline: chronicle.timeline.clone(),
            production: production::unproven("the drill ended before it could look again"),
            cleanup: CleanUp {
                state: CleanUpState::CleanupPending,
                at: SystemClock.now(),
                removed: Vec::new(),
                left: Vec::new(),
            },
            findings,
        };
        // Whoever is killed from here on leaves a record that says so. That none can be kept here must not keep what
        // was made from being removed.
        let kept = ledger.state(CleanUpState::CleanupPending, "the drill is over").and_then(|()| ledger.draft(&record));
        if let Err(e) = kept {
            tracing::warn!(error = %e.chain(), "the ledger of the drill cannot be written to");
        }
        let since = Instant::now();
        record.cleanup = clear(folder.to_owned()).await;
        if let Some(platform) = &self.platform {
            let (project, engine, machine) = (platform.project(), platform.engine(), platform.elsewhere());
            clear_project(&last_words(), &self.id, project, engine, machine, &mut record.cleanup).await;
        }
        let outcome = if record.cleanup.state == CleanUpState::Cleaned { Outcome::Ok } else { Outcome::Failed };
        let detail = match record.cleanup.left.first() {
            None => format!("{} things removed, nothing is left", record.cleanup.removed.len()),
            Some(left) => format!("{}: {}", left.what, left.why),
        };
        self.tell(chronicle.note("clean-up", outcome, detail, since));
        let since = Instant::now();
        let cx = last_words();
        record.production = production::compare(before, &Seen::now(&cx, &self.witnesses).await);
        self.tell(production_note(&mut chronicle, &record, since));
        record.ended_at = chronicle.now();
        record.timeline = chronicle.timeline;
        judge::judge(&mut record, interrupted);
        if let Err(e) = ledger.state(record.cleanup.state, "").and_then(|()| ledger.draft(&record)) {
            tracing::warn!(error = %e.chain(), "the ledger of the drill cannot be written to");
        }
        keep(&last_words(), ledger, &record, stores).await?;
        Ok(record)
    }
}

/// The recovery point actual of the oldest component; unknown when any is.
fn oldest(parts: &[PartRecord]) -> Option<u64> {
    parts.iter().map(|p| p.rpa_ms).collect::<Option<Vec<u64>>>()?.into_iter().max()
}

/// Removes what lies in `folder`, and says what came of it.
pub(super) async fn clear(folder: PathBuf) -> CleanUp {
    let shown = folder.display().to_string();
    let cleared = tokio::task::spawn_blocking(move || ground::clear(&folder)).await;
    let (removed, left) = cleared.unwrap_or_else(|e| {
        let left = super::model::Unseen { what: format!("folder {shown}"), why: e.to_string() };
        (Vec::new(), vec![left])
    });
    let state = if left.is_empty() { CleanUpState::Cleaned } else { CleanUpState::CleanupIncomplete };
    CleanUp { state, at: SystemClock.now(), removed, left }
}

/// Removes everything of a drill's project of containers, on its machine, and adds what came of it.
pub(super) async fn clear_project(
    cx: &Cx,
    drill: &BackupId,
    project: &str,
    engine: Option<&str>,
    machine: Option<&DrillMachine>,
    cleanup: &mut CleanUp,
) {
    #[cfg(feature = "docker")]
    let (removed, left) = super::compose_remove::remove(cx, drill, project, engine, machine).await;
    #[cfg(not(feature = "docker"))]
    let (removed, left) = {
        let _ = (cx, drill, engine, machine);
        let why = "this build has no container engine: use one that has".to_owned();
        (Vec::new(), vec![super::model::Unseen { what: format!("project {project}"), why }])
    };
    cleanup.removed.extend(removed);
    if !left.is_empty() {
        cleanup.left.extend(left);
        cleanup.state = CleanUpState::CleanupIncomplete;
    }
}

/// Puts the record into the stores. The ledger goes when nothing is left and a store has the record.
async fn keep(cx: &Cx, mut ledger: Ledger, record: &DrillRecord, stores: &[Arc<dyn BackupStore>]) -> Result<()> {
    let (mut kept, mut failure) = (false, None);
    for (store, done) in archive::publish(cx, stores, record).await {
        match done {
            Ok(()) => {
                kept = true;
                // The store has it: a ledger that does not know is told again by a later start.
                if let Err(e) = ledger.note(&Line::Published { store }) {
                    tracing::warn!(error = %e.chain(), "the ledger of the drill cannot be written to");
                }
            }
            Err(e) => {
                tracing::warn!(store, error = %e.chain(), "the record of the drill is not in this store");
                failure = Some(e);
            }
        }
    }
    match (kept, failure) {
        (true, _) if record.cleanup.state == CleanUpState::Cleaned => ledger.close(),
        (true, _) => Ok(()),
        (false, Some(e)) => Err(Error::new(e.kind(), format!("the record of drill {} is in no store", record.id))
            .with_source(e)
            .with_help("it lies in the state folder and is put into a store by: veza-dr drill clean")),
        (false, None) => Err(Error::new(ErrorKind::Config, "there is no store to keep the record in")),
    }
}

/// A context of its own: also after the drill was cancelled.
pub(super) fn last_words() -> Cx {
    Cx::background().with_deadline(SystemTime::now() + LAST_WORDS)
}

fn production_note(chronicle: &mut Chronicle, record: &DrillRecord, since: Instant) -> TimelineEntry {
    use super::model::ProductionVerdict::{Changed, Unchanged, Unknown};
    let proof = &record.production;
    let (outcome, detail) = match proof.verdict {
        Unchanged => (Outcome::Ok, format!("{} facts are as they were", proof.facts)),
        Changed => (Outcome::Failed, format!("{} facts changed", proof.changed.len())),
        Unknown => (Outcome::Warning, format!("{} could not be looked at", proof.unknown.len())),
    };
    chronicle.note("production", outcome, detail, since)
}
