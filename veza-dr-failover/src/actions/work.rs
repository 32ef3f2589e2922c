//! Work that another library does, as a step.

use std::{borrow::Cow, fmt::Debug, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value;
use veza_dr_core::{Cx, Error, ErrorKind, Result};

use super::{parameters::Point, site_actions::is_up};
use crate::{
    runbook::{Applied, Done, Effects, Establishes, Safety, StepAction, StepContext, WAITS_FOR},
    site::SiteControl,
};

/// A piece of work that steps of one kind do: the restore of a component, the checks of a site, the switch of names to
/// a site.
#[async_trait]
pub trait Work: Debug + Send + Sync + 'static {
    /// What will be done, as commands or sentences; depends on nothing but the configuration.
    fn commands(&self) -> Vec<String>;

    /// What repeating it does.
    fn effects(&self) -> Effects;

    /// As [`StepAction::least_time`].
    fn least_time(&self) -> Duration {
        Duration::ZERO
    }

    /// As [`StepAction::prepare`].
    ///
    /// # Errors
    /// When it can be seen already that it cannot be done.
    async fn prepare(&self, cx: &Cx, step: &StepContext) -> Result<Value> {
        let _ = (cx, step);
        Ok(Value::Null)
    }

    /// As [`StepAction::act`].
    ///
    /// # Errors
    /// As there: the effect counts.
    async fn run(&self, cx: &Cx, step: &StepContext, before: &Value) -> Result<Done>;

    /// As [`StepAction::probe`].
    ///
    /// # Errors
    /// As there.
    async fn probe(&self, cx: &Cx, step: &StepContext, before: &Value) -> Result<Applied> {
        let _ = (cx, step, before);
        Ok(Applied::Unclear("this work cannot be looked up".to_owned()))
    }

    /// Whether there is a way back.
    fn can_undo(&self) -> bool {
        false
    }

    /// Whether a rollback undoes also what was begun and did not succeed.
    fn undo_when_begun(&self) -> bool {
        false
    }

    /// As [`StepAction::undo`].
    ///
    /// # Errors
    /// As there.
    async fn undo(&self, cx: &Cx, step: &StepContext, before: &Value) -> Result<Done> {
        let _ = (cx, before);
        let text = format!("step {} has no way back", step.step);
        Err(veza_dr_core::Error::new(veza_dr_core::ErrorKind::Unsupported, text))
    }
}

/// Work in its place in a plan.
#[derive(Debug)]
pub(super) struct WorkStep {
    pub(super) work: Arc<dyn Work>,
    pub(super) site: Option<String>,
    pub(super) safety: Vec<Safety>,
    pub(super) establishes: Vec<Establishes>,
    /// Which backup is meant.
    pub(super) point: Option<Point>,
    /// The site whose data is replaced, and the services that hold it.
    pub(super) replaces: Option<(Arc<dyn SiteControl>, Vec<String>)>,
}

impl WorkStep {
    pub(super) fn new(work: Arc<dyn Work>) -> Self {
        Self { work, site: None, safety: Vec::new(), establishes: Vec::new(), point: None, replaces: None }
    }

    pub(super) fn on(mut self, site: Option<String>) -> Self {
        self.site = site;
        self
    }

    pub(super) fn with_safety(mut self, safety: Vec<Safety>) -> Self {
        self.safety = safety;
        self
    }

    pub(super) fn establishing(mut self, what: Establishes) -> Self {
        self.establishes = vec![what];
        self
    }

