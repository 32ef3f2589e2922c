//! From `sites:`, `services:`, `network:` and `disks:` to an assessment.

use std::{
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use veza_dr_backup::status::StatusReader;
use veza_dr_core::{
    Clock, ComponentName, Cx, Error, ErrorKind, Result, ServiceProbe, SystemClock, status::ComponentStatus,
};
use veza_dr_failover::{
    assess::{Assess, ServiceKind, ServiceUnit, SiteUnit, TtlAdvice},
    dns::has_lowered_ttls,
    probe::{BackupProbe, DiskProbe, DnsProbe, IcmpProbe, TcpProbe},
    site::SiteRole,
};

use crate::{
    args,
    config::{DiskSettings, NetworkSettings, ProbeSettings, ServiceKindName, ServiceSettings, SiteRoleName},
    wiring::Wiring,
    wiring_probes::SiteView,
};

/// The services of the operations guide: what is looked at while the configuration names none.
const GUIDE: [(&str, Option<&str>, ServiceKindName); 5] = [
    ("veza-backend-api", Some("api"), ServiceKindName::Backend),
    ("veza-chat-server", Some("chat"), ServiceKindName::Backend),
    ("veza-stream-server", Some("stream"), ServiceKindName::Backend),
    ("postgres", Some("db"), ServiceKindName::Database),
    ("redis", None, ServiceKindName::Cache),
];

/// What TTLs are lowered to when trouble shows.
const LOW_TTL: u32 = 60;

impl Wiring {
    /// The services of the configuration; those of the guide, by their containers, where it names none.
    pub(crate) fn services(&self) -> Vec<(String, ServiceSettings)> {
        let given = &self.loaded.config.services;
        if !given.is_empty() {
            return given.iter().map(|(name, service)| (name.clone(), service.clone())).collect();
        }
        let guide = GUIDE.into_iter().map(|(name, alias, kind)| {
            let mut service = ServiceSettings::default();
            (service.alias, service.kind) = (alias.map(str::to_owned), Some(kind));
            service.probes.push(ProbeSettings::Docker(crate::config::DockerProbeSettings::default()));
            (name.to_owned(), service)
        });
        guide.collect()
    }

    /// Everything that the configuration says is to be looked at.
    pub(crate) async fn assess(&self, cx: &Cx, args: &args::Assess, store: Option<&str>) -> Result<Assess> {
        let config = &self.loaded.config;
        if let Some(only) = &args.site
            && !config.sites.contains_key(only)
        {
            let known: Vec<&str> = config.sites.keys().map(String::as_str).collect();
            let text = format!("{} has no site `{only}`", self.loaded.file.display());
            return Err(Error::new(ErrorKind::Config, text).with_help(format!("its sites are {}", known.join(", "))));
        }
        if config.sites.is_empty() && config.network.is_empty() && config.disks.is_empty() && config.sources.is_empty()
        {
            let text = format!("{} names nothing that could be looked at", self.loaded.file.display());
            return Err(Error::new(ErrorKind::Config, text).with_help("add `sites`, `network`, `disks` or `sources`"));
        }
        let mut plan = Assess::new().with_deadline(args.deadline).suspecting_compromise(args.suspect_compromise);
        for name in config.sites.keys().filter(|name| args.site.as_ref().is_none_or(|only| only == *name)) {
            plan = plan.with_site(self.site_unit(cx, name, args).await?);
        }
        let network = config.network.iter().enumerate();
        let network =
            network.map(|(at, probe)| self.network_probe(at, probe, args.deadline)).collect::<Result<Vec<_>>>()?;
        let disks = config.disks.iter().enumerate();
        let disks = disks.map(|(at, disk)| self.disk_probe(at, disk, args)).collect::<Result<Vec<_>>>()?;
        let mut backups: Vec<Arc<dyn ServiceProbe>> = Vec::new();
        for component in self.components() {
            if !config.stores.is_empty() {
                backups.push(Arc::new(self.backup_probe(component, store, args)));
            }
        }
        let plan = plan.with_ttl_advice(self.ttl_advice()?);
        Ok(plan.with_network(network).with_disks(disks).with_backups(backups))
    }

    fn ttl_advice(&self) -> Result<Option<TtlAdvice>> {
        let Some(dns) = self.loaded.config.dns.as_ref().filter(|dns| dns.route53.is_some()) else { return Ok(None) };
        if has_lowered_ttls(&self.state_dir()?)? {
            return Ok(Some(TtlAdvice::Restore));
        }
        let long = dns.records.values().any(|record| record.ttl > LOW_TTL);
        Ok(long.then_some(TtlAdvice::Lower(LOW_TTL)))
    }

    async fn site_unit(&self, cx: &Cx, name: &str, args: &args::Assess) -> Result<SiteUnit> {
        let settings = &self.loaded.config.sites[name];
        let role = match settings.role {
            SiteRoleName::Primary => SiteRole::Primary,
            SiteRoleName::Standby => SiteRole::Standby,
        };
        let view = SiteView::new(self, name, args.deadline)?;
        let mut unit = SiteUnit::new(name, role);
        for (service, settings) in self.services() {
            if settings.sites.as_ref().is_some_and(|sites| !sites.iter().any(|s| s == name)) {
                continue;
            }
            let mut made = ServiceUnit::new(&service, kind(&settings));
            if let Some(alias) = &settings.alias {
                made = made.with_alias(alias);
            }
            for (at, probe) in settings.probes.iter().enumerate() {
                made = made.with_probe(view.probe(cx, &service, at, probe).await?);
            }
            unit = unit.with_service(made);
        }
        Ok(unit)
    }

    pub(crate) fn network_probe(
        &self,
        at: usize,
        probe: &NetworkSettings,
        patience: Duration,
    ) -> Result<Arc<dyn ServiceProbe>> {
        let path = |key: &str| format!("network[{at}].{key}");
        Ok(match probe {
            NetworkSettings::Dns(dns) => {
                let mut servers = Vec::new();
                for server in &dns.servers {
                    let text = self.text(&path("dns.servers"), server)?;
                    servers.push(server_address(&text).map_err(|e| self.at(&path("dns.servers"), e))?);
                }
                let name = self.text(&path("dns.name"), &dns.name)?;
                Arc::new(DnsProbe::new(name).by(servers).with_patience(patience))
            }
            NetworkSettings::Icmp(icmp) => {
                let host = self.text(&path("icmp.host"), &icmp.host)?;
                Arc::new(IcmpProbe::new(host).with_patience(patience))
            }
            NetworkSettings::Tcp(tcp) => {
                let host = self.text(&path("tcp.host"), &tcp.host)?;
                Arc::new(TcpProbe::new(host, tcp.port).with_patience(patience))
            }
        })
    }

    fn disk_probe(&self, at: usize, disk: &DiskSettings, args: &args::Assess) -> Result<Arc<dyn ServiceProbe>> {
        let path = self.loaded.resolve(&self.text(&format!("disks[{at}].path"), &disk.path)?);
        let mut probe = DiskProbe::new(path).with_patience(args.deadline);
        // What does not parse was refused when the file was read.
        if let Some(Ok(room)) = disk.free.as_deref().map(DiskSettings::room) {
            probe = probe.with_free(room);
        }
        if let Some(Ok(room)) = disk.inodes.as_deref().map(DiskSettings::room) {
            probe = probe.with_inodes(room);
        }
        Ok(Arc::new(probe))
    }

    fn backup_probe(&self, component: ComponentName, store: Option<&str>, args: &args::Assess) -> BackupProbe {
        let wiring = Arc::new(Self { loaded: self.loaded.clone(), env: self.env.clone() });
        let (name, store) = (component.to_string(), store.map(str::to_owned));
        let ask = move |cx: Cx| -> Pin<Box<dyn Future<Output = Result<ComponentStatus>> + Send>> {
            let (wiring, component, store) = (wiring.clone(), component.clone(), store.clone());
            Box::pin(async move { wiring.component_status(&cx, &component, store.as_deref()).await })
        };
        BackupProbe::new(&name, Box::new(ask)).with_patience(args.deadline)
    }

    async fn component_status(
        &self,
        cx: &Cx,
        component: &ComponentName,
        store: Option<&str>,
    ) -> Result<ComponentStatus> {
        let query = self.status_query(cx, component, store, SystemClock.now()).await?;
        let status = StatusReader::new().read(cx, &SystemClock, &[query]).await?;
        status.components.into_iter().next().ok_or_else(|| {
            Error::new(ErrorKind::Unexpected, format!("the status of {component} came back without the component"))
        })
    }
}

fn kind(settings: &ServiceSettings) -> ServiceKind {
    let has = |test: fn(&ProbeSettings) -> bool| settings.probes.iter().any(test);
    match settings.kind {
        Some(ServiceKindName::Backend) => ServiceKind::Backend,
        Some(ServiceKindName::Database) => ServiceKind::Database,
        Some(ServiceKindName::Cache) => ServiceKind::Cache,
        None if has(|p| matches!(p, ProbeSettings::Postgres(_))) => ServiceKind::Database,
        None if has(|p| matches!(p, ProbeSettings::Redis(_))) => ServiceKind::Cache,
        None => ServiceKind::Backend,
    }
}

fn server_address(text: &str) -> Result<SocketAddr> {
    let parsed = text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)));
    parsed.map_err(|_| {
        Error::new(ErrorKind::Config, format!("`{text}` is not the address of a DNS server"))
            .with_help("write it as 9.9.9.9 or 9.9.9.9:53")
    })
}
