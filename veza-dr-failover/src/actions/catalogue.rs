//! Which kinds of actions there are, and what they are made of.

use std::{collections::BTreeMap, sync::Arc};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use veza_dr_core::{BackupStore, Clock, Error, ErrorKind, EventSink, Result, SystemClock};

use super::{
    Kind, Leading, Names, Work,
    command::CommandStep,
    fence::{Fence, Unfence},
    notify::{Channel, Notify},
    parameters::{
        CommandSays, ComponentSays, DnsSays, FenceSays, NotifySays, Part, PromoteSays, RestoreSays, ServicesSay,
        SiteComponentSays, SiteSays, TextSays, TtlSays, VerifySays, WaitSays,
    },
    people::{Note, Wait},
    site_actions::{Deed, SiteStep},
    work::WorkStep,
};
use crate::{
    runbook::{Actions, Establishes, Safety, StepAction},
    site::{SiteControl, SiteRole},
};

/// Makes actions of the sites and the work it is given.
///
/// ```
/// use veza_dr_failover::{actions::Catalogue, runbook::{Bound, Plan}};
/// let plan = Plan::from_yaml("name: x\nsteps: [{ id: a, do: note, with: { text: hello } }]", "x.yml").unwrap();
/// assert!(Bound::new(plan, &Catalogue::new()).is_ok());
/// let plan = Plan::from_yaml("name: x\nsteps: [{ id: a, do: up, with: { site: standby } }]", "x.yml").unwrap();
/// assert!(Bound::new(plan, &Catalogue::new()).unwrap_err().to_string().contains("there is no site `standby`"));
/// ```
#[derive(Debug)]
pub struct Catalogue {
    sites: Vec<(SiteRole, Arc<dyn SiteControl>)>,
    data: BTreeMap<String, Vec<String>>,
    hooks: BTreeMap<String, (String, Option<String>)>,
    work: BTreeMap<(&'static str, String), Arc<dyn Work>>,
    leases: BTreeMap<String, String>,
    names: Option<Arc<dyn Names>>,
    channels: Vec<Channel>,
    store: Option<Arc<dyn BackupStore>>,
    clock: Arc<dyn Clock>,
}

impl Default for Catalogue {
    fn default() -> Self {
        Self::new()
    }
}

impl Catalogue {
    /// Without sites and work: notes, pauses and commands on this machine.
    #[must_use]
    pub fn new() -> Self {
        Self {
            sites: Vec::new(),
            data: BTreeMap::new(),
            hooks: BTreeMap::new(),
            work: BTreeMap::new(),
            leases: BTreeMap::new(),
            names: None,
            channels: Vec::new(),
            store: None,
            clock: Arc::new(SystemClock),
        }
    }

    /// Adds a site. Plans call it by its name, or by its role where only one has that.
    #[must_use]
    pub fn with_site(mut self, role: SiteRole, site: Arc<dyn SiteControl>) -> Self {
        self.sites.push((role, site));
        self
    }

    /// The lease that the daemon of a site renews while the site may serve: a fence of the site waits it out where
    /// nothing stronger proves anything.
    #[must_use]
    pub fn with_site_lease(mut self, site: impl Into<String>, lease: impl Into<String>) -> Self {
        self.leases.insert(site.into(), lease.into());
        self
    }

    /// Which services of a site hold its data: what plans call `part: data`; all others are `part: apps`.
    #[must_use]
    pub fn with_data_services(mut self, site: impl Into<String>, services: Vec<String>) -> Self {
        self.data.insert(site.into(), services);
        self
    }

    /// The command on this machine that closes a site off where it cannot be reached, and the one that opens it again:
    /// for fences that name no `hook`. Both must be safe to repeat.
    #[must_use]
    pub fn with_fence_hook(mut self, site: impl Into<String>, hook: String, undo: Option<String>) -> Self {
        self.hooks.insert(site.into(), (hook, undo));
        self
    }

    /// What validates a site, by its own address.
    #[must_use]
    pub fn with_validation(self, site: impl Into<String>, work: Arc<dyn Work>) -> Self {
        self.with_work("validate", site, work)
    }

