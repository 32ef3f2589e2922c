//! A copy of a Compose project, by itself: own name, empty volumes, networks without a way out, no published ports.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    net::{IpAddr, SocketAddr},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Mutex,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use serde_json::Value;
use veza_dr_core::{BackupId, ComponentName, Cx, Error, ErrorKind, Result};

use super::{
    compose_remove::project_of,
    course::{Lost, Selection},
    ground,
    isolate::{Isolated, Port, isolate},
    place::{Place, reached},
    platform::DrillPlatform,
    run::GOOD_ANSWERS,
};
use crate::site::{ComposeProject, ComposeSite, Job, ServiceState, SiteControl};

const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Which services keep a component, and the port that the site publishes it at.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DataService {
    /// The services that keep it.
    pub services: Vec<String>,
    /// The port at the site's address; several services of one component are told apart by it.
    pub published: Option<u16>,
    /// The port inside, where the file does not say it.
    pub default_port: u16,
}

impl DataService {
    /// A component that these services keep.
    #[must_use]
    pub fn new(services: Vec<String>, published: Option<u16>, default_port: u16) -> Self {
        Self { services, published, default_port }
    }
}

/// Where the copy keeps a component.
#[derive(Debug)]
struct Kept {
    services: Vec<String>,
    /// The one that answers for it, and at which port inside.
    service: String,
    port: u16,
}

/// A copy of a site's Compose project for one drill.
///
/// ```no_run
/// # async fn f(drill: &mut veza_dr_failover::drill::Drill) -> veza_dr_core::Result<()> {
/// use std::{collections::BTreeMap, sync::Arc};
/// use veza_dr_core::Cx;
/// use veza_dr_failover::{drill::{ComposePlatform, DataService, DrillKind}, site::ComposeProject};
/// let site = ComposeProject::new("primary", "/opt/veza/production.yml", "veza");
/// let data = BTreeMap::from([("database".parse()?, DataService::new(vec!["postgres".into()], None, 5432))]);
/// let platform = ComposePlatform::read(&Cx::background(), &drill.id, &site, data).await?;
/// drill.exclusions.extend(platform.left_out().iter().cloned());
/// drill.kind = DrillKind::Compose;
/// drill.platform = Some(Arc::new(platform));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct ComposePlatform {
    project: String,
    copy_of: String,
    docker_host: Option<String>,
    document: Value,
    ports: BTreeMap<String, Vec<Port>>,
    left_out: Vec<String>,
    data: BTreeMap<ComponentName, Kept>,
    data_services: Vec<String>,
    within: Duration,
    site: Mutex<Option<std::sync::Arc<ComposeSite>>>,
}

impl ComposePlatform {
    /// Reads what `site` is made of, and takes out of it whatever reaches the outside. Nothing is made.
    ///
    /// # Errors
    /// `Unsupported` when the site is on another machine; `Config` when its file cannot be used for a drill; `NotFound`
    /// when a service that keeps a component is not in it.
    pub async fn read(
        cx: &Cx,
        drill: &BackupId,
        site: &ComposeProject,
        data: BTreeMap<ComponentName, DataService>,
    ) -> Result<Self> {
        let project = project_of(drill);
        let mut copy = ComposeProject::new(&site.name, &site.file, &project);
        copy.docker_host.clone_from(&site.docker_host);
        copy.ssh.clone_from(&site.ssh);
        let reader = ComposeSite::new(copy)?;
        if !reader.is_here() {
            let text = format!("site {} is on another machine: a drill makes its copy on this one", site.name);
            return Err(Error::new(ErrorKind::Unsupported, text)
                .with_help("run the drill on that machine, or drill a site of this one"));
        }
        let resolved = reader.resolved(cx).await?;
        let data_services: BTreeSet<String> = data.values().flat_map(|d| d.services.iter().cloned()).collect();
        let Isolated { document, ports, left_out } = isolate(&resolved, &site.file, &data_services)?;
        let mut kept = BTreeMap::new();
        for (component, place) in data {
            if let Some(other) = place.services.iter().find(|s| !ports.contains_key(*s)) {
                let names: Vec<&str> = ports.keys().map(String::as_str).collect();
                let text = format!("{}: there is no service `{other}`, which keeps {component}", site.file);
                return Err(
                    Error::new(ErrorKind::NotFound, text).with_help(format!("its services are {}", names.join(", ")))
                );
            }
            let (service, port) = chosen(&component, &place, &ports, &site.file)?;
            kept.insert(component, Kept { services: place.services, service, port });
        }
        Ok(Self {
            project,
            copy_of: site.name.clone(),
            docker_host: site.docker_host.clone(),
            document,
            ports,
            left_out,
            data: kept,
            data_services: data_services.into_iter().collect(),
            within: Duration::from_secs(180),
            site: Mutex::new(None),
        })
    }

    /// With another time for its services to become healthy in; three minutes by default.
    #[must_use]
    pub fn with_health_within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// What of the site's project the copy does without, for the record.
    #[must_use]
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    fn made(&self) -> Result<std::sync::Arc<ComposeSite>> {
        let site = self.site.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        site.clone().ok_or_else(|| Error::new(ErrorKind::Unexpected, "the project of the drill was not made"))
    }

