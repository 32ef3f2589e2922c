//! A Docker container as the instance of a server.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use bollard::{
    Docker,
    query_parameters::{
        DownloadFromContainerOptionsBuilder, InspectContainerOptions, StartContainerOptions,
        StopContainerOptionsBuilder, UploadToContainerOptionsBuilder,
    },
};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, TryStreamExt, stream::BoxStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use veza_dr_core::{Cx, Error, ErrorKind, Result};

use super::instance::Instance;

/// As long as the server may take to write its last RDB before it is killed, in seconds.
const GRACE: i32 = 600;
/// As long as any one call may take: copying hundreds of gigabytes is one.
const LIMIT: Duration = Duration::from_secs(12 * 3600);
const BLOCK: usize = 512;

/// A container, reached through the Docker API. Its files are copied in and out while it is stopped, as `docker cp`
/// does, so neither a shell nor a mount of its volume is needed.
///
/// ```no_run
/// # fn f() -> veza_dr_core::Result<()> {
/// use veza_dr_restore::redis::{DockerInstance, RedisRestoreOptions};
/// let options = RedisRestoreOptions::new("/var/lib/veza-dr")
///     .with_instance(std::sync::Arc::new(DockerInstance::connect("veza_redis")?));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct DockerInstance {
    docker: Docker,
    container: String,
}

/// Whose a file is.
#[derive(Debug, Clone, Copy)]
struct Owner {
    uid: u64,
    gid: u64,
}

impl DockerInstance {
    /// The container of this name or id, at the Docker that `DOCKER_HOST` names, else the local one. No I/O.
    ///
    /// # Errors
    /// `Config` when the address of Docker cannot be read.
    pub fn connect(container: impl Into<String>) -> Result<Self> {
        Self::through(Docker::connect_with_defaults(), container.into())
    }

    /// The container at the Docker of this address: `unix:///run/docker.sock`, `tcp://host:2375`. No I/O.
    ///
    /// # Errors
    /// As [`DockerInstance::connect`].
    pub fn at(host: &str, container: impl Into<String>) -> Result<Self> {
        Self::through(Docker::connect_with_host(host), container.into())
    }

    fn through(docker: std::result::Result<Docker, bollard::errors::Error>, container: String) -> Result<Self> {
        let docker = docker.map_err(|e| {
            Error::new(ErrorKind::Config, "the address of Docker cannot be used")
                .with_source(e)
                .with_help("see DOCKER_HOST")
        })?;
        Ok(Self { docker: docker.with_timeout(LIMIT), container })
    }

    fn failed(&self, what: &str, e: bollard::errors::Error) -> Error {
        let kind = match &e {
            bollard::errors::Error::DockerResponseServerError { status_code: 404, .. } => ErrorKind::NotFound,
            bollard::errors::Error::DockerResponseServerError { status_code: 403, .. } => ErrorKind::Denied,
            bollard::errors::Error::DockerResponseServerError { status_code: 409, .. } => ErrorKind::Conflict,
            bollard::errors::Error::DockerResponseServerError { .. } => ErrorKind::Unexpected,
            _ => ErrorKind::Unavailable,
        };
        Error::new(kind, format!("cannot {what} container {}", self.container))
            .with_source(e)
            .with_help("is Docker running, and may this user use it? docker ps -a")
    }

    fn download(&self, path: &str) -> Archive {
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let stream = self.docker.download_from_container(&self.container, Some(options));
        Archive { stream: stream.map_err(std::io::Error::other).boxed(), buffer: BytesMut::new() }
    }

