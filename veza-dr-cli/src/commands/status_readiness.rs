//! What `status` tells of recovery: objectives, forecasts, the last recoveries and drills, alarms, what is to be
//! mended.

use veza_dr_core::{Clock, SystemClock};
use veza_dr_failover::{
    alarm::AlarmView,
    measure::{Availability, AvailabilityLog, Forecast, Objectives, RecoveryKind, RecoveryRecord},
    report::OpenFinding,
};

use super::Session;
use crate::wiring::Wiring;

/// One scenario.
#[derive(Debug)]
pub(crate) struct ScenarioReady {
    pub(crate) scenario: String,
    pub(crate) objectives: Objectives,
    pub(crate) forecast: Option<Forecast>,
    pub(crate) last_recovery: Option<RecoveryRecord>,
    pub(crate) last_drill: Option<RecoveryRecord>,
}

/// What is known of recovery; what is not known has its reason.
#[derive(Debug)]
pub(crate) struct Readiness {
    pub(crate) scenarios: Vec<ScenarioReady>,
    /// Why the history is not known.
    pub(crate) history_unknown: Option<String>,
    /// What probes saw in the window; `None`: no probes are configured, or their files cannot be read.
    pub(crate) availability: Option<Availability>,
    pub(crate) alarms: Option<AlarmView>,
    /// What this host's reports leave to be mended; `None`: they cannot be read.
    pub(crate) findings: Option<Vec<OpenFinding>>,
}

pub(crate) async fn readiness(session: &Session, wiring: &Wiring) -> Readiness {
    let cx = &session.cx;
    let read = async {
        let history = wiring.history_read(cx, session.store()).await?;
        history.read_all(cx).await
    };
    let (past, history_unknown) = match read.await {
        Ok(all) => {
            let bad: Vec<String> = all.unreadable.iter().map(|(id, why)| format!("{id}: {why}")).collect();
            (all.records, (!bad.is_empty()).then(|| bad.join("; ")))
        }
        Err(e) => (Vec::new(), Some(e.chain())),
    };
    let forecasts = wiring.forecasts(&past);
    let last = |scenario: &str, kind: RecoveryKind| {
        past.iter().rev().find(|r| r.kind == kind && r.scenario.as_deref() == Some(scenario)).cloned()
    };
    let scenarios = wiring.objectives().into_iter().map(|(scenario, objectives)| ScenarioReady {
        forecast: forecasts.iter().find(|(s, _)| *s == scenario).map(|(_, f)| f.clone()),
        last_recovery: last(&scenario, RecoveryKind::Recovery),
        last_drill: last(&scenario, RecoveryKind::Drill),
        scenario,
        objectives,
    });
    let availability = wiring.seen(SystemClock.now()).unwrap_or_else(|e| {
        session.out.warn(&e);
        None
    });
    // Without a state folder nothing was ever raised here: looking must not make one.
    let raised = wiring.state_dir().is_ok_and(|state| state.join("alarms").exists());
    let alarms = match raised {
        true => match wiring.desk(cx, Vec::new()).await.and_then(|d| d.desk.view()) {
            Ok(view) => Some(view),
            Err(e) => {
                session.out.warn(&e);
                None
            }
        },
        false => None,
    };
    let findings = wiring.reports().and_then(|reports| reports.open_findings()).map_err(|e| session.out.warn(&e)).ok();
    Readiness { scenarios: scenarios.collect(), history_unknown, availability, alarms, findings }
}

impl Wiring {
    /// What this host's probes saw in the window; `None` without probes.
    fn seen(&self, now: chrono::DateTime<chrono::Utc>) -> veza_dr_core::Result<Option<Availability>> {
        if self.loaded.config.availability.probes.is_empty() {
            return Ok(None);
        }
        let window = chrono::TimeDelta::from_std(self.availability_window()).unwrap_or(chrono::TimeDelta::MAX);
        let folder = self.state_dir()?.join("availability");
        AvailabilityLog::read(&folder, now - window, now).map(Some)
    }
}
