//! A Redis server as a thing that can be brought back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use veza_dr_backup::redis::{Endpoint, RedisConfig};
use veza_dr_core::{
    ArtifactSource, Clock, ComponentName, Cx, Effect, Error, ErrorKind, Manifest, Outcome, Report, RestoreCaps,
    RestorePlan, RestoreReport, RestoreRequest, RestoreTarget, Result, SecretString, SystemClock, TargetInfo,
    Verification,
};

use crate::guards;

use super::{
    by_file, by_keys, by_replication,
    choose::{self, Choice, TargetFacts},
    control::{Control, is_refusal},
    copy,
    look::look,
    meet,
    options::{KeyConflict, RedisRestoreOptions, RedisWay, TtlPolicy},
    plan,
    plan::Aim,
    proof, prove_scratch, repair,
    replicate::{Exchange, Spool},
    run::{Data, Run, facts},
    spool::{self, Spooled},
    state_dir::{Held, Journal, Kept, Phase, StateDir},
};

/// A Redis server as a thing that can be brought back.
///
/// ```no_run
/// # async fn f() -> veza_dr_core::Result<()> {
/// use std::sync::Arc;
/// use veza_dr_backup::{Encryption, Repository, Selector, redis::RedisConfig, store::DirectoryStore};
/// use veza_dr_core::{Cx, RestoreRequest, RestoreTarget};
/// use veza_dr_restore::redis::{RedisRestore, RedisRestoreOptions};
/// let cx = Cx::background();
/// let repository = Repository::new(Arc::new(DirectoryStore::open("local", "/opt/backups")?), Encryption::default());
/// let manifest = repository.manifest(&cx, &"redis".parse()?, &Selector::Latest).await?;
/// let options = RedisRestoreOptions::new("/var/lib/veza-dr");
/// let target = RedisRestore::new("redis".parse()?, RedisConfig::new("redis://localhost:6379"), options)?;
/// let sessions = RestoreRequest::in_place().only(["*session*".to_owned()]);
/// let plan = target.plan(&cx, &sessions, &manifest).await?;
/// let report = target.apply(&cx, plan, &manifest, Arc::new(repository.open(&manifest))).await?;
/// println!("{} keys are back", report.verification.rows);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct RedisRestore {
    pub(super) info: TargetInfo,
    pub(super) config: RedisConfig,
    pub(super) options: RedisRestoreOptions,
    to_password: Option<SecretString>,
}

impl RedisRestore {
    /// The server that `config` names. No I/O.
    ///
    /// # Errors
    /// `Config` when the URL cannot be read.
    pub fn new(component: ComponentName, config: RedisConfig, options: RedisRestoreOptions) -> Result<Self> {
        let location = Endpoint::parse(&config)?.location();
        let info = TargetInfo { component, engine: "redis".to_owned(), location };
        Ok(Self { info, config, options, to_password: None })
    }

    /// The password for another server named by [`RestoreRequest::to`]; the component's own is never offered to it.
    #[must_use]
    pub fn with_target_password(mut self, password: SecretString) -> Self {
        self.to_password = Some(password);
        self
    }

    pub(super) fn aim(&self, request: &RestoreRequest) -> Result<Aim> {
        plan::aim(&self.config, self.to_password.as_ref(), request)
    }

    pub(super) fn state(&self, place: &str) -> StateDir {
        StateDir::new(&self.options.state_dir, &self.info.component, place)
    }