    /// The context with the time that the plan names, or the one that the run was told.
    fn timed<'a>(&self, step: &'a StepContext) -> Result<Cow<'a, StepContext>> {
        match self.point {
            Some(Point::Time(at)) => {
                let mut timed = step.clone();
                timed.at = Some(at);
                Ok(Cow::Owned(timed))
            }
            Some(Point::Asked) if step.at.is_none() => {
                let text = format!("step {} goes back to a time that a person names", step.step);
                Err(Error::new(ErrorKind::Conflict, text).with_context(WAITS_FOR, "time").with_help(format!(
                    "name the last time at which the data was sound: veza-dr failover resume {} --at TIME",
                    step.run
                )))
            }
            _ => Ok(Cow::Borrowed(step)),
        }
    }

    /// Data is not exchanged under services that work with it: they may be what users are served by.
    async fn refuse_in_use(&self, cx: &Cx) -> Result<()> {
        let Some((site, data)) = &self.replaces else { return Ok(()) };
        let states = site.services(cx).await?;
        let up = states.iter().filter(|s| is_up(s) && !s.finished && !data.contains(&s.service));
        let up: Vec<&str> = up.map(|s| s.service.as_str()).collect();
        if up.is_empty() {
            return Ok(());
        }
        let name = site.name();
        let text = format!("the data of {name} is not replaced while services use it: {} run there", up.join(", "));
        Err(Error::new(ErrorKind::Conflict, text).with_help(format!(
            "if {name} serves users, its data is the newest there is; if not, stop these services, then resume"
        )))
    }
}

#[async_trait]
impl StepAction for WorkStep {
    fn commands(&self) -> Vec<String> {
        let mut all = self.work.commands();
        all.extend(self.point.map(|point| match point {
            Point::Asked => "# of the time that a person names: --at TIME".to_owned(),
            Point::Time(at) => format!("# of {} or the newest before", at.to_rfc3339()),
        }));
        all
    }

    fn effects(&self) -> Effects {
        self.work.effects()
    }

    fn safety(&self) -> Vec<Safety> {
        self.safety.clone()
    }

    fn site(&self) -> Option<&str> {
        self.site.as_deref()
    }

    fn establishes(&self) -> Vec<Establishes> {
        self.establishes.clone()
    }

    fn least_time(&self) -> Duration {
        self.work.least_time()
    }

    async fn prepare(&self, cx: &Cx, step: &StepContext) -> Result<Value> {
        let step = self.timed(step)?;
        self.refuse_in_use(cx).await?;
        self.work.prepare(cx, &step).await
    }

    async fn act(&self, cx: &Cx, step: &StepContext, before: &Value) -> Result<Done> {
        self.work.run(cx, &*self.timed(step)?, before).await
    }

    async fn probe(&self, cx: &Cx, step: &StepContext, before: &Value) -> Result<Applied> {
        self.work.probe(cx, &*self.timed(step)?, before).await
    }

    fn can_undo(&self) -> bool {
        self.work.can_undo()
    }

    fn undo_when_begun(&self) -> bool {
        self.safety.contains(&Safety::Writes) || self.work.undo_when_begun()
    }

    async fn undo(&self, cx: &Cx, step: &StepContext, before: &Value) -> Result<Done> {
        self.work.undo(cx, step, before).await
    }
}

/// An action that stands for the work of a kind of steps.
#[derive(Debug)]
pub struct ActionWork<A>(pub A);

#[async_trait]
impl<A: StepAction> Work for ActionWork<A> {
    fn commands(&self) -> Vec<String> {
        self.0.commands()
    }

    fn effects(&self) -> Effects {
        self.0.effects()
    }

    fn least_time(&self) -> Duration {
        self.0.least_time()
    }

    async fn prepare(&self, cx: &Cx, step: &StepContext) -> Result<Value> {
        self.0.prepare(cx, step).await
    }

    async fn run(&self, cx: &Cx, step: &StepContext, before: &Value) -> Result<Done> {
        self.0.act(cx, step, before).await
    }

    async fn probe(&self, cx: &Cx, step: &StepContext, before: &Value) -> Result<Applied> {
        self.0.probe(cx, step, before).await
    }

    fn can_undo(&self) -> bool {
        self.0.can_undo()
    }

    fn undo_when_begun(&self) -> bool {
        self.0.undo_when_begun()
    }

    async fn undo(&self, cx: &Cx, step: &StepContext, before: &Value) -> Result<Done> {
        self.0.undo(cx, step, before).await
    }
}
