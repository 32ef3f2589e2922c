//! A site that is a Docker Compose project.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use async_trait::async_trait;
use bollard::models::ContainerInspectResponse;
use tokio::{sync::Mutex, time::Instant};
use veza_dr_core::{Cx, Effect, Error, ErrorKind, Health, Result};

use super::{
    compose_file::{ComposeFile, in_order},
    control::{Job, JobResult, ServiceState, SiteControl},
    engine::{Container, Engine},
    fence::Fence,
    forward::Forward,
    job,
    machine::{Machine, pause_for},
    settings::ComposeProject,
    ssh,
    states::{has_check, state_of, worse},
};
use crate::shell::quoted;

/// A Compose file is not larger than this.
const FILE_BYTES: usize = 1 << 20;
const FILE_LIMIT: Duration = Duration::from_secs(20);
/// How often the engine is asked while something is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(400);
/// So much of the log of a service that does not come up is told.
const TOLD_LINES: usize = 15;

/// A Docker Compose project, on this machine or behind SSH.
///
/// Connections are made when they are needed, kept, and made anew when they were lost.
///
/// ```no_run
/// # async fn doc() -> veza_dr_core::Result<()> {
/// use std::time::Duration;
/// use veza_dr_core::Cx;
/// use veza_dr_failover::site::{ComposeProject, ComposeSite, Job, SiteControl, Ssh};
///
/// let mut project = ComposeProject::new("standby", "/opt/veza/disaster-recovery.yml", "veza");
/// project.ssh = Some(Ssh::new("backup-server"));
/// let standby = ComposeSite::new(project)?;
/// let cx = Cx::background();
/// let up = standby.up(&cx, &Job("run-7/up".into()), &[]).await?;
/// assert_eq!(up.code, 0, "{}", up.output);
/// standby.wait_healthy(&cx, &[], Duration::from_secs(120)).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct ComposeSite {
    pub(super) project: ComposeProject,
    pub(super) machine: Machine,
    engine: Mutex<Option<Engine>>,
    pub(super) forwards: Mutex<BTreeMap<SocketAddr, Forward>>,
    /// What its file says, where it is ours and need not be read.
    pub(super) known: Option<ComposeFile>,
}

/// A container with all that is known of it.
pub(super) type Seen = (Container, ContainerInspectResponse);

impl ComposeSite {
    /// A site. Nothing is connected yet.
    ///
    /// # Errors
    /// `Config` when the files that SSH needs cannot be read.
    pub fn new(project: ComposeProject) -> Result<Self> {
        let machine = match &project.ssh {
            None => Machine::Here,
            Some(to) => {
                ssh::check(to).map_err(|e| Error::new(e.kind(), format!("site {}", project.name)).with_source(e))?;
                Machine::There(to.clone())
            }
        };
        Ok(Self { project, machine, engine: Mutex::new(None), forwards: Mutex::default(), known: None })
    }

    /// What it is made of.
    #[must_use]
    pub fn project(&self) -> &ComposeProject {
        &self.project
    }

