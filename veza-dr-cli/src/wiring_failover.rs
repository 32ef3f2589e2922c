//! Runbooks, from the configuration to an engine.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use async_trait::async_trait;
use serde_json::{Value, json};
use veza_dr_backup::{Repository, Selector, back_up, verify_objects};
use veza_dr_core::{ComponentName, Cx, Error, ErrorKind, RestoreRequest, Result, Verdict};
use veza_dr_failover::{
    actions::{Catalogue, Work},
    runbook::{Done, Effects, Engine, Plan, StepContext, Watcher},
};

use crate::{
    args::WhichPlan,
    config::StorePlace,
    wiring::{Access, Wiring},
    wiring_notify::WhenTold,
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
                catalogue = catalogue.with_site(site.role, site.control).with_validation(site.name, work);
            }
        }
        if !self.loaded.config.validation.is_empty() {
            present.insert("validation".to_owned());
        }
        for component in self.components() {
            present.insert(component.to_string());
            let part = |kind| Arc::new(OfComponent { wiring: self.clone(), component: component.clone(), kind });
            catalogue = catalogue
                .with_verify_backup(component.as_str(), part(Kind::Verify))
                .with_backup(component.as_str(), part(Kind::Backup))
                .with_restore(component.as_str(), part(Kind::Restore));
        }
        for name in self.loaded.config.notify.keys() {
            present.insert("notify".to_owned());
            let sink = WhenTold { wiring: self.clone(), name: name.clone() };
            catalogue = catalogue.with_channel(name, Arc::new(sink));
        }
        let catalogue = Arc::new(catalogue);
        let engine =
            Engine::new(self.state_dir()?, store.store().clone(), catalogue.clone(), who).with_watcher(watcher);
        Ok(Runbooks { engine, catalogue, present })
    }

    /// The plan that is meant, without the steps that the configuration has nothing for; and the names of those.
    pub(crate) fn plan(&self, which: &WhichPlan, present: &BTreeSet<String>) -> Result<(Plan, Vec<String>)> {
        let plan = match &which.file {
            Some(file) => Plan::from_file(file)?,
            None => match self.own_plan(&which.scenario)? {
                Some(plan) => plan,
                None => Plan::shipped(&which.scenario)?,
            },
        };
        Ok(plan.fitted(present))
    }

    fn own_plan(&self, name: &str) -> Result<Option<Plan>> {
        let Some(folder) = &self.loaded.config.failover.runbooks else { return Ok(None) };
        let folder = self.loaded.resolve(&self.text("failover.runbooks", folder)?);
        let file = folder.join(Path::new(name).with_extension("yml").file_name().unwrap_or_default());
        if file.exists() { Plan::from_file(&file).map(Some) } else { Ok(None) }
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

#[derive(Debug, Clone, Copy)]
enum Kind {
    Verify,
    Backup,
    Restore,
}

/// What is done with the backups of a component.
#[derive(Debug)]
struct OfComponent {
    wiring: Arc<Wiring>,
    component: ComponentName,
    kind: Kind,
}

impl OfComponent {
    /// From the first store that has a backup; beside, proven, then swapped in.
    async fn restore(&self, cx: &Cx, repositories: &[Repository]) -> Result<Done> {
        let component = &self.component;
        let mut last = Error::new(ErrorKind::NotFound, format!("no store has a backup of {component}"));
        for repository in repositories {
            let manifest = match repository.manifest(cx, component, &Selector::Latest).await {
                Ok(manifest) => manifest,
                Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
                Err(e) => {
                    last = e;
                    continue;
                }
            };
            let target = self.wiring.restore_target(cx, component).await?;
            let plan = target.plan(cx, &RestoreRequest::in_place(), &manifest).await?;
            if !plan.blockers.is_empty() {
                let text = format!("the restore of {component} cannot go ahead");
                return Err(Error::new(ErrorKind::Conflict, text).with_source(plan.blockers.join("; ")));
            }
            let source = Arc::new(repository.open(&manifest));
            target.apply(cx, plan, &manifest, source).await?;
            let text = format!("{component} is backup {} of store {}", manifest.id, repository.name());
            let evidence = json!({
                "backup": manifest.id.to_string(), "store": repository.name(), "shows": manifest.started_at,
            });
            return Ok(Done::new(text, evidence));
        }
        Err(last)
    }
}

#[async_trait]
impl Work for OfComponent {
    fn commands(&self) -> Vec<String> {
        vec![match self.kind {
            Kind::Verify => format!("veza-dr verify {}", self.component),
            Kind::Backup => format!("veza-dr backup {}", self.component),
            Kind::Restore => format!("veza-dr restore {} (in place, its newest backup)", self.component),
        }]
    }

    fn effects(&self) -> Effects {
        match self.kind {
            Kind::Verify => Effects::Pure,
            Kind::Backup => Effects::Idempotent,
            // A second swap would keep the first restored copy instead of what was there before.
            Kind::Restore => Effects::AtMostOnce,
        }
    }

    async fn run(&self, cx: &Cx, _: &StepContext, _: &Value) -> Result<Done> {
        let component = &self.component;
        let opened = self.wiring.open(cx, Some(component), None, Access::Read).await?;
        if let Kind::Backup = self.kind {
            let target = self.wiring.backup_target(cx, component).await?;
            let report = back_up(cx, target.as_ref(), &opened.repositories, &self.wiring.options(component)).await?;
            report.ensure_complete()?;
            return Ok(Done::new(format!("{component} is backed up"), Value::Null));
        }
        if let Kind::Restore = self.kind {
            return self.restore(cx, &opened.repositories).await;
        }
        // One store with a whole copy is enough; of several failures the last is told.
        let mut last = Error::new(ErrorKind::NotFound, format!("no store has a backup of {component}"));
        for repository in &opened.repositories {
            let found = async {
                let manifest = repository.manifest(cx, component, &Selector::Latest).await?;
                let found = verify_objects(cx, repository, &manifest).await?;
                Ok::<_, Error>((manifest.id, found.verdict()))
            };
            match found.await {
                Ok((id, Verdict::Equal)) => {
                    let text = format!("backup {id} of {component} in store {} is whole", repository.name());
                    return Ok(Done::new(text, json!({ "backup": id.to_string(), "store": repository.name() })));
                }
                Ok((id, _)) => {
                    let text = format!("backup {id} of {component} in store {} is not whole", repository.name());
                    last = Error::new(ErrorKind::Mismatch, text).with_help(format!("veza-dr verify {component}"));
                }
                Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
                Err(e) => last = e,
            }
        }
        Err(last)
    }
}
