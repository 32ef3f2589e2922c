//! Begins, takes up, rolls back and tells of runs.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use veza_dr_core::{
    BackupStore, Clock, Cx, Error, ErrorKind, OperationId, Result, SystemClock,
    lease::{Lease, LeaseGuard},
};

use super::{
    Actions, Approver, Bound, Ending, Journals, Mode, NobodyApproves, NobodyWatches, Record, Rule, RunOptions,
    RunReport, Watcher, copies::Copies, journal::Journal, live::Live, read_journal, state::State,
};

/// The lease that a run holds.
pub(super) const LEASE: &str = "failover";

/// Executes plans. One run at a time; each leaves a journal from which it is taken up again, however it was stopped.
///
/// ```no_run
/// # async fn example(store: std::sync::Arc<dyn veza_dr_core::BackupStore>,
/// #     actions: std::sync::Arc<dyn veza_dr_failover::runbook::Actions>) -> veza_dr_core::Result<()> {
/// use veza_dr_core::Cx;
/// use veza_dr_failover::runbook::{Bound, Engine, Plan, RunOptions};
///
/// let plan = Plan::from_file("infrastructure.yml".as_ref())?;
/// let bound = Bound::new(plan, actions.as_ref())?;
/// let approved = bound.sha256(); // what the people who decide were shown
/// let engine = Engine::new("/var/lib/veza-dr", store, actions, "ops@example");
/// let report = engine.start(&Cx::background(), &bound, RunOptions::default().with_plan_sha(approved)).await?;
/// println!("{:?}", report.status);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Engine {
    pub(super) journals: Journals,
    pub(super) store: Arc<dyn BackupStore>,
    pub(super) actions: Arc<dyn Actions>,
    pub(super) who: String,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) approver: Arc<dyn Approver>,
    pub(super) watcher: Arc<dyn Watcher>,
    pub(super) lease_ttl: Duration,
    pub(super) keep_every: Duration,
}

impl Engine {
    /// Keeps journals below `state_dir`, the lease and copies of the journals in `store`, and acts in the name of
    /// `who`.
    #[must_use]
    pub fn new(
        state_dir: impl Into<PathBuf>,
        store: Arc<dyn BackupStore>,
        actions: Arc<dyn Actions>,
        who: impl Into<String>,
    ) -> Self {
        Self {
            journals: Journals::new(state_dir),
            store,
            actions,
            who: who.into(),
            clock: Arc::new(SystemClock),
            approver: Arc::new(NobodyApproves),
            watcher: Arc::new(NobodyWatches),
            lease_ttl: Duration::from_secs(60),
            keep_every: Duration::from_secs(5),
        }
    }

    /// Goes by this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Asks this one for approvals.
    #[must_use]
    pub fn with_approver(mut self, approver: Arc<dyn Approver>) -> Self {
        self.approver = approver;
        self
    }

    /// Tells this one of every entry.
    #[must_use]
    pub fn with_watcher(mut self, watcher: Arc<dyn Watcher>) -> Self {
        self.watcher = watcher;
        self
    }

    /// How often what steps established is kept true: a fenced site that comes back is fenced again.
    #[must_use]
    pub fn with_keep_every(mut self, every: Duration) -> Self {
        self.keep_every = every;
        self
    }