    pub(super) fn fence_mark(&self) -> Fence<'_> {
        Fence { project: &self.project, machine: &self.machine }
    }

    pub(super) async fn engine(&self, cx: &Cx) -> Result<Engine> {
        let mut kept = self.engine.lock().await;
        if let Some(engine) = kept.as_ref()
            && engine.is_alive().await
        {
            return Ok(engine.clone());
        }
        *kept = None;
        let engine = Engine::connect(cx, &self.project, &self.machine).await?;
        Ok(kept.insert(engine).clone())
    }

    /// The Compose file, read where it is.
    async fn file(&self, cx: &Cx) -> Result<ComposeFile> {
        if let Some(known) = &self.known {
            return Ok(known.clone());
        }
        let (name, file, at) = (&self.project.name, &self.project.file, self.machine.name());
        let what = format!("site {name}: read {file}");
        let script = format!("head -c {} {}\n", FILE_BYTES + 1, quoted(file));
        let said = self.machine.sh(cx, &what, &script, FILE_LIMIT).await?;
        if said.code != 0 {
            let text = format!("site {name}: the Compose file {file} on {at} cannot be read");
            return Err(Error::new(ErrorKind::Config, text).with_source(said.stderr.trim().to_owned()));
        }
        if said.stdout.len() > FILE_BYTES {
            return Err(Error::new(ErrorKind::Config, format!("site {name}: {file} is too large for a Compose file")));
        }
        ComposeFile::parse(&said.stdout, file)
    }

    pub(super) async fn seen(&self, cx: &Cx, engine: &Engine) -> Result<Vec<Seen>> {
        let mut seen = Vec::new();
        for container in engine.containers(cx, &self.project.project).await? {
            if let Some(all) = engine.inspect(cx, &container).await? {
                seen.push((container, all));
            }
        }
        Ok(seen)
    }

    /// The file's services with those that only the engine knows. Where the file cannot be used, the engine's word
    /// alone: a site must be stoppable without it.
    async fn known(&self, cx: &Cx, containers: &[Container]) -> Result<ComposeFile> {
        let mut file = match self.file(cx).await {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::Config && !containers.is_empty() => {
                tracing::warn!(error = %e.chain(), "the services are those that the engine has containers of");
                let pairs: BTreeMap<_, _> =
                    containers.iter().map(|c| (c.service.clone(), c.depends_on.clone())).collect();
                // In a circle the order does not matter.
                let order = in_order(pairs.clone()).unwrap_or_else(|_| pairs.into_iter().collect());
                ComposeFile { order, one_shots: BTreeSet::new() }
            }
            Err(e) => return Err(e),
        };
        for container in containers {
            if !file.order.iter().any(|(s, _)| *s == container.service) {
                file.order.push((container.service.clone(), container.depends_on.clone()));
            }
        }
        Ok(file)
    }

    /// The wanted services in order; all when none is named.
    fn wanted(&self, file: &ComposeFile, services: &[String]) -> Result<Vec<String>> {
        let known: Vec<&String> = file.order.iter().map(|(s, _)| s).collect();
        if let Some(other) = services.iter().find(|s| !known.contains(s)) {
            let names: Vec<&str> = known.iter().map(|s| s.as_str()).collect();
            let text = format!("site {} has no service `{other}`", self.project.name);
            return Err(
                Error::new(ErrorKind::NotFound, text).with_help(format!("its services are {}", names.join(", ")))
            );
        }
        let wanted = |s: &&String| services.is_empty() || services.contains(*s);
        Ok(known.into_iter().filter(wanted).cloned().collect())
    }

    fn states(&self, file: &ComposeFile, seen: &[Seen]) -> Vec<ServiceState> {
        let of = |service: &String| {
            let mine = seen.iter().filter(|(c, _)| c.service == *service);
            let states = mine.map(|(c, all)| state_of(c, all, file.one_shots.contains(service)));
            states.reduce(worse).unwrap_or_else(|| ServiceState::absent(service.clone()))
        };
        file.order.iter().map(|(service, _)| of(service)).collect()
    }

    /// A shell command with Compose as `$c`, told about the project. It leaves with a code of [`job::REFUSED`] when
    /// nothing was done.
    pub(super) fn compose(&self, fence: bool, then: &str) -> String {
        let p = &self.project;
        let host = p.docker_host.as_ref().map_or_else(String::new, |h| format!("export DOCKER_HOST={}\n", quoted(h)));
        let mark = quoted(&p.fence_mark());
        let gate =
            if fence { format!("if [ -e {mark} ]; then head -n 1 {mark}; exit 95; fi\n") } else { String::new() };
        let file = quoted(&p.file);
        format!(
            "{host}{gate}f={file}\n\
             cd \"$(dirname \"$f\")\" || exit 97\n\
             if docker compose version > /dev/null 2>&1; then c='docker compose'\n\
             elif command -v docker-compose > /dev/null 2>&1; then c=docker-compose\n\
             else echo 'neither docker compose nor docker-compose is there'; exit 96; fi\n\
             p={}\n\
             $c -f \"$f\" -p \"$p\" config -q || exit 97\n\
             {then}",
            quoted(&p.project)
        )
    }

    async fn compose_job(&self, cx: &Cx, job: &Job, command: &str) -> Result<JobResult> {
        let result = job::run(cx, &self.machine, &self.project.jobs_dir, job, command, &job::REFUSED).await?;
        let (name, file, at) = (&self.project.name, &self.project.file, self.machine.name());
        let said = result.output.trim().to_owned();
        match result.code {
            95 => Err(self.fenced_error("starting it", said.parse().unwrap_or(0))),
            96 => Err(Error::new(ErrorKind::Unsupported, format!("site {name}: {said} on {at}"))
                .with_help("install Docker's compose plugin, or the package docker-compose")),
            97 => Err(Error::new(
                ErrorKind::Config,
                format!("site {name}: Compose refuses {file} on {at}; nothing was done"),
            )
            .with_source(said)),
            _ => Ok(result),
        }
    }
}

