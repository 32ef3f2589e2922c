//! Looks at runs, probes and history from time to time, and tells the desk.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use veza_dr_core::{Cx, ErrorKind, Result};

use super::{AlarmView, Desk, Facts, Message};
use crate::{
    alerts::Subject,
    measure::{
        Availability, AvailabilityLog, ClockPoints, Recorder, RecoveryHistory, RecoveryKind, RecoveryRecord, Run, eta,
        predictions_of,
    },
};

/// What was added up less long ago is not added up again.
const FRESH: TimeDelta = TimeDelta::seconds(5);

/// Puts facts together and has them judged. `serve` runs one all the time, `failover run` while it runs.
#[derive(Debug)]
pub struct Watchman {
    desk: Arc<Desk>,
    recorder: Recorder,
    log: Option<Arc<AvailabilityLog>>,
    watched: bool,
    window: Duration,
    host: String,
    past: Mutex<Vec<RecoveryRecord>>,
    seen: Mutex<Option<Availability>>,
    /// Runs whose journal cannot be read are told of once.
    complained: Mutex<BTreeMap<String, String>>,
}

impl Watchman {
    /// Tells this desk of what this recorder measures on this host.
    #[must_use]
    pub fn new(desk: Arc<Desk>, recorder: Recorder, host: impl Into<String>) -> Self {
        let window = Duration::from_secs(30 * 86_400);
        let host = host.into();
        let (past, seen, complained) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { desk, recorder, log: None, watched: false, window, host, past, seen, complained }
    }

    /// The service is looked at by this, and judged over this window.
    #[must_use]
    pub fn with_probes(mut self, log: Arc<AvailabilityLog>, window: Duration) -> Self {
        (self.log, self.watched, self.window) = (Some(log), true, window);
        self
    }

    /// The service is looked at by another process.
    #[must_use]
    pub fn watched_elsewhere(mut self) -> Self {
        self.watched = true;
        self
    }

    /// The desk.
    #[must_use]
    pub fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// Past recoveries and drills, as the history last told them.
    #[must_use]
    pub fn past(&self) -> Vec<RecoveryRecord> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One look. What is raised is durable when this returns, and waits to be delivered.
    ///
    /// # Errors
    /// When the book of alarms, or the list of journals, cannot be read.
    pub fn look(&self) -> Result<Vec<Message>> {
        let view = self.desk.view()?;
        self.desk.evaluate(&self.facts(self.desk.now(), &view)?)
    }

    /// What is known at this moment.
    ///
    /// # Errors
    /// When the journals cannot be listed. A damaged one is told of, and passed over.
    pub fn facts(&self, now: DateTime<Utc>, view: &AlarmView) -> Result<Facts> {
        let mut facts = Facts::at(now);
        facts.strictest_rto = self.recorder.strictest_rto();
        facts.watched = self.watched;
        // Of two processes only the one that looks may judge: what the other remembers is older.
        match &self.log {
            Some(log) if log.is_looking(now) => {
                facts.service = Subject::service(Ok(&self.seen(log, now)));
                (facts.served, facts.outage) = (log.is_served(now), log.outage());
            }
            _ if self.watched => facts.service = Subject::unseen(),
            _ => {}
        }
        let mut ended: BTreeMap<(RecoveryKind, Option<String>), RecoveryRecord> = BTreeMap::new();
        let mut keep = |record: RecoveryRecord| {
            let key = (record.kind, record.scenario.clone());
            if ended.get(&key).is_none_or(|known| known.run <= record.run) {
                ended.insert(key, record);
            }
        };
        let past = self.past();
        // Recoveries are told of by the journals themselves; what else this host did, by the history.
        past.iter().filter(|r| r.kind == RecoveryKind::Drill && r.host == self.host).cloned().for_each(&mut keep);
        for run in self.recorder.runs()? {
            match self.recorder.read(&run, points(view, &run)) {
                // A plan for no scenario, such as the way back, recovers from nothing.
                Ok(Run::Ended(record)) if record.scenario.is_none() => {}
                Ok(Run::Ended(record)) => keep(*record),
                Ok(Run::Live(live)) => {
                    let (report, plan) = *live;
                    if report.scenario.is_none() {
                        continue;
                    }
                    let objectives = self.recorder.objectives(report.scenario.as_deref());
                    let known = predictions_of(&past, &plan.name);
                    facts.left_seconds = eta(&plan, &report, &known, now).map(|left| left.p50_seconds);
                    let rto = objectives.map(|o| o.rto);
                    facts.live.push(Subject::of_run(&report, RecoveryKind::Recovery, rto, now));
                }
                // Killed before its first line: nothing was done.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => self.complain(&run, &e.chain()),
            }
        }
        facts.ended = ended.values().map(Subject::of_record).collect();
        Ok(facts)
    }

    /// What was seen in the window; adding thirty days up once a second would be a waste.
    fn seen(&self, log: &AvailabilityLog, now: DateTime<Utc>) -> Availability {
        let mut known = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = known.as_ref().filter(|seen| (TimeDelta::zero()..FRESH).contains(&(now - seen.to))) {
            return seen.clone();
        }
        let from = now - TimeDelta::from_std(self.window).unwrap_or(TimeDelta::MAX);
        known.insert(log.over(from, now)).clone()
    }

    /// Looks again and again until `cx` is cancelled.
    pub async fn keep_looking(&self, cx: &Cx, every: Duration) {
        while !cx.is_cancelled() {
            if let Err(e) = self.look() {
                self.complain("book", &e.chain());
            }
            tokio::select! {
                () = cx.token().cancelled() => {}
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    /// Stores what was measured and is not in the history yet, and reads what others measured.
    ///
    /// # Errors
    /// Those of the store: what was measured is stored the next time.
    pub async fn keep_history(&self, cx: &Cx, history: &RecoveryHistory) -> Result<()> {
        let view = self.desk.view()?;
        self.recorder.publish(cx, history, &|run: &str| points(&view, run)).await?;
        let all = history.read_all(cx).await?;
        for (id, why) in all.unreadable {
            self.complain(&id, &why);
        }
        *self.past.lock().unwrap_or_else(PoisonError::into_inner) = all.records;
        Ok(())
    }

    fn complain(&self, what: &str, why: &str) {
        let mut complained = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if complained.get(what).is_none_or(|before| before != why) {
            complained.insert(what.to_owned(), why.to_owned());
            tracing::error!(%what, error = %why, "not everything can be judged");
        }
    }
}

/// What the desk knows of a run's clock points: when its outage began and was noticed, and when somebody took care.
#[must_use]
pub fn points(view: &AlarmView, run: &str) -> ClockPoints {
    let Some(of) = view.incident_of(run) else { return ClockPoints::default() };
    let seen = of.incident.seen;
    ClockPoints {
        t0: Some(of.incident.began).filter(|_| seen),
        t1: Some(of.incident.detected).filter(|_| seen),
        t2: of.first_acknowledged,
        ..ClockPoints::default()
    }
}
