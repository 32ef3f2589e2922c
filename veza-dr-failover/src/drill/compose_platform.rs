//! A copy of a Compose project, by itself: own name, empty volumes, networks without a way out, no published ports.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::OnceCell;
use veza_dr_core::{BackupId, ComponentName, Cx, Error, ErrorKind, Result};

use super::{
    compose_data::{DataService, Kept, chosen, volumes_of},
    compose_remove::project_of,
    course::{Lost, Selection},
    isolate::{Isolated, Port, isolate, mounts},
    place::Place,
    platform::{DrillMachine, DrillPlatform},
    run::GOOD_ANSWERS,
};
use crate::site::{ComposeProject, ComposeSite, Job, ServiceState, SiteControl};

const ANSWER_LIMIT: Duration = Duration::from_secs(30);
const FILE: &str = "project.yml";

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
    elsewhere: Option<DrillMachine>,
    document: Value,
    ports: BTreeMap<String, Vec<Port>>,
    left_out: Vec<String>,
    data: BTreeMap<ComponentName, Kept>,
    data_services: Vec<String>,
    within: Duration,
    site: OnceCell<Arc<ComposeSite>>,
}

impl ComposePlatform {
    /// Reads what `site` is made of, and takes out of it whatever reaches the outside. Nothing is made. The copy will be
    /// made by the engine of the site's own machine, wherever that is, and reached through SSH where it is another one.
    ///
    /// # Errors
    /// As met when the machine cannot be reached; `Config` when its file cannot be used for a drill; `NotFound`
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
        let elsewhere = site
            .ssh
            .as_ref()
            .map(|ssh| DrillMachine::new(ssh.clone(), format!("{}/{project}", site.jobs_dir.trim_end_matches('/'))));
        if let Some(there) = elsewhere.as_ref().filter(|there| !there.folder.starts_with('/')) {
            let text =
                format!("site {}: a drill keeps its file in {}, which is no absolute path", site.name, there.folder);
            return Err(Error::new(ErrorKind::Config, text).with_help("give the site another jobs_dir"));
        }
        let resolved = reader.resolved(cx).await?;
        let data_services: BTreeSet<String> = data.values().flat_map(|d| d.services.iter().cloned()).collect();
        let lies = reader.look_at(cx, mounts(&resolved).into_iter()).await?;
        let Isolated { document, ports, left_out } = isolate(&resolved, &site.file, &data_services, &lies)?;
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
            elsewhere,
            document,
            ports,
            left_out,
            data: kept,
            data_services: data_services.into_iter().collect(),
            within: Duration::from_secs(180),
            site: OnceCell::new(),
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

    fn made(&self) -> Result<Arc<ComposeSite>> {
        let made = self.site.get().cloned();
        made.ok_or_else(|| Error::new(ErrorKind::Unexpected, "the project of the drill was not made"))
    }

    /// The project's file where its machine reads it: in the drill's own folder there.
    async fn written(&self, cx: &Cx, folder: &Path) -> Result<Arc<ComposeSite>> {
        let write = || async {
            // JSON is YAML.
            let text = serde_json::to_string_pretty(&self.document)
                .map_err(|e| Error::new(ErrorKind::Unexpected, "the project of the drill").with_source(e))?;
            let here = || folder.join("project").display().to_string();
            let folder = self.elsewhere.as_ref().map_or_else(here, |there| there.folder.clone());
            let mut project = ComposeProject::new("drill", format!("{folder}/{FILE}"), &self.project);
            project.docker_host.clone_from(&self.docker_host);
            project.ssh = self.elsewhere.as_ref().map(|there| there.ssh.clone());
            project.jobs_dir = format!("{folder}/jobs");
            project.fence_dir = format!("{folder}/fence");
            let site = ComposeSite::new(project)?.knowing(&text)?;
            // Passwords of services are in it.
            site.keep_private(cx, &folder, FILE, &text).await?;
            Ok(Arc::new(site))
        };
        self.site.get_or_try_init(write).await.cloned()
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

    /// Where a service answers, as its own machine sees it.
    async fn address(&self, cx: &Cx, service: &str, port: u16) -> Result<SocketAddr> {
        let found = self.made()?.address_of(cx, service).await?;
        let ip = found.ok_or_else(|| {
            let text = format!("service {service} of the drill has no address: it does not run");
            Error::new(ErrorKind::Unavailable, text)
        })?;
        Ok(SocketAddr::from((ip, port)))
    }

    /// The same, as it is reached from here.
    async fn led(&self, cx: &Cx, service: &str, port: u16) -> Result<SocketAddr> {
        let address = self.address(cx, service, port).await?;
        self.made()?.reach(cx, address).await
    }
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

    fn elsewhere(&self) -> Option<&DrillMachine> {
        self.elsewhere.as_ref()
    }

    async fn make(&self, cx: &Cx, folder: &Path) -> Result<()> {
        let site = self.written(cx, folder).await?;
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
        let address = self.led(cx, &kept.service, kept.port).await?;
        Ok(Place::Service { service: kept.service.clone(), address, state: state.to_owned() })
    }

    async fn answers_at(&self, cx: &Cx, address: SocketAddr, times: u32) -> Result<bool> {
        let site = self.made()?;
        let Some(there) = site.behind(address).await else { return Ok(false) };
        Ok(site.answer_often(cx, &[there], times).await?.first().copied().unwrap_or(false))
    }

    async fn answers(&self, cx: &Cx) -> Result<String> {
        let running = self.running(cx).await?;
        let mut asked = Vec::new();
        for service in &running {
            for port in self.ports.get(service).into_iter().flatten() {
                asked.push((service.as_str(), self.address(cx, service, port.target).await?));
            }
        }
        good_answers(cx, self.made()?.as_ref(), &asked).await?;
        let (services, ports) = (running.len(), asked.len());
        Ok(format!("{services} services healthy, {ports} ports answered {GOOD_ANSWERS} times in a row"))
    }

    async fn reach(&self, cx: &Cx, published: u16) -> Result<SocketAddr> {
        let found = self.publishers(published);
        let unclear = |text: String| Error::new(ErrorKind::Unsupported, text);
        match found.as_slice() {
            [(service, port)] => self.led(cx, service, *port).await,
            [] => Err(unclear(format!("no service of site {} publishes port {published}", self.copy_of))
                .with_help("what answers there is not in the site's project, and so not in the copy")),
            [(one, _), (other, _), ..] => Err(unclear(format!(
                "port {published} is published by {one} and by {other}: it is not clear which is meant"
            ))),
        }
    }

    async fn lose(&self, cx: &Cx, lost: &Lost) -> Result<Vec<String>> {
        let site = self.made()?;
        site.reach_no_more().await;
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

/// Has each of these addresses answer several times in a row, as their own machine sees them.
async fn good_answers(cx: &Cx, site: &ComposeSite, asked: &[(&str, SocketAddr)]) -> Result<()> {
    let until = Instant::now() + ANSWER_LIMIT;
    let mut late = asked.to_vec();
    loop {
        cx.check("ask the services of the drill")?;
        let addresses: Vec<SocketAddr> = late.iter().map(|(_, address)| *address).collect();
        let mut answers = site.take_connections(cx, &addresses, GOOD_ANSWERS).await?.into_iter();
        late.retain(|_| !answers.next().unwrap_or(false));
        let Some((service, address)) = late.first() else { return Ok(()) };
        if Instant::now() > until {
            let text =
                format!("service {service} of the drill is healthy and does not answer at port {}", address.port());
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