    /// Runs a plan until it is done, fails, rests or needs a person; the report says which. Cancelling `cx` makes it
    /// rest.
    ///
    /// # Errors
    /// `Conflict` when the plan is not the one that was approved, breaks a safety rule, another run holds the lease
    /// (its holder is named) or one is unfinished; `Config` for a plan out of form. Nothing was touched then. Later:
    /// when the journal cannot be written or the lease is lost; the run can be resumed.
    pub async fn start(&self, cx: &Cx, bound: &Bound, options: RunOptions) -> Result<RunReport> {
        cx.check("run a plan")?;
        refuse_form_overrides(&options)?;
        bound.check(&options.overrides.keys().copied().collect::<BTreeSet<_>>())?;
        let sha = bound.sha256();
        if let Some(approved) = options.plan_sha.as_deref().filter(|approved| *approved != sha) {
            let text = format!("the plan is no longer the approved one: its hash is {sha}, approved was {approved}");
            return Err(Error::new(ErrorKind::Conflict, text)
                .with_help("nothing was touched; look at it again with: veza-dr failover plan"));
        }
        let lease = self.lease(cx, &options).await?;
        let run_cx = lease.as_ref().map_or_else(|| cx.child(), |l| l.cx().clone());
        let began = async {
            if let Some(run) = self.unfinished()? {
                let text = format!("run {run} is not finished");
                return Err(Error::new(ErrorKind::Conflict, text).with_help(format!(
                    "take it up: veza-dr failover resume {run}; undo it: veza-dr failover resume {run} --rollback; \
                     or give it up: veza-dr failover resume {run} --abandon --reason TEXT"
                )));
            }
            let now = self.clock.now();
            let random = OperationId::random();
            let run = format!("{}-{}", now.format("%Y%m%dT%H%M%SZ"), &random.as_str()[..6]);
            let mut journal = Journal::create(&self.path(&run))?;
            let entry = journal.append(
                now,
                Record::Started {
                    run: run.clone(),
                    plan: Box::new(bound.plan().clone()),
                    plan_sha: sha,
                    who: self.who.clone(),
                    epoch: self.epoch(lease.as_ref())?,
                    mode: options.mode.unwrap_or_default(),
                    outage_began: options.outage_began,
                },
            )?;
            self.watcher.told(&entry);
            let state = State::of(&[entry])?;
            self.live(bound, journal, state, &run)
        };
        let live = match began.await {
            Ok(live) => live,
            Err(e) => {
                self.give_back(lease).await;
                return Err(e);
            }
        };
        let ran = async {
            live.decide(&options)?;
            live.drive(&run_cx, lease.as_ref()).await
        };
        let ran = ran.await;
        self.end(live, lease, ran).await
    }

    /// Takes a run up again: what is known to be done stays, what is unknown is looked up, what failed is tried again.
    ///
    /// # Errors
    /// As [`Engine::start`]; `NotFound` without such a run; `Corrupt` when its journal is damaged; `Conflict` when it
    /// has ended, or when what its plan would do has changed since it began.
    pub async fn resume(&self, cx: &Cx, run: &str, options: RunOptions) -> Result<RunReport> {
        self.take_up(cx, run, options, false).await
    }

    /// Undoes what a run did, the last first, where there is a way back.
    ///
    /// # Errors
    /// As [`Engine::resume`].
    pub async fn rollback(&self, cx: &Cx, run: &str, options: RunOptions) -> Result<RunReport> {
        self.take_up(cx, run, options, true).await
    }

    async fn take_up(&self, cx: &Cx, run: &str, options: RunOptions, back: bool) -> Result<RunReport> {
        cx.check("resume a run")?;
        refuse_form_overrides(&options)?;
        // Read before the lease is taken: a wrong name or a run that has ended needs none.
        let state = State::of(&read_journal(&self.path(run))?)?;
        if state.ending.is_some()
            && !(back && matches!(state.ending, Some(Ending::Completed | Ending::CompletedWithSkips)))
        {
            let text = format!("run {run} has ended already");
            return Err(Error::new(ErrorKind::Conflict, text).with_help("see: veza-dr failover status"));
        }
        let bound = Bound::new(state.plan.clone(), self.actions.as_ref())?;
        let sha = bound.sha256();
        for (what, expected) in [("begun", Some(&state.plan_sha)), ("approved", options.plan_sha.as_ref())] {
            if expected.is_some_and(|e| *e != sha) {
                let text =
                    format!("what the plan of run {run} would do is no longer what was {what}: its hash is {sha}");
                return Err(Error::new(ErrorKind::Conflict, text)
                    .with_help("put the configuration back as it was; nothing was touched"));
            }
        }
        let lease = self.lease(cx, &options).await?;
        let run_cx = lease.as_ref().map_or_else(|| cx.child(), |l| l.cx().clone());
        let opened = async {
            // Only now nobody else writes.
            let (journal, entries) = Journal::open(&self.path(run))?;
            let live = self.live(&bound, journal, State::of(&entries)?, run)?;
            live.record(Record::Resumed { who: self.who.clone(), epoch: self.epoch(lease.as_ref())? })?;
            Ok(live)
        };
        let live = match opened.await {
            Ok(live) => live,
            Err(e) => {
                self.give_back(lease).await;
                return Err(e);
            }
        };
        let ran = async {
            live.decide(&options)?;
            if back || live.is_undoing() {
                live.roll_back(&run_cx, lease.as_ref()).await
            } else {
                live.drive(&run_cx, lease.as_ref()).await
            }
        };
        let ran = ran.await;
        self.end(live, lease, ran).await
    }

