//! The ladder that proves that a site takes no writes.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use chrono::TimeDelta;
use serde_json::{Value, json};
use veza_dr_core::{BackupStore, Clock, Cx, Effect, Error, ErrorKind, ObjectKey, Result, lease::Lease};

use super::{
    command::run_here,
    parameters::FenceSays,
    site_actions::{is_up, succeeded},
};
use crate::{
    runbook::{Done, Effects, Establishes, FenceProof, FencedBy, Safety, StepAction, StepContext, WAITS_FOR},
    site::{FenceNotice, SiteControl},
};

/// How long the lease of a site is ours at most, once it was waited out.
const OURS: Duration = Duration::from_secs(60);
/// How long a site may take to answer before the next rung is tried, besides the grace of its services.
const REACH: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Fence {
    pub(super) site: Arc<dyn SiteControl>,
    pub(super) says: FenceSays,
    /// The lease that the site's own daemon renews.
    pub(super) lease: Option<String>,
    pub(super) store: Option<Arc<dyn BackupStore>>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Fence {
    /// The mark, the stop, and the sight of it.
    async fn stop(&self, cx: &Cx, step: &StepContext) -> Result<()> {
        let limited = cx.child().with_deadline(SystemTime::now() + self.says.grace + REACH);
        let work = async {
            self.site.fence(&limited, step.epoch, &format!("failover run {}", step.run)).await?;
            self.site.stop(&limited, &[], self.says.grace).await?;
            let states = self.site.services(&limited).await?;
            let running: Vec<&str> =
                states.iter().filter(|s| is_up(s) && !s.finished).map(|s| s.service.as_str()).collect();
            if running.is_empty() {
                return Ok(());
            }
            let text = format!("{} still run on {}", running.join(", "), self.site.name());
            Err(Error::new(ErrorKind::Unavailable, text))
        };
        limited.run("stop the site", work).await
    }

    /// Waits until a lease that the site must renew is free, takes it, and puts up the notice that keeps the site from
    /// taking it again.
    async fn wait_out(&self, cx: &Cx, lease: &str, step: &StepContext) -> Result<()> {
        let store = self.store.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("lease {lease} cannot be looked at: there is no store"))
        })?;
        let key: ObjectKey = format!("locks/{lease}.json").parse()?;
        // Without a lease nobody at the site obeys one: its absence proves nothing.
        if store.head(cx, &key).await?.is_none() {
            let text = format!("store {} has no lease {lease}: nothing at the site renews one", store.info().name);
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        loop {
            cx.check("wait for a lease to end")?;
            // A daemon that is gone left its services running: they have the whole time of its lease.
            match Lease::acquire_waited_out(cx, store.clone(), lease, OURS).await {
                Ok(guard) => {
                    self.notice(step).put(cx, store.as_ref()).await?;
                    guard.check()?;
                    return guard.release(cx).await;
                }
                Err(e) if e.kind() == ErrorKind::Conflict => {}
                Err(e) => return Err(e),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    fn notice(&self, step: &StepContext) -> FenceNotice {
        FenceNotice::new(self.site.name(), &step.run, step.epoch, self.clock.now())
    }

    /// The proof, and a notice for the site's own daemon, should it come back.
    async fn proven(&self, cx: &Cx, step: &StepContext, how: FencedBy, tried: &[String]) -> Done {
        let done = self.done(how, tried);
        let Some(store) = &self.store else { return done };
        let limited = cx.child().with_deadline(SystemTime::now() + REACH);
        match self.notice(step).put(&limited, store.as_ref()).await {
            Ok(()) => done,
            // The proof does not rest on it.
            Err(e) => done.with_warning(format!(
                "the store could not be told that {} is fenced, so a daemon there would not learn it: {}",
                self.site.name(),
                e.chain()
            )),
        }
    }

    fn lease(&self) -> Option<&str> {
        self.says.lease.as_deref().or(self.lease.as_deref())
    }

    fn done(&self, how: FencedBy, tried: &[String]) -> Done {
        let now = self.clock.now();
        let valid = TimeDelta::from_std(self.says.valid_for).unwrap_or(TimeDelta::MAX);
        let word = match &how {
            FencedBy::ConfirmedStop => "stopped, seen to be stopped, and marked".to_owned(),
            FencedBy::Hook { .. } => "closed off by the hook".to_owned(),
            FencedBy::LeaseExpired { lease } => format!("its lease {lease} ended"),
            FencedBy::Attestation { by } => format!("declared by {}", by.join(" and ")),
        };
        let text = format!("{} takes no writes: {word}", self.site.name());
        let proof = FenceProof::new(self.site.name(), how, now, now + valid);
        Done::new(text, json!({ "site": self.site.name(), "rungs_that_failed": tried })).with_fence(proof)
    }
}

#[async_trait]
impl StepAction for Fence {
    fn commands(&self) -> Vec<String> {
        let (site, says) = (self.site.name(), &self.says);
        let mut all = Vec::new();
        if says.stop {
            let grace = says.grace.as_secs();
            all.push(format!(
                "on {site}: mark it as fenced, stop all services ({grace} s each), see that they are stopped"
            ));
        }
        all.extend(says.hook.as_ref().map(|hook| format!("else here: {hook}")));
        all.extend(says.hook_undo.as_ref().map(|hook| format!("to undo it: {hook}")));
        if says.attestation {
            all.push(format!("else: two different people declare that {site} takes no writes"));
        }
        all.extend(self.lease().map(|lease| format!("else: wait until lease {lease} has ended")));
        all.push(format!("believed for {} s", says.valid_for.as_secs()));
        all
    }

    fn effects(&self) -> Effects {
        Effects::Idempotent
    }

    fn safety(&self) -> Vec<Safety> {
        vec![Safety::Production]
    }

    fn site(&self) -> Option<&str> {
        Some(self.site.name())
    }

    fn establishes(&self) -> Vec<Establishes> {
        vec![Establishes::Fenced]
    }

    async fn act(&self, cx: &Cx, step: &StepContext, _: &Value) -> Result<Done> {
        let mut tried = Vec::new();
        if self.says.stop {
            match self.stop(cx, step).await {
                Ok(()) => return Ok(self.proven(cx, step, FencedBy::ConfirmedStop, &tried).await),
                // A newer run has fenced it: ours is the one that must stop.
                Err(e) if e.kind() == ErrorKind::Conflict => return Err(e),
                Err(e) => tried.push(format!("stop: {}", e.chain())),
            }
            cx.check("fence")?;
        }
        if let Some(hook) = &self.says.hook {
            match run_here(cx, hook, step).await {
                Ok(result) if result.code == 0 => {
                    return Ok(self.proven(cx, step, FencedBy::Hook { command: hook.clone() }, &tried).await);
                }
                Ok(result) => tried.push(format!("hook: it ended with {}: {}", result.code, result.output.trim())),
                Err(e) => tried.push(format!("hook: {}", e.chain())),
            }
            cx.check("fence")?;
        }
        // The word of two people who were there counts before a wait that may be long.
        let by: BTreeSet<String> = step.attestations.iter().map(|a| a.by.trim().to_lowercase()).collect();
        if self.says.attestation && by.len() >= 2 {
            let how = FencedBy::Attestation { by: by.into_iter().collect() };
            return Ok(self.proven(cx, step, how, &tried).await);
        }
        if let Some(lease) = self.lease() {
            match self.wait_out(cx, lease, step).await {
                Ok(()) => return Ok(self.done(FencedBy::LeaseExpired { lease: lease.to_owned() }, &tried)),
                Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
                Err(e) => tried.push(format!("lease: {}", e.chain())),
            }
        }
        let text = format!("nothing proves that {} takes no writes ({})", self.site.name(), tried.join("; "));
        let e = Error::new(ErrorKind::Conflict, text);
        if !self.says.attestation {
            return Err(e);
        }
        let missing = if by.is_empty() { "two different people" } else { "a second person" };
        Err(e.with_context(WAITS_FOR, "attestation").with_help(format!(
            "make it so by hand, then {missing} must declare it: veza-dr failover resume {} --attest 'NAME=what was \
             done'",
            step.run
        )))
    }

    /// A site that was only cut off and comes back is marked and stopped.
    async fn keep(&self, cx: &Cx, step: &StepContext) -> Result<Option<String>> {
        if !self.says.stop {
            return Ok(None);
        }
        let running = self.site.services(cx).await?.iter().filter(|s| is_up(s) && !s.finished).count();
        let marked = self.site.fenced(cx).await?.is_some_and(|epoch| epoch >= step.epoch);
        if running == 0 && marked {
            return Ok(None);
        }
        self.stop(cx, step).await?;
        Ok(Some(if running == 0 {
            format!("{} came back; it was marked as fenced", self.site.name())
        } else {
            format!("{} came back with {running} services; it was fenced again", self.site.name())
        }))
    }

    fn can_undo(&self) -> bool {
        true
    }

    /// Lifts the mark; starting services is a step of its own.
    async fn undo(&self, cx: &Cx, step: &StepContext, _: &Value) -> Result<Done> {
        if let Some(hook) = &self.says.hook_undo {
            succeeded("the hook that opens the site again", &run_here(cx, hook, step).await?)?;
        }
        // Before the mark: while the notice is there, the site's own daemon would put the mark up again.
        lift(cx, self.store.as_ref(), self.site.name(), step.epoch).await?;
        if self.says.stop {
            self.site.unfence(cx, step.epoch).await?;
        }
        Ok(Done::new(format!("{} may serve again; it was not started", self.site.name()), Value::Null))
    }
}

/// Lets a site serve again: the other one is closed off.
#[derive(Debug)]
pub(super) struct Unfence {
    pub(super) site: Arc<dyn SiteControl>,
    pub(super) store: Option<Arc<dyn BackupStore>>,
    /// The command here that opens it again, where a command here closed it off.
    pub(super) hook_undo: Option<String>,
    pub(super) clock: Arc<dyn Clock>,
}

#[async_trait]
impl StepAction for Unfence {
    fn commands(&self) -> Vec<String> {
        let mut all = vec![format!("on {}: remove the mark that fences it", self.site.name())];
        all.extend(self.hook_undo.as_ref().map(|hook| format!("here: {hook}")));
        all
    }

    fn effects(&self) -> Effects {
        Effects::Idempotent
    }

    fn safety(&self) -> Vec<Safety> {
        vec![Safety::Writes, Safety::Production]
    }

    fn site(&self) -> Option<&str> {
        Some(self.site.name())
    }

    async fn prepare(&self, cx: &Cx, _: &StepContext) -> Result<Value> {
        Ok(json!({ "fenced_by": self.site.fenced(cx).await? }))
    }

    async fn act(&self, cx: &Cx, step: &StepContext, _: &Value) -> Result<Done> {
        lift(cx, self.store.as_ref(), self.site.name(), step.epoch).await?;
        self.site.unfence(cx, step.epoch).await.map_err(|e| e.with_effect(Effect::Unknown))?;
        if let Some(hook) = &self.hook_undo {
            let opened = run_here(cx, hook, step).await?;
            succeeded("the hook that opens the site again", &opened).map_err(|e| e.with_effect(Effect::Unknown))?;
        }
        Ok(Done::new(format!("{} may serve again", self.site.name()), Value::Null))
    }

    fn can_undo(&self) -> bool {
        true
    }

    /// Marks it again if it was marked.
    async fn undo(&self, cx: &Cx, step: &StepContext, before: &Value) -> Result<Done> {
        let name = self.site.name();
        if before["fenced_by"].is_null() {
            return Ok(Done::new(format!("{name} was not fenced before"), Value::Null));
        }
        self.site.fence(cx, step.epoch, &format!("rollback of failover run {}", step.run)).await?;
        if let Some(store) = &self.store {
            FenceNotice::new(name, &step.run, step.epoch, self.clock.now()).put(cx, store.as_ref()).await?;
        }
        Ok(Done::new(format!("{name} is fenced again"), Value::Null))
    }
}

/// Takes down the notice that kept the site's own daemon from serving.
async fn lift(cx: &Cx, store: Option<&Arc<dyn BackupStore>>, site: &str, epoch: u64) -> Result<()> {
    match store {
        Some(store) => FenceNotice::lift(cx, store.as_ref(), site, epoch).await,
        None => Ok(()),
    }
}