    /// What leads names to sites.
    #[must_use]
    pub fn with_names(mut self, names: Arc<dyn Names>) -> Self {
        self.names = Some(names);
        self
    }

    /// What restores a component, in its own place.
    #[must_use]
    pub fn with_restore(self, component: impl Into<String>, work: Arc<dyn Work>) -> Self {
        self.with_work("restore", component, work)
    }

    /// What restores a component into a site. It is asked only while nothing but the site's data services runs there.
    #[must_use]
    pub fn with_site_restore(self, component: &str, site: &str, work: Arc<dyn Work>) -> Self {
        self.with_work("restore", at_site(component, site), work)
    }

    /// What backs a component of a site up.
    #[must_use]
    pub fn with_site_backup(self, component: &str, site: &str, work: Arc<dyn Work>) -> Self {
        self.with_work("backup", at_site(component, site), work)
    }

    /// What backs a component of a site up and proves that nobody wrote to it since.
    #[must_use]
    pub fn with_final_backup(self, component: &str, site: &str, work: Arc<dyn Work>) -> Self {
        self.with_work("final_backup", at_site(component, site), work)
    }

    /// What tells the difference between the data of a site and what a restore in the same run replaced.
    #[must_use]
    pub fn with_compare(self, component: &str, site: &str, work: Arc<dyn Work>) -> Self {
        self.with_work("compare", at_site(component, site), work)
    }

    /// What counts, on the data of a site that is closed off, what the newest move from there to another site lost.
    #[must_use]
    pub fn with_count(self, component: &str, site: &str, work: Arc<dyn Work>) -> Self {
        self.with_work("count", at_site(component, site), work)
    }

    /// What proves that a component's newest backup is whole.
    #[must_use]
    pub fn with_verify_backup(self, component: impl Into<String>, work: Arc<dyn Work>) -> Self {
        self.with_work("verify_backup", component, work)
    }

    /// What backs a component up.
    #[must_use]
    pub fn with_backup(self, component: impl Into<String>, work: Arc<dyn Work>) -> Self {
        self.with_work("backup", component, work)
    }

    /// A channel that `notify` tells. One that fails does not fail the step: the run's report has it as a warning.
    #[must_use]
    pub fn with_channel(mut self, name: impl Into<String>, sink: Arc<dyn EventSink>) -> Self {
        self.channels.push(Channel { name: name.into(), sink });
        self
    }

    /// Where the leases of sites are.
    #[must_use]
    pub fn with_store(mut self, store: Arc<dyn BackupStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// Goes by this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    fn with_work(mut self, kind: &'static str, name: impl Into<String>, work: Arc<dyn Work>) -> Self {
        self.work.insert((kind, name.into()), work);
        self
    }

    fn site(&self, named: &str) -> Result<Arc<dyn SiteControl>> {
        let by_name = self.sites.iter().find(|(_, s)| s.name() == named);
        let role = match named {
            "primary" => Some(SiteRole::Primary),
            "standby" => Some(SiteRole::Standby),
            _ => None,
        };
        let mut by_role = self.sites.iter().filter(|(r, _)| Some(*r) == role);
        let found = match (by_name, by_role.next(), by_role.next()) {
            (Some(found), _, _) | (None, Some(found), None) => Some(found),
            _ => None,
        };
        found.map(|(_, site)| site.clone()).ok_or_else(|| {
            let known: Vec<&str> = self.sites.iter().map(|(_, s)| s.name()).collect();
            let help = match known.as_slice() {
                [] => "name the sites in the configuration: sites: { primary: …, standby: … }".to_owned(),
                known => format!("the sites are {}", known.join(", ")),
            };
            Error::new(ErrorKind::Config, format!("there is no site `{named}`")).with_help(help)
        })
    }

