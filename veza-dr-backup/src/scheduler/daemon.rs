//! The loop: waits for what is due, runs it, and decides what becomes of failures.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use tokio::{
    sync::mpsc,
    task::{Id, JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;
use veza_dr_core::{
    Action, Clock, ComponentName, Cx, Error, ErrorKind, Event, EventSink, Phase, Result, SystemClock, status::Attempt,
};

use super::{
    component::ScheduledComponent,
    lane::{COUNTED, Doing, Lane, held_pause},
    outcome::{Due, Outcome, may_pass_later},
    run::{RunContext, newest, run_together},
    state::{SchedulerHandle, Shared},
    telling::Telling,
};

/// A run that begins no later than this after its time was not missed.
const ON_TIME: TimeDelta = TimeDelta::seconds(60);
/// A clock that goes back by more than this was set, not only corrected.
const SET_BACK: TimeDelta = TimeDelta::minutes(1);
/// How often that is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How long a store may take at the start to tell what it holds.
const LOOKING: Duration = Duration::from_secs(60);

/// What becomes of backups that are being made when the scheduler is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Stop {
    /// They are cancelled: within seconds, with nothing half-made left.
    #[default]
    Cancel,
    /// They are finished, if that takes no longer than this; then cancelled.
    Finish {
        /// How long they may take.
        at_most: Duration,
    },
}

/// Keeps components protected until it is asked to end.
///
/// Tells, for each run: one [`Phase::Started`] once it holds all it needs; [`Phase::Retrying`] for each failure that
/// is tried again; and one [`Phase::Succeeded`], or one [`Phase::Failed`], also when only some stores have the backup,
/// which are named then. A run that was not made at its time is told once as [`Phase::Missed`], with how many there
/// were, whether it is made up for or not. A run that another daemon made is not told at all.
///
/// ```no_run
/// # async fn f(components: Vec<veza_dr_backup::ScheduledComponent>) -> veza_dr_core::Result<()> {
/// use veza_dr_backup::Scheduler;
/// use veza_dr_core::Cx;
/// let cx = Cx::background();
/// let scheduler = Scheduler::new(components)?;
/// let handle = scheduler.handle();
/// println!("{} components", handle.states().len());
/// scheduler.run(&cx).await
/// # }
/// ```
#[derive(Debug)]
pub struct Scheduler {
    lanes: Vec<Lane>,
    clock: Arc<dyn Clock>,
    sinks: Vec<Arc<dyn EventSink>>,
    stop: Stop,
    shared: Arc<Shared>,
    asked: mpsc::UnboundedReceiver<ComponentName>,
}

type Done = std::result::Result<(Id, Vec<(ComponentName, Outcome)>), JoinError>;

