//! Work that another library does, as a step.

use std::{fmt::Debug, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value;
use veza_dr_core::{Cx, Result};

use crate::runbook::{Applied, Done, Effects, Establishes, Safety, StepAction, StepContext};

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
}

#[async_trait]
impl StepAction for WorkStep {
    fn commands(&self) -> Vec<String> {
        self.work.commands()
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
        self.work.prepare(cx, step).await
    }

    async fn act(&self, cx: &Cx, step: &StepContext, before: &Value) -> Result<Done> {
        self.work.run(cx, step, before).await
    }

    async fn probe(&self, cx: &Cx, step: &StepContext, before: &Value) -> Result<Applied> {
        self.work.probe(cx, step, before).await
    }

    fn can_undo(&self) -> bool {
        self.work.can_undo()
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

    async fn undo(&self, cx: &Cx, step: &StepContext, before: &Value) -> Result<Done> {
        self.0.undo(cx, step, before).await
    }
}
