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
    ground,
    isolate::{Isolated, Port, isolate},
    model::Unseen,
    place::{Place, reached},
    platform::DrillPlatform,
    run::GOOD_ANSWERS,
};
use crate::site::{ComposeProject, ComposeSite, Job, SiteControl};

const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// What an interrupted `up` had asked for may come to be after a first removal.
const LOOKS: u32 = 20;

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
    docker_host: Option<String>,
    document: Value,
    ports: BTreeMap<String, Vec<Port>>,
    left_out: Vec<String>,
    /// Service and port inside.
    data: BTreeMap<ComponentName, (String, u16)>,
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
            kept.insert(component.clone(), chosen(&component, &place, &ports, &site.file)?);
        }
        let data_services = data_services.into_iter().collect();
        let within = Duration::from_secs(180);
        let docker_host = site.docker_host.clone();
        let site = Mutex::new(None);
        Ok(Self { project, docker_host, document, ports, left_out, data: kept, data_services, within, site })
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

    fn make(&self, folder: &Path) -> Result<std::sync::Arc<ComposeSite>> {
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

    async fn up(&self, cx: &Cx, job: &str, services: &[String]) -> Result<()> {
        let site = self.made()?;
        let up = site.up(cx, &Job(job.to_owned()), services).await?;
        if up.code != 0 {
            let text = format!("the project of the drill cannot be started: Compose ended with code {}", up.code);
            return Err(Error::new(ErrorKind::Unavailable, text).with_source(up.output.trim().to_owned()));
        }
        site.wait_healthy(cx, services, self.within).await.map(drop)
    }

    async fn address(&self, cx: &Cx, service: &str) -> Result<IpAddr> {
        self.made()?.address_of(cx, service).await?.ok_or_else(|| {
            let text = format!("service {service} of the drill has no address: it does not run");
            Error::new(ErrorKind::Unavailable, text)
        })
    }
}

/// What Compose takes as a name has no capitals.
fn project_of(drill: &BackupId) -> String {
    format!("{}{}", ground::NAME, drill.as_str().to_lowercase())
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

#[async_trait]
impl DrillPlatform for ComposePlatform {
    fn project(&self) -> &str {
        &self.project
    }

    fn engine(&self) -> Option<&str> {
        self.docker_host.as_deref()
    }

    async fn raise(&self, cx: &Cx, folder: &Path, when: &str) -> Result<()> {
        let site = self.make(folder)?;
        // Before anything runs: services call home as soon as they start.
        site.create(cx).await?;
        site.are_closed(cx).await?;
        if self.data_services.is_empty() {
            return Ok(());
        }
        self.up(cx, &format!("{when}-data"), &self.data_services).await
    }

    async fn place(&self, cx: &Cx, component: &ComponentName, state: &Path) -> Result<Place> {
        let (service, port) = self
            .data
            .get(component)
            .ok_or_else(|| Error::new(ErrorKind::Config, format!("no service of the drill keeps {component}")))?;
        let address = SocketAddr::from((self.address(cx, service).await?, *port));
        Ok(Place::Service { service: service.clone(), address, state: state.to_owned() })
    }

    async fn serve(&self, cx: &Cx, when: &str) -> Result<String> {
        self.up(cx, &format!("{when}-all"), &[]).await?;
        let running: BTreeSet<String> = {
            let states = self.made()?.services(cx).await?;
            states.into_iter().filter(|s| s.state == "running").map(|s| s.service).collect()
        };
        let (mut services, mut ports) = (0, 0);
        for service in &running {
            services += 1;
            for port in self.ports.get(service).into_iter().flatten() {
                let address = SocketAddr::from((self.address(cx, service).await?, port.target));
                good_answers(cx, service, address).await?;
                ports += 1;
            }
        }
        Ok(format!("{services} services healthy, {ports} ports answered {GOOD_ANSWERS} times in a row"))
    }

    async fn destroy(&self, cx: &Cx) -> Result<()> {
        let site = self.made()?;
        site.destroy(cx).await?;
        match site.things(cx).await?.first() {
            None => Ok(()),
            Some(left) => {
                let text = format!("{left} is still there after the disaster");
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

/// Removes everything of a drill's project; a project that is no drill's is not touched.
pub(super) async fn remove(
    cx: &Cx,
    drill: &BackupId,
    project: &str,
    engine: Option<&str>,
) -> (Vec<String>, Vec<Unseen>) {
    let what = format!("project {project}");
    let left = |why: String| vec![Unseen { what: what.clone(), why }];
    if project != project_of(drill) {
        return (Vec::new(), left("it does not belong to this drill: it is not touched".to_owned()));
    }
    let mut of = ComposeProject::new("drill", "/", project);
    of.docker_host = engine.map(str::to_owned);
    let mut removed = Vec::new();
    let work = async {
        let site = ComposeSite::new(of)?;
        // Nothing was found twice in a row: what was under way when its client was killed has had its time.
        let (mut none, mut looks) = (0, 0);
        while none < 2 {
            let now = site.destroy(cx).await;
            looks += 1;
            match now {
                Ok(now) if now.is_empty() => none += 1,
                Ok(now) => {
                    none = 0;
                    removed.extend(now);
                }
                // A network whose last container is just going.
                Err(_) if looks < LOOKS => none = 0,
                Err(e) => return Err(e),
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Ok(())
    };
    match work.await {
        Ok(()) => (removed, Vec::new()),
        Err(e) => {
            let e: Error = e;
            (removed, left(e.chain()))
        }
    }
}