impl Scheduler {
    /// A scheduler of these components, by the machine's clock.
    ///
    /// # Errors
    /// `Config` when two have the same name.
    pub fn new(components: Vec<ScheduledComponent>) -> Result<Self> {
        let (sender, asked) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new(sender));
        let mut lanes: Vec<Lane> = Vec::new();
        for component in components {
            if lanes.iter().any(|l| l.component.name == component.name) {
                return Err(Error::new(ErrorKind::Config, format!("{} is scheduled twice", component.name)));
            }
            lanes.push(Lane::new(component));
        }
        lanes.sort_by(|a, b| a.component.name.cmp(&b.component.name));
        let clock = Arc::new(SystemClock);
        let scheduler = Self { lanes, clock, sinks: Vec::new(), stop: Stop::default(), shared, asked };
        for lane in &scheduler.lanes {
            let interval = lane.component.timetable.as_ref().and_then(|t| {
                t.schedule.worst_gap(scheduler.clock.now()).map(|worst| worst.gap.saturating_add(t.jitter))
            });
            scheduler.shared.add(lane.component.name.clone(), interval);
        }
        Ok(scheduler)
    }

    /// By this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Tells events to `sink`, too.
    #[must_use]
    pub fn with_events(mut self, sink: Arc<dyn EventSink>) -> Self {
        self.sinks.push(sink);
        self
    }

    /// Ends this way.
    #[must_use]
    pub fn with_stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }

    /// To look at it and to ask it for backups while it runs.
    #[must_use]
    pub fn handle(&self) -> SchedulerHandle {
        SchedulerHandle(self.shared.clone())
    }

    /// Runs until `cx` is cancelled; backups under way then end as [`Stop`] says, their leases are released, and the
    /// last events are told. Dropped instead, it stops dead, as a crash would: what is half done is swept by the next
    /// backup once its lease ran out.
    ///
    /// # Errors
    /// None so far: failures are told as events, and what comes next is done all the same.
    pub async fn run(mut self, cx: &Cx) -> Result<()> {
        let (teller, telling) = Telling::start(std::mem::take(&mut self.sinks));
        // Not a child of `cx`: how runs end is ours to say.
        let ctx = RunContext {
            cx: Cx::new(CancellationToken::new()),
            clock: self.clock.clone(),
            teller,
            shared: self.shared.clone(),
        };
        let mut runs = JoinSet::new();
        let mut names: HashMap<Id, Vec<ComponentName>> = HashMap::new();
        // Its errors are cancellation, which the loop sees for itself.
        let _ = cx.run("look at the stores", self.catch_up(&ctx)).await;
        let mut seen = self.clock.now();
        while !cx.is_cancelled() {
            let now = self.clock.now();
            if now < seen - SET_BACK {
                tracing::warn!("the clock was set back from {seen} to {now}: what comes next is worked out again");
                self.lanes.iter_mut().for_each(|lane| lane.set_back(now));
            }
            seen = now;
            let due = self.due(&ctx);
            if !due.is_empty() {
                let these = due.iter().map(|d| d.component.name.clone()).collect();
                let handle = runs.spawn(run_together(ctx.clone(), due));
                names.insert(handle.id(), these);
            }
            self.publish();
            let wake = self.lanes.iter().filter_map(Lane::wakes).min();
            let clock = self.clock.clone();
            let sleep = async {
                match wake {
                    Some(at) => clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = cx.token().cancelled() => {}
                Some(done) = runs.join_next_with_id() => self.ended(&ctx, &mut names, done),
                Some(name) = self.asked.recv() => self.ask(&name),
                () = sleep => {}
                () = set_back(self.clock.clone(), seen) => {}
            }
        }
        self.end(&ctx, runs, names).await;
        drop(ctx);
        telling.end().await;
        Ok(())
    }

    /// Finds out from the stores whether runs were missed while nobody ran this.
    async fn catch_up(&mut self, ctx: &RunContext) -> Result<()> {
        let looks = self.lanes.iter().map(|lane| async {
            let name = &lane.component.name;
            let look = async {
                let stores = lane.component.source.stores(&ctx.cx).await?;
                newest(&ctx.cx, name, &stores, self.clock.now()).await
            };
            match tokio::time::timeout(LOOKING, look).await {
                Ok(found) => found,
                Err(_) => Err(Error::new(ErrorKind::Unavailable, format!("{name}: its stores do not answer"))),
            }
        });
        let found = join_all(looks).await;
        let now = self.clock.now();
        for (lane, found) in self.lanes.iter_mut().zip(found) {
            let Some(table) = lane.component.timetable.clone() else { continue };
            let Some(last) = lane.run_before(now) else {
                lane.next = lane.run_after(now);
                continue;
            };
            lane.next = lane.run_after(last.due);
            let make_up = match found {
                Ok(Some(newest)) if newest >= last.due => false,
                Ok(Some(newest)) => {
                    let missed = lane.runs_between(newest, last.due);
                    let just_now = missed <= 1 && now - last.begins <= ON_TIME;
                    if !just_now {
                        let then = if table.catch_up { "made up for now" } else { "not made up for, as configured" };
                        let text = format!("{}, {then}", counted(missed, "while no daemon ran"));
                        tell(ctx, lane, Phase::Missed, text, None);
                    }
                    table.catch_up || just_now
                }
                // Never backed up: the first one does not wait for its hour.
                Ok(None) => true,
                Err(e) => {
                    tracing::warn!(component = %lane.component.name, error = %e.chain(), "its stores cannot be asked");
                    table.catch_up
                }
            };
            if make_up {
                lane.next = Some(last);
            }
        }
        Ok(())
    }

    /// What begins now.
    fn due(&mut self, ctx: &RunContext) -> Vec<Due<Arc<ScheduledComponent>>> {
        let now = self.clock.now();
        let mut due = Vec::new();
        for lane in &mut self.lanes {
            let component = lane.component.clone();
            if let Some(next) = lane.next.filter(|n| n.begins <= now) {
                let last = lane.run_before(now).filter(|l| l.due > next.due).unwrap_or(next);
                let skipped = lane.runs_between(next.due - TimeDelta::seconds(1), last.due - TimeDelta::seconds(1));
                lane.next = lane.run_after(last.due);
                if let Doing::Running { .. } = lane.doing {
                    let text = counted(skipped + 1, "as the backup before still runs");
                    tell(ctx, lane, Phase::Missed, text, None);
                    continue;
                }
                if skipped > 0 {
                    let text = format!("{}, made up for now", counted(skipped, "as the clock leapt over them"));
                    tell(ctx, lane, Phase::Missed, text, None);
                }
                lane.doing = Doing::Running { run: Some(last.due), attempt: 1, held: 0 };
                due.push(Due { component, run: Some(last.due) });
            } else if let Doing::Waiting { run, attempt, held, until } = lane.doing
                && until <= now
            {
                lane.doing = Doing::Running { run, attempt, held };
                due.push(Due { component, run });
            }
        }
        due
    }

    fn ask(&mut self, name: &ComponentName) {
        let now = self.clock.now();
        for lane in self.lanes.iter_mut().filter(|l| l.component.name == *name) {
            if !matches!(lane.doing, Doing::Running { .. }) {
                lane.doing = Doing::Waiting { run: None, attempt: 1, held: 0, until: now };
            }
        }
    }

    fn ended(&mut self, ctx: &RunContext, names: &mut HashMap<Id, Vec<ComponentName>>, done: Done) {
        let outcomes = match done {
            Ok((id, outcomes)) => {
                names.remove(&id);
                outcomes
            }
            Err(e) => {
                let lost = names.remove(&e.id()).unwrap_or_default();
                let failed = || Outcome::Failed(Error::new(ErrorKind::Unexpected, format!("the run broke off: {e}")));
                lost.into_iter().map(|name| (name, failed())).collect()
            }
        };
        for (name, outcome) in outcomes {
            let now = self.clock.now();
            let Some(lane) = self.lanes.iter_mut().find(|l| l.component.name == name) else { continue };
            let Doing::Running { run, attempt, held } = lane.doing else { continue };
            lane.doing = Doing::Nothing;
            let last;
            match outcome {
                Outcome::Made { lacking } => last = Some(Attempt { at: now, took: None, error: lacking }),
                Outcome::ByAnother | Outcome::Stopped => last = None,
                Outcome::Held(e) => {
                    last = None;
                    match lane.before_next(now, held_pause(held)).filter(|_| run.is_some()) {
                        Some(until) => lane.doing = Doing::Waiting { run, attempt, held: held + 1, until },
                        None => {
                            let phase = if run.is_some() { Phase::Missed } else { Phase::Failed };
                            tell(ctx, lane, phase, format!("not backed up: {}", e.chain()), Some(&e));
                        }
                    }
                }
                Outcome::Failed(e) => {
                    let pause = lane.component.retries.pause(attempt);
                    let again = (attempt < lane.component.retries.attempts && may_pass_later(&e))
                        .then(|| lane.before_next(now, pause))
                        .flatten();
                    last = Some(Attempt { at: now, took: None, error: Some(e.chain()) });
                    match again {
                        Some(until) => {
                            let text = format!("{}; tried again in {} s", e.chain(), pause.as_secs());
                            tell(ctx, lane, Phase::Retrying, text, Some(&e));
                            lane.doing = Doing::Waiting { run, attempt: attempt + 1, held, until };
                        }
                        None => tell(ctx, lane, Phase::Failed, e.chain(), Some(&e)),
                    }
                }
            }
            if let Some(last) = last {
                self.shared.change(&name, |state| state.last_run = Some(last));
            }
        }
    }

    fn publish(&self) {
        for lane in &self.lanes {
            self.shared.change(&lane.component.name, |state| {
                state.running = matches!(lane.doing, Doing::Running { .. });
                state.next_run = lane.wakes();
            });
        }
    }

    async fn end(
        &mut self,
        ctx: &RunContext,
        mut runs: JoinSet<Vec<(ComponentName, Outcome)>>,
        mut names: HashMap<Id, Vec<ComponentName>>,
    ) {
        let deadline = match self.stop {
            Stop::Cancel => self.clock.now(),
            Stop::Finish { at_most } => {
                let most = TimeDelta::from_std(at_most).unwrap_or(TimeDelta::MAX);
                self.clock.now().checked_add_signed(most).unwrap_or(DateTime::<Utc>::MAX_UTC)
            }
        };
        loop {
            let clock = self.clock.clone();
            let late = async {
                if ctx.cx.is_cancelled() {
                    std::future::pending::<()>().await;
                }
                clock.sleep_until(deadline).await;
            };
            tokio::select! {
                done = runs.join_next_with_id() => match done {
                    Some(done) => self.ended(ctx, &mut names, done),
                    None => return self.publish(),
                },
                () = late => ctx.cx.cancel(),
            }
        }
    }
}

/// Returns when the clock shows a time well before `seen`.
async fn set_back(clock: Arc<dyn Clock>, seen: DateTime<Utc>) {
    while clock.now() >= seen - SET_BACK {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn tell(ctx: &RunContext, lane: &Lane, phase: Phase, text: String, cause: Option<&Error>) {
    let mut event = Event::new(ctx.clock.now(), Action::Backup, phase, text).about(lane.component.name.clone());
    event.help = cause.and_then(|e| e.help().map(str::to_owned));
    ctx.teller.tell(event);
}

/// `3 runs were missed while no daemon ran`.
fn counted(missed: u32, why: &str) -> String {
    match missed {
        0 | 1 => format!("a run was missed {why}"),
        COUNTED.. => format!("more than {COUNTED} runs were missed {why}"),
        n => format!("{n} runs were missed {why}"),
    }
}