    /// The rest of a restore or rollback, once the data are known to be whole.
    async fn carry_out(&self, run: &mut Run<'_>, only: &[String], choice: &Choice) -> Result<Verification> {
        run.note()?;
        match choice.way {
            RedisWay::File => {
                let Some(instance) = &self.options.instance else {
                    return Err(Error::new(ErrorKind::Config, "no container is named whose files could be replaced"));
                };
                Box::pin(by_file::restore(run, instance.as_ref())).await
            }
            RedisWay::Keys => Box::pin(by_keys::restore(run, only)).await,
            _ => match Box::pin(by_replication::restore(run, choice.swapdb)).await? {
                Ok(proven) => Ok(proven),
                Err(e) if self.options.way != RedisWay::Auto || e.kind() == ErrorKind::Cancelled => Err(e),
                Err(e) => {
                    let text = format!("nothing was touched, keys are restored instead: {}", e.chain());
                    run.report.push("replicate", Outcome::Skipped, text, Duration::ZERO);
                    let keys = RedisRestoreOptions { way: RedisWay::Keys, ..self.options.clone() };
                    let choice = choose::choose(&keys, false, false, &run.facts, &facts(&run.data.summary));
                    guards::refuse(&choice.blockers)?;
                    run.journal = Journal::new(run.location, run.data.backup.as_ref(), SystemClock.now());
                    run.note()?;
                    Box::pin(by_keys::restore(run, only)).await
                }
            },
        }
    }

    /// Connects, takes the state directory, and puts right what a run before left behind.
    async fn begin(
        &self,
        cx: &Cx,
        endpoint: &Endpoint,
        state: &StateDir,
        report: &mut Report,
    ) -> Result<(Control, TargetFacts, super::replicate::Meeting)> {
        let control = Control::connect(cx, endpoint).await?;
        let mut facts = look(cx, &control).await?;
        let meeting = meet::meeting(cx, endpoint, &self.options, facts.tls_replication).await?;
        if let Some(journal) = state.journal()? {
            let since = Instant::now();
            let location = endpoint.location();
            let copy = match &journal.safety {
                Some(name) => safety_of(state, name)?,
                None => None,
            };
            let exchange = Exchange {
                control: &control,
                state,
                version: facts.version,
                swapdb: false,
                meeting: &meeting,
                safety: copy.as_ref(),
                pause: None,
            };
            let done =
                repair::repair(cx, &control, state, &location, &exchange, self.options.sentinels.as_ref(), journal)
                    .await?;
            report.push("put right what was cut off", Outcome::Ok, done, since.elapsed());
            facts = look(cx, &control).await?;
        }
        Ok((control, facts, meeting))
    }

    /// Puts right what a run before left behind, if there is such a thing.
    async fn repair_only(&self, cx: &Cx, state: &StateDir, report: &mut Report) -> Result<()> {
        if state.journal()?.is_some() {
            let endpoint = self.aim(&RestoreRequest::in_place())?.endpoint;
            Box::pin(self.begin(cx, &endpoint, state, report)).await?;
        }
        Ok(())
    }

    fn kept(&self, state: &StateDir) -> Result<Vec<(String, Kept)>> {
        let kept = state.kept()?;
        if kept.is_empty() {
            let text = format!("nothing is kept of {}: no restore replaced anything", self.info.location);
            return Err(Error::new(ErrorKind::NotFound, text).with_help("bring a backup back: veza-dr restore"));
        }
        Ok(kept)
    }
}

pub(super) fn take(state: &StateDir) -> Result<Held> {
    let held = state.take()?;
    state.sweep()?;
    Ok(held)
}

fn safety_of(state: &StateDir, name: &str) -> Result<Option<Spool>> {
    let kept = state.kept()?.into_iter().find(|(n, _)| n == name);
    Ok(kept.map(|(name, kept)| Spool { path: state.rdb(&name), bytes: kept.bytes, keys: kept.keys }))
}

pub(super) fn data_of(spooled: &Spooled, from: &Manifest) -> Data {
    Data {
        files: spooled.files.clone(),
        summary: spooled.summary.clone(),
        backup: Some(from.id.clone()),
        at: u64::try_from(from.consistency.at.timestamp_millis()).unwrap_or(0),
    }
}

#[async_trait]
impl RestoreTarget for RedisRestore {
    fn info(&self) -> &TargetInfo {
        &self.info
    }

    fn capabilities(&self) -> RestoreCaps {
        RestoreCaps::new(true, true, true)
    }