#[async_trait]
impl SiteControl for ComposeSite {
    fn name(&self) -> &str {
        &self.project.name
    }

    fn address(&self) -> Option<&str> {
        self.project.address.as_deref()
    }

    async fn order(&self, cx: &Cx) -> Result<Vec<(String, Vec<String>)>> {
        self.file(cx).await.map(|f| f.order)
    }

    async fn services(&self, cx: &Cx) -> Result<Vec<ServiceState>> {
        let engine = self.engine(cx).await?;
        let seen = self.seen(cx, &engine).await?;
        let containers: Vec<Container> = seen.iter().map(|(c, _)| c.clone()).collect();
        let file = self.known(cx, &containers).await?;
        Ok(self.states(&file, &seen))
    }

    async fn up(&self, cx: &Cx, job: &Job, services: &[String]) -> Result<JobResult> {
        // Told with file and line before a machine is asked to do anything.
        let file = self.file(cx).await?;
        let mut command = "$c -f \"$f\" -p \"$p\" up -d".to_owned();
        if !services.is_empty() {
            for service in self.wanted(&file, services)? {
                command.push_str(&format!(" {}", quoted(&service)));
            }
        }
        command.push('\n');
        self.compose_job(cx, job, &self.compose(true, &command)).await
    }

    async fn down(&self, cx: &Cx, job: &Job, grace: Duration) -> Result<JobResult> {
        let seconds = grace.as_millis().div_ceil(1000);
        let command = self.compose(false, &format!("$c -f \"$f\" -p \"$p\" down -t {seconds}\n"));
        self.compose_job(cx, job, &command).await
    }

    async fn stop(&self, cx: &Cx, services: &[String], grace: Duration) -> Result<()> {
        let engine = self.engine(cx).await?;
        let containers = engine.containers(cx, &self.project.project).await?;
        let file = self.known(cx, &containers).await?;
        let wanted = self.wanted(&file, services)?;
        let mut stopped = 0;
        for service in wanted.iter().rev() {
            for container in containers.iter().filter(|c| c.service == *service) {
                engine.stop(cx, container, grace).await?;
                let running = engine.inspect(cx, container).await?.and_then(|s| s.state).and_then(|s| s.running);
                if running == Some(true) {
                    let text = format!("site {}: {} runs although it was stopped", self.project.name, container.name);
                    return Err(Error::new(ErrorKind::Conflict, text)
                        .with_effect(Effect::Applied)
                        .with_help("something on its machine starts it: look for a unit, a cron job or another run"));
                }
                stopped += 1;
            }
        }
        tracing::debug!(site = %self.project.name, stopped, "stopped");
        Ok(())
    }

    async fn start(&self, cx: &Cx, services: &[String]) -> Result<()> {
        self.refuse_fenced(cx, "starting it").await?;
        let engine = self.engine(cx).await?;
        let containers = engine.containers(cx, &self.project.project).await?;
        let file = self.known(cx, &containers).await?;
        for service in self.wanted(&file, services)? {
            let mine: Vec<&Container> = containers.iter().filter(|c| c.service == service).collect();
            if mine.is_empty() && services.contains(&service) {
                let text = format!("site {}: service {service} has no container", self.project.name);
                return Err(Error::new(ErrorKind::NotFound, text).with_help("make it: docker compose up -d"));
            }
            for container in mine {
                engine.start(cx, container).await?;
            }
        }
        Ok(())
    }