    /// Whose the folder is; `None` when there is none.
    async fn owner(&self, folder: &Path) -> Result<Option<Owner>> {
        let options = DownloadFromContainerOptionsBuilder::default().path(&folder.to_string_lossy()).build();
        let mut stream = Box::pin(self.docker.download_from_container(&self.container, Some(options)));
        let mut head = BytesMut::new();
        while head.len() < BLOCK {
            match stream.next().await {
                Some(Ok(bytes)) => head.extend_from_slice(&bytes),
                Some(Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. })) => {
                    return Ok(None);
                }
                Some(Err(e)) => return Err(self.failed("look into", e)),
                None => return Ok(None),
            }
        }
        let header = tar::Header::from_byte_slice(&head[..BLOCK]);
        let read = || Ok::<_, std::io::Error>(Owner { uid: header.uid()?, gid: header.gid()? });
        read().map(Some).map_err(|e| {
            Error::new(ErrorKind::Unexpected, format!("the owner of {} cannot be read", folder.display()))
                .with_source(e)
        })
    }
}

#[async_trait]
impl Instance for DockerInstance {
    fn describe(&self) -> String {
        format!("container {}", self.container)
    }

    async fn stop(&self, cx: &Cx) -> Result<()> {
        let options = StopContainerOptionsBuilder::default().t(GRACE).build();
        let stop = self.docker.stop_container(&self.container, Some(options));
        cx.run("stop the container", async { stop.await.map_err(|e| self.failed("stop", e)) }).await?;
        let look = self.docker.inspect_container(&self.container, None::<InspectContainerOptions>);
        let state =
            cx.run("look at the container", async { look.await.map_err(|e| self.failed("look at", e)) }).await?;
        if state.state.and_then(|s| s.running) == Some(true) {
            let text = format!("container {} runs although it was stopped", self.container);
            return Err(Error::new(ErrorKind::Conflict, text).with_help("something starts it again: stop that first"));
        }
        Ok(())
    }

    async fn start(&self, cx: &Cx) -> Result<()> {
        let start = self.docker.start_container(&self.container, None::<StartContainerOptions>);
        cx.run("start the container", async { start.await.map_err(|e| self.failed("start", e)) }).await
    }

    async fn fetch(&self, cx: &Cx, path: &str, to: &Path) -> Result<bool> {
        let what = format!("copy {path} out of the container");
        let copy = async {
            let mut archive = self.download(path);
            let Some(size) = archive.open().await.or_else(absent).map_err(|e| self.broken(&what, e))? else {
                return Ok(false);
            };
            let write = async {
                let mut file = tokio::fs::File::create(to).await?;
                archive.copy(size, &mut file).await?;
                file.sync_all().await
            };
            write.await.map_err(|e| self.broken(&what, e))?;
            Ok(true)
        };
        cx.run(&what, copy).await
    }

    async fn place(&self, cx: &Cx, path: &str, from: &Path) -> Result<()> {
        let what = format!("copy {path} into the container");
        let path = PathBuf::from(path);
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::new(ErrorKind::Config, format!("{} is no file's path", path.display())));
        };
        let mut entries = Vec::new();
        let mut at = folder;
        let owner = loop {
            if let Some(owner) = cx.run(&what, self.owner(at)).await? {
                break owner;
            }
            let Some(parent) = at.parent() else {
                let text = format!("{} has no folder {}", self.describe(), folder.display());
                return Err(Error::new(ErrorKind::NotFound, text));
            };
            entries.push(at.to_owned());
            at = parent;
        };
        let relative = |p: &Path| p.strip_prefix(at).unwrap_or(p).to_owned();
        let broken = |e: std::io::Error| self.broken(&what, e);
        let mut head = Vec::new();
        for folder in entries.iter().rev() {
            head.extend_from_slice(header(&relative(folder), owner, None).map_err(broken)?.as_bytes());
        }
        let file = tokio::fs::File::open(from).await.map_err(broken)?;
        let size = file.metadata().await.map_err(broken)?.len();
        let name = relative(&folder.join(name));
        head.extend_from_slice(header(&name, owner, Some(size)).map_err(broken)?.as_bytes());
        let options = UploadToContainerOptionsBuilder::default().path(&at.to_string_lossy()).build();
        let body = bollard::body_try_stream(body(head.into(), file, size));
        let upload = self.docker.upload_to_container(&self.container, Some(options), body);
        cx.run(&what, async { upload.await.map_err(|e| self.failed("copy into", e)) }).await
    }
}

