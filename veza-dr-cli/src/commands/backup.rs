//! `veza-dr backup`: now, into every store of each component.

use std::{sync::Arc, time::Instant};

use veza_dr_backup::{
    BackupReport, RecoveryJob, Repository, StoreResult, back_up_together,
    quiesce::Quiescer,
    status::{AttemptRecord, record_attempt},
};
use veza_dr_core::{Clock, ComponentName, Error, ErrorKind, Result, SystemClock};

use super::Session;
use crate::{
    Exit,
    args::Backup,
    render::{backup_json, backup_text},
    wiring::{Access, Wiring},
    wiring_quiesce::repair,
};

/// How one component fared.
#[derive(Debug)]
pub(crate) struct BackupRun {
    pub(crate) component: ComponentName,
    pub(crate) result: Result<BackupReport>,
}

impl BackupRun {
    fn exit(&self) -> Exit {
        match &self.result {
            Ok(report) if report.is_complete() && report.after_read.is_none() => Exit::Ok,
            Ok(_) => Exit::Partial,
            Err(e) => e.into(),
        }
    }
}

pub(crate) async fn backup(session: &Session, args: &Backup) -> Result<Exit> {
    let wiring = session.wiring()?;
    let components = if args.components.is_empty() { wiring.components() } else { args.components.clone() };
    if components.is_empty() {
        return Err(Error::new(ErrorKind::Config, format!("{} names no source", wiring.loaded.file.display()))
            .with_help("add one under `sources`"));
    }
    // A name that does not exist is a mistake of the whole command line: found before the first backup, not after it.
    for component in &components {
        wiring.source(component)?;
    }
    let quiescer = wiring.quiescer(false)?;
    if let Some(quiescer) = &quiescer {
        put_right(session, quiescer).await?;
    }
    let runs = together(session, &wiring, quiescer.as_ref(), components).await;
    for run in &runs {
        if let Some(e) = run.result.as_ref().ok().and_then(|r| r.after_read.as_ref()) {
            session.out.warn(e);
        }
    }
    let exits: Vec<Exit> = runs.iter().map(BackupRun::exit).collect();
    session.out.result(|| backup_json(&runs), |paint| backup_text(&runs, paint));
    let exit = if exits.contains(&Exit::Cancelled) { Exit::Cancelled } else { Exit::of_many(&exits) };
    if exit != Exit::Ok {
        let names: Vec<&str> = runs.iter().filter(|r| r.exit() != Exit::Ok).map(|r| r.component.as_str()).collect();
        session.out.remark(&format!("not completely backed up: {}", names.join(", ")));
    }
    Ok(exit)
}

/// What a run that was killed left stopped is put back before anything else.
async fn put_right(session: &Session, quiescer: &Quiescer) -> Result<()> {
    for (component, told) in repair(&session.cx, quiescer).await? {
        match told {
            Ok(text) => session.out.remark(&format!("{component}: {text}")),
            Err(e) => session.out.warn(&e),
        }
    }
    Ok(())
}

/// What is ready to run, with the stores that could not be opened.
struct Ready {
    job: RecoveryJob,
    failed: Vec<(String, Error)>,
}

async fn ready(
    session: &Session,
    wiring: &Wiring,
    quiescer: Option<&Arc<Quiescer>>,
    component: &ComponentName,
) -> Result<Ready> {
    let cx = &session.cx;
    let target = wiring.backup_target(cx, component).await?;
    let opened = wiring.open(cx, Some(component), session.store(), Access::Write).await?;
    if opened.repositories.is_empty() {
        let first = opened.failed.into_iter().next().map(|(_, e)| e);
        return Err(first.unwrap_or_else(|| Error::new(ErrorKind::Config, "no store to back up to")));
    }
    let mut options = wiring.options(component);
    if let Some(quiescer) = quiescer.filter(|q| q.has_plan(component)) {
        options = options.with_hooks(quiescer.clone());
    }
    let job = RecoveryJob { target, repositories: opened.repositories, options };
    Ok(Ready { job, failed: opened.failed })
}

/// All components at the same time: several make one recovery point. Results in the order of the names.
async fn together(
    session: &Session,
    wiring: &Wiring,
    quiescer: Option<&Arc<Quiescer>>,
    components: Vec<ComponentName>,
) -> Vec<BackupRun> {
    let began = Instant::now();
    let mut runs = Vec::new();
    let (mut jobs, mut failed, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for component in components {
        match ready(session, wiring, quiescer, &component).await {
            Ok(ready) => {
                places.push((component.clone(), ready.job.repositories.clone()));
                jobs.push(ready.job);
                failed.push(ready.failed);
                runs.push((component, None));
            }
            Err(e) => runs.push((component, Some(e))),
        }
    }
    let results = back_up_together(&session.cx, jobs).await;
    for (((component, repositories), result), failed) in places.iter().zip(&results).zip(&failed) {
        record(component, repositories, failed, began, result).await;
    }
    let mut results = results.into_iter().zip(failed);
    runs.into_iter()
        .map(|(component, refused)| {
            let result = match refused {
                Some(e) => Err(e),
                None => results.next().map_or_else(
                    || Err(Error::new(ErrorKind::Unexpected, "the run gave no result")),
                    |(result, failed)| {
                        let mut report = result?;
                        let lost = failed.into_iter().map(|(store, e)| StoreResult { store, result: Err(e) });
                        report.stores.extend(lost);
                        Ok(report)
                    },
                ),
            };
            BackupRun { component, result }
        })
        .collect()
}

/// Keeps what became of the attempt in the stores, for `status`. A run that another one held off is not told.
async fn record(
    component: &ComponentName,
    repositories: &[Repository],
    failed: &[(String, Error)],
    began: Instant,
    result: &Result<BackupReport>,
) {
    let now = SystemClock.now();
    let record = match result {
        Ok(report) => {
            let lost = failed.iter().map(|(store, e)| (store.clone(), e.chain()));
            AttemptRecord::of(now, report).and_lost(lost)
        }
        // Refused by the lease, which names who holds it.
        Err(e) if e.context().any(|(key, _)| key == "holder") => return,
        Err(e) => {
            let stores = repositories.iter().map(Repository::name);
            AttemptRecord::failed(now, began.elapsed(), stores, &e.chain())
        }
    };
    for (store, e) in record_attempt(repositories, component, &record).await {
        tracing::debug!(%component, %store, error = %e.chain(), "the attempt is not on record");
    }
}
