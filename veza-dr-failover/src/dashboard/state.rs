//! What the pages are made from, looked at again when something changed.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::sync::watch;
use veza_dr_core::{Cx, Result, Scenario};

use super::{
    Calendar,
    live::{LiveRun, runs},
};
use crate::{
    alarm::{AlarmView, Desk},
    metrics::Metrics,
    report::{ChainCheck, OpenFinding, ReportFolder, ReportSummary},
};

/// How often files are looked at for a change.
const LOOK: Duration = Duration::from_secs(1);

/// Where the dashboard finds what it shows.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DashboardConfig {
    /// The folder of this host's state: journals of runs, reports, the log of events.
    pub state_dir: PathBuf,
    /// What recovery must achieve.
    pub scenarios: Vec<Scenario>,
}

impl DashboardConfig {
    /// Shows what is in this folder.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self { state_dir: state_dir.into(), scenarios: Vec::new() }
    }

    /// Shows how ready these are.
    #[must_use]
    pub fn with_scenarios(mut self, scenarios: Vec<Scenario>) -> Self {
        self.scenarios = scenarios;
        self
    }
}

/// What the files held when they were last looked at.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// All reports with their revisions, in the order of the chain.
    pub(super) sealed: Vec<ReportSummary>,
    /// The newest revision of each, the oldest first.
    pub(super) reports: Vec<ReportSummary>,
    /// What they leave to be mended, what is due first in front.
    pub(super) findings: Vec<OpenFinding>,
    /// Whether their chain is whole; absent when it could not be looked at.
    pub(super) chain: Option<ChainCheck>,
    /// The newest run that has not ended.
    pub(super) live: Option<LiveRun>,
    /// All runs, the newest first.
    pub(super) runs: Vec<String>,
    /// What is wrong now.
    pub(super) alarms: AlarmView,
    /// What could not be read, in words.
    pub(super) problems: Vec<String>,
}

/// The dashboard. Clones show the same.
#[derive(Clone)]
pub struct Dashboard(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) config: DashboardConfig,
    pub(super) metrics: Metrics,
    pub(super) calendar: Arc<Calendar>,
    pub(super) reports: ReportFolder,
    pub(super) desk: OnceLock<Arc<Desk>>,
    pub(super) seen: Mutex<Arc<Seen>>,
    /// Counts changes.
    pub(super) changes: watch::Sender<u64>,
}

impl fmt::Debug for Dashboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dashboard").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl Dashboard {
    /// Opens what is in the state folder; `metrics` tell how the components stand.
    ///
    /// ```
    /// use veza_dr_failover::{dashboard::{Dashboard, DashboardConfig}, metrics::Metrics};
    /// let dir = tempfile::tempdir().unwrap();
    /// assert!(Dashboard::open(DashboardConfig::new(dir.path()), Metrics::new()).is_ok());
    /// ```
    ///
    /// # Errors
    /// When the calendar or the log of events cannot be read.
    pub fn open(config: DashboardConfig, metrics: Metrics) -> Result<Self> {
        let calendar = Arc::new(Calendar::open(&config.state_dir)?);
        let reports = ReportFolder::new(config.state_dir.join("reports"));
        let (desk, seen, changes) = (OnceLock::new(), Mutex::default(), watch::Sender::new(0));
        let inner = Inner { metrics, calendar, reports, desk, seen, changes, config };
        let dashboard = Self(Arc::new(inner));
        dashboard.look(true);
        Ok(dashboard)
    }

    /// Shows the alarms of this desk, and lets whoever looks say that they take care.
    #[must_use]
    pub fn with_desk(self, desk: Arc<Desk>) -> Self {
        // Of several the first counts.
        let _ = self.0.desk.set(desk);
        self.look(false);
        self
    }

    pub(super) fn desk(&self) -> Option<&Arc<Desk>> {
        self.0.desk.get()
    }

    /// The sink that counts backups by day: give it the daemon's events.
    #[must_use]
    pub fn calendar(&self) -> Arc<Calendar> {
        self.0.calendar.clone()
    }

    /// Looks at the files again whenever one changed, and tells the pages that are open, until `cx` is cancelled.
    pub async fn watch(&self, cx: &Cx) {
        // What changed between the opening and the first look here counts, too.
        let mut before = Print::default();
        loop {
            let wait = async {
                tokio::time::sleep(LOOK).await;
                Ok(())
            };
            if cx.run("wait", wait).await.is_err() {
                return;
            }
            let now = self.print().await;
            if now != before {
                // Every step of a run writes its journal; reports need not be read again for that.
                let reports = now.files[0] != before.files[0];
                before = now;
                let looking = self.clone();
                // Reading is quick, but not for the threads that answer.
                if tokio::task::spawn_blocking(move || looking.look(reports)).await.is_err() {
                    tracing::error!("the dashboard could not look at its files");
                }
            }
        }
    }

    async fn print(&self) -> Print {
        let (state_dir, at) = (self.0.config.state_dir.clone(), self.0.metrics.status().map(|s| s.at));
        let files = tokio::task::spawn_blocking(move || {
            ["reports", "failover", "alarms"].map(|name| print_of(&state_dir.join(name)))
        });
        Print { files: files.await.unwrap_or_default(), at: at.map(|at| at.timestamp_millis()) }
    }

    /// Reads the journals again, and the reports where they changed.
    pub(super) fn look(&self, reports: bool) {
        let mut seen = Seen::default();
        let before = self.seen();
        let state_dir = &self.0.config.state_dir;
        if reports {
            match self.0.reports.survey() {
                Ok((sealed, chain)) => {
                    seen.reports = ReportSummary::newest_of_each(&sealed);
                    (seen.sealed, seen.chain) = (sealed, Some(chain));
                }
                Err(e) => seen.problems.push(e.chain()),
            }
            match self.0.reports.open_findings() {
                Ok(open) => seen.findings = open,
                Err(e) => seen.problems.push(e.chain()),
            }
        } else {
            (seen.sealed, seen.reports) = (before.sealed.clone(), before.reports.clone());
            (seen.findings, seen.chain) = (before.findings.clone(), before.chain.clone());
        }
        match self.desk().map(|desk| desk.view()).transpose() {
            Ok(alarms) => seen.alarms = alarms.unwrap_or_default(),
            Err(e) => seen.problems.push(e.chain()),
        }
        match runs(state_dir) {
            Ok(runs) => seen.runs = runs.into_iter().rev().collect(),
            Err(e) => seen.problems.push(e.chain()),
        }
        // No other run begins before one has ended: only the newest can be under way.
        if let Some(newest) = seen.runs.first() {
            match LiveRun::read(state_dir, newest) {
                Ok(run) if run.is_open() => seen.live = Some(run),
                Ok(_) => {}
                Err(e) => seen.problems.push(e.chain()),
            }
        }
        *self.0.seen.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(seen);
        self.0.changes.send_modify(|n| *n += 1);
    }

    pub(super) fn seen(&self) -> Arc<Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Enough of the files to tell whether one changed.
#[derive(PartialEq, Default)]
struct Print {
    files: [Vec<(String, u64, Option<SystemTime>)>; 3],
    at: Option<i64>,
}

fn print_of(folder: &Path) -> Vec<(String, u64, Option<SystemTime>)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries
        .flatten()
        .filter_map(|e| {
            let meta = e.metadata().ok()?;
            Some((e.file_name().to_string_lossy().into_owned(), meta.len(), meta.modified().ok()))
        })
        .collect();
    files.sort();
    files
}
