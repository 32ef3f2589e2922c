//! A DNS switch as a step of a runbook.

use std::time::Duration;

use async_trait::async_trait;
use chrono::Utc;
use serde_json::{Value, json};
use veza_dr_core::{Cx, Effect, Error, ErrorKind, Result};

use super::{Goal, NoJournal, SavedSwitch, Switch, SwitchPhase, SwitchPlan, SwitchReport, SwitchedRecord, Waited};
use crate::runbook::{Applied, Done, Effects, Rule, Safety, StepAction, StepContext};

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
    confirm_within: Option<Duration>,
}

/// How often a confirmation is looked for.
const LOOK: Duration = Duration::from_millis(500);
/// What a step needs besides the time for its confirmation: to make the switch, and to take it back.
const BESIDE: Duration = Duration::from_secs(120);

impl SwitchStep {
    /// A step towards this goal.
    #[must_use]
    pub fn new(switch: Switch, goal: Goal) -> Self {
        Self { switch, goal, confirm_within: None }
    }

    /// Waits so long for somebody to say that the switch stays ([`Switch::confirm`]), and takes it back otherwise. The
    /// time runs on while nobody is there: a step that is taken up after it takes the switch back at once.
    #[must_use]
    pub fn with_confirm_within(mut self, within: Option<Duration>) -> Self {
        self.confirm_within = within;
        self
    }

    /// This plan's switch, if it was the last one of this host.
    fn ours(&self, plan: &SwitchPlan) -> Result<Option<SavedSwitch>> {
        let changed: Vec<_> = plan.records.iter().filter(|r| r.changes()).collect();
        let ours = |saved: &SavedSwitch| match changed.as_slice() {
            // A try that came after the one which made the switch had nothing left to change.
            [] => saved.goal == plan.goal && saved.awaits_confirmation(),
            changed => saved.records.iter().eq(changed.iter().copied()),
        };
        Ok(self.switch.last()?.filter(ours))
    }

    /// Waits until the switch stays.
    async fn confirmed(&self, cx: &Cx, plan: &SwitchPlan) -> Result<()> {
        let Some(saved) = self.ours(plan)?.filter(SavedSwitch::awaits_confirmation) else { return Ok(()) };
        match self.switch.wait_confirmed(cx, &saved.id, LOOK).await? {
            Waited::Confirmed => Ok(()),
            Waited::TakenBack => Err(Error::new(ErrorKind::Conflict, "somebody took the switch of names back")
                .with_help("look where they lead: veza-dr dns show")),
            Waited::Reverted(report) => {
                let text = "nobody confirmed the switch of names in time: it was taken back";
                let e = Error::new(ErrorKind::Conflict, text)
                    .with_help("resume the run to switch again, and confirm it: veza-dr failover confirm");
                Err(match report.ensure_everywhere() {
                    Ok(()) => e,
                    Err(unproven) => e.with_source(unproven.with_effect(Effect::None)),
                })
            }
        }
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
        let timer = self.confirm_within.map(|w| format!(" --confirm-within {}s", w.as_secs_f64())).unwrap_or_default();
        let mut commands = vec![format!("{command}{timer}")];
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

    fn least_time(&self) -> Duration {
        self.confirm_within.map_or(Duration::ZERO, |within| within + BESIDE)
    }

    async fn prepare(&self, cx: &Cx, step: &StepContext) -> Result<Value> {
        if self.goal == Goal::RestoreTtl && !self.switch.has_lowered_ttls()? {
            return Ok(Value::Null);
        }
        let mut plan = self.switch.plan(cx, self.goal).await?;
        if step.overridden.contains(&Rule::KnownNames) {
            plan = plan.accepting_foreign();
        }
        plan.ensure_known().map_err(|e| {
            let help = e.help().unwrap_or_default().to_owned();
            let (run, rule) = (&step.run, Rule::KnownNames);
            e.with_context("rule", rule.name()).with_help(format!(
                "{help}, then: veza-dr failover resume {run}; or, to write over it in your name: veza-dr failover resume \
                 {run} --override {rule} --reason TEXT"
            ))
        })?;
        serde_json::to_value(plan)
            .map_err(|e| Error::new(ErrorKind::Unexpected, "the plan of the DNS switch cannot be kept").with_source(e))
    }

    async fn act(&self, cx: &Cx, _: &StepContext, before: &Value) -> Result<Done> {
        if before.is_null() {
            return Ok(Done::new("no TTL was lowered by this host", Value::Null));
        }
        let plan = plan(before)?;
        // An earlier try may have made the change and failed to prove it.
        let report = match self.switch.holds(cx, &plan).await? {
            Some(true) => {
                let mut report = self.switch.verify(cx, plan.goal, &plan.records).await?;
                report.changed = false;
                report
            }
            _ => self.switch.apply(cx, &plan, &NoJournal, self.confirm_within).await?,
        };
        let mut done = done(format!("{}: every name server follows", self.goal), &report)?;
        if self.confirm_within.is_some() {
            // Users are served now, whenever somebody says so.
            done = done.reached_at(report.in_sync_at.unwrap_or_else(Utc::now));
            self.confirmed(cx, &plan).await?;
            done.text.push_str(", and it stays");
        }
        Ok(done)
    }

    async fn probe(&self, cx: &Cx, _: &StepContext, before: &Value) -> Result<Applied> {
        if before.is_null() {
            return Ok(Applied::No);
        }
        let plan = plan(before)?;
        let ours = self.ours(&plan)?.filter(|_| self.confirm_within.is_some());
        let report = match self.switch.holds(cx, &plan).await? {
            // It was there long enough for users to be led over and back: not once more without a person's word.
            Some(false) if ours.as_ref().is_some_and(|s| s.phase == SwitchPhase::RolledBack) => {
                let why = "the switch of names took place and was taken back, as nobody confirmed it";
                return Ok(Applied::Unclear(why.to_owned()));
            }
            Some(false) => return Ok(Applied::No),
            // Done again it only waits for the confirmation, or takes the switch back where its time is over.
            Some(true) if ours.as_ref().is_some_and(SavedSwitch::awaits_confirmation) => return Ok(Applied::No),
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
        if before.is_null() {
            return Ok(Done::new("nothing was changed", Value::Null));
        }
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
        let ours = self.ours(&plan)?.filter(|saved| saved.phase != SwitchPhase::RolledBack);
        let report = match ours {
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
