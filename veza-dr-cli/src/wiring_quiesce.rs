//! Quiesce hooks out of the configuration.

use std::sync::Arc;

use veza_dr_backup::quiesce::{ContainerSelection, OnError, QuiescePlan, Quiescer, Step};
use veza_dr_core::{ComponentName, Cx, Result};

use crate::{
    config::{ContainerSettings, OnErrorName, QuiesceSettings, QuiesceStep, Text},
    wiring::Wiring,
};

impl Wiring {
    /// What puts services to rest; `None` when nothing asks for it and nothing was left stopped by a run that was
    /// killed. `always`: also then.
    pub(crate) fn quiescer(&self, always: bool) -> Result<Option<Arc<Quiescer>>> {
        let policies = &self.loaded.config.backup;
        let asked = always || policies.values().any(|p| p.quiesce.is_some());
        let state = match self.state_dir() {
            // Without a folder to keep it in, nothing can have been left there.
            Err(_) if !asked => return Ok(None),
            other => other?,
        };
        if !asked && !state.join("quiesce").exists() {
            return Ok(None);
        }
        let mut quiescer = Quiescer::new(state)?;
        for (name, policy) in policies {
            if let (Some(settings), Ok(component)) = (&policy.quiesce, name.parse::<ComponentName>()) {
                let plan = self.quiesce_plan(&component, settings)?;
                quiescer = quiescer.with_plan(component, plan);
            }
        }
        Ok(Some(Arc::new(quiescer)))
    }

    fn quiesce_plan(&self, component: &ComponentName, settings: &QuiesceSettings) -> Result<QuiescePlan> {
        let base = format!("backup.{component}.quiesce");
        let mut steps = Vec::new();
        for (n, step) in settings.steps.iter().enumerate() {
            let at = format!("{base}.steps[{n}]");
            let words = |list: &[Text]| list.iter().map(|t| self.text(&at, t)).collect::<Result<Vec<_>>>();
            let (step, timeout) = match step {
                QuiesceStep::Stop(s) => (Step::stop(self.containers(&at, s)?), s.timeout),
                QuiesceStep::Pause(s) => (Step::pause(self.containers(&at, s)?), s.timeout),
                QuiesceStep::Command(s) => (Step::command(words(&s.before)?, words(&s.after)?), s.timeout),
            };
            steps.push(match timeout {
                Some(span) => step.within(span.0),
                None => step,
            });
        }
        let mut plan = QuiescePlan::new(steps);
        if settings.on_error == Some(OnErrorName::Continue) {
            plan = plan.on_error(OnError::Continue);
        }
        match &settings.docker_host {
            Some(host) => Ok(plan.with_docker_host(self.text(&format!("{base}.docker_host"), host)?)),
            None => Ok(plan),
        }
    }

    fn containers(&self, at: &str, s: &ContainerSettings) -> Result<ContainerSelection> {
        let text = |t: &Option<Text>| t.as_ref().map(|t| self.text(at, t)).transpose();
        let mut which = ContainerSelection::default();
        which.name = text(&s.name)?;
        which.service = text(&s.service)?;
        which.project = text(&s.project)?;
        which.label = text(&s.label)?;
        Ok(which)
    }
}

/// Puts right what a run that was killed left stopped; gives what to say about it.
pub(crate) async fn repair(cx: &Cx, quiescer: &Quiescer) -> Result<Vec<(ComponentName, Result<String>)>> {
    let repaired = quiescer.repair(cx).await?;
    Ok(repaired
        .into_iter()
        .map(|r| {
            let told = r.result.map(|done| format!("put back after a backup that was killed: {}", done.join(", ")));
            (r.component, told)
        })
        .collect())
}