    fn work(&self, kind: &'static str, name: &str, whose: &str) -> Result<Arc<dyn Work>> {
        self.work.get(&(kind, name.to_owned())).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.work.keys().filter(|(k, _)| *k == kind).map(|(_, n)| n.as_str()).collect();
            let help = match known.as_slice() {
                [] => format!("nothing is configured for `{kind}`"),
                known => format!("`{kind}` knows {}", known.join(", ")),
            };
            Error::new(ErrorKind::Config, format!("`{kind}` knows no {whose} `{name}`")).with_help(help)
        })
    }

    fn names(&self) -> Result<&Arc<dyn Names>> {
        self.names.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Config, "no names are configured")
                .with_help("say which lead to the sites: dns: …, see docs/dns.md")
        })
    }

    fn channels(&self, named: &[String]) -> Result<Vec<Channel>> {
        if self.channels.is_empty() {
            return Err(Error::new(ErrorKind::Config, "there is nobody to notify")
                .with_help("name a channel in the configuration: notify: …"));
        }
        let find = |name: &String| {
            self.channels.iter().find(|c| c.name == *name).cloned().ok_or_else(|| {
                let known: Vec<&str> = self.channels.iter().map(|c| c.name.as_str()).collect();
                Error::new(ErrorKind::Config, format!("there is no channel `{name}`"))
                    .with_help(format!("the channels are {}", known.join(", ")))
            })
        };
        if named.is_empty() { Ok(self.channels.clone()) } else { named.iter().map(find).collect() }
    }

    /// The work of this kind with a component, in its own place or at a site.
    fn of_component(&self, kind: &'static str, component: &str, site: Option<&str>) -> Result<WorkStep> {
        let Some(site) = site else { return Ok(WorkStep::new(self.work(kind, component, "component")?)) };
        let site = self.site(site)?.name().to_owned();
        let work = self.work(kind, &at_site(component, &site), "component of a site").map_err(|e| {
            let say = format!("say where it keeps it: sites.{site}.data.{component}: {{ services: […], url: … }}");
            Error::new(e.kind(), e.to_string()).with_help(say)
        })?;
        Ok(WorkStep::new(work).on(Some(site)))
    }

    fn restore(&self, given: Value) -> Result<Arc<dyn StepAction>> {
        let says: RestoreSays = said(given)?;
        let mut step = self.of_component("restore", &says.component, says.site.as_deref())?;
        let mut safety = vec![Safety::Destructive, Safety::Production];
        if let Some(site) = step.site.clone() {
            safety.push(Safety::Replaces);
            step.replaces = Some((self.site(&site)?, self.data.get(&site).cloned().unwrap_or_default()));
        }
        step.point = says.at;
        Ok(Arc::new(step.with_safety(safety)))
    }

    fn services(&self, deed: Deed, given: Value) -> Result<Arc<dyn StepAction>> {
        let says: ServicesSay = said(given)?;
        let site = self.site(&says.site)?;
        let data = self.data.get(site.name()).cloned().unwrap_or_default();
        if says.part.is_some() && !says.services.is_empty() {
            return Err(Error::new(ErrorKind::Config, "`part` and `services` do not go together"));
        }
        if says.part.is_some() && data.is_empty() {
            let name = site.name();
            let part = if says.part == Some(Part::Data) { "data" } else { "apps" };
            let text = format!("`part: {part}` means nothing: no service of {name} is said to hold data");
            let help = format!("name them: sites.{name}.data.COMPONENT.services");
            return Err(Error::new(ErrorKind::Config, text).with_help(help));
        }
        Ok(Arc::new(SiteStep { deed, site, says, data }))
    }
}

fn at_site(component: &str, site: &str) -> String {
    format!("{component}@{site}")
}

pub(crate) fn said<T: DeserializeOwned>(given: Value) -> Result<T> {
    serde_json::from_value(given).map_err(|e| Error::new(ErrorKind::Config, e.to_string()))
}

impl Actions for Catalogue {
    fn kinds(&self) -> Vec<String> {
        Kind::ALL.iter().map(|kind| kind.name().to_owned()).collect()
    }

