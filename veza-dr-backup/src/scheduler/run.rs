//! One run: of a component alone, or of several as one recovery point.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use veza_dr_core::{
    Action, BackupId, Clock, ComponentName, Cx, Error, ErrorKind, Event, Phase, Result, status::Attempt,
};

use super::{
    component::{Prepared, ScheduledComponent},
    outcome::{Due, Outcome},
    retain::retain,
    state::Shared,
    telling::Teller,
};
use crate::{
    BackupHooks, BackupReport, RecoveryJob, Repository, StoreResult, back_up_together,
    status::{AttemptRecord, record_attempt},
};

/// What every run has at hand.
#[derive(Debug, Clone)]
pub(super) struct RunContext {
    pub(super) cx: Cx,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) teller: Teller,
    pub(super) shared: Arc<Shared>,
}

/// Backs up all that is due; gives each one's outcome.
pub(super) async fn run_together(
    ctx: RunContext,
    due: Vec<Due<Arc<ScheduledComponent>>>,
) -> Vec<(ComponentName, Outcome)> {
    let ready = join_all(due.into_iter().map(|due| get_ready(&ctx, due))).await;
    let (mut ended, mut starting) = (Vec::new(), Vec::new());
    for one in ready {
        match one {
            Ok(starts) => starting.push(starts),
            Err(over) => ended.push(over),
        }
    }
    let jobs: Vec<RecoveryJob> = starting.iter().map(|s| s.job(&ctx)).collect();
    let results = back_up_together(&ctx.cx, jobs).await;
    let records = starting.iter().zip(&results).map(|(starting, result)| starting.record(&ctx, result));
    // On record before it is told: whoever is told may look.
    join_all(records).await;
    let mut behind = Vec::new();
    for (starting, result) in starting.into_iter().zip(results) {
        let (component, name) = (starting.component.clone(), starting.component.name.clone());
        // Only behind a newer backup in the very same store is anything old let go of.
        let stored = result.as_ref().map(BackupReport::stores_that_have_it).unwrap_or_default();
        let mut repositories = starting.prepared.repositories.clone();
        repositories.retain(|r| stored.iter().any(|name| name == r.name()));
        behind.push((component, repositories));
        ended.push((name, starting.end(&ctx, result)));
    }
    let retaining = behind.into_iter().map(|(component, repositories)| {
        let ctx = ctx.clone();
        async move { retain(&ctx, &component, &repositories).await }
    });
    join_all(retaining).await;
    ended
}

/// Clocks may differ by so much without anything being wrong.
const CLOCKS_APART: TimeDelta = TimeDelta::minutes(5);

