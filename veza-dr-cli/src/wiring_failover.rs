//! Runbooks, from the configuration to an engine.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use serde_json::Value;
use veza_dr_backup::Repository;
use veza_dr_core::{Cx, Error, ErrorKind, Result};
use veza_dr_failover::{
    actions::{Catalogue, Work},
    runbook::{Done, Effects, Engine, Plan, StepContext, Watcher},
};

use crate::{
    args::WhichPlan,
    config::StorePlace,
    wiring::{Access, Wiring},
    wiring_notify::WhenTold,
    wiring_site_data::Books,
};

/// What runs plans, and which parts of the configuration they may count on.
#[derive(Debug)]
pub(crate) struct Runbooks {
    pub(crate) engine: Engine,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) present: BTreeSet<String>,
}

impl Wiring {
    /// The engine with every action that the configuration allows for. No site is connected to yet.
    pub(crate) async fn runbooks(
        self: Arc<Self>,
        cx: &Cx,
        only: Option<&str>,
        who: String,
        watcher: Arc<dyn Watcher>,
    ) -> Result<Runbooks> {
        let store = self.failover_store(cx, only, Access::Write).await?;
        let mut present = BTreeSet::new();
        let mut catalogue = Catalogue::new().with_store(store.store().clone());
        if !self.loaded.config.sites.is_empty() {
            if let Some(names) = self.names(cx).await? {
                catalogue = catalogue.with_names(names);
                present.insert("dns".to_owned());
                if self.loaded.config.dns.as_ref().is_some_and(|dns| dns.route53.is_some()) {
                    present.insert("dns_records".to_owned());
                }
            }
            for site in self.sites()? {
                let work = Arc::new(Validation { wiring: self.clone(), site: site.name.clone() });
                if let Some(lease) = &self.loaded.config.sites[&site.name].fence.lease {
                    catalogue = catalogue.with_site_lease(&site.name, lease);
                }
                catalogue = self.site_facts(catalogue, &site.name)?;
                catalogue = catalogue.with_site(site.role, site.control).with_validation(site.name, work);
            }
        }
        if !self.loaded.config.validation.is_empty() {
            present.insert("validation".to_owned());
        }
        let books = Books { state_dir: self.state_dir()?, store: store.store().clone(), who: who.clone() };
        for component in self.components() {
            present.insert(component.to_string());
            catalogue = self.data_steps(catalogue, &component);
            for (site, settings) in &self.loaded.config.sites {
                let Some(data) = settings.data.get(component.as_str()) else { continue };
                present.insert(format!("{component}@{}", self.plans_call(site)));
                // Files are held by no service.
                if !data.services.is_empty() {
                    present.insert(format!("data@{}", self.plans_call(site)));
                }
                catalogue = self.site_data_steps(catalogue, &component, site, &books);
            }
        }
        for name in self.loaded.config.notify.keys() {
            present.insert("notify".to_owned());
            let sink = WhenTold { wiring: self.clone(), name: name.clone() };
            catalogue = catalogue.with_channel(name, Arc::new(sink));
        }
        let catalogue = Arc::new(catalogue);
        let engine = Engine::new(books.state_dir, books.store, catalogue.clone(), who).with_watcher(watcher);
        Ok(Runbooks { engine, catalogue, present })
    }

    /// The plan that is meant, without the steps that the configuration has nothing for; and the names of those.
    pub(crate) fn plan(&self, which: &WhichPlan, present: &BTreeSet<String>) -> Result<(Plan, Vec<String>)> {
        let plan = match &which.file {
            Some(file) => Plan::from_file(file)?,
            None => match self.own_plan(&which.scenario)? {
                Some(plan) => plan,
                None => Plan::shipped(&which.scenario).map_err(|e| self.with_own_plans(e))?,
            },
        };
        Ok(plan.fitted(present))
    }

    /// The operator's own plan of that name.
    pub(crate) fn own_plan(&self, name: &str) -> Result<Option<Plan>> {
        let Some(folder) = self.own_plans()? else { return Ok(None) };
        let file = folder.join(Path::new(name).with_extension("yml").file_name().unwrap_or_default());
        if file.exists() { Plan::from_file(&file).map(Some) } else { Ok(None) }
    }

    /// The folder of the plans that do not ship.
    fn own_plans(&self) -> Result<Option<PathBuf>> {
        let Some(folder) = &self.loaded.config.failover.runbooks else { return Ok(None) };
        Ok(Some(self.loaded.resolve(&self.text("failover.runbooks", folder)?)))
    }

    /// A plan that does not ship may have been meant for one of the folder: it is told what is there.
    fn with_own_plans(&self, e: Error) -> Error {
        let Ok(Some(folder)) = self.own_plans() else { return e };
        let there = match std::fs::read_dir(&folder) {
            Ok(entries) => {
                let files = entries.flatten().map(|entry| entry.path());
                let plans = files.filter(|file| file.extension().is_some_and(|e| e == "yml"));
                let mut names: Vec<String> =
                    plans.filter_map(|file| Some(file.file_stem()?.to_string_lossy().into_owned())).collect();
                names.sort_unstable();
                if names.is_empty() { "no plan".to_owned() } else { names.join(", ") }
            }
            Err(e) => format!("nothing that can be read ({e})"),
        };
        let help = e.help().map(|help| format!("{help}; ")).unwrap_or_default();
        let help = format!("{help}the folder {} has {there}", folder.display());
        e.with_help(help)
    }

    /// Where the leases and notices of runs are.
    pub(crate) async fn failover_store(&self, cx: &Cx, only: Option<&str>, access: Access) -> Result<Repository> {
        let stores = &self.loaded.config.stores;
        let named = only.or(self.loaded.config.failover.store.as_deref());
        let first = || stores.iter().find(|(_, s)| matches!(s.place, StorePlace::S3(_))).or(stores.iter().next());
        let name = named.or_else(|| first().map(|(name, _)| name.as_str())).ok_or_else(|| {
            let text = format!("{} names no store to keep the lease of the runs in", self.loaded.file.display());
            Error::new(ErrorKind::Config, text)
                .with_help("add one: stores: { local: { directory: { path: /opt/backups } } }")
        })?;
        self.repository(cx, name, access).await
    }
}

/// The checks of a site.
#[derive(Debug)]
struct Validation {
    wiring: Arc<Wiring>,
    site: String,
}

#[async_trait]
impl Work for Validation {
    fn commands(&self) -> Vec<String> {
        vec![format!("veza-dr validate --site {}", self.site)]
    }

    fn effects(&self) -> Effects {
        Effects::Pure
    }

    async fn run(&self, cx: &Cx, _: &StepContext, _: &Value) -> Result<Done> {
        let suite = self.wiring.validation(cx, Some(&self.site), &[], None).await?;
        let report = suite.run(cx).await;
        let evidence = serde_json::to_value(&report).unwrap_or_default();
        let count = report.checks.len();
        // A service may still be warming up: worth another try.
        report.passed().map_err(|e| {
            Error::new(ErrorKind::Unavailable, e.to_string())
                .with_help(format!("veza-dr validate --site {}", self.site))
        })?;
        Ok(Done::new(format!("{count} checks of {} passed", self.site), evidence))
    }
}