    async fn plan(&self, cx: &Cx, request: &RestoreRequest, from: &Manifest) -> Result<RestorePlan> {
        let summary = plan::summary_of(from)?;
        let aim = self.aim(request)?;
        cx.check("plan a restore")?;
        if request.scratch {
            return Ok(plan::scratch(request, from, &self.options));
        }
        let location = aim.endpoint.location();
        let state = self.state(&location);
        let control = match Control::connect(cx, &aim.endpoint).await {
            Ok(control) => control,
            Err(e) => {
                return match self.cold(request, &e) {
                    Some(instance) => Ok(plan::cold(request, from, &location, &instance.describe(), &e)),
                    None => Err(e),
                };
            }
        };
        let facts_there = look(cx, &control).await?;
        let journal = state.journal()?;
        let ours = repair::is_ours(journal.as_ref(), &location, facts_there.replica_of.as_ref());
        let only = !request.only.is_empty();
        let choice = choose::choose(&self.options, only, ours, &facts_there, &facts(&summary));
        let kept = state.kept()?;
        Ok(plan::live(request, from, &self.options, &aim, &facts_there, choice, (journal.as_ref(), &kept)))
    }

    async fn apply(
        &self,
        cx: &Cx,
        plan: RestorePlan,
        from: &Manifest,
        data: Arc<dyn ArtifactSource>,
    ) -> Result<RestoreReport> {
        guards::ready(&plan, from)?;
        plan::summary_of(from)?;
        cx.check("restore")?;
        let request = &plan.request;
        if request.scratch {
            let state = self.state("scratch");
            let _held = take(&state)?;
            return Box::pin(prove_scratch::prove(cx, &self.options, &state, from, &data)).await;
        }
        let aim = self.aim(request)?;
        let location = aim.endpoint.location();
        let looked = async {
            let control = Control::connect(cx, &aim.endpoint).await?;
            look(cx, &control).await
        };
        let now = match looked.await {
            Ok(facts) => plan::fingerprint(&location, &facts),
            Err(e) => match self.cold(request, &e) {
                Some(instance) if plan.fingerprint == format!("{location} does not answer") => {
                    return Box::pin(self.apply_cold(cx, instance.as_ref(), from, &data)).await;
                }
                _ => return Err(e),
            },
        };
        guards::unchanged(&plan, &now)?;
        let state = self.state(&location);
        let _held = take(&state)?;
        let mut report = Report::default();
        let since = Instant::now();
        let spooled = Box::pin(spool::fetch(cx, &data, from, state.path())).await?;
        proof::require(&proof::against_manifest(&spooled.summary, from), "the backup is", "nothing was touched")?;
        report.push("fetch", Outcome::Ok, format!("{} keys, whole", spooled.summary.keys()), since.elapsed());
        let (control, facts_there, meeting) = Box::pin(self.begin(cx, &aim.endpoint, &state, &mut report)).await?;
        let only = !request.only.is_empty();
        let choice = choose::choose(&self.options, only, false, &facts_there, &facts(&spooled.summary));
        guards::refuse(&choice.blockers)?;
        let data = data_of(&spooled, from);
        let journal = Journal::new(&location, Some(&from.id), SystemClock.now());
        let mut run = Run {
            cx,
            options: &self.options,
            config: &aim.config,
            control,
            state: &state,
            location: &location,
            facts: facts_there,
            meeting,
            data: &data,
            journal,
            report,
        };
        let proven = Box::pin(self.carry_out(&mut run, &request.only, &choice)).await?;
        let safety = run.journal.safety.clone();
        let mut done = RestoreReport::new(from.id.clone(), run.report, proven, location.clone());
        done.replaced = safety.map(|name| state.rdb(&name).display().to_string());
        if aim.in_place {
            let component = &self.info.component;
            done.next.push(format!("veza-dr rollback {component}   # back to what it replaced"));
            done.next.push(format!("veza-dr release {component}    # when all is well: delete the copy of that"));
        }
        Ok(done)
    }

