//! The container engine of a site, through Docker's API.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use bollard::{
    Docker,
    errors::Error as DockerError,
    models::{ContainerInspectResponse, ContainerUpdateBody, RestartPolicy, RestartPolicyNameEnum},
    query_parameters::{ListContainersOptionsBuilder, LogsOptionsBuilder, StopContainerOptionsBuilder},
};
use futures::StreamExt;
use tokio::net::UnixStream;
use veza_dr_core::{Cx, Effect, Error, ErrorKind, Result};

use super::{machine::Machine, settings::ComposeProject, tunnel::Tunnel};
use crate::shell::quoted;

const SOCKET: &str = "/var/run/docker.sock";
/// The engine answers within this time, but for what it is told to wait for.
const PATIENCE: Duration = Duration::from_secs(30);
const LABEL: &str = "com.docker.compose";
/// So much of a log is kept.
const LOG_BYTES: usize = 256 << 10;

/// Finds what belongs to a project.
pub(super) fn of_project(project: &str) -> HashMap<&'static str, Vec<String>> {
    HashMap::from([("label", vec![format!("{LABEL}.project={project}")])])
}

/// A container of the project.
#[derive(Debug, Clone)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) service: String,
    /// What newer versions of Compose note of the file: the services it depends on.
    pub(super) depends_on: Vec<String>,
}

/// A connection to the engine.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    docker: Docker,
    tunnel: Option<Arc<Tunnel>>,
    site: String,
}

impl Engine {
    /// Connects, and agrees on a version of the API.
    pub(super) async fn connect(cx: &Cx, project: &ComposeProject, machine: &Machine) -> Result<Self> {
        let wanted = project.docker_host.as_deref().map(|h| h.strip_prefix("unix://").unwrap_or(h));
        let site = project.name.clone();
        let (docker, tunnel) = match machine {
            Machine::There(ssh) => {
                let socket = wanted.unwrap_or(SOCKET);
                let tunnel = Arc::new(Tunnel::open(cx, ssh, socket).await.map_err(|e| of_site(&site, e))?);
                (unix(&tunnel.socket())?, Some(tunnel))
            }
            Machine::Here => match wanted {
                Some(socket) => (unix(Path::new(socket))?, None),
                None if std::env::var_os("DOCKER_HOST").is_some() => {
                    let docker = Docker::connect_with_defaults();
                    (docker.map_err(|e| failed(&format!("site {site}: the engine cannot be reached"), e))?, None)
                }
                None => (unix(Path::new(SOCKET))?, None),
            },
        };
        let engine = Self { docker, tunnel, site };
        let agree = async {
            Ok(tokio::time::timeout(Duration::from_secs(10), engine.docker.clone().negotiate_version()).await)
        };
        match cx.run("connect", agree).await? {
            Ok(Ok(docker)) => Ok(Self { docker, ..engine }),
            Ok(Err(e)) => Err(engine.why(cx, project, machine, Some(e)).await),
            Err(_) => Err(engine.why(cx, project, machine, None).await),
        }
    }

    /// Whether it still answers.
    pub(super) async fn is_alive(&self) -> bool {
        self.tunnel.as_ref().is_none_or(|t| t.is_open())
            && matches!(tokio::time::timeout(Duration::from_secs(5), self.docker.ping()).await, Ok(Ok(_)))
    }

