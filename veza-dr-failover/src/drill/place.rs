//! A private place for one component: a server on the loopback interface, or a folder.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::process::Signal;
use tokio::net::{TcpListener, TcpStream};
use veza_dr_core::{ArtifactSource, Cx, Error, ErrorKind, Manifest, OperationId, Result, SecretString};

use super::{ground, keeper::Keeper, postgres_place, redis_place};

/// What kind of private place a component needs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum PlaceSpec {
    /// A PostgreSQL cluster of the backup's own major version.
    Postgres {
        /// Where its programs (`initdb`, `postgres`, `psql`) are, when not in the usual places for that version.
        bin_dir: Option<PathBuf>,
    },
    /// A Redis server.
    Redis {
        /// The program.
        redis_server: PathBuf,
    },
    /// A folder.
    Folder,
}

/// Where a private place is, for whoever restores into it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Place {
    /// A PostgreSQL server on 127.0.0.1. It has the backup's roles, none of which may log in but `user`, a superuser.
    Postgres {
        /// Its port.
        port: u16,
        /// Who may log in.
        user: String,
        /// Their password.
        password: SecretString,
        /// Its programs.
        bin_dir: PathBuf,
        /// Where whoever restores may keep what it needs.
        state: PathBuf,
    },
    /// An empty Redis server on 127.0.0.1.
    Redis {
        /// Its port.
        port: u16,
        /// Its password.
        password: SecretString,
        /// The program that it is.
        redis_server: PathBuf,
        /// Where whoever restores may keep what it needs.
        state: PathBuf,
    },
    /// A service of the drill's own project of containers. Who may log in, and with what, is for the project's file to say.
    Service {
        /// The service.
        service: String,
        /// Where it answers. On 127.0.0.1 it is led to through SSH: nothing of it can connect to this host.
        address: SocketAddr,
        /// Where whoever restores may keep what it needs.
        state: PathBuf,
    },
    /// A folder that does not exist yet, in one that is there.
    Folder {
        /// The folder to restore to.
        path: PathBuf,
    },
}

impl Place {
    /// Where it is, for people; without credentials.
    #[must_use]
    pub fn location(&self) -> String {
        match self {
            Self::Postgres { port, .. } => format!("PostgreSQL on 127.0.0.1:{port}"),
            Self::Redis { port, .. } => format!("Redis on 127.0.0.1:{port}"),
            Self::Service { service, .. } => format!("service {service} of the drill"),
            Self::Folder { path } => path.display().to_string(),
        }
    }

    /// Whether it answers.
    pub(super) async fn answers(&self) -> bool {
        match self {
            Self::Postgres { port, .. } | Self::Redis { port, .. } => answers(*port).await,
            Self::Service { address, .. } => reached(*address).await,
            Self::Folder { path } => path.is_dir(),
        }
    }
}

/// A place that is there.
#[derive(Debug)]
pub(super) struct Raised {
    pub(super) place: Place,
    pub(super) server: Option<Keeper>,
    pub(super) folder: PathBuf,
}

impl Raised {
    /// Makes a place in `folder`, which must not exist yet.
    pub(super) async fn new(
        cx: &Cx,
        spec: &PlaceSpec,
        folder: &Path,
        manifest: &Manifest,
        data: &Arc<dyn ArtifactSource>,
    ) -> Result<Self> {
        match spec {
            PlaceSpec::Postgres { bin_dir } => {
                postgres_place::raise(cx, bin_dir.as_deref(), folder, manifest, data).await
            }
            PlaceSpec::Redis { redis_server } => redis_place::raise(cx, redis_server, folder).await,
            PlaceSpec::Folder => {
                ground::make_private(folder)?;
                let place = Place::Folder { path: folder.join("tree") };
                Ok(Self { place, server: None, folder: folder.to_owned() })
            }
        }
    }

    /// The disaster: the server is ended without a chance to save anything, and its data are deleted.
    ///
    /// # Errors
    /// When something of it is still there.
    pub(super) async fn destroy(self) -> Result<()> {
        let Self { server, folder, .. } = self;
        let work = move || {
            if let Some(server) = server {
                // Immediate for PostgreSQL, and without a handler in Redis: neither saves anything.
                server.end(Signal::QUIT);
                if server.ended().is_none() {
                    return Err(Error::new(ErrorKind::Unavailable, "a private server cannot be ended"));
                }
            }
            std::fs::remove_dir_all(&folder).map_err(|e| ground::cannot("removed", &folder, &e))
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| Error::new(ErrorKind::Unexpected, "the removal died").with_source(e))?
    }
}

pub(super) async fn answers(port: u16) -> bool {
    reached(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
}

pub(super) async fn reached(to: SocketAddr) -> bool {
    matches!(tokio::time::timeout(Duration::from_secs(2), TcpStream::connect(to)).await, Ok(Ok(_)))
}

/// A port that nobody listens on right now.
pub(super) async fn free_port() -> Result<u16> {
    let port = async { TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr().map(|a| a.port()) };
    port.await.map_err(|e| Error::new(ErrorKind::Unavailable, "there is no free port on 127.0.0.1").with_source(e))
}

/// 128 random bits.
pub(super) fn secret() -> String {
    format!("{}{}", OperationId::random(), OperationId::random())
}
