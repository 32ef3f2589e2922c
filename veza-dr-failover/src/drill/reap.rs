//! Removes what drills left behind that were killed, or that could not remove it themselves.

use std::{path::Path, sync::Arc};

use veza_dr_core::{
    BackupId, BackupStore, Clock, Cx, Error, ErrorKind, Result, ScenarioKind, Severity, SystemClock, lease::Holder,
    manifest::Tool,
};

use super::{
    archive,
    ending::{clear, clear_project},
    ledger::{self, DrillLock, Ledger, Line},
    model::{CleanUp, CleanUpState, DrillFinding, DrillKind, DrillOutcome, DrillRecord, Objectives, RECORD_FORMAT},
    production,
};

/// What was found of one drill, and what came of it.
#[derive(Debug)]
pub struct Reaped {
    /// The drill.
    pub id: BackupId,
    /// What came of the removal.
    pub cleanup: CleanUp,
    /// Its record as it stands; absent when it ended before anything was made.
    pub record: Option<DrillRecord>,
    /// Why the record is in no store, or why the ledger could not be read.
    pub problem: Option<Error>,
}

/// Removes what earlier drills of this host left, and puts their records into the stores. `force` gives up what cannot
/// be removed: it is then told as leaked, and not tried again.
///
/// ```no_run
/// # async fn f(store: std::sync::Arc<dyn veza_dr_core::BackupStore>) -> veza_dr_core::Result<()> {
/// use veza_dr_core::Cx;
/// use veza_dr_failover::drill::{lock, reap};
/// let state = std::path::Path::new("/var/lib/veza-dr");
/// let lock = lock(state)?;
/// for found in reap(&Cx::background(), &lock, state, &[store], false).await? {
///     println!("{}: {}", found.id, found.cleanup.state);
/// }
/// # Ok(()) }
/// ```
///
/// # Errors
/// When the state folder cannot be read. What became of each drill is in the result.
pub async fn reap(
    cx: &Cx,
    lock: &DrillLock,
    state_dir: &Path,
    stores: &[Arc<dyn BackupStore>],
    force: bool,
) -> Result<Vec<Reaped>> {
    let _held = lock;
    let mut all = Vec::new();
    for folder in ledger::all(state_dir)? {
        cx.check("remove what drills left")?;
        let name = folder.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let id: BackupId = name.parse()?;
        all.push(match one(cx, &folder, &id, stores, force).await {
            Ok(reaped) => reaped,
            Err(e) => Reaped { id, cleanup: pending(), record: None, problem: Some(e) },
        });
    }
    Ok(all)
}

fn pending() -> CleanUp {
    CleanUp { state: CleanUpState::CleanupPending, at: SystemClock.now(), removed: Vec::new(), left: Vec::new() }
}

async fn one(cx: &Cx, folder: &Path, id: &BackupId, stores: &[Arc<dyn BackupStore>], force: bool) -> Result<Reaped> {
    let (mut ledger, lines) = Ledger::open(folder)?;
    let mut cleanup = pending();
    cleanup.state = CleanUpState::Cleaned;
    for line in &lines {
        if let Line::Project { name, engine, machine } = line {
            clear_project(cx, id, name, engine.as_deref(), machine.as_ref(), &mut cleanup).await;
        }
        if let Line::Folder { path } = line {
            // Only the folder of this very drill: a ledger that says otherwise is not believed.
            if path.file_name().is_none_or(|n| !n.to_string_lossy().ends_with(id.as_str())) {
                let why = "it does not belong to this drill".to_owned();
                cleanup.left.push(super::model::Unseen { what: path.display().to_string(), why });
                cleanup.state = CleanUpState::CleanupIncomplete;
                continue;
            }
            let done = clear(path.clone()).await;
            cleanup.removed.extend(done.removed);
            cleanup.left.extend(done.left);
            if done.state != CleanUpState::Cleaned {
                cleanup.state = done.state;
            }
        }
    }
    if force && cleanup.state == CleanUpState::CleanupIncomplete {
        cleanup.state = CleanUpState::Leaked;
    }
    cleanup.at = SystemClock.now();
    let Some(Line::Begun { kind, scenario, by, at, .. }) = lines.first().cloned() else {
        // Killed before its first line: nothing was made, and nobody was told of it.
        ledger.close()?;
        return Ok(Reaped { id: id.clone(), cleanup, record: None, problem: None });
    };
    ledger.state(cleanup.state, "removed by a later start")?;
    let published = lines.iter().any(|l| matches!(l, Line::Published { .. }));
    let mut record = match ledger.drafted()? {
        Some(draft) => draft,
        None => killed(id, kind, scenario, &by, at, &lines),
    };
    let gone = record.cleanup.state != CleanUpState::Cleaned;
    record.cleanup = cleanup.clone();
    let mut problem = None;
    let mut kept = false;
    if published {
        for store in stores {
            match archive::publish_cleanup(cx, store.as_ref(), id, &cleanup).await {
                Ok(()) => kept = true,
                Err(e) => problem = Some(e),
            }
        }
    } else {
        if gone {
            record.findings.retain(|f| !f.text.starts_with("left behind: "));
        }
        for (store, done) in archive::publish(cx, stores, &record).await {
            match done {
                Ok(()) => {
                    kept = true;
                    ledger.note(&Line::Published { store })?;
                }
                Err(e) => problem = Some(e),
            }
        }
    }
    if kept {
        problem = None;
        if matches!(cleanup.state, CleanUpState::Cleaned | CleanUpState::Leaked) {
            ledger.close()?;
        }
    } else if problem.is_none() {
        problem = Some(Error::new(ErrorKind::Config, "there is no store to keep the record in"));
    }
    Ok(Reaped { id: id.clone(), cleanup, record: Some(record), problem })
}

/// The record of a drill that was killed before it could write its own.
fn killed(
    id: &BackupId,
    kind: DrillKind,
    scenario: ScenarioKind,
    by: &str,
    at: chrono::DateTime<chrono::Utc>,
    lines: &[Line],
) -> DrillRecord {
    let last = lines.iter().rev().find_map(|l| match l {
        Line::Phase { name, at } => Some((name.as_str(), *at)),
        _ => None,
    });
    let (phase, ended_at) = last.unwrap_or(("begin", at));
    DrillRecord {
        format: RECORD_FORMAT,
        id: id.clone(),
        tool: Tool { name: "veza-dr".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
        host: Holder::this_process("").host,
        by: by.to_owned(),
        kind,
        scenario,
        number: None,
        outcome: DrillOutcome::Interrupted,
        started_at: at,
        ended_at,
        wanted: None,
        objectives: Objectives { rto_ms: 0, rpo_ms: 0 },
        criteria: Vec::new(),
        plan_sha256: String::new(),
        steps: Vec::new(),
        exclusions: Vec::new(),
        clock: Vec::new(),
        rta_ms: None,
        rpa_ms: None,
        parts: Vec::new(),
        control: None,
        plan: None,
        validation: Vec::new(),
        timeline: Vec::new(),
        production: production::unproven("the drill was killed before it could look again"),
        cleanup: pending(),
        findings: vec![DrillFinding {
            severity: Severity::High,
            text: format!("the drill was killed in its phase `{phase}`"),
            help: Some(format!("run it again: veza-dr drill run --scenario {scenario}")),
        }],
    }
}
