//! What the configuration knows for reports.

use std::path::Path;

use veza_dr_core::Result;
use veza_dr_failover::{
    measure::{ClockPoints, Run},
    report::{RecoveryReport, ReportFolder, RunFacts, Version},
    runbook::{RunReport, RunStatus},
};

use crate::wiring::Wiring;

impl Wiring {
    /// Where reports are kept.
    pub(crate) fn reports(&self) -> Result<ReportFolder> {
        Ok(ReportFolder::new(self.state_dir()?.join("reports")))
    }

    /// The report of a run: kept and sealed once the run has ended, before that a draft.
    pub(crate) fn run_report(&self, run: &RunReport, journal: &Path) -> Result<RecoveryReport> {
        let mut facts = RunFacts::default();
        facts.versions.push(Version::new("veza-dr", env!("CARGO_PKG_VERSION")));
        facts.sites = self.loaded.config.sites.keys().cloned().collect();
        // A run that goes on is not measured yet.
        if let Ok(Run::Ended(record)) = self.recorder()?.read(&run.run, ClockPoints::default()) {
            facts = facts.with_record(&record);
        }
        let mut report = RecoveryReport::of_run(run, journal, &facts)?;
        let scenario = self.scenarios().into_iter().find(|s| report.scenario.as_deref() == Some(&s.kind.to_string()));
        if let Some(scenario) = scenario {
            facts.components = scenario.needs.iter().map(ToString::to_string).collect();
            facts.scenario = Some(scenario);
            report = RecoveryReport::of_run(run, journal, &facts)?;
        }
        let ended = matches!(
            run.status,
            RunStatus::Completed | RunStatus::CompletedWithSkips | RunStatus::RolledBack | RunStatus::Abandoned
        );
        if ended { self.reports()?.keep(report) } else { Ok(report) }
    }
}