    fn written(&self, folder: &Path) -> Result<std::sync::Arc<ComposeSite>> {
        let mut kept = self.site.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(site) = kept.as_ref() {
            return Ok(site.clone());
        }
        let file = folder.join("project.yml");
        // Passwords of services are in it.
        let made = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&file);
        // JSON is YAML.
        let text = serde_json::to_vec_pretty(&self.document)
            .map_err(|e| Error::new(ErrorKind::Unexpected, "the project of the drill").with_source(e))?;
        made.and_then(|mut f| f.write_all(&text)).map_err(|e| ground::cannot("written", &file, &e))?;
        let mut project = ComposeProject::new("drill", file.display().to_string(), &self.project);
        project.docker_host.clone_from(&self.docker_host);
        project.jobs_dir = folder.join("jobs").display().to_string();
        project.fence_dir = folder.join("fence").display().to_string();
        Ok(kept.insert(std::sync::Arc::new(ComposeSite::new(project)?)).clone())
    }

    /// What the engine is asked for; `None` means all, which an empty list would mean as well.
    fn names(&self, services: &Selection) -> Option<Vec<String>> {
        match services {
            Selection::All => None,
            Selection::Data => Some(self.data_services.clone()),
            Selection::Apps => Some(self.ports.keys().filter(|s| !self.data_services.contains(s)).cloned().collect()),
            Selection::Named(names) => Some(names.clone()),
        }
    }

    /// The services that publish a port, and their ports inside.
    fn publishers(&self, published: u16) -> Vec<(&str, u16)> {
        let mut found = Vec::new();
        for (service, ports) in &self.ports {
            let ours = ports.iter().filter(|p| p.published == Some(published));
            found.extend(ours.map(|p| (service.as_str(), p.target)));
        }
        found
    }

    async fn address(&self, cx: &Cx, service: &str) -> Result<IpAddr> {
        self.made()?.address_of(cx, service).await?.ok_or_else(|| {
            let text = format!("service {service} of the drill has no address: it does not run");
            Error::new(ErrorKind::Unavailable, text)
        })
    }
}

/// The service and the port inside that a component is reached at.
fn chosen(
    component: &ComponentName,
    place: &DataService,
    ports: &BTreeMap<String, Vec<Port>>,
    file: &str,
) -> Result<(String, u16)> {
    let all = || place.services.iter().flat_map(|s| ports[s].iter().map(move |p| (s, *p)));
    if let Some((service, port)) = all().find(|(_, p)| place.published.is_some() && p.published == place.published) {
        return Ok((service.clone(), port.target));
    }
    match place.services.as_slice() {
        [only] => Ok((only.clone(), place.default_port)),
        _ => {
            let text =
                format!("{file}: it is not clear which of {} answers for {component}", place.services.join(", "));
            Err(Error::new(ErrorKind::Config, text)
                .with_help("publish it at the port that the site's address has, or name one service"))
        }
    }
}

/// The named volumes of a service.
fn volumes_of(service: &Value) -> BTreeSet<String> {
    let one = |volume: &Value| match volume {
        Value::String(text) => text.split(':').next().filter(|s| !s.starts_with('/')).map(str::to_owned),
        long if long["type"] == "volume" => long["source"].as_str().map(str::to_owned),
        _ => None,
    };
    service["volumes"].as_array().into_iter().flatten().filter_map(one).collect()
}

#[async_trait]
impl DrillPlatform for ComposePlatform {
    fn project(&self) -> &str {
        &self.project
    }

    fn copy_of(&self) -> &str {
        &self.copy_of
    }

    fn engine(&self) -> Option<&str> {
        self.docker_host.as_deref()
    }

    async fn make(&self, cx: &Cx, folder: &Path) -> Result<()> {
        let site = self.written(folder)?;
        // Before anything runs: services call home as soon as they start.
        site.create(cx).await?;
        site.are_closed(cx).await
    }

    async fn up(&self, cx: &Cx, services: &Selection, job: &str) -> Result<()> {
        let (site, names) = (self.made()?, self.names(services));
        let wanted = |s: &str| names.as_ref().is_none_or(|names| names.iter().any(|n| n == s));
        let known = |name: &String| self.ports.contains_key(name);
        // Compose takes its time also where there is nothing to do.
        if names.as_ref().is_none_or(|names| names.iter().all(known)) {
            let states = site.services(cx).await?;
            let up = |s: &ServiceState| s.state == "running" || s.finished;
            if states.iter().filter(|s| wanted(&s.service)).all(up) {
                return Ok(());
            }
        }
        let up = site.up(cx, &Job(job.to_owned()), &names.unwrap_or_default()).await?;
        if up.code == 0 {
            return Ok(());
        }
        let text = format!("the project of the drill cannot be started: Compose ended with code {}", up.code);
        Err(Error::new(ErrorKind::Unavailable, text).with_source(up.output.trim().to_owned()))
    }