    /// Finds out why the engine could not be reached.
    async fn why(&self, cx: &Cx, project: &ComposeProject, machine: &Machine, e: Option<DockerError>) -> Error {
        let socket = project.docker_host.as_deref().map_or(SOCKET, |h| h.strip_prefix("unix://").unwrap_or(h));
        let (at, site) = (machine.name(), &self.site);
        let denied = |text: String| {
            Error::new(ErrorKind::Denied, format!("site {site}: {text}"))
                .with_help("its user must be in the group of the socket (usually docker), or be root")
        };
        let missing = || {
            let text = format!("site {site}: there is no Docker socket at {socket} on {at}");
            Error::new(ErrorKind::Unavailable, text).with_help("is the engine running? see compose.docker_host")
        };
        let silent = || {
            let text = format!("site {site}: the engine behind {socket} on {at} does not answer");
            Error::new(ErrorKind::Unavailable, text)
        };
        let error = match &self.tunnel {
            None => match UnixStream::connect(socket).await {
                Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => denied(format!("{socket} refuses us")),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => missing(),
                _ => silent(),
            },
            Some(tunnel) => {
                let path = quoted(socket);
                // sshd gives no reason when it does not forward: whether the engine answers there tells.
                let script = format!(
                    "s={path}\nif [ ! -e \"$s\" ]; then echo missing\n\
                     elif [ ! -r \"$s\" ] || [ ! -w \"$s\" ]; then echo refused\n\
                     elif timeout 5 docker -H \"unix://$s\" version > /dev/null 2>&1; then echo answers\n\
                     else echo silent; fi"
                );
                let found = machine.sh(cx, "look at the socket", &script, Duration::from_secs(10)).await;
                match found.as_ref().map(|s| s.stdout.trim()) {
                    Ok("missing") => missing(),
                    Ok("refused") => denied(format!("the Docker socket {socket} on {at} refuses our user")),
                    Ok("answers") => denied(format!("the sshd of {at} does not forward the Docker socket {socket}"))
                        .with_help("allow it in its sshd_config: AllowStreamLocalForwarding yes")
                        .with_source(tunnel.complaint()),
                    Err(e) => silent().with_source(e.chain()),
                    Ok(_) => silent(),
                }
            }
        };
        match e {
            Some(e) if std::error::Error::source(&error).is_none() => error.with_source(e),
            _ => error,
        }
    }

    /// The containers of the project, running or not, but for those of `run`, by service and number.
    pub(super) async fn containers(&self, cx: &Cx, project: &str) -> Result<Vec<Container>> {
        let filters = of_project(project);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let listed = self.call(cx, "list the containers", self.docker.list_containers(Some(options))).await?;
        let mut found = Vec::new();
        for container in listed {
            let labels = container.labels.unwrap_or_default();
            let label = |key: &str| labels.get(&format!("{LABEL}.{key}")).map(String::as_str);
            let (Some(id), Some(service)) = (container.id, label("service")) else { continue };
            if label("oneoff") == Some("True") {
                continue;
            }
            let names = container.names.unwrap_or_default();
            let name = names.first().map_or_else(|| id.clone(), |n| n.trim_start_matches('/').to_owned());
            let listed = label("depends_on").unwrap_or_default().split(',').filter(|d| !d.is_empty());
            let depends_on = listed.map(|d| d.split(':').next().unwrap_or(d).to_owned()).collect();
            found.push(Container { id, name, service: service.to_owned(), depends_on });
        }
        found.sort_by(|a, b| (&a.service, &a.name).cmp(&(&b.service, &b.name)));
        Ok(found)
    }