/// The start of the newest complete backup that any of the stores has; `None` when they have none.
///
/// # Errors
/// When no store could be asked.
pub(super) async fn newest(
    cx: &Cx,
    component: &ComponentName,
    repositories: &[Repository],
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>> {
    let asked = join_all(repositories.iter().map(|r| r.newest(cx, component))).await;
    let (mut newest, mut failure, mut any) = (None, None, false);
    for answer in asked {
        match answer {
            Ok(id) => {
                any = true;
                // One from the future was made by a wrong clock: it must not stand for every run until then.
                let made = id.map(|id| id.started_at()).filter(|at| *at - now <= CLOCKS_APART);
                newest = newest.max(made);
            }
            Err(e) => failure = Some(e),
        }
    }
    match failure {
        Some(e) if !any => Err(e),
        _ => Ok(newest),
    }
}

/// A component whose source and stores are open.
struct Starting {
    component: Arc<ScheduledComponent>,
    prepared: Prepared,
    began: DateTime<Utc>,
    announced: Arc<AtomicBool>,
}

async fn get_ready(
    ctx: &RunContext,
    due: Due<Arc<ScheduledComponent>>,
) -> std::result::Result<Starting, (ComponentName, Outcome)> {
    let Due { component, run } = due;
    let (name, began) = (component.name.clone(), ctx.clock.now());
    let prepared = match ctx.cx.run("prepare the backup", component.source.prepare(&ctx.cx)).await {
        Ok(prepared) => prepared,
        Err(_) if ctx.cx.is_cancelled() => return Err((name, Outcome::Stopped)),
        Err(e) => {
            // Nothing can be read, but where the stores answer they tell that it was tried.
            if let Ok(stores) = component.source.stores(&ctx.cx).await {
                keep_record(ctx, &name, &stores, began, &Err(e.chain())).await;
            }
            return Err((name, Outcome::Failed(e)));
        }
    };
    if let Some(run) = run
        && let Ok(Some(made)) = newest(&ctx.cx, &name, &prepared.repositories, ctx.clock.now()).await
        && made >= run
    {
        tracing::debug!(component = %name, %run, "the backup that is due was made already");
        return Err((name, Outcome::ByAnother));
    }
    Ok(Starting { component, prepared, began, announced: Arc::default() })
}

/// Keeps what became of an attempt in the stores: each store's outcome, or the one failure of all.
async fn keep_record(
    ctx: &RunContext,
    name: &ComponentName,
    repositories: &[Repository],
    began: DateTime<Utc>,
    outcome: &std::result::Result<AttemptRecord, String>,
) {
    let now = ctx.clock.now();
    let took = (now - began).to_std().unwrap_or_default();
    let record = match outcome {
        Ok(record) => record.clone(),
        Err(why) => AttemptRecord::failed(now, took, repositories.iter().map(Repository::name), why),
    };
    for (store, e) in record_attempt(repositories, name, &record).await {
        tracing::debug!(component = %name, %store, error = %e.chain(), "the attempt is not on record");
    }
}

impl Starting {
    fn job(&self, ctx: &RunContext) -> RecoveryJob {
        let announce = Announce {
            inner: self.component.options.hooks.clone(),
            announced: self.announced.clone(),
            clock: ctx.clock.clone(),
            teller: ctx.teller.clone(),
        };
        let options = self.component.options.clone().with_clock(ctx.clock.clone()).with_hooks(Arc::new(announce));
        RecoveryJob { target: self.prepared.target.clone(), repositories: self.prepared.repositories.clone(), options }
    }

    /// Keeps what became of it in the stores. Another run's is not ours to tell.
    async fn record(&self, ctx: &RunContext, result: &Result<BackupReport>) {
        if !self.announced.load(Ordering::SeqCst) && result.as_ref().is_err_and(|e| e.kind() == ErrorKind::Conflict) {
            return;
        }
        let outcome = match result {
            Ok(report) => {
                let lost = self.prepared.unavailable.iter().map(|(store, e)| (store.clone(), e.chain()));
                Ok(AttemptRecord::of(ctx.clock.now(), report).and_lost(lost))
            }
            Err(e) => Err(e.chain()),
        };
        keep_record(ctx, &self.component.name, &self.prepared.repositories, self.began, &outcome).await;
    }

    /// Tells how it went, where that is settled already.
    fn end(self, ctx: &RunContext, result: Result<BackupReport>) -> Outcome {
        let began = self.announced.load(Ordering::SeqCst);
        let name = &self.component.name;
        let event = |phase, text: String| Event::new(ctx.clock.now(), Action::Backup, phase, text).about(name.clone());
        let mut report = match result {
            Ok(report) => report,
            Err(e) if e.kind() == ErrorKind::Conflict && !began => return Outcome::Held(e),
            Err(e) => {
                let why = Some(e.chain());
                for repository in &self.prepared.repositories {
                    let attempt = Attempt { at: ctx.clock.now(), took: None, error: why.clone() };
                    ctx.shared.attempted(name, repository.name(), attempt);
                }
                if ctx.cx.is_cancelled() {
                    if began {
                        ctx.teller.tell(event(Phase::Failed, "stopped: the daemon ends".to_owned()));
                    }
                    return Outcome::Stopped;
                }
                return Outcome::Failed(e);
            }
        };
        let unavailable = self.prepared.unavailable;
        report.stores.extend(unavailable.into_iter().map(|(store, e)| StoreResult { store, result: Err(e) }));
        for store in &report.stores {
            let error = store.result.as_ref().err().map(Error::chain);
            ctx.shared.attempted(name, &store.store, Attempt { at: ctx.clock.now(), took: Some(report.took), error });
        }
        let lacking = report.ensure_complete().err().map(|e| e.chain());
        let (phase, text) = match &lacking {
            None => {
                let names: Vec<&str> = report.stores.iter().map(|s| s.store.as_str()).collect();
                (Phase::Succeeded, format!("backed up to {}", names.join(", ")))
            }
            Some(why) => (Phase::Failed, why.clone()),
        };
        let mut event = event(phase, text);
        event.took = Some(report.took);
        event.bytes = Some(report.stores.iter().filter_map(|s| s.result.as_ref().ok()).map(|m| m.added_bytes()).sum());
        event.backup = Some(report.id);
        ctx.teller.tell(event);
        Outcome::Made { lacking }
    }
}

/// Tells that a backup begins, once it holds what it needs, before the hooks of whoever embeds the scheduler.
#[derive(Debug)]
struct Announce {
    inner: Option<Arc<dyn BackupHooks>>,
    announced: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
    teller: Teller,
}

#[async_trait]
impl BackupHooks for Announce {
    async fn before(&self, cx: &Cx, component: &ComponentName, backup: &BackupId) -> Result<()> {
        self.announced.store(true, Ordering::SeqCst);
        let mut event = Event::new(self.clock.now(), Action::Backup, Phase::Started, "backup begins");
        event.backup = Some(backup.clone());
        self.teller.tell(event.about(component.clone()));
        match &self.inner {
            Some(hooks) => hooks.before(cx, component, backup).await,
            None => Ok(()),
        }
    }

    async fn after_read(&self, cx: &Cx, component: &ComponentName, backup: &BackupId) -> Result<()> {
        let Some(hooks) = &self.inner else { return Ok(()) };
        let done = hooks.after_read(cx, component, backup).await;
        // Told here, whatever becomes of the backup: somebody must start what stands still.
        if let Err(e) = &done {
            let text = format!("what was stopped for the backup may still be: {}", e.chain());
            let mut event = Event::new(self.clock.now(), Action::Quiesce, Phase::Failed, text).about(component.clone());
            event.help = e.help().map(str::to_owned);
            self.teller.tell(event);
        }
        done
    }
}
