//! What recovery must achieve, and whether the schedules can.

use std::time::Duration;

use chrono::{DateTime, Utc};
use veza_dr_backup::{BackupState, check_rpo};
use veza_dr_core::{ComponentName, Cx, Outcome, Report, Rpo, Scenario, ScenarioKind};

use crate::{
    config::ScenarioSettings,
    wiring::{Access, Wiring},
};

/// So many of the last backups tell how long one takes.
const PAST: usize = 50;

impl Wiring {
    /// The scenarios of the configuration; where it has none, the four of the operations guide: the database scenario
    /// needs the databases, that of the backend services nothing, as those keep no data, the others everything.
    pub(crate) fn scenarios(&self) -> Vec<Scenario> {
        let all = self.components();
        let given = &self.loaded.config.scenarios;
        let mut scenarios = Scenario::guide(&all);
        let default = scenarios.iter().all(|s| given.of(s.kind).is_none());
        if !default {
            scenarios.retain(|s| given.of(s.kind).is_some());
        }
        for scenario in &mut scenarios {
            match given.of(scenario.kind) {
                Some(ScenarioSettings { rto, rpo, needs, .. }) => {
                    (scenario.rto.0, scenario.rpo) = (rto.0, Rpo(rpo.0));
                    if let Some(needs) = needs {
                        scenario.needs.retain(|c| needs.iter().any(|name| name == c.as_str()));
                    }
                }
                None if scenario.kind == ScenarioKind::Database => {
                    scenario.needs.retain(|c| self.source(c).is_ok_and(|s| s.engine() == "postgres"));
                }
                None if scenario.kind == ScenarioKind::Backend => scenario.needs.clear(),
                None => {}
            }
        }
        scenarios
    }

    /// Whether the schedule of a component can meet the objective of each scenario that needs it.
    pub(crate) async fn check_objectives(&self, cx: &Cx, component: &ComponentName, now: DateTime<Utc>) -> Report {
        let mut report = Report::default();
        let scenarios: Vec<Scenario> = self.scenarios().into_iter().filter(|s| s.needs.contains(component)).collect();
        let Some(table) = self.timetable(component) else { return report };
        let past = self.durations(cx, component).await;
        for scenario in scenarios {
            let name = format!("rpo {}", scenario.kind);
            match check_rpo(&table, &past, scenario.rpo, now) {
                Some(found) if found.met => report.push(name, Outcome::Ok, found.text, Duration::ZERO),
                Some(found) => report.push(name, Outcome::Failed, found.text, Duration::ZERO),
                None => report.push(name, Outcome::Failed, "the schedule runs once at most", Duration::ZERO),
            }
        }
        report
    }

    /// How long the last backups took, from the first store that tells.
    async fn durations(&self, cx: &Cx, component: &ComponentName) -> Vec<Duration> {
        let Ok(opened) = self.open(cx, Some(component), None, Access::Read).await else { return Vec::new() };
        for repository in opened.repositories {
            let Ok(entries) = repository.list(cx, component).await else { continue };
            let took = entries.iter().rev().filter_map(|entry| match &entry.state {
                BackupState::Complete(m) => (m.finished_at - m.started_at).to_std().ok(),
                _ => None,
            });
            let past: Vec<Duration> = took.take(PAST).collect();
            if !past.is_empty() {
                return past;
            }
        }
        Vec::new()
    }
}
