//! Drills that the daemon runs when they are due.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use veza_dr_backup::{Timetable, store::Holder};
use veza_dr_core::{
    Action, Clock, Cx, Error, ErrorKind, Event, EventSink, Phase, Result, ScenarioKind, Sinks, SystemClock,
};
use veza_dr_failover::drill::{
    CleanUpState, DrillOutcome, DrillRecord, NobodyWatchesDrill, Reaped, list, lock, reap, text_of,
};

use crate::{wiring::Wiring, wiring_drill::DrillAsk};

/// The schedule is looked at anew this often: the machine's clock may be set, a record may come from another host.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// Runs the drills of the configuration.
#[derive(Debug)]
pub(crate) struct ScheduledDrills {
    wiring: Arc<Wiring>,
    sinks: Arc<Sinks>,
    planned: Vec<Planned>,
}

/// One scenario's drills.
#[derive(Debug)]
struct Planned {
    kind: ScenarioKind,
    table: Timetable,
    /// The site whose project is copied.
    compose: Option<String>,
}

impl ScheduledDrills {
    pub(crate) fn new(wiring: Arc<Wiring>, sinks: Arc<Sinks>) -> Self {
        let machine = Holder::this_process("").host;
        let planned = wiring.loaded.config.drills.schedule.planned().map(|(kind, schedule)| {
            let (table, compose) = (schedule.when().timetable(&machine), schedule.compose().map(str::to_owned));
            Planned { kind, table, compose }
        });
        Self { planned: planned.collect(), wiring, sinks }
    }

