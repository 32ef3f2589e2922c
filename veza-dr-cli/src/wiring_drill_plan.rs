//! The plan of a scenario, for a drill in a copy: the very one that a failover would run.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use veza_dr_backup::{Repository, verify_objects};
use veza_dr_core::{ComponentName, Cx, Error, ErrorKind, Manifest, Result, ScenarioKind, Severity, Verdict};
use veza_dr_failover::{
    drill::{CopyProof, Course, Drill, DrillFinding, DrillKind, DrillPlatform, Lost},
    runbook::{Bound, NobodyWatches},
};

use crate::{
    args::WhichPlan, config::Source, wiring::Wiring, wiring_drill::DrillAsk, wiring_drill_checks::ChecksInCopy,
};

impl Wiring {
    /// Gives a drill the copy of a site's project, and the plan that is followed in it.
    pub(crate) async fn drill_in_copy(self: &Arc<Self>, cx: &Cx, drill: &mut Drill, ask: &DrillAsk) -> Result<()> {
        let Some(site) = &ask.compose else { return Ok(()) };
        let platform = self.drill_platform(cx, &drill.id, site).await?;
        drill.kind = DrillKind::Compose;
        drill.exclusions.extend(platform.left_out().iter().cloned());
        if let Some(there) = platform.elsewhere() {
            let config = &self.loaded.config;
            let is_redis = |name: &&String| matches!(config.sources.get(*name), Some(Source::Redis(_)));
            for name in config.sites[site].data.keys().filter(is_redis) {
                drill.exclusions.push(format!(
                    "{name}: replication from this host, which the copy on {} cannot reach: it is restored key by key",
                    there.ssh.host
                ));
            }
        }
        drill.platform = Some(Arc::new(platform));
        match self.drill_course(cx, drill.scenario.kind, ask.store.as_deref()).await? {
            Ok(course) => {
                if let Some(other) = course.recovers.as_ref().filter(|other| *other != site) {
                    let text =
                        format!("the project of site {other}: plan {} recovers it, the copy is of {site}", course.plan);
                    drill.exclusions.push(text);
                }
                if course.asks_for_a_time() && ask.at.is_none() {
                    let text = "the last sound time: nobody named one (--at), the newest backup is taken";
                    drill.exclusions.push(text.to_owned());
                }
                drill.course = Some(course);
            }
            Err(e) => drill.findings.push(DrillFinding {
                severity: Severity::Medium,
                text: format!("no plan was followed: that of scenario {} cannot be run here: {e}", drill.scenario.kind),
                help: Some(format!("see: veza-dr failover plan --scenario {}", drill.scenario.kind)),
            }),
        }
        Ok(())
    }

    /// The plan as a drill follows it; within, why one that ships does not fit what is configured. One of the
    /// operator's own that cannot be run is an error.
    async fn drill_course(
        self: &Arc<Self>,
        cx: &Cx,
        scenario: ScenarioKind,
        store: Option<&str>,
    ) -> Result<std::result::Result<Course, Error>> {
        let which = WhichPlan { scenario: scenario.to_string(), file: None };
        let own = self.own_plan(&which.scenario)?.is_some();
        let books = self.clone().runbooks(cx, store, "drill".to_owned(), Arc::new(NobodyWatches)).await?;
        // A copy has no place for the files of a site: they are named among what was left out.
        let of_files = |with: &String| with.split_once('@').is_some_and(|(component, _)| self.is_files(component));
        let present = books.present.iter().filter(|with| !of_files(with)).cloned().collect();
        let made = self
            .plan(&which, &present)
            .and_then(|(plan, left_out)| Course::of(&Bound::new(plan, books.catalogue.as_ref())?, left_out));
        match made {
            Err(e) if !own && e.kind() == ErrorKind::Config => Ok(Err(e)),
            made => made.map(Ok),
        }
    }

    /// The components of a drill: what the scenario needs, what the plan speaks of, and what else the copy's services
    /// keep, where the disaster leaves that.
    pub(crate) fn drill_components(&self, drill: &Drill, site: Option<&str>) -> Result<Vec<ComponentName>> {
        let mut all = drill.scenario.needs.clone();
        let Some(course) = &drill.course else { return Ok(all) };
        let kept = site.and_then(|site| self.loaded.config.sites.get(site)).map(|s| &s.data);
        let kept = kept.into_iter().flatten().filter(|(_, d)| course.lost != Lost::Site && !d.services.is_empty());
        let kept = kept.map(|(name, _)| name);
        for name in course.components().iter().chain(kept) {
            let component = name.parse()?;
            if !all.contains(&component) {
                all.push(component);
            }
        }
        Ok(all)
    }

    /// The checks of the configuration, for the copy.
    pub(crate) fn drill_checks(self: &Arc<Self>, drill: &mut Drill, site: &str) {
        if self.loaded.config.validation.is_empty() {
            drill.exclusions.push("validation: the configuration names no checks".to_owned());
            return;
        }
        let manifests: BTreeMap<ComponentName, Manifest> =
            drill.parts.iter().map(|p| (p.component.clone(), p.manifest.clone())).collect();
        drill.checks = Some(Arc::new(ChecksInCopy { wiring: self.clone(), site: site.to_owned(), manifests }));
    }
}

/// Reads a backup whole, as `verify` does.
#[derive(Debug)]
pub(crate) struct WholeBackup {
    pub(crate) repository: Repository,
    pub(crate) manifest: Manifest,
}

#[async_trait]
impl CopyProof for WholeBackup {
    async fn prove(&self, cx: &Cx) -> Result<String> {
        let (backup, store) = (&self.manifest.id, self.repository.name());
        match verify_objects(cx, &self.repository, &self.manifest).await?.verdict() {
            Verdict::Equal => Ok(format!("backup {backup} in store {store} is whole")),
            _ => {
                let text = format!("backup {backup} of {} in store {store} is not whole", self.manifest.component);
                let help = format!("see: veza-dr verify {}", self.manifest.component);
                Err(Error::new(ErrorKind::Mismatch, text).with_help(help))
            }
        }
    }
}
