//! Containers, through Docker's API.

use std::{collections::HashMap, time::Duration};

use bollard::{
    Docker,
    errors::Error as DockerError,
    query_parameters::{ListContainersOptionsBuilder, StopContainerOptionsBuilder},
};
use veza_dr_core::{Clock, Error, ErrorKind, Result, SystemClock};

use super::{plan::ContainerSelection, todo::Undo};

/// Docker answers within this time, but for what it is told to wait for.
const PATIENCE_SECONDS: u64 = 120;

/// A container that was found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) id: String,
    pub(super) name: String,
}

/// A connection to Docker.
#[derive(Debug, Clone)]
pub(super) struct Containers {
    docker: Docker,
}

impl Containers {
    /// Connects, and agrees on a version of the API.
    pub(super) async fn connect(host: Option<&str>) -> Result<Self> {
        let version = bollard::API_DEFAULT_VERSION;
        let docker = match host {
            None => Docker::connect_with_defaults(),
            Some(host) if host.starts_with("unix://") || host.starts_with('/') => {
                Docker::connect_with_unix(host, PATIENCE_SECONDS, version)
            }
            Some(host) => Docker::connect_with_http(host, PATIENCE_SECONDS, version),
        };
        let docker = docker.map_err(|e| failed("docker cannot be reached", e))?;
        let docker = docker.negotiate_version().await.map_err(|e| {
            failed("docker cannot be reached", e)
                .with_help("is it running, and may this user use its socket? (DOCKER_HOST, or quiesce.docker_host)")
        })?;
        Ok(Self { docker })
    }

    /// The containers that are meant, running or not, by name.
    pub(super) async fn find(&self, which: &ContainerSelection) -> Result<Vec<Found>> {
        if which.is_empty() {
            return Err(Error::new(ErrorKind::Config, "a step names no container")
                .with_help("give a name, a service, a project or a label"));
        }
        let mut labels = Vec::new();
        labels.extend(which.service.as_ref().map(|s| format!("com.docker.compose.service={s}")));
        labels.extend(which.project.as_ref().map(|p| format!("com.docker.compose.project={p}")));
        labels.extend(which.label.clone());
        let mut filters: HashMap<&str, Vec<String>> = HashMap::new();
        if !labels.is_empty() {
            filters.insert("label", labels);
        }
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let listed = self.docker.list_containers(Some(options)).await;
        let listed = listed.map_err(|e| failed("docker cannot list its containers", e))?;
        let mut found: Vec<Found> = Vec::new();
        for container in listed {
            // The filter by name is a search within names; only the very name is meant.
            let names: Vec<&str> = container.names.iter().flatten().map(|n| n.trim_start_matches('/')).collect();
            let Some(id) = container.id.clone() else { continue };
            if which.name.as_ref().is_some_and(|wanted| !names.contains(&wanted.as_str())) {
                continue;
            }
            found.push(Found { name: names.first().map_or_else(|| id.clone(), |n| (*n).to_owned()), id });
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        if found.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no container of {which}"))
                .with_help("see what there is: docker ps --all"));
        }
        Ok(found)
    }

    /// Running, and neither paused nor about to be restarted.
    pub(super) async fn is_running(&self, container: &Found) -> Result<bool> {
        let seen = self.docker.inspect_container(&container.id, None).await;
        let seen = seen.map_err(|e| failed(&format!("container {} cannot be looked at", container.name), e))?;
        let state = seen.state.unwrap_or_default();
        Ok(state.running == Some(true) && state.paused != Some(true))
    }

    pub(super) async fn stop(&self, container: &Found, timeout: Duration) -> Result<()> {
        let seconds = i32::try_from(timeout.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        // Docker answers when it is done: the client must not give up before.
        let docker = self.docker.clone().with_timeout(timeout + Duration::from_secs(60));
        let stopped = docker.stop_container(&container.id, Some(options)).await;
        already(stopped).map_err(|e| failed(&format!("container {} cannot be stopped", container.name), e))
    }

    pub(super) async fn pause(&self, container: &Found) -> Result<()> {
        let paused = self.docker.pause_container(&container.id).await;
        paused.map_err(|e| failed(&format!("container {} cannot be paused", container.name), e))
    }

    /// Puts a container back. One that is as it should be is left so; one that is no more is nobody's to start.
    ///
    /// Unless it is `settled` what became of the order to stop it, the container is watched for as long as that order
    /// may still be carried out: Docker goes on with it when whoever gave it is gone.
    pub(super) async fn undo(&self, undo: &Undo, settled: bool) -> Result<()> {
        let (Undo::Start { id, name, settled_at } | Undo::Unpause { id, name, settled_at }) = undo else {
            return Ok(());
        };
        loop {
            let state = match self.docker.inspect_container(id, None).await {
                Ok(seen) => seen.state.unwrap_or_default(),
                Err(DockerError::DockerResponseServerError { status_code: 404, .. }) => {
                    tracing::warn!(container = %name, "it was removed while it was stopped for a backup");
                    return Ok(());
                }
                Err(e) => return Err(failed(&format!("container {name} cannot be looked at"), e)),
            };
            match undo {
                Undo::Unpause { .. } if state.paused == Some(true) => {
                    let done = self.docker.unpause_container(id).await;
                    return done.map_err(|e| failed(&format!("container {name} cannot be unpaused"), e));
                }
                Undo::Start { .. } if state.running != Some(true) => {
                    let done = already(self.docker.start_container(id, None).await);
                    return done.map_err(|e| failed(&format!("container {name} cannot be started"), e));
                }
                _ if settled || SystemClock.now() >= *settled_at => return Ok(()),
                _ => tokio::time::sleep(Duration::from_millis(250)).await,
            }
        }
    }
}

/// "Not modified": it is so already.
fn already(done: Result<(), DockerError>) -> Result<(), DockerError> {
    match done {
        Err(DockerError::DockerResponseServerError { status_code: 304, .. }) => Ok(()),
        other => other,
    }
}

fn failed(what: &str, e: DockerError) -> Error {
    let kind = match &e {
        DockerError::DockerResponseServerError { status_code: 404, .. } => ErrorKind::NotFound,
        DockerError::DockerResponseServerError { status_code: 409, .. } => ErrorKind::Conflict,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, what).with_source(e)
}
