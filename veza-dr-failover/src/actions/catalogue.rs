//! Which kinds of actions there are, and what they are made of.

use std::{collections::BTreeMap, sync::Arc};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use veza_dr_core::{BackupStore, Clock, Error, ErrorKind, EventSink, Result, SystemClock};

use super::{
    Leading, Names, Work,
    command::CommandStep,
    fence::{Fence, Unfence},
    notify::{Channel, Notify},
    parameters::{
        CommandSays, ComponentSays, DnsSays, FenceSays, NotifySays, PromoteSays, ServicesSay, SiteSays, TextSays,
        TtlSays, WaitSays,
    },
    people::{Note, Wait},
    site_actions::{Deed, SiteStep},
    work::WorkStep,
};
use crate::{
    runbook::{Actions, Establishes, Safety, StepAction},
    site::{SiteControl, SiteRole},
};

const KINDS: [&str; 17] = [
    "backup",
    "command",
    "dns",
    "dns_ttl",
    "fence",
    "note",
    "notify",
    "promote_postgres",
    "restore",
    "start",
    "stop",
    "unfence",
    "up",
    "validate",
    "verify_backup",
    "wait",
    "wait_healthy",
];

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

    /// What restores a component.
    #[must_use]
    pub fn with_restore(self, component: impl Into<String>, work: Arc<dyn Work>) -> Self {
        self.with_work("restore", component, work)
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

    fn of_component(
        &self,
        kind: &'static str,
        given: Value,
        safety: Vec<Safety>,
        establishes: Vec<Establishes>,
    ) -> Result<Arc<dyn StepAction>> {
        let says: ComponentSays = said(given)?;
        let work = self.work(kind, &says.component, "component")?;
        Ok(Arc::new(WorkStep { work, site: None, safety, establishes }))
    }

    fn services(&self, deed: Deed, given: Value) -> Result<Arc<dyn StepAction>> {
        let says: ServicesSay = said(given)?;
        Ok(Arc::new(SiteStep { deed, site: self.site(&says.site)?, says }))
    }
}

fn said<T: DeserializeOwned>(given: Value) -> Result<T> {
    serde_json::from_value(given).map_err(|e| Error::new(ErrorKind::Config, e.to_string()))
}

impl Actions for Catalogue {
    fn kinds(&self) -> Vec<String> {
        KINDS.map(str::to_owned).into()
    }

    fn build(&self, kind: &str, parameters: &Map<String, Value>) -> Result<Arc<dyn StepAction>> {
        let given = Value::Object(parameters.clone());
        match kind {
            "fence" => {
                let says: FenceSays = said(given)?;
                let (site, store, clock) = (self.site(&says.site)?, self.store.clone(), self.clock.clone());
                let lease = self.leases.get(site.name()).cloned();
                Ok(Arc::new(Fence { site, says, lease, store, clock }))
            }
            "unfence" => {
                let site = self.site(&said::<SiteSays>(given)?.site)?;
                Ok(Arc::new(Unfence { site, store: self.store.clone() }))
            }
            "up" => self.services(Deed::Up, given),
            "start" => self.services(Deed::Start, given),
            "stop" => self.services(Deed::Stop, given),
            "wait_healthy" => self.services(Deed::WaitHealthy, given),
            "command" => {
                let says: CommandSays = said(given)?;
                let site = says.site.as_deref().map(|site| self.site(site)).transpose()?;
                Ok(Arc::new(CommandStep { site, says }))
            }
            "promote_postgres" => {
                let says: PromoteSays = said(given)?;
                Ok(Arc::new(CommandStep::promote(self.site(&says.site)?, says)))
            }
            "note" => Ok(Arc::new(Note(said::<TextSays>(given)?.text))),
            "wait" => Ok(Arc::new(Wait(said::<WaitSays>(given)?.time))),
            "notify" => {
                let NotifySays { text, channels } = said(given)?;
                Ok(Arc::new(Notify { text, channels: self.channels(&channels)?, clock: self.clock.clone() }))
            }
            "validate" => {
                let site = self.site(&said::<SiteSays>(given)?.site)?.name().to_owned();
                let work = self.work("validate", &site, "site")?;
                let establishes = vec![Establishes::Validated];
                Ok(Arc::new(WorkStep { work, site: Some(site), safety: Vec::new(), establishes }))
            }
            "dns" => {
                let says: DnsSays = said(given)?;
                let site = self.site(&says.to)?.name().to_owned();
                if says.percent.is_some_and(|p| p > 100) {
                    return Err(Error::new(ErrorKind::Config, "`percent` is 0 to 100"));
                }
                let how = Leading { by: says.by, percent: says.percent, confirm_within: says.confirm_within };
                let work = self.names()?.lead(&site, &how)?;
                let safety = vec![Safety::Dns, Safety::Production];
                Ok(Arc::new(WorkStep { work, site: Some(site), safety, establishes: Vec::new() }))
            }
            "dns_ttl" => {
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
                Ok(Arc::new(WorkStep { work, site: None, safety, establishes: Vec::new() }))
            }
            "restore" => self.of_component("restore", given, vec![Safety::Destructive, Safety::Production], Vec::new()),
            "verify_backup" => self.of_component("verify_backup", given, Vec::new(), vec![Establishes::VerifiedCopy]),
            "backup" => self.of_component("backup", given, Vec::new(), Vec::new()),
            other => Err(Error::new(ErrorKind::Config, format!("there is no action `{other}`"))),
        }
    }
}