impl DockerInstance {
    fn broken(&self, what: &str, e: std::io::Error) -> Error {
        Error::new(ErrorKind::Unavailable, format!("{}: cannot {what}", self.describe())).with_source(e)
    }
}

fn header(name: &Path, owner: Owner, size: Option<u64>) -> std::io::Result<tar::Header> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name)?;
    header.set_uid(owner.uid);
    header.set_gid(owner.gid);
    header.set_size(size.unwrap_or(0));
    header.set_entry_type(if size.is_some() { tar::EntryType::Regular } else { tar::EntryType::Directory });
    header.set_mode(if size.is_some() { 0o600 } else { 0o700 });
    header.set_mtime(u64::try_from(chrono::Utc::now().timestamp()).unwrap_or(0));
    header.set_cksum();
    Ok(header)
}

/// An archive of one file, whose length may not change meanwhile.
fn body(head: Bytes, file: tokio::fs::File, size: u64) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    let padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    let tail = vec![0; padding as usize + 2 * BLOCK];
    let pieces = futures::stream::try_unfold((file.take(size), 0), move |(mut file, sent)| async move {
        let mut piece = BytesMut::with_capacity(256 * 1024);
        let n = file.read_buf(&mut piece).await? as u64;
        if n == 0 && sent != size {
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the local file became shorter"));
        }
        Ok((n > 0).then(|| (piece.freeze(), (file, sent + n))))
    });
    let around = |bytes: Bytes| futures::stream::once(async move { Ok(bytes) });
    around(head).chain(pieces).chain(around(tail.into()))
}

/// A download being read: a tar archive of one file.
struct Archive {
    stream: BoxStream<'static, std::io::Result<Bytes>>,
    buffer: BytesMut,
}

impl Archive {
    async fn more(&mut self) -> std::io::Result<bool> {
        match self.stream.next().await {
            Some(bytes) => {
                self.buffer.extend_from_slice(&bytes?);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    async fn take(&mut self, n: usize) -> std::io::Result<BytesMut> {
        while self.buffer.len() < n {
            if !self.more().await? {
                return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the download ended too early"));
            }
        }
        Ok(self.buffer.split_to(n))
    }

    /// The size of the file in it.
    async fn open(&mut self) -> std::io::Result<Option<u64>> {
        let mut long = None;
        loop {
            let block = self.take(BLOCK).await?;
            let header = tar::Header::from_byte_slice(&block);
            let size = header.entry_size()?;
            match header.entry_type() {
                tar::EntryType::XHeader | tar::EntryType::XGlobalHeader if size < 1 << 20 => {
                    let blocks = (size as usize).div_ceil(BLOCK) * BLOCK;
                    let records = self.take(blocks).await?;
                    let text = String::from_utf8_lossy(&records[..size as usize]).into_owned();
                    let given = text.lines().find_map(|l| l.split_once(" size=")?.1.parse().ok());
                    long = given.or(long);
                }
                tar::EntryType::Regular => return Ok(Some(long.unwrap_or(size))),
                other => {
                    let text = format!("it is no regular file but {other:?}");
                    return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, text));
                }
            }
        }
    }

    async fn copy(&mut self, mut left: u64, to: &mut tokio::fs::File) -> std::io::Result<()> {
        while left > 0 {
            if self.buffer.is_empty() && !self.more().await? {
                return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the download ended too early"));
            }
            let n = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            to.write_all(&self.buffer.split_to(n)).await?;
            left -= n as u64;
        }
        to.flush().await
    }
}

/// A file that is not there is no failure.
fn absent(e: std::io::Error) -> std::io::Result<Option<u64>> {
    let inner = e.get_ref().and_then(|e| e.downcast_ref::<bollard::errors::Error>());
    match inner {
        Some(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        _ => Err(e),
    }
}