    async fn start(&self, cx: &Cx, services: &Selection) -> Result<()> {
        match self.names(services) {
            Some(names) if names.is_empty() => Ok(()),
            names => self.made()?.start(cx, &names.unwrap_or_default()).await,
        }
    }

    async fn stop(&self, cx: &Cx, services: &Selection, grace: Duration) -> Result<()> {
        match self.names(services) {
            Some(names) if names.is_empty() => Ok(()),
            names => self.made()?.stop(cx, &names.unwrap_or_default(), grace).await,
        }
    }

    async fn healthy(&self, cx: &Cx, services: &Selection, within: Option<Duration>) -> Result<usize> {
        match self.names(services) {
            Some(names) if names.is_empty() => Ok(0),
            names => {
                let within = within.unwrap_or(self.within);
                Ok(self.made()?.wait_healthy(cx, &names.unwrap_or_default(), within).await?.len())
            }
        }
    }

    async fn running(&self, cx: &Cx) -> Result<BTreeSet<String>> {
        let states = self.made()?.services(cx).await?;
        Ok(states.into_iter().filter(|s| s.state == "running").map(|s| s.service).collect())
    }

    async fn place(&self, cx: &Cx, component: &ComponentName, state: &Path) -> Result<Place> {
        let kept = self
            .data
            .get(component)
            .ok_or_else(|| Error::new(ErrorKind::Config, format!("no service of the drill keeps {component}")))?;
        let address = SocketAddr::from((self.address(cx, &kept.service).await?, kept.port));
        Ok(Place::Service { service: kept.service.clone(), address, state: state.to_owned() })
    }

    async fn answers(&self, cx: &Cx) -> Result<String> {
        let running = self.running(cx).await?;
        let mut ports = 0;
        for service in &running {
            for port in self.ports.get(service).into_iter().flatten() {
                let address = SocketAddr::from((self.address(cx, service).await?, port.target));
                good_answers(cx, service, address).await?;
                ports += 1;
            }
        }
        let services = running.len();
        Ok(format!("{services} services healthy, {ports} ports answered {GOOD_ANSWERS} times in a row"))
    }

    async fn reach(&self, cx: &Cx, published: u16) -> Result<SocketAddr> {
        let found = self.publishers(published);
        let unclear = |text: String| Error::new(ErrorKind::Unsupported, text);
        match found.as_slice() {
            [(service, port)] => Ok(SocketAddr::from((self.address(cx, service).await?, *port))),
            [] => Err(unclear(format!("no service of site {} publishes port {published}", self.copy_of))
                .with_help("what answers there is not in the site's project, and so not in the copy")),
            [(one, _), (other, _), ..] => Err(unclear(format!(
                "port {published} is published by {one} and by {other}: it is not clear which is meant"
            ))),
        }
    }

    async fn lose(&self, cx: &Cx, lost: &Lost) -> Result<Vec<String>> {
        let site = self.made()?;
        let services: BTreeSet<&String> = match lost {
            Lost::Site => {
                site.destroy(cx).await?;
                return match site.things(cx).await?.first() {
                    None => Ok(vec![format!("project {}", self.project)]),
                    Some(left) => {
                        let text = format!("{left} is still there after the disaster");
                        Err(Error::new(ErrorKind::Unexpected, text))
                    }
                };
            }
            Lost::Data(components) => {
                let ours = self.data.iter().filter(|(c, _)| components.iter().any(|l| l == c.as_str()));
                ours.flat_map(|(_, kept)| &kept.services).collect()
            }
            Lost::Services => self.ports.keys().filter(|s| !self.data_services.contains(s)).collect(),
        };
        let all = &self.document["services"];
        let volumes: BTreeSet<String> = match lost {
            Lost::Services => BTreeSet::new(),
            _ => services.iter().flat_map(|s| volumes_of(&all[s.as_str()])).collect(),
        };
        // A volume goes only with everybody who uses it.
        let shares = |s: &&String| services.contains(s) || !volumes_of(&all[s.as_str()]).is_disjoint(&volumes);
        let services: Vec<String> = self.ports.keys().filter(shares).cloned().collect();
        let removed = site.remove_services(cx, &services, &volumes).await?;
        match site.services(cx).await?.iter().find(|s| services.contains(&s.service) && s.container.is_some()) {
            None => Ok(removed),
            Some(left) => {
                let text = format!("service {} is still there after the disaster", left.service);
                Err(Error::new(ErrorKind::Unexpected, text))
            }
        }
    }
}

async fn good_answers(cx: &Cx, service: &str, address: SocketAddr) -> Result<()> {
    let until = Instant::now() + ANSWER_LIMIT;
    let mut good = 0;
    while good < GOOD_ANSWERS {
        cx.check("ask a service of the drill")?;
        good = if reached(address).await { good + 1 } else { 0 };
        if Instant::now() > until {
            let text =
                format!("service {service} of the drill is healthy and does not answer at port {}", address.port());
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        if good == 0 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    Ok(())
}
