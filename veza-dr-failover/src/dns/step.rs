//! A DNS switch as a step of a runbook.

use async_trait::async_trait;
use serde_json::{Value, json};
use veza_dr_core::{Cx, Effect, Error, ErrorKind, Result};

use super::{Goal, NoJournal, Switch, SwitchPhase, SwitchPlan, SwitchReport, SwitchedRecord};
use crate::runbook::{Applied, Done, Effects, Safety, StepAction, StepContext};

/// Leads users to a side: what was there is given to the engine before the change, an outcome that was lost is read from
/// the records, and it can be taken back.
///
/// ```no_run
/// # async fn example(switch: veza_dr_failover::dns::Switch) -> veza_dr_core::Result<()> {
/// use veza_dr_core::Cx;
/// use veza_dr_failover::dns::{Goal, Side, SwitchStep};
/// use veza_dr_failover::runbook::{StepAction, StepContext};
///
/// let step = SwitchStep::new(switch, Goal::To(Side::Standby));
/// let (cx, context) = (Cx::background(), StepContext::new("run-1", "dns", 1, 7));
/// let before = step.prepare(&cx, &context).await?;
/// println!("{}", step.act(&cx, &context, &before).await?.text);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SwitchStep {
    switch: Switch,
    goal: Goal,
}

impl SwitchStep {
    /// A step towards this goal.
    #[must_use]
    pub fn new(switch: Switch, goal: Goal) -> Self {
        Self { switch, goal }
    }
}

fn plan(before: &Value) -> Result<SwitchPlan> {
    serde_json::from_value(before.clone()).map_err(|e| {
        Error::new(ErrorKind::Corrupt, "the journal does not hold the DNS records as they were").with_source(e)
    })
}

fn done(text: String, report: &SwitchReport) -> Result<Done> {
    report.ensure_everywhere()?;
    Ok(Done::new(text, json!(report)))
}

#[async_trait]
impl StepAction for SwitchStep {
    fn commands(&self) -> Vec<String> {
        let command = match self.goal {
            Goal::To(side) => format!("veza-dr dns switch --to {side}"),
            Goal::Shift { to, percent } => format!("veza-dr dns switch --to {to} --percent {percent}"),
            Goal::LowerTtl(ttl) => format!("veza-dr dns switch --lower-ttl {ttl}"),
            Goal::RestoreTtl => "veza-dr dns switch --restore-ttl".to_owned(),
        };
        let mut commands = vec![command];
        for record in &self.switch.settings.records {
            let to = match self.goal {
                Goal::To(side) => record.values(side).join(", "),
                _ => self.goal.to_string(),
            };
            commands.push(format!("# {}: {to}", record.key));
        }
        commands
    }

    fn effects(&self) -> Effects {
        Effects::Probeable
    }

    fn safety(&self) -> Vec<Safety> {
        vec![Safety::Dns, Safety::Production]
    }

    fn site(&self) -> Option<&str> {
        None
    }

    async fn prepare(&self, cx: &Cx, _: &StepContext) -> Result<Value> {
        let plan = self.switch.plan(cx, self.goal).await?;
        serde_json::to_value(plan)
            .map_err(|e| Error::new(ErrorKind::Unexpected, "the plan of the DNS switch cannot be kept").with_source(e))
    }

    async fn act(&self, cx: &Cx, _: &StepContext, before: &Value) -> Result<Done> {
        let plan = plan(before)?;
        // An earlier try may have made the change and failed to prove it.
        let report = match self.switch.holds(cx, &plan).await? {
            Some(true) => {
                let mut report = self.switch.verify(cx, plan.goal, &plan.records).await?;
                report.changed = false;
                report
            }
            _ => self.switch.apply(cx, &plan, &NoJournal, None).await?,
        };
        done(format!("{}: every name server follows", self.goal), &report)
    }

    async fn probe(&self, cx: &Cx, _: &StepContext, before: &Value) -> Result<Applied> {
        let plan = plan(before)?;
        let report = match self.switch.holds(cx, &plan).await? {
            Some(false) => return Ok(Applied::No),
            None => return Ok(Applied::Unclear("the records are neither as before nor as wanted".to_owned())),
            Some(true) => self.switch.verify(cx, plan.goal, &plan.records).await?,
        };
        // Accepted, and not everywhere yet: done again it only waits.
        Ok(if report.ensure_everywhere().is_ok() { Applied::Yes(json!(report)) } else { Applied::No })
    }

    fn can_undo(&self) -> bool {
        true
    }

    async fn undo(&self, cx: &Cx, _: &StepContext, before: &Value) -> Result<Done> {
        let plan = plan(before)?;
        let text = format!("taken back: {}", self.goal);
        let reversed: Vec<SwitchedRecord> = plan
            .records
            .iter()
            .map(|r| SwitchedRecord::new(&r.label, r.key.clone(), r.after.clone(), r.before.clone()))
            .collect();
        if self.switch.holds(cx, &plan).await? == Some(false) || plan.is_empty() {
            let report = self.switch.verify(cx, plan.goal, &reversed).await?;
            return done(text, &report).map_err(|e| e.with_effect(Effect::None));
        }
        let ours = |saved: &super::SavedSwitch| {
            let changed: Vec<_> = plan.records.iter().filter(|r| r.changes()).collect();
            saved.phase != SwitchPhase::RolledBack && saved.records.iter().collect::<Vec<_>>() == changed
        };
        let report = match self.switch.last()?.filter(ours) {
            Some(_) => self.switch.rollback(cx, false).await?,
            // Another host made the switch, or another switch came after it: the journal's records count.
            None => {
                let back = SwitchPlan::new(plan.goal, reversed, Vec::new());
                self.switch.apply(cx, &back, &NoJournal, None).await?
            }
        };
        done(text, &report)
    }
}
