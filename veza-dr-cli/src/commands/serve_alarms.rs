//! The daemon's alarms: probes, alerts, calls, and the history of recoveries.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use veza_dr_core::{Clock, Cx, Error, EventSink, Result, SystemClock};
use veza_dr_failover::{
    alarm::{Desk, Watchman},
    escalation::AckKey,
    measure::RecoveryHistory,
    metrics::Metrics,
    report::ReportArchive,
};

use crate::{
    wiring::{Access, Wiring},
    wiring_alarms::{Desked, Probing},
};

/// How often everything is judged.
const LOOK: Duration = Duration::from_secs(1);
/// How often metrics are told of it.
const TELL: Duration = Duration::from_secs(5);
/// How often the history is read.
const HISTORY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Alarms {
    wiring: Arc<Wiring>,
    watchman: Watchman,
    probing: Option<Probing>,
    key: Option<AckKey>,
}

impl Alarms {
    pub(crate) async fn new(cx: &Cx, wiring: &Arc<Wiring>, logs: Vec<Arc<dyn EventSink>>) -> Result<Self> {
        let Desked { desk, key, failed } = wiring.desk(cx, logs).await?;
        for e in failed {
            tracing::error!(error = %e.chain(), "this way to be reached is not there; the others are used");
        }
        let (watchman, probing) = wiring.watchman(desk)?;
        Ok(Self { wiring: wiring.clone(), watchman, probing, key })
    }

    /// Where alarms are raised.
    pub(crate) fn desk(&self) -> Arc<Desk> {
        self.watchman.desk().clone()
    }

    /// The desk and the key of its links, where links are sent.
    pub(crate) fn links(&self) -> Option<(Arc<Desk>, AckKey)> {
        Some((self.desk(), self.key.clone()?))
    }

    /// Until `cx` is cancelled.
    pub(crate) async fn run(&self, cx: &Cx, metrics: &Metrics) {
        let probing = async {
            if let Some(probing) = &self.probing {
                probing.run(cx).await;
            }
        };
        tokio::join!(
            self.watchman.keep_looking(cx, LOOK),
            self.watchman.desk().keep_delivering(cx),
            probing,
            self.history(cx, metrics),
            self.tell(cx, metrics),
        );
    }

    async fn tell(&self, cx: &Cx, metrics: &Metrics) {
        let window = TimeDelta::from_std(self.wiring.availability_window()).unwrap_or(TimeDelta::MAX);
        while !cx.is_cancelled() {
            let now = SystemClock.now();
            let service = self.probing.as_ref().map(|p| (p.log.over(now - window, now), p.log.is_served(now)));
            match self.watchman.desk().view() {
                Ok(view) => metrics.update_alarms(view, service),
                Err(e) => tracing::error!(error = %e.chain(), "alarms cannot be told to metrics"),
            }
            pause(cx, TELL).await;
        }
    }

    async fn history(&self, cx: &Cx, metrics: &Metrics) {
        let mut open: Option<(RecoveryHistory, ReportArchive)> = None;
        let mut complained = String::new();
        while !cx.is_cancelled() {
            let kept = async {
                let (history, reports) = match &mut open {
                    Some(open) => open,
                    none => none.insert((
                        self.wiring.history(cx, None).await?,
                        self.wiring.report_archive(cx, None, Access::Write).await?,
                    )),
                };
                self.watchman.keep_history(cx, history).await?;
                let past = self.watchman.past();
                let forecasts = self.wiring.forecasts(&past);
                metrics.update_recoveries(past, self.wiring.objectives(), forecasts);
                reports.keep(cx, &self.wiring.reports()?).await
            };
            match kept.await {
                Ok(_) => complained.clear(),
                Err(e) => complain(&e, &mut complained),
            }
            pause(cx, HISTORY).await;
        }
    }
}

fn complain(e: &Error, before: &mut String) {
    let text = e.chain();
    if *before != text {
        tracing::warn!(error = %text, "the history of recoveries cannot be read; what this host measured is kept here");
        *before = text;
    }
}

async fn pause(cx: &Cx, time: Duration) {
    tokio::select! {
        () = cx.token().cancelled() => {}
        () = tokio::time::sleep(time) => {}
    }
}
