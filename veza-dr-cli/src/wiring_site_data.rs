//! Steps of a runbook that verify, restore, back up and compare data: a component in its own place, or at a site.

use std::{path::PathBuf, sync::Arc};

use veza_dr_core::{BackupStore, ComponentName, Result};
use veza_dr_failover::actions::Catalogue;

use crate::{
    config::{SiteRoleName, Source},
    data_steps::{BackupStep, CompareStep, CountStep, Place, RestoreStep, VerifyStep},
    wiring::Wiring,
};

/// Where runs keep what they know, for steps that speak of other runs.
#[derive(Debug, Clone)]
pub(crate) struct Books {
    pub(crate) state_dir: PathBuf,
    pub(crate) store: Arc<dyn BackupStore>,
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "read where databases are compared"))]
    pub(crate) who: String,
}

impl Wiring {
    /// What plans call a site in `only_with`: its role where no other site has that, else its name.
    pub(crate) fn plans_call<'a>(&'a self, site: &'a str) -> &'a str {
        let sites = &self.loaded.config.sites;
        let role = sites.get(site).map(|s| s.role);
        match role.filter(|role| sites.values().filter(|s| s.role == *role).count() == 1) {
            Some(SiteRoleName::Primary) => "primary",
            Some(SiteRoleName::Standby) => "standby",
            None => site,
        }
    }

    /// Which services of a site hold its data, and how it is closed off from here.
    pub(crate) fn site_facts(&self, catalogue: Catalogue, site: &str) -> Result<Catalogue> {
        let Some(settings) = self.loaded.config.sites.get(site) else { return Ok(catalogue) };
        let mut services = Vec::new();
        for (component, data) in &settings.data {
            for (at, service) in data.services.iter().enumerate() {
                let service = self.text(&format!("sites.{site}.data.{component}.services[{at}]"), service)?;
                if !services.contains(&service) {
                    services.push(service);
                }
            }
        }
        let mut catalogue = catalogue.with_data_services(site, services);
        if let Some(hook) = &settings.fence.hook {
            let hook = self.text(&format!("sites.{site}.fence.hook"), hook)?;
            let undo = settings.fence.hook_undo.as_ref();
            let undo = undo.map(|t| self.text(&format!("sites.{site}.fence.hook_undo"), t)).transpose()?;
            catalogue = catalogue.with_fence_hook(site, hook, undo);
        }
        Ok(catalogue)
    }

    /// What can be done with a component in its own place.
    pub(crate) fn data_steps(self: &Arc<Self>, catalogue: Catalogue, component: &ComponentName) -> Catalogue {
        let place = || Place { wiring: self.clone(), component: component.clone(), site: None };
        let name = component.as_str();
        catalogue
            .with_verify_backup(name, Arc::new(VerifyStep(place())))
            .with_backup(name, Arc::new(BackupStep { place: place(), is_final: false }))
            .with_restore(name, Arc::new(RestoreStep(place())))
    }

    /// What can be done with a component where a site keeps it.
    pub(crate) fn site_data_steps(
        self: &Arc<Self>,
        catalogue: Catalogue,
        component: &ComponentName,
        site: &str,
        books: &Books,
    ) -> Catalogue {
        let place = || Place { wiring: self.clone(), component: component.clone(), site: Some(site.to_owned()) };
        let name = component.as_str();
        // Its own daemon backs the files of a site up.
        if self.is_files(name) {
            return catalogue.with_site_restore(name, site, Arc::new(RestoreStep(place())));
        }
        let catalogue = catalogue
            .with_site_backup(name, site, Arc::new(BackupStep { place: place(), is_final: false }))
            .with_final_backup(name, site, Arc::new(BackupStep { place: place(), is_final: true }))
            .with_site_restore(name, site, Arc::new(RestoreStep(place())));
        match self.loaded.config.sources.get(name) {
            // Only databases keep what was replaced where it can be compared.
            Some(Source::Postgres(_)) => catalogue
                .with_compare(name, site, Arc::new(CompareStep { place: place(), books: books.clone() }))
                .with_count(name, site, Arc::new(CountStep { place: place(), books: books.clone() })),
            _ => catalogue,
        }
    }
}