    /// Until `cx` is cancelled.
    pub(crate) async fn run(&self, cx: &Cx) {
        self.remove_left(cx).await;
        if self.planned.is_empty() {
            return;
        }
        let began = SystemClock.now();
        let mut tried: BTreeMap<ScenarioKind, DateTime<Utc>> = BTreeMap::new();
        while !cx.is_cancelled() {
            let now = SystemClock.now();
            let next = match self.next(cx, &tried, began).await {
                Ok(next) => next,
                Err(e) if e.kind() == ErrorKind::Cancelled => return,
                Err(e) => {
                    // Without its records it is not known when a drill was last made: better late than twice.
                    tracing::warn!(error = %e.chain(), "it cannot be told which drill is due");
                    None
                }
            };
            match next {
                Some((kind, at)) if at <= now => {
                    tried.insert(kind, now);
                    self.one(cx, kind).await;
                }
                other => {
                    let until = other.map_or(LOOK_AGAIN, |(_, at)| (at - now).to_std().unwrap_or_default());
                    let wait = async {
                        tokio::time::sleep(until.min(LOOK_AGAIN)).await;
                        Ok(())
                    };
                    if cx.run("wait for a drill", wait).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Which drill comes next, and when.
    async fn next(
        &self,
        cx: &Cx,
        tried: &BTreeMap<ScenarioKind, DateTime<Utc>>,
        began: DateTime<Utc>,
    ) -> Result<Option<(ScenarioKind, DateTime<Utc>)>> {
        let stores = self.wiring.drill_stores(cx, None).await?;
        let mut last: BTreeMap<ScenarioKind, DateTime<Utc>> = tried.clone();
        let (mut read, mut failure) = (false, None);
        for store in &stores.stores {
            match list(cx, store.as_ref()).await {
                Ok(found) => {
                    read = true;
                    for record in found.records {
                        let known = last.entry(record.scenario).or_insert(record.started_at);
                        *known = (*known).max(record.started_at);
                    }
                }
                Err(e) => failure = Some(e),
            }
        }
        if let (false, Some(e)) = (read, failure) {
            return Err(e);
        }
        let due = self.planned.iter().filter_map(|Planned { kind, table, .. }| {
            // A scenario that was never rehearsed begins with the daemon's own time.
            let since = last.get(kind).copied().unwrap_or(began);
            let since = if table.catch_up { since } else { since.max(began) };
            let run = table.schedule.next_after(since)?;
            Some((*kind, table.begins(run)))
        });
        Ok(due.min_by_key(|(_, at)| *at))
    }

    async fn one(&self, cx: &Cx, kind: ScenarioKind) {
        let since = Instant::now();
        let text = format!("drill of scenario {kind} begins");
        self.tell(Event::new(SystemClock.now(), Action::Drill, Phase::Started, text)).await;
        let event = match self.rehearse(cx, kind).await {
            Ok(record) => {
                if let Err(e) = self.wiring.keep_drill_report(&record) {
                    tracing::warn!(error = %e.chain(), "the report of the drill cannot be written");
                }
                let good = record.outcome == DrillOutcome::Passed && record.cleanup.state == CleanUpState::Cleaned;
                let phase = if good { Phase::Succeeded } else { Phase::Failed };
                let help = format!("veza-dr drill report {}", record.id);
                Event::new(SystemClock.now(), Action::Drill, phase, text_of(&record)).with_help(help)
            }
            Err(e) => {
                let text = format!("drill of scenario {kind}: {}", e.chain());
                let event = Event::new(SystemClock.now(), Action::Drill, Phase::Failed, text);
                event.with_help(e.help().unwrap_or("veza-dr drill run"))
            }
        };
        self.tell(event.with_took(since.elapsed())).await;
    }

    async fn rehearse(&self, cx: &Cx, kind: ScenarioKind) -> Result<DrillRecord> {
        let stores = self.wiring.drill_stores(cx, None).await?;
        let lock = lock(&self.wiring.drill_state()?)?;
        let compose = self.planned.iter().find(|p| p.kind == kind).and_then(|p| p.compose.clone());
        let ask = DrillAsk { scenario: Some(kind), compose, by: "schedule".to_owned(), ..DrillAsk::default() };
        let mut ready = self.wiring.drill(cx, &ask, &stores.stores).await?;
        for e in ready.remarks.iter().chain(&stores.failed) {
            tracing::warn!(error = %e.chain(), "drill");
        }
        ready.drill.watcher = Arc::new(NobodyWatchesDrill);
        ready.run(cx, &lock, &stores.stores).await
    }

    /// What a drill left that was killed with the daemon, or could not be removed then.
    async fn remove_left(&self, cx: &Cx) {
        let found = async {
            let state = self.wiring.drill_state()?;
            if !state.join("drills").is_dir() {
                return Ok(Vec::new());
            }
            let stores = self.wiring.drill_stores(cx, None).await?;
            let lock = lock(&state)?;
            reap(cx, &lock, &state, &stores.stores, false).await
        };
        match found.await {
            Ok(found) => {
                for reaped in found {
                    self.tell_reaped(&reaped).await;
                }
            }
            // Another process of this host is at it.
            Err(e) if matches!(e.kind(), ErrorKind::Conflict | ErrorKind::Cancelled) => {}
            Err(e) => tracing::warn!(error = %e.chain(), "what drills left cannot be looked for"),
        }
    }

    async fn tell_reaped(&self, found: &Reaped) {
        let at = SystemClock.now();
        let (phase, why) = match (&found.problem, found.cleanup.state) {
            (None, CleanUpState::Cleaned) => (Phase::Succeeded, "removed".to_owned()),
            (Some(e), _) => (Phase::Failed, e.chain()),
            (None, state) => (Phase::Failed, state.to_string()),
        };
        let text = format!("what drill {} left behind: {why}", found.id);
        self.tell(Event::new(at, Action::Drill, phase, text).with_help("veza-dr drill clean")).await;
    }

    async fn tell(&self, event: Event) {
        let told: Result<(), Error> = self.sinks.tell(&Cx::background(), &event).await;
        if let Err(e) = told {
            tracing::warn!(error = %e.chain(), "an event could not be told everywhere");
        }
    }
}
