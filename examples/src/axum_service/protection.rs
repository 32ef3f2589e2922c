//! The schedule of backups, and what is known of them.

use std::{convert::Infallible, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::Notify;
use veza_dr_backup::{
    BackupOptions, PrepareBackup, Prepared, Repository, RunRetries, ScheduledComponent, Scheduler, SchedulerHandle,
    Stop, Timetable,
    status::{ComponentQuery, StatusReader},
};
use veza_dr_core::{BackupTarget, Cx, Event, EventSink, Phase, Result, SystemClock, TargetInfo};
use veza_dr_failover::metrics::Metrics;

use super::WriteGate;

/// How long a backup that is being made may go on when the service is asked to end.
const LAST_BACKUP: Duration = Duration::from_secs(60);
/// How often the store is looked at when nothing happens.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Keeps one component protected.
#[derive(Debug)]
pub struct Protection {
    scheduler: Scheduler,
    looker: Looker,
}

/// Looks at the store, and tells the metrics what it saw.
#[derive(Debug)]
struct Looker {
    info: TargetInfo,
    repository: Repository,
    handle: SchedulerHandle,
    metrics: Metrics,
    ended: Arc<Notify>,
}

impl Protection {
    /// Backs `target` up to `repository` by `schedule`, a cron expression, with `gate` closed while it is read.
    ///
    /// # Errors
    /// `Config` for a schedule that is none.
    pub fn new(
        target: Arc<dyn BackupTarget>,
        repository: Repository,
        schedule: &str,
        retries: RunRetries,
        gate: &WriteGate,
    ) -> Result<Self> {
        let info = target.info().clone();
        let timetable = Timetable::new(schedule.parse()?);
        let source = Arc::new(Source { target, repository: repository.clone() });
        let component = ScheduledComponent::new(info.component.clone(), source, Some(timetable))
            .with_options(BackupOptions::default().with_hooks(Arc::new(gate.clone())))
            .with_retries(retries);
        let (metrics, ended) = (Metrics::new(), Arc::new(Notify::new()));
        let scheduler = Scheduler::new(vec![component])?
            .with_events(Arc::new(metrics.clone()))
            .with_events(Arc::new(Ended(ended.clone())))
            .with_stop(Stop::Finish { at_most: LAST_BACKUP });
        let handle = scheduler.handle();
        Ok(Self { scheduler, looker: Looker { info, repository, handle, metrics, ended } })
    }

    /// What is known, for the registry of the service.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.looker.metrics
    }

    /// To look at the schedule and to ask for a backup.
    #[must_use]
    pub fn handle(&self) -> SchedulerHandle {
        self.looker.handle.clone()
    }

    /// Runs until `cx` is cancelled; a backup that is being made then is finished first, within a minute.
    ///
    /// # Errors
    /// Those of the scheduler.
    pub async fn run(self, cx: &Cx) -> Result<()> {
        tokio::select! {
            ended = self.scheduler.run(cx) => ended,
            looked = self.looker.keep_looking() => looked.map(|never| match never {}),
        }
    }
}

impl Looker {
    async fn keep_looking(&self) -> Result<Infallible> {
        let reader = StatusReader::new();
        loop {
            let mut query = ComponentQuery::new(self.info.component.clone(), self.info.engine.clone())
                .in_repository(self.repository.clone());
            if let Some(state) = self.handle.state(&self.info.component) {
                (query.expected_interval, query.next_run) = (state.expected_interval, state.next_run);
                query.running = state.running;
            }
            self.metrics.update(reader.read(&Cx::background(), &SystemClock, &[query]).await?);
            tokio::select! {
                () = self.ended.notified() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }
}

/// The same source and store each time. A service whose password changes opens its source anew here.
#[derive(Debug)]
struct Source {
    target: Arc<dyn BackupTarget>,
    repository: Repository,
}

#[async_trait]
impl PrepareBackup for Source {
    async fn prepare(&self, _: &Cx) -> Result<Prepared> {
        let (target, repositories) = (self.target.clone(), vec![self.repository.clone()]);
        Ok(Prepared { target, repositories, unavailable: Vec::new() })
    }
}

/// Asks for another look when something ended.
#[derive(Debug)]
struct Ended(Arc<Notify>);

#[async_trait]
impl EventSink for Ended {
    async fn tell(&self, _: &Cx, event: &Event) -> Result<()> {
        if event.phase != Phase::Started {
            self.0.notify_one();
        }
        Ok(())
    }
}