    /// All that is known of a container; `None` when it was removed meanwhile.
    pub(super) async fn inspect(&self, cx: &Cx, container: &Container) -> Result<Option<ContainerInspectResponse>> {
        let what = format!("look at {}", container.name);
        let inspect = self.docker.inspect_container(&container.id, None);
        match self.call(cx, &what, inspect).await {
            Ok(seen) => Ok(Some(seen)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Stops a container and returns when it is stopped.
    pub(super) async fn stop(&self, cx: &Cx, container: &Container, grace: Duration) -> Result<()> {
        let seconds = i32::try_from(grace.as_millis().div_ceil(1000)).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        // The engine answers when it is done: the client must not give up before.
        let limit = grace + PATIENCE;
        let docker = self.docker.clone().with_timeout(limit);
        let what = format!("stop {}", container.name);
        let stop = async { already(docker.stop_container(&container.id, Some(options)).await) };
        self.call_within(cx, &what, limit, stop).await.map_err(|e| e.with_effect(Effect::Unknown))
    }

    pub(super) async fn start(&self, cx: &Cx, container: &Container) -> Result<()> {
        let start = async { already(self.docker.start_container(&container.id, None).await) };
        let what = format!("start {}", container.name);
        self.call(cx, &what, start).await.map_err(|e| e.with_effect(Effect::Unknown))
    }

    /// Sets whether the engine starts the container by itself.
    pub(super) async fn set_restart(&self, cx: &Cx, id: &str, policy: &Restart) -> Result<()> {
        let policy = RestartPolicy { name: Some(policy.name()?), maximum_retry_count: Some(policy.most) };
        let body = ContainerUpdateBody { restart_policy: Some(policy), ..ContainerUpdateBody::default() };
        let what = format!("set the restart policy of container {id}");
        self.call(cx, &what, self.docker.update_container(id, body)).await.map(drop)
    }

    /// The end of what a container printed.
    pub(super) async fn logs(&self, cx: &Cx, container: &Container, lines: usize) -> Result<String> {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(&lines.to_string()).build();
        let mut pieces = Box::pin(self.docker.logs(&container.id, Some(options)));
        let what = format!("read the log of {}", container.name);
        let read = async {
            let mut text: Vec<u8> = Vec::new();
            while let Some(piece) = pieces.next().await {
                text.extend_from_slice(&piece?.into_bytes());
                let surplus = text.len().saturating_sub(LOG_BYTES);
                text.drain(..surplus);
            }
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        self.call(cx, &what, read).await
    }

    pub(super) fn docker(&self) -> &Docker {
        &self.docker
    }

    pub(super) async fn call<T>(
        &self,
        cx: &Cx,
        what: &str,
        call: impl Future<Output = Result<T, DockerError>>,
    ) -> Result<T> {
        self.call_within(cx, what, PATIENCE, call).await
    }

    async fn call_within<T>(
        &self,
        cx: &Cx,
        what: &str,
        limit: Duration,
        call: impl Future<Output = Result<T, DockerError>>,
    ) -> Result<T> {
        let what = format!("site {}: {what}", self.site);
        let work = async {
            match tokio::time::timeout(limit, call).await {
                Ok(done) => done.map_err(|e| failed(&what, e)),
                Err(_) => {
                    let text = format!("{what}: the engine did not answer within {} s", limit.as_secs());
                    Err(Error::new(ErrorKind::Unavailable, text))
                }
            }
        };
        cx.run(&what, work).await
    }
}

/// A restart policy, as it is put on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Restart {
    pub(super) word: String,
    pub(super) most: i64,
}

impl Restart {
    pub(super) fn no() -> Self {
        Self { word: "no".to_owned(), most: 0 }
    }

    pub(super) fn of(seen: &ContainerInspectResponse) -> Self {
        let policy = seen.host_config.as_ref().and_then(|h| h.restart_policy.clone()).unwrap_or_default();
        let word = policy.name.map(|n| n.to_string()).filter(|w| !w.is_empty()).unwrap_or_else(|| "no".to_owned());
        Self { word, most: policy.maximum_retry_count.unwrap_or(0) }
    }

    fn name(&self) -> Result<RestartPolicyNameEnum> {
        match self.word.as_str() {
            "no" => Ok(RestartPolicyNameEnum::NO),
            "always" => Ok(RestartPolicyNameEnum::ALWAYS),
            "unless-stopped" => Ok(RestartPolicyNameEnum::UNLESS_STOPPED),
            "on-failure" => Ok(RestartPolicyNameEnum::ON_FAILURE),
            other => Err(Error::new(ErrorKind::Corrupt, format!("`{other}` is not a restart policy"))),
        }
    }
}

fn unix(socket: &Path) -> Result<Docker> {
    let path = socket.to_string_lossy();
    // bollard looks for the file; one that is not there is told with more words by `why`.
    Docker::connect_with_unix(&path, PATIENCE.as_secs(), bollard::API_DEFAULT_VERSION).map_err(|e| {
        Error::new(ErrorKind::Unavailable, format!("there is no Docker socket at {path}"))
            .with_source(e)
            .with_help("is the engine running? see compose.docker_host")
    })
}

fn of_site(site: &str, e: Error) -> Error {
    let mut told = Error::new(e.kind(), format!("site {site}: {e}")).with_effect(e.effect());
    if let Some(help) = e.help() {
        told = told.with_help(help);
    }
    match std::error::Error::source(&e) {
        Some(cause) => told.with_source(cause.to_string()),
        None => told,
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
