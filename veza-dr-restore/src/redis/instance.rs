//! The container or process that runs a server: what the way of files needs of it.

use std::{
    fmt::Debug,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use veza_dr_core::{Cx, Result};

/// Something that runs a Redis server and whose files can be reached while it is stopped.
///
/// Paths are the server's own: inside a container, those of the container.
#[async_trait]
pub trait Instance: Debug + Send + Sync + 'static {
    /// Who this is, for people: `container veza_redis`.
    fn describe(&self) -> String;

    /// Stops the server in its own way, so that it may save its data, and returns when it has ended. One that does not
    /// run is no error.
    ///
    /// # Errors
    /// When it could not be stopped.
    async fn stop(&self, cx: &Cx) -> Result<()>;

    /// Starts the server; it may still be loading when this returns. One that runs is no error.
    ///
    /// # Errors
    /// When it could not be started.
    async fn start(&self, cx: &Cx) -> Result<()>;

    /// Copies a file of the stopped server to `to`; false when there is none.
    ///
    /// # Errors
    /// When it is there and could not be copied whole.
    async fn fetch(&self, cx: &Cx, path: &str, to: &Path) -> Result<bool>;

    /// Puts a copy of `from` at `path`, replacing what is there, making its folder when that is missing; the server
    /// can read and write both.
    ///
    /// # Errors
    /// When it could not be written whole.
    async fn place(&self, cx: &Cx, path: &str, from: &Path) -> Result<()>;
}

/// Where a server keeps its data, as its configuration says.
///
/// ```
/// use veza_dr_restore::redis::ServerFiles;
/// assert_eq!(ServerFiles::default().rdb(), "/data/dump.rdb");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerFiles {
    /// `dir`.
    pub dir: String,
    /// `dbfilename`.
    pub dbfilename: String,
    /// `appenddirname`; `None` before Redis 7.
    pub appenddirname: Option<String>,
    /// `appendfilename`.
    pub appendfilename: String,
    /// `appendonly`; `None` when it is not known and is to be told from the files.
    pub appendonly: Option<bool>,
}

impl Default for ServerFiles {
    /// Those of the official container image.
    fn default() -> Self {
        Self {
            dir: "/data".to_owned(),
            dbfilename: "dump.rdb".to_owned(),
            appenddirname: Some("appendonlydir".to_owned()),
            appendfilename: "appendonly.aof".to_owned(),
            appendonly: None,
        }
    }
}

impl ServerFiles {
    /// With the files of the official container image in this folder.
    #[must_use]
    pub fn in_dir(dir: impl Into<String>) -> Self {
        Self { dir: dir.into(), ..Self::default() }
    }

    /// The RDB file.
    #[must_use]
    pub fn rdb(&self) -> String {
        self.at(&self.dbfilename)
    }

    /// A file of the append-only kind with this ending: `.manifest`.
    pub(crate) fn append(&self, ending: &str) -> String {
        let name = format!("{}{ending}", self.appendfilename);
        match &self.appenddirname {
            Some(folder) => self.at(&format!("{folder}/{name}")),
            None => self.at(&name),
        }
    }

    fn at(&self, name: &str) -> String {
        PathBuf::from(&self.dir).join(name).to_string_lossy().into_owned()
    }
}
