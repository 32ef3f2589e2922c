//! The pieces of the daemon that are neither a library's nor the command itself.

use std::{os::unix::net::UnixDatagram, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::sync::Notify;
use veza_dr_backup::{PrepareBackup, Prepared, Repository, SchedulerHandle, status::StatusReader};
use veza_dr_core::{
    Clock, ComponentName, Cx, Error, ErrorKind, Event, EventSink, Phase, Result, Severity, SystemClock,
    status::{Protection, Status},
};
use veza_dr_failover::{metrics::Metrics, notify::subject};

use crate::wiring::{Access, Wiring};

/// How often the stores are looked at when nothing happens.
const REFRESH: Duration = Duration::from_secs(60);
/// Looking again sooner than this after a look tells nothing new.
const BREATH: Duration = Duration::from_millis(500);

/// Opens a component's source and stores as the configuration says, anew for each backup.
#[derive(Debug)]
pub(crate) struct FromConfig {
    wiring: Arc<Wiring>,
    component: ComponentName,
}

impl FromConfig {
    pub(crate) fn new(wiring: Arc<Wiring>, component: ComponentName) -> Self {
        Self { wiring, component }
    }

    async fn open(&self, cx: &Cx) -> Result<(Vec<Repository>, Vec<(String, Error)>)> {
        let opened = self.wiring.open(cx, Some(&self.component), None, Access::Write).await?;
        if opened.repositories.is_empty() {
            let first = opened.failed.into_iter().next().map(|(_, e)| e);
            return Err(first.unwrap_or_else(|| Error::new(ErrorKind::Config, "no store to back up to")));
        }
        Ok((opened.repositories, opened.failed))
    }
}

#[async_trait]
impl PrepareBackup for FromConfig {
    async fn prepare(&self, cx: &Cx) -> Result<Prepared> {
        let (repositories, unavailable) = self.open(cx).await?;
        let target = self.wiring.backup_target(cx, &self.component).await?;
        Ok(Prepared { target, repositories, unavailable })
    }

    async fn stores(&self, cx: &Cx) -> Result<Vec<Repository>> {
        self.open(cx).await.map(|(repositories, _)| repositories)
    }
}

/// Writes events to the daemon's log.
#[derive(Debug)]
pub(crate) struct LogSink;

#[async_trait]
impl EventSink for LogSink {
    async fn tell(&self, _: &Cx, event: &Event) -> Result<()> {
        let (what, text, help) = (subject(event), &event.text, event.help.as_deref());
        match event.severity() {
            Severity::Info => tracing::info!("{what}: {text}"),
            Severity::Low | Severity::Medium => tracing::warn!(help, "{what}: {text}"),
            _ => tracing::error!(help, "{what}: {text}"),
        }
        Ok(())
    }
}

/// Asks for another look at the stores when something ended.
#[derive(Debug, Clone)]
pub(crate) struct Trigger(Arc<Notify>);

#[async_trait]
impl EventSink for Trigger {
    async fn tell(&self, _: &Cx, event: &Event) -> Result<()> {
        if event.phase != Phase::Started {
            self.0.notify_one();
        }
        Ok(())
    }
}

/// Looks at the stores from time to time, and tells the metrics what it saw.
#[derive(Debug)]
pub(crate) struct Refresher {
    wiring: Arc<Wiring>,
    metrics: Metrics,
    reader: StatusReader,
    asked: Arc<Notify>,
    since: DateTime<Utc>,
}

impl Refresher {
    pub(crate) fn new(wiring: Arc<Wiring>, metrics: Metrics) -> (Self, Trigger) {
        let asked = Arc::new(Notify::new());
        let trigger = Trigger(asked.clone());
        let since = SystemClock.now();
        (Self { wiring, metrics, reader: StatusReader::new(), asked, since }, trigger)
    }

    /// Until `cx` is cancelled.
    pub(crate) async fn run(&self, cx: &Cx, scheduler: SchedulerHandle) {
        let every = self.wiring.loaded.config.serve.refresh.map_or(REFRESH, |r| r.0.max(BREATH));
        while !cx.is_cancelled() {
            match cx.run("status", self.look(cx, &scheduler)).await {
                Ok(status) => {
                    if status.protection() == Protection::Unknown {
                        tracing::debug!("the status is not known in full");
                    }
                    self.metrics.update(status);
                }
                Err(e) if e.kind() == ErrorKind::Cancelled => return,
                Err(e) => tracing::error!(error = %e.chain(), "the status cannot be told"),
            }
            let wait = async {
                tokio::time::sleep(BREATH).await;
                tokio::select! {
                    () = tokio::time::sleep(every - BREATH.min(every)) => {}
                    () = self.asked.notified() => {}
                }
                Ok(())
            };
            if cx.run("wait", wait).await.is_err() {
                return;
            }
        }
    }

    async fn look(&self, cx: &Cx, scheduler: &SchedulerHandle) -> Result<Status> {
        let mut queries = Vec::new();
        for component in self.wiring.components() {
            let mut query = self.wiring.status_query(cx, &component, None, SystemClock.now()).await?;
            query.since = Some(self.since);
            if let Some(state) = scheduler.state(&component) {
                query.running = state.running;
                query.next_run = state.next_run.or(query.next_run);
            }
            queries.push(query);
        }
        self.reader.read(cx, &SystemClock, &queries).await
    }
}

/// Tells the service manager how far the daemon is, where there is one that wants to know (`Type=notify`).
pub(crate) fn sd_notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = UnixDatagram::unbound().and_then(|socket| {
        use std::os::{
            linux::net::SocketAddrExt,
            unix::{ffi::OsStrExt, net::SocketAddr},
        };
        let address = match path.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(&path)?,
        };
        socket.send_to_addr(state.as_bytes(), &address)
    });
    if let Err(e) = sent {
        tracing::debug!(error = %e, "the service manager was not told");
    }
}