    fn build(&self, kind: &str, parameters: &Map<String, Value>) -> Result<Arc<dyn StepAction>> {
        let given = Value::Object(parameters.clone());
        let Some(kind) = Kind::named(kind) else {
            return Err(Error::new(ErrorKind::Config, format!("there is no action `{kind}`")));
        };
        match kind {
            Kind::Fence => {
                let mut says: FenceSays = said(given)?;
                let (site, store, clock) = (self.site(&says.site)?, self.store.clone(), self.clock.clone());
                let lease = self.leases.get(site.name()).cloned();
                if let Some((hook, undo)) = self.hooks.get(site.name()).filter(|_| says.hook.is_none()) {
                    (says.hook, says.hook_undo) = (Some(hook.clone()), undo.clone());
                }
                Ok(Arc::new(Fence { site, says, lease, store, clock }))
            }
            Kind::Unfence => {
                let site = self.site(&said::<SiteSays>(given)?.site)?;
                let hook_undo = self.hooks.get(site.name()).and_then(|(_, undo)| undo.clone());
                Ok(Arc::new(Unfence { site, store: self.store.clone(), hook_undo, clock: self.clock.clone() }))
            }
            Kind::Up => self.services(Deed::Up, given),
            Kind::Start => self.services(Deed::Start, given),
            Kind::Stop => self.services(Deed::Stop, given),
            Kind::WaitHealthy => self.services(Deed::WaitHealthy, given),
            Kind::Command => {
                let says: CommandSays = said(given)?;
                let site = says.site.as_deref().map(|site| self.site(site)).transpose()?;
                Ok(Arc::new(CommandStep { site, says }))
            }
            Kind::PromotePostgres => {
                let says: PromoteSays = said(given)?;
                Ok(Arc::new(CommandStep::promote(self.site(&says.site)?, says)))
            }
            Kind::Note => Ok(Arc::new(Note(said::<TextSays>(given)?.text))),
            Kind::Wait => Ok(Arc::new(Wait(said::<WaitSays>(given)?.time))),
            Kind::Notify => {
                let NotifySays { text, channels } = said(given)?;
                Ok(Arc::new(Notify { text, channels: self.channels(&channels)?, clock: self.clock.clone() }))
            }
            Kind::Validate => {
                let site = self.site(&said::<SiteSays>(given)?.site)?.name().to_owned();
                let work = self.work("validate", &site, "site")?;
                Ok(Arc::new(WorkStep::new(work).on(Some(site)).establishing(Establishes::Validated)))
            }
            Kind::Dns => {
                let says: DnsSays = said(given)?;
                let site = self.site(&says.to)?.name().to_owned();
                if says.percent.is_some_and(|p| p > 100) {
                    return Err(Error::new(ErrorKind::Config, "`percent` is 0 to 100"));
                }
                let how = Leading { by: says.by, percent: says.percent, confirm_within: says.confirm_within };
                let work = self.names()?.lead(&site, &how)?;
                let safety = vec![Safety::Dns, Safety::Production];
                Ok(Arc::new(WorkStep::new(work).on(Some(site)).with_safety(safety)))
            }
            Kind::Restore => self.restore(given),
            Kind::VerifyBackup => {
                let says: VerifySays = said(given)?;
                let mut step = self.of_component("verify_backup", &says.component, None)?;
                step.point = says.at;
                Ok(Arc::new(step.establishing(Establishes::VerifiedCopy)))
            }
            Kind::Backup => {
                let says: ComponentSays = said(given)?;
                Ok(Arc::new(self.of_component("backup", &says.component, says.site.as_deref())?))
            }
            Kind::FinalBackup | Kind::Compare => {
                let says: SiteComponentSays = said(given)?;
                Ok(Arc::new(self.of_component(kind.name(), &says.component, Some(&says.site))?))
            }
            Kind::Count => {
                let says: SiteComponentSays = said(given)?;
                let step = self.of_component(kind.name(), &says.component, Some(&says.site))?;
                // It makes nothing writable for others: the site stays closed off, which the work itself must see.
                Ok(Arc::new(step.with_safety(vec![Safety::Production])))
            }
            Kind::DnsTtl => {
                let lower = match said(given)? {
                    TtlSays { lower: Some(ttl @ 1..=604_800), restore: false } => Some(ttl),
                    TtlSays { lower: None, restore: true } => None,
                    _ => {
                        return Err(Error::new(ErrorKind::Config, "`dns_ttl` lowers to some seconds, or restores")
                            .with_help("with: { lower: 60 }, or with: { restore: true }"));
                    }
                };
                let work = self.names()?.ttl(lower)?;
                let safety = vec![Safety::Production];
                Ok(Arc::new(WorkStep::new(work).with_safety(safety)))
            }
        }
    }
}
