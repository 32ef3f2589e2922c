//! The right of a site to serve: a lease in the store that the site's own daemon renews, and that closes the site before
//! anybody else may take it for gone.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{task::JoinHandle, time::sleep};
use veza_dr_core::{
    Action, BackupStore, Clock, Cx, Error, ErrorKind, Event, EventSink, OperationId, Phase, Result, SystemClock,
    lease::{Lease, LeaseGuard},
};

use super::{
    FenceNotice, Job, ServiceState, SiteControl,
    watchdog::{Watchdog, hundredths},
};

/// A site that closes itself off puts up a mark of this number: lower than that of any run.
pub(super) const OWN: u64 = 0;
/// What services get to end by themselves when the site closes itself off: others wait a third of the lease's time.
const GRACE: Duration = Duration::from_secs(2);
/// How often a site that may serve again is tried to be started.
const STARTS: u32 = 5;

/// How a site keeps its right to serve.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DutySettings {
    /// The lease, in the store of the runs.
    pub lease: String,
    /// How long it lasts without being renewed; others wait a third more.
    pub ttl: Duration,
    /// Where this machine keeps what the next daemon must know.
    pub folder: PathBuf,
    /// What closes the site when the daemon itself is gone.
    pub watchdog: Option<Watchdog>,
}

impl DutySettings {
    /// This lease, for a minute, without a watchdog.
    #[must_use]
    pub fn new(lease: impl Into<String>, folder: impl Into<PathBuf>) -> Self {
        Self { lease: lease.into(), ttl: Duration::from_secs(60), folder: folder.into(), watchdog: None }
    }
}

/// Keeps a site's right to serve, for as long as it runs. It renews the lease; when it cannot, the site is closed off and
/// its services are stopped before the lease counts as ended for others. A site that a run fenced stays closed, also
/// when it returns. One that had closed itself, and whose lease nobody else took since, is opened and started again.
///
/// ```no_run
/// # async fn f(site: std::sync::Arc<dyn veza_dr_failover::site::SiteControl>,
/// #   store: std::sync::Arc<dyn veza_dr_core::BackupStore>, told: std::sync::Arc<dyn veza_dr_core::EventSink>)
/// # -> veza_dr_core::Result<()> {
/// use veza_dr_core::Cx;
/// use veza_dr_failover::site::{DutySettings, SiteDuty};
/// let settings = DutySettings::new("site-primary", "/var/lib/veza-dr/duty");
/// SiteDuty::new(site, store, told, settings).run(&Cx::background()).await
/// # }
/// ```
#[derive(Debug)]
pub struct SiteDuty {
    site: Arc<dyn SiteControl>,
    store: Arc<dyn BackupStore>,
    events: Arc<dyn EventSink>,
    settings: DutySettings,
    /// What was told since the site last held its lease: each is told once.
    told: Mutex<Vec<String>>,
    watching: Mutex<Option<JoinHandle<()>>>,
}

impl SiteDuty {
    /// Nothing is taken yet.
    #[must_use]
    pub fn new(
        site: Arc<dyn SiteControl>,
        store: Arc<dyn BackupStore>,
        events: Arc<dyn EventSink>,
        settings: DutySettings,
    ) -> Self {
        Self { site, store, events, settings, told: Mutex::default(), watching: Mutex::default() }
    }