    async fn verify(&self, cx: &Cx, against: &Manifest) -> Result<Verification> {
        let expected = plan::summary_of(against)?;
        let aim = self.aim(&RestoreRequest::in_place())?;
        let state = self.state("verify");
        let since = Instant::now();
        let control = Control::connect(cx, &aim.endpoint).await?;
        let _held = take(&state)?;
        let copied = match copy::copy(cx, &aim.config, state.path()).await {
            Ok(copied) => copied,
            Err(e) if is_refusal(&e) => {
                let mut verification = Verification::default();
                verification.unverified(self.info.location.clone(), e.chain());
                return Ok(verification);
            }
            Err(e) => return Err(e),
        };
        let cut = control.now(cx).await?;
        let mut verification = super::expiry::compare(cx, &copied.paths(), cut, against, &expected).await?;
        verification.took = since.elapsed();
        Ok(verification)
    }

    async fn rollback(&self, cx: &Cx) -> Result<Report> {
        cx.check("roll back")?;
        let aim = self.aim(&RestoreRequest::in_place())?;
        let state = self.state(&self.info.location);
        if state.journal()?.is_none() {
            self.kept(&state)?;
        }
        let _held = take(&state)?;
        let mut report = Report::default();
        let (control, there, meeting) = Box::pin(self.begin(cx, &aim.endpoint, &state, &mut report)).await?;
        let (name, kept) =
            self.kept(&state)?.pop().ok_or_else(|| Error::new(ErrorKind::NotFound, "nothing is kept"))?;
        let path = state.rdb(&name);
        let summary = proof::read(cx, std::slice::from_ref(&path), |_| true).await?;
        let whole = proof::against_records(&summary.contents(), &kept.contents);
        proof::require(&whole, "the kept copy is", "nothing was touched; restore a backup: veza-dr list")?;
        let at = u64::try_from(kept.since.timestamp_millis()).unwrap_or(0);
        let data = Data { files: vec![path], summary, backup: None, at };
        let options =
            RedisRestoreOptions { ttl: TtlPolicy::Keep, on_conflict: KeyConflict::Replace, ..self.options.clone() };
        let choice = choose::choose(&options, false, false, &there, &facts(&data.summary));
        guards::refuse(&choice.blockers)?;
        let journal = Journal::new(&self.info.location, None, SystemClock.now());
        let location = self.info.location.as_str();
        let mut run = Run {
            cx,
            options: &options,
            config: &aim.config,
            control,
            state: &state,
            location,
            facts: there,
            meeting,
            data: &data,
            journal,
            report,
        };
        Box::pin(self.carry_out(&mut run, &[], &choice)).await?;
        let mut report = run.report;
        state.forget(&name)?;
        let since = kept.since.format("%Y-%m-%d %H:%M:%S UTC");
        let text = format!("{location} is again what it was until {since}; what it replaced is kept");
        report.push("roll back", Outcome::Ok, text, Duration::ZERO);
        Ok(report)
    }

    async fn release(&self, cx: &Cx) -> Result<Report> {
        cx.check("release")?;
        let state = self.state(&self.info.location);
        if state.journal()?.is_none() {
            self.kept(&state)?;
        }
        let _held = take(&state)?;
        let mut report = Report::default();
        let cut_off = state.journal()?.filter(|j| j.phase != Phase::Prepared);
        self.repair_only(cx, &state, &mut report).await?;
        if let Some(journal) = cut_off.filter(|j| j.safety.is_some()) {
            let since = journal.since.format("%Y-%m-%d %H:%M:%S UTC");
            let text =
                format!("the restore of {since} had not ended: what it replaced is kept, and nothing is deleted");
            return Err(Error::new(ErrorKind::Conflict, text).with_effect(Effect::Applied).with_help(
                "look at the data first: veza-dr rollback COMPONENT brings the old ones back, release again deletes them",
            ));
        }
        for (name, kept) in self.kept(&state)? {
            let since = Instant::now();
            state.forget(&name)?;
            let text = format!("{} keys of {}", kept.keys, kept.since.format("%Y-%m-%d %H:%M:%S UTC"));
            report.push("delete a copy", Outcome::Ok, text, since.elapsed());
        }
        Ok(report)
    }
}
