//! What the configuration knows for reports.

use std::{
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use veza_dr_core::{Cx, Error, ErrorKind, Result};
use veza_dr_failover::{
    drill::DrillRecord,
    measure::{ClockPoints, Run},
    report::{Language, RecoveryReport, ReportArchive, ReportFolder, RunFacts, Version},
    runbook::{RunReport, RunStatus},
};

use crate::wiring::{Access, Wiring};

impl Wiring {
    /// Where reports are kept.
    pub(crate) fn reports(&self) -> Result<ReportFolder> {
        Ok(ReportFolder::new(self.state_dir()?.join("reports")))
    }

    /// The copies of them in the store of the runs.
    pub(crate) async fn report_archive(&self, cx: &Cx, only: Option<&str>, access: Access) -> Result<ReportArchive> {
        Ok(ReportArchive::new(self.failover_store(cx, only, access).await?.store().clone(), &self.host()))
    }

    /// Copies to the store what is not there yet.
    pub(crate) async fn copy_reports(&self, cx: &Cx, only: Option<&str>) -> Result<usize> {
        self.report_archive(cx, only, Access::Write).await?.keep(cx, &self.reports()?).await
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

    /// The report of a drill: the newest sealed one where this host has it.
    pub(crate) fn drill_report(&self, record: &DrillRecord) -> Result<RecoveryReport> {
        match self.reports()?.newest(record.id.as_str()) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(record.report()),
            other => other,
        }
    }

    /// Seals the report of a drill, and writes it as a page in both languages; gives the English one.
    pub(crate) fn keep_drill_report(&self, record: &DrillRecord) -> Result<PathBuf> {
        let sealed = match self.reports()?.append(record.report()) {
            Err(e) if e.kind() == ErrorKind::Conflict => self.drill_report(record)?,
            other => other?,
        };
        let folder = self.state_dir()?.join("drill-reports");
        let page = folder.join(format!("{}.html", record.id));
        let french = folder.join(format!("{}.fr.html", record.id));
        let write = || {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            std::fs::write(&french, sealed.html(Language::French))?;
            std::fs::write(&page, sealed.html(Language::English))
        };
        write().map_err(|e| {
            Error::new(ErrorKind::Unavailable, format!("{} cannot be written", page.display()))
                .with_source(e)
                .with_help(format!(
                    "write it elsewhere: veza-dr drill report {} --format html --output FILE",
                    record.id
                ))
        })?;
        Ok(page)
    }
}