    /// Ends the watchdog of a duty that is no longer wanted: the site goes on serving without a lease.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn end(folder: &Path) -> Result<()> {
        let beat = folder.join("beat");
        if !beat.exists() {
            return Ok(());
        }
        std::fs::write(folder.join("beat.end"), "").map_err(|e| cannot("end the watchdog", folder, e))?;
        std::fs::remove_file(&beat).map_err(|e| cannot("end the watchdog", folder, e))
    }

    /// Until `cx` is cancelled. The lease is not given back then: the site goes on serving, and a daemon that comes back
    /// in time takes the lease up again; if none does, the watchdog closes the site.
    ///
    /// # Errors
    /// When what the next daemon must know cannot be kept. What goes wrong with the store or the site is told as events,
    /// and tried again.
    pub async fn run(&self, cx: &Cx) -> Result<()> {
        std::fs::create_dir_all(&self.settings.folder)
            .map_err(|e| cannot("keep the lease of the site", &self.settings.folder, e))?;
        let pause = (self.settings.ttl / 12).max(Duration::from_millis(50));
        // A daemon that has just come back finds the site serving, perhaps rightly: for so long it may.
        let mut serves_until = SystemTime::now() + self.settings.ttl.saturating_sub(self.since_last_beat());
        while !cx.is_cancelled() {
            match self.taken(cx, serves_until).await {
                Ok((guard, None)) => {
                    self.beat(&guard)?;
                    // First: nothing may be started that nobody would stop.
                    self.watch(cx, guard.epoch());
                    // What was refused once stays so for the next daemon, too: that somebody else served is on no record
                    // but the gap between the two numbers.
                    if self.opened(cx, &guard).await {
                        self.keep_epoch(guard.epoch())?;
                    }
                    let why = self.hold(cx, &guard, pause).await?;
                    let Some(why) = why else { return Ok(()) };
                    self.close(cx, OWN, &why).await;
                    serves_until = SystemTime::now();
                }
                Ok((guard, Some(notice))) => {
                    self.stay_closed(cx, guard, &notice).await;
                    serves_until = SystemTime::now();
                }
                Err(e) if e.kind() == ErrorKind::Cancelled => return Ok(()),
                Err(e) => {
                    self.tell(Phase::Failed, format!("the lease of the site cannot be had: {}", e.chain()), e.help())
                        .await;
                    // Not ours by now: somebody may count on it.
                    if SystemTime::now() >= serves_until {
                        self.close(cx, OWN, "its lease cannot be had").await;
                    }
                }
            }
            let wait = async {
                sleep(pause).await;
                Ok(())
            };
            if cx.run("wait", wait).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes the lease. A store that does not say whether we may have it must not keep us from closing a site whose time
    /// is over meanwhile; it is asked on: a lease that was taken and not known would keep us out ourselves.
    async fn taken(&self, cx: &Cx, serves_until: SystemTime) -> Result<(LeaseGuard, Option<FenceNotice>)> {
        let mut taking = std::pin::pin!(self.take(cx));
        let left = serves_until.duration_since(SystemTime::now()).unwrap_or_default().max(self.settings.ttl / 3);
        tokio::select! {
            taken = &mut taking => return taken,
            () = sleep(left) => {}
        }
        let why = "the store does not say whether it may have its lease";
        let (taken, ()) = tokio::join!(taking, self.close(cx, OWN, why));
        taken
    }

    /// Takes the lease, and looks whether a run fenced the site. Only then: a run that does holds the lease while it puts
    /// the notice up.
    async fn take(&self, cx: &Cx) -> Result<(LeaseGuard, Option<FenceNotice>)> {
        let (store, ttl) = (self.store.clone(), self.settings.ttl);
        let guard = Lease::acquire(cx, store, &self.settings.lease, ttl).await?;
        match FenceNotice::read(cx, self.store.as_ref(), self.site.name()).await {
            Ok(notice) => Ok((guard, notice)),
            Err(e) => {
                // Else we would wait for ourselves.
                let _ = guard.release(cx).await;
                Err(e)
            }
        }
    }

    /// A run fenced the site: it is closed, and whoever waits for the lease may have it.
    async fn stay_closed(&self, cx: &Cx, guard: LeaseGuard, notice: &FenceNotice) {
        self.close(cx, notice.epoch, &format!("failover run {} fenced it", notice.run)).await;
        // Where it cannot be given back it runs out.
        let _ = guard.release(cx).await;
        // The way back may have opened the site between our look and our mark.
        let lifted = async {
            match FenceNotice::read(cx, self.store.as_ref(), self.site.name()).await? {
                None => self.site.unfence(cx, notice.epoch).await,
                Some(_) => Ok(()),
            }
        };
        if let Err(e) = lifted.await {
            tracing::debug!(error = %e.chain(), "whether the site is still fenced is looked at again");
        }
    }

    /// Renews until it cannot, and says why; `None` when the daemon ends.
    async fn hold(&self, cx: &Cx, guard: &LeaseGuard, pause: Duration) -> Result<Option<String>> {
        loop {
            tokio::select! {
                () = cx.token().cancelled() => return Ok(None),
                // Cancelled as soon as the lease is lost.
                () = guard.cx().token().cancelled() => {}
                () = sleep(pause.min(self.left(guard))) => {}
            }
            if cx.is_cancelled() {
                return Ok(None);
            }
            if let Err(e) = self.beat(guard) {
                return Ok(Some(e.chain()));
            }
            // A store that does not answer shows in the renewal, and must not keep us beyond the end of the lease.
            let look = guard.cx().child().with_deadline(SystemTime::now() + self.left(guard));
            let read = FenceNotice::read(&look, self.store.as_ref(), self.site.name());
            if let Ok(Some(notice)) = look.run("look for a notice", read).await {
                return Ok(Some(format!("failover run {} fenced it", notice.run)));
            }
        }
    }

    /// How long the lease lasts if it is not renewed any more.
    fn left(&self, guard: &LeaseGuard) -> Duration {
        self.settings.ttl.saturating_sub(guard.since_renewal()).max(Duration::from_millis(10))
    }

    /// The site may serve. If it was closed by itself, and nobody held the lease since, it is opened and started. Whether
    /// it is open now.
    async fn opened(&self, cx: &Cx, guard: &LeaseGuard) -> bool {
        let found = async {
            if self.site.fenced(cx).await? != Some(OWN) {
                return Ok(None);
            }
            // The first one ever follows on none.
            if self.kept_epoch().unwrap_or(0) + 1 != guard.epoch() {
                let text = "it closed itself, and somebody else held its lease since";
                return Err(Error::new(ErrorKind::Conflict, text)
                    .with_help("find out who served meanwhile; the way back: veza-dr failover back"));
            }
            self.site.unfence(cx, OWN).await?;
            // Once it is open nothing tells the next daemon that it was to be started.
            let mut tries = 1;
            while let Err(e) = self.site.start(cx, &[]).await {
                if tries == STARTS || guard.check().is_err() {
                    let text = format!("it may serve again, and could not be started: {}", e.chain());
                    return Err(Error::new(e.kind(), text).with_help("start its services by hand"));
                }
                tries += 1;
                sleep(Duration::from_secs(1)).await;
            }
            Ok(Some(()))
        };
        let found = found.await;
        match &found {
            Ok(None) => self.tell(Phase::Started, "the site holds its lease and may serve".to_owned(), None).await,
            Ok(Some(())) => {
                self.tell(Phase::Succeeded, "the site holds its lease again and was started".to_owned(), None).await;
            }
            Err(e) => self.tell(Phase::Failed, format!("the site stays closed: {}", e.chain()), e.help()).await,
        }
        found.is_ok()
    }

    /// Marks the site and stops its services, again and again until it is so.
    async fn close(&self, cx: &Cx, epoch: u64, why: &str) {
        loop {
            let mark = async {
                if self.site.fenced(cx).await?.is_none_or(|there| there < epoch) {
                    self.site.fence(cx, epoch, why).await?;
                }
                Ok::<_, Error>(())
            };
            // At once: a mark that cannot be put up, or a slow command that comes with it, keeps nothing running.
            let (marked, stopped) = tokio::join!(mark, self.stop(cx));
            let closed = async {
                marked?;
                stopped?;
                // What was started between a look and the mark.
                self.stop(cx).await
            };
            match closed.await {
                Ok(()) => {
                    let help = "see: veza-dr failover status";
                    return self.tell(Phase::Failed, format!("the site was closed: {why}"), Some(help)).await;
                }
                Err(e) if e.kind() == ErrorKind::Cancelled => return,
                Err(e) => {
                    let text = format!("the site must not serve ({why}) and cannot be closed: {}", e.chain());
                    self.tell(Phase::Failed, text, Some("stop its services by hand, now")).await;
                }
            }
            let wait = async {
                sleep(Duration::from_secs(1)).await;
                Ok(())
            };
            if cx.run("wait", wait).await.is_err() {
                return;
            }
        }
    }

    /// Stops whatever runs, all at the same time: in turn, many slow ones would take longer than others wait. What was set
    /// apart serves nobody, and is read by a run just now.
    async fn stop(&self, cx: &Cx) -> Result<()> {
        let up = |s: &ServiceState| {
            matches!(s.state.as_str(), "running" | "restarting" | "paused") && !s.finished && !s.apart
        };
        let running: Vec<_> = self.site.services(cx).await?.into_iter().filter(up).map(|s| vec![s.service]).collect();
        let stops = running.iter().map(|service| self.site.stop(cx, service, GRACE));
        futures::future::join_all(stops).await.into_iter().collect()
    }

    async fn tell(&self, phase: Phase, text: String, help: Option<&str>) {
        {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if matches!(phase, Phase::Started | Phase::Succeeded) && told.last() != Some(&text) {
                told.clear();
            }
            if told.contains(&text) {
                return;
            }
            told.push(text.clone());
        }
        let text = format!("site {}: {text}", self.site.name());
        let event = Event::new(SystemClock.now(), Action::Failover, phase, text);
        let event = help.map_or(event.clone(), |help| event.with_help(help));
        if let Err(e) = self.events.tell(&Cx::background(), &event).await {
            tracing::warn!(error = %e.chain(), "an event could not be told everywhere");
        }
    }

    /// Starts the watchdog; it goes on when this process does not.
    fn watch(&self, cx: &Cx, epoch: u64) {
        let Some(watchdog) = &self.settings.watchdog else { return };
        let beat = self.settings.folder.join("beat");
        let _ = std::fs::remove_file(self.settings.folder.join("beat.end"));
        // Never the name of one that has ended: a lease that was begun anew in the store counts from 1 again.
        let me = format!("{epoch}-{}", OperationId::random());
        let (script, job) = (watchdog.script(&beat, self.settings.ttl, &me), Job(format!("site-lease/{me}")));
        let (site, cx, events) = (self.site.clone(), cx.child(), self.events.clone());
        let watching = tokio::spawn(async move {
            let text = match site.run(&cx, &job, &script).await {
                Ok(result) if result.code == 0 => return,
                Ok(result) if result.code == 90 => "its watchdog closed it: the lease was not renewed".to_owned(),
                Ok(result) => format!("its watchdog failed with {}: {}", result.code, result.output.trim()),
                Err(e) if e.kind() == ErrorKind::Cancelled => return,
                Err(e) => format!("its watchdog cannot be watched: {}", e.chain()),
            };
            let text = format!("site {}: {text}", site.name());
            let event = Event::new(SystemClock.now(), Action::Failover, Phase::Failed, text);
            let _ = events.tell(&Cx::background(), &event.with_help("see: veza-dr failover status")).await;
        });
        let before = self.watching.lock().unwrap_or_else(PoisonError::into_inner).replace(watching);
        if let Some(before) = before {
            before.abort();
        }
    }

    /// Tells the watchdog since when the time of the lease runs.
    fn beat(&self, guard: &LeaseGuard) -> Result<()> {
        guard.check()?;
        // Taken in this order, and rounded up: the beat must not be younger than the renewal.
        let now = uptime()?;
        let ago = hundredths(guard.since_renewal()) + 1;
        self.write("beat", &now.saturating_sub(ago).to_string())
    }

    fn since_last_beat(&self) -> Duration {
        let last = std::fs::read_to_string(self.settings.folder.join("beat")).ok();
        match (last.and_then(|text| text.trim().parse::<u64>().ok()), uptime()) {
            (Some(last), Ok(now)) if last <= now => Duration::from_millis((now - last).saturating_mul(10)),
            // Before the machine was booted.
            (Some(_), _) => Duration::MAX,
            // There never was one: nobody counts on the lease yet.
            (None, _) => Duration::ZERO,
        }
    }

    fn keep_epoch(&self, epoch: u64) -> Result<()> {
        self.write("epoch", &epoch.to_string())
    }

    fn kept_epoch(&self) -> Option<u64> {
        std::fs::read_to_string(self.settings.folder.join("epoch")).ok()?.trim().parse().ok()
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let folder = &self.settings.folder;
        let aside = folder.join(format!("{name}.new"));
        std::fs::write(&aside, text)
            .and_then(|()| std::fs::rename(&aside, folder.join(name)))
            .map_err(|e| cannot("keep the lease of the site", folder, e))
    }
}

impl Drop for SiteDuty {
    fn drop(&mut self) {
        // Only the looking at it: the watchdog itself is a job of the machine.
        if let Some(watching) = self.watching.lock().unwrap_or_else(PoisonError::into_inner).take() {
            watching.abort();
        }
    }
}

/// For how many hundredths of a second the machine has been up.
fn uptime() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/uptime").map_err(|e| {
        Error::new(ErrorKind::Unsupported, "the machine does not tell how long it has been up").with_source(e)
    })?;
    let told = text.split_whitespace().next().and_then(|t| t.replace('.', "").parse().ok());
    told.ok_or_else(|| Error::new(ErrorKind::Unexpected, format!("/proc/uptime says `{}`", text.trim())))
}

fn cannot(what: &str, folder: &Path, e: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("cannot {what} in {}", folder.display())).with_source(e)
}
