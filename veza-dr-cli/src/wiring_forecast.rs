//! How long each scenario's recovery will take, told from the history.

use std::collections::BTreeSet;

use veza_dr_failover::measure::{Forecast, Objectives, RecoveryRecord, forecast, predictions_of};

use crate::{args::WhichPlan, wiring::Wiring};

impl Wiring {
    /// What each scenario is held to.
    pub(crate) fn objectives(&self) -> Vec<(String, Objectives)> {
        let scenarios = self.scenarios().into_iter();
        scenarios.map(|s| (s.kind.to_string(), Objectives::new(s.rto.0, s.rpo.0))).collect()
    }

    /// The parts of the configuration that plans may count on, as far as that is known without setting anything up.
    fn configured(&self) -> BTreeSet<String> {
        let config = &self.loaded.config;
        let mut present: BTreeSet<String> = self.components().iter().map(ToString::to_string).collect();
        if config.dns.is_some() && !config.sites.is_empty() {
            present.insert("dns".to_owned());
        }
        if !config.validation.is_empty() {
            present.insert("validation".to_owned());
        }
        if !config.notify.is_empty() {
            present.insert("notify".to_owned());
        }
        if !config.sites.is_empty() && !config.sources.is_empty() {
            present.insert("restore".to_owned());
        }
        present
    }

    /// By scenario: how long its plan will take. A plan that cannot be read has no forecast; `failover plan` says why.
    pub(crate) fn forecasts(&self, past: &[RecoveryRecord]) -> Vec<(String, Forecast)> {
        let present = self.configured();
        let mut all = Vec::new();
        for (scenario, _) in self.objectives() {
            let which = WhichPlan { scenario: scenario.clone(), file: None };
            match self.plan(&which, &present) {
                Ok((plan, _)) => {
                    let known = predictions_of(past, &plan.name);
                    all.push((scenario, forecast(&plan, &known, past)));
                }
                Err(e) => tracing::warn!(%scenario, error = %e.chain(), "its plan cannot be read"),
            }
        }
        all
    }
}