    async fn wait_healthy(&self, cx: &Cx, services: &[String], within: Duration) -> Result<Vec<ServiceState>> {
        let end = Instant::now() + within;
        let file = self.file(cx).await?;
        let wanted = self.wanted(&file, services)?;
        // Without a health check, one look may fall between two crashes.
        let mut before: BTreeMap<String, (u64, Option<chrono::DateTime<chrono::Utc>>)> = BTreeMap::new();
        loop {
            let engine = self.engine(cx).await?;
            let seen = self.seen(cx, &engine).await?;
            let checked = |service: &str| seen.iter().any(|(c, all)| c.service == service && has_check(all));
            let states = self.states(&file, &seen);
            let states: Vec<ServiceState> = states.into_iter().filter(|s| wanted.contains(&s.service)).collect();
            let steady = |s: &ServiceState| {
                s.finished || checked(&s.service) || before.get(&s.service) == Some(&(s.restarts, s.since))
            };
            let late: Vec<&ServiceState> =
                states.iter().filter(|s| s.health != Health::Healthy || !steady(s)).collect();
            if late.is_empty() {
                return Ok(states);
            }
            if Instant::now() >= end {
                return Err(self.not_healthy(cx, &engine, &seen, &late, within).await);
            }
            before = states.iter().map(|s| (s.service.clone(), (s.restarts, s.since))).collect();
            let pause = LOOK_AGAIN.min(end.saturating_duration_since(Instant::now()));
            pause_for(cx, "wait for services", pause).await?;
        }
    }

    async fn logs(&self, cx: &Cx, service: &str, lines: usize) -> Result<String> {
        let engine = self.engine(cx).await?;
        let containers = engine.containers(cx, &self.project.project).await?;
        let mut text = String::new();
        let mut any = false;
        for container in containers.iter().filter(|c| c.service == service) {
            any = true;
            text.push_str(&engine.logs(cx, container, lines).await?);
        }
        if any {
            return Ok(text);
        }
        Err(Error::new(ErrorKind::NotFound, format!("site {}: service {service} has no container", self.project.name)))
    }

    async fn run(&self, cx: &Cx, job: &Job, command: &str) -> Result<JobResult> {
        job::run(cx, &self.machine, &self.project.jobs_dir, job, command, &[]).await
    }

    async fn fence(&self, cx: &Cx, epoch: u64, reason: &str) -> Result<()> {
        self.close(cx, epoch, reason).await
    }

    async fn fenced(&self, cx: &Cx) -> Result<Option<u64>> {
        self.fence_mark().read(cx).await
    }

    async fn unfence(&self, cx: &Cx, epoch: u64) -> Result<()> {
        self.open(cx, epoch).await
    }
}

impl ComposeSite {
    async fn not_healthy(
        &self,
        cx: &Cx,
        engine: &Engine,
        seen: &[Seen],
        late: &[&ServiceState],
        within: Duration,
    ) -> Error {
        let names: Vec<String> = late.iter().map(|s| format!("{} ({})", s.service, describe(s))).collect();
        let text =
            format!("site {}: not healthy after {} s: {}", self.project.name, within.as_secs(), names.join(", "));
        let mut logs = String::new();
        for state in late {
            for (container, _) in seen.iter().filter(|(c, _)| c.service == state.service) {
                let said = match engine.logs(cx, container, TOLD_LINES).await {
                    Ok(said) => said,
                    Err(e) => format!("(its log cannot be read: {})", e.chain()),
                };
                logs.push_str(&format!("{}:\n{}\n", container.name, said.trim_end()));
            }
        }
        let e = Error::new(ErrorKind::Unavailable, text);
        if logs.is_empty() { e } else { e.with_source(logs) }
    }
}

fn describe(s: &ServiceState) -> String {
    match (s.exit_code, s.health) {
        (Some(code), _) if s.state != "running" => format!("{} with code {code}", s.state),
        (_, Health::Healthy) => format!("{}, not yet steady", s.state),
        (_, Health::Degraded) => format!("{}, starting", s.state),
        (_, Health::Down) if s.state == "running" => "running, unhealthy".to_owned(),
        _ => s.state.clone(),
    }
}
