//! What watches a run of the command line: alerts and calls are raised and told while it goes on, and what it achieved is
//! put into the history.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use chrono::{DateTime, Utc};
use tokio::task::JoinHandle;
use veza_dr_core::{Cx, Error, Result};
use veza_dr_failover::{
    alarm::Watchman,
    measure::{ClockPoints, RecoveryRecord, Run},
    runbook::{RunReport, RunStatus},
};

use super::Session;
use crate::{
    Exit,
    wiring::Wiring,
    wiring_alarms::{Desked, Probing},
};

/// How often everything is judged.
const LOOK: Duration = Duration::from_secs(1);
/// What is raised when the run ends is told within this time; what is not is told by the daemon, or the next run.
const LAST_WORDS: Duration = Duration::from_secs(15);

/// Watches until it is ended.
#[derive(Debug)]
pub(crate) struct Watch {
    wiring: Arc<Wiring>,
    watchman: Arc<Watchman>,
    cx: Cx,
    task: JoinHandle<()>,
}

impl Watch {
    /// A recovery goes on without it: what it fails by is said.
    pub(crate) async fn begin(session: &Session) -> Option<Self> {
        match Self::new(session).await {
            Ok(watch) => Some(watch),
            Err(e) => {
                session.out.warn(&e);
                session.out.remark("the run is not watched: no alert is raised and nobody is called");
                None
            }
        }
    }

    async fn new(session: &Session) -> Result<Self> {
        let wiring = Arc::new(session.wiring()?);
        let Desked { desk, failed, .. } = wiring.desk(&session.cx, Vec::new()).await?;
        failed.iter().for_each(|e| session.out.warn(e));
        let (watchman, probing) = wiring.watchman(desk)?;
        let watchman = Arc::new(watchman);
        let cx = Cx::background();
        let task = tokio::spawn(watch(
            wiring.clone(),
            session.store().map(str::to_owned),
            watchman.clone(),
            probing,
            cx.clone(),
        ));
        Ok(Self { wiring, watchman, cx, task })
    }

    /// Since when probes saw that users are not served, where they did.
    pub(crate) fn outage_began(&self) -> Option<DateTime<Utc>> {
        let view = self.watchman.desk().view().ok()?;
        view.incident.filter(|i| i.incident.seen).map(|i| i.incident.began)
    }

    /// Tells what is still to be told, and puts the run into the history.
    pub(crate) async fn end(self, session: &Session, run: &str) -> Option<RecoveryRecord> {
        self.cx.cancel();
        if self.task.await.is_err() {
            session.out.remark("what watched the run ended early");
        }
        let desk = self.watchman.desk();
        let cx = Cx::background().with_deadline(SystemTime::now() + LAST_WORDS);
        let told = async {
            self.watchman.look()?;
            desk.deliver(&cx).await
        };
        match cx.run("tell what was raised", told).await {
            Ok(0) => {}
            Ok(left) => {
                session.out.remark(&format!("{left} messages are still on their way: veza-dr serve sends them"))
            }
            Err(e) => session.out.warn(&e),
        }
        let kept = async {
            let history = self.wiring.history(&cx, session.store()).await?;
            self.watchman.keep_history(&cx, &history).await
        };
        if let Err(e) = cx.run("keep the history", kept).await {
            session
                .out
                .warn(&Error::new(e.kind(), "the run is not in the history of the store yet").with_source(e.chain()));
        }
        match self.wiring.recorder().and_then(|recorder| recorder.read(run, ClockPoints::default())) {
            Ok(Run::Ended(record)) => Some(*record),
            Ok(_) => None,
            Err(e) => {
                session.out.warn(&e);
                None
            }
        }
    }
}

async fn watch(wiring: Arc<Wiring>, store: Option<String>, watchman: Arc<Watchman>, probing: Option<Probing>, cx: Cx) {
    // How long steps took before tells how long they will take now.
    let past = async {
        let read = async {
            let history = wiring.history(&cx, store.as_deref()).await?;
            watchman.keep_history(&cx, &history).await
        };
        if let Err(e) = read.await {
            tracing::warn!(error = %e.chain(), "nothing is forecast: the history cannot be read");
        }
    };
    let probing = async {
        if let Some(probing) = &probing {
            probing.run(&cx).await;
        }
    };
    tokio::join!(watchman.keep_looking(&cx, LOOK), watchman.desk().keep_delivering(&cx), probing, past);
}

/// A recovery that is done, but later or with more lost than it may be, has a number of its own.
pub(crate) fn held_to(exit: Exit, report: &RunReport, record: Option<&RecoveryRecord>) -> Exit {
    let missed =
        record.is_some_and(|r| r.run == report.run && (r.rto_met() == Some(false) || r.rpo_met() == Some(false)));
    if exit == Exit::Ok && missed && report.status == RunStatus::Completed {
        return Exit::TargetMissed;
    }
    exit
}