    /// Gives a run up as it stands, so that another may begin.
    ///
    /// # Errors
    /// As [`Engine::resume`].
    pub async fn abandon(&self, cx: &Cx, run: &str, why: &str) -> Result<RunReport> {
        let lease = Lease::acquire(cx, self.store.clone(), LEASE, self.lease_ttl).await?;
        let done = async {
            let (mut journal, entries) = Journal::open(&self.path(run))?;
            let mut state = State::of(&entries)?;
            let text = format!("given up by {}: {why}", self.who);
            for record in [Record::Warning { text }, Record::Ended { ending: Ending::Abandoned }] {
                state.add(&journal.append(self.clock.now(), record)?);
            }
            Ok(RunReport::of(&state))
        };
        let done = done.await;
        self.give_back(Some(lease)).await;
        done
    }

    fn live<'a>(&'a self, bound: &'a Bound, journal: Journal, state: State, run: &str) -> Result<Live<'a>> {
        let copies = Copies::start(self.store.clone(), self.path(run), run)?;
        Ok(Live { engine: self, bound, state: Mutex::new(state), journal: Mutex::new(journal), copies })
    }

    async fn lease(&self, cx: &Cx, options: &RunOptions) -> Result<Option<LeaseGuard>> {
        match Lease::acquire_with_clock(cx, self.store.clone(), LEASE, self.lease_ttl, self.clock.clone()).await {
            Ok(lease) => Ok(Some(lease)),
            Err(_) if options.overrides.contains_key(&Rule::OneRun) => Ok(None),
            Err(e) if e.kind() == ErrorKind::Conflict => {
                let holder = e.context().find(|(k, _)| *k == "holder").map(|(_, v)| v.to_owned());
                let text =
                    format!("another run is under way: {}", holder.as_deref().unwrap_or("its holder is unknown"));
                Err(Error::new(ErrorKind::Conflict, text).with_source(e).with_help(
                    "see: veza-dr failover status; one whose machine died loses its right within two minutes",
                ))
            }
            Err(e) => {
                let text = format!("the right to be the only run cannot be had from store {}", self.store.info().name);
                Err(Error::new(e.kind(), text).with_source(e).with_help(format!(
                    "use another store with --store NAME; or, sure to be alone, --override {} --reason TEXT",
                    Rule::OneRun
                )))
            }
        }
    }

    /// The fencing number: the lease's, or without one, one more than any that this machine knows of.
    fn epoch(&self, lease: Option<&LeaseGuard>) -> Result<u64> {
        if let Some(lease) = lease {
            return Ok(lease.epoch());
        }
        let mut highest = 0;
        for run in self.runs()? {
            if let Ok(state) = read_journal(&self.path(&run)).and_then(|entries| State::of(&entries)) {
                highest = highest.max(state.epoch);
            }
        }
        Ok(highest + 1)
    }

    async fn end(&self, live: Live<'_>, lease: Option<LeaseGuard>, ran: Result<()>) -> Result<RunReport> {
        if let Err(e) = live.copies.finish().await {
            let text = format!("the journal could not be copied to store {}: {}", self.store.info().name, e.chain());
            // The journal itself may be what fails; then its own error is what counts.
            if live.record(Record::Warning { text: text.clone() }).is_err() {
                tracing::warn!(%text, "not in the journal");
            }
        }
        let report = live.report();
        self.give_back(lease).await;
        ran.map(|()| report)
    }

    async fn give_back(&self, lease: Option<LeaseGuard>) {
        let Some(lease) = lease else { return };
        let cx = Cx::background().with_deadline(SystemTime::now() + Duration::from_secs(10));
        if let Err(e) = lease.release(&cx).await {
            tracing::warn!(error = %e.chain(), "the lease runs out by itself");
        }
    }
}

fn refuse_form_overrides(options: &RunOptions) -> Result<()> {
    match options.overrides.keys().find(|r| !r.can_be_overridden()) {
        None => Ok(()),
        Some(rule) => {
            let text = format!("rule {rule} is about the form of a plan and cannot be overridden");
            Err(Error::new(ErrorKind::Config, text).with_help("put the plan right"))
        }
    }
}

/// How a run is done from here on.
pub(super) fn is_ungraceful(mode: Mode) -> bool {
    mode == Mode::Ungraceful
}

/// In whose name approvals are given, and who entered them.
pub(super) fn name_of(who: &str, options: &RunOptions) -> String {
    match options.approved_by.as_deref().map(str::trim) {
        Some(name) if !name.is_empty() => format!("{name} (entered by {who})"),
        _ => who.to_owned(),
    }
}
