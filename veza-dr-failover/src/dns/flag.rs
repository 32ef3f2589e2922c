//! A flag that the standby serves itself: with a health check that watches it, raising it leads users over without a
//! call to any provider's control plane.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use veza_dr_core::{Cx, Effect, Error, ErrorKind, OperationId, Result};

use crate::{
    shell::quoted,
    site::{Job, SiteControl},
};

/// The first line of a raised flag.
pub const FLAG_TEXT: &str = "the standby takes over";

/// Where the file is that the standby's web server serves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum FlagPlace {
    /// On this machine.
    Local(PathBuf),
    /// On a site's machine.
    Site(Arc<dyn SiteControl>, String),
}

/// Whether the flag is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FlagState {
    /// Users are to be led to the standby; with what was written when it was raised.
    Raised(String),
    /// They are not.
    Lowered,
}

/// The flag. A web server of the standby serves its file at a URL that an *inverted* health check of the primary's
/// failover record watches: found means that the primary is to be taken as sick. While the standby itself is down the
/// file cannot be found, and the primary stays. See `docs/dns.md`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use veza_dr_core::Cx;
/// use veza_dr_failover::dns::{FlagPlace, FlagState, HealthFlag};
/// let dir = std::env::temp_dir().join(format!("veza-dr-flag-{}", std::process::id()));
/// let flag = HealthFlag::new(FlagPlace::Local(dir.join("failover")));
/// let cx = Cx::background();
/// flag.raise(&cx, 7, "drill").await?;
/// assert!(matches!(flag.show(&cx).await?, FlagState::Raised(text) if text.contains("epoch 7")));
/// flag.lower(&cx).await?;
/// assert_eq!(flag.show(&cx).await?, FlagState::Lowered);
/// # std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), veza_dr_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct HealthFlag {
    place: FlagPlace,
}

impl HealthFlag {
    /// A flag at this place.
    #[must_use]
    pub fn new(place: FlagPlace) -> Self {
        Self { place }
    }

    /// The commands that raise it by hand.
    #[must_use]
    pub fn raise_commands(&self, epoch: u64, reason: &str) -> Vec<String> {
        let path = match &self.place {
            FlagPlace::Local(path) => path.display().to_string(),
            FlagPlace::Site(_, path) => path.clone(),
        };
        vec![raise_command(&path, &content(epoch, reason))]
    }

    /// Raises it, durably. Raising a raised flag writes it anew.
    ///
    /// # Errors
    /// Where the file cannot be written, or the site cannot be reached; with [`Effect::Unknown`] when the connection
    /// was lost: [`show`](Self::show) tells.
    pub async fn raise(&self, cx: &Cx, epoch: u64, reason: &str) -> Result<()> {
        cx.check("raise the health flag")?;
        let content = content(epoch, reason);
        match &self.place {
            FlagPlace::Local(path) => write(path, &content).map_err(|e| failed("raise", path, e)),
            FlagPlace::Site(site, path) => self.remote(cx, &**site, &raise_command(path, &content)).await.map(drop),
        }
    }

    /// Takes it down, durably. A lowered flag stays lowered.
    ///
    /// # Errors
    /// As [`raise`](Self::raise).
    pub async fn lower(&self, cx: &Cx) -> Result<()> {
        cx.check("lower the health flag")?;
        match &self.place {
            FlagPlace::Local(path) => match fs::remove_file(path) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
                Err(e) => Err(failed("lower", path, e)),
                Ok(()) => sync_folder(path).map_err(|e| failed("lower", path, e).with_effect(Effect::Applied)),
            },
            FlagPlace::Site(site, path) => {
                let path = quoted(path);
                let command = format!("rm -f -- {path} && sync -- \"$(dirname -- {path})\"");
                self.remote(cx, &**site, &command).await.map(drop)
            }
        }
    }

    /// Looks whether it is up.
    ///
    /// # Errors
    /// When it cannot be told: that is never "lowered".
    pub async fn show(&self, cx: &Cx) -> Result<FlagState> {
        cx.check("look at the health flag")?;
        match &self.place {
            FlagPlace::Local(path) => match fs::read_to_string(path) {
                Ok(text) => Ok(FlagState::Raised(text)),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(FlagState::Lowered),
                Err(e) => Err(failed("look at", path, e)),
            },
            FlagPlace::Site(site, path) => {
                let path = quoted(path);
                let command = format!("if [ -e {path} ]; then echo raised && cat -- {path}; else echo lowered; fi");
                let told = self.remote(cx, &**site, &command).await.map_err(|e| e.with_effect(Effect::None))?;
                match told.trim_start().split_once('\n').unwrap_or((told.trim(), "")) {
                    ("raised", text) => Ok(FlagState::Raised(text.to_owned())),
                    ("lowered", _) => Ok(FlagState::Lowered),
                    _ => Err(Error::new(ErrorKind::Unexpected, format!("site {} told neither", site.name()))),
                }
            }
        }
    }

    async fn remote(&self, cx: &Cx, site: &dyn SiteControl, command: &str) -> Result<String> {
        // Its commands may all be repeated, so each call is a job of its own.
        let job = Job(format!("health-flag-{}", OperationId::random()));
        let result = site.run(cx, &job, command).await?;
        if result.code == 0 {
            return Ok(result.output);
        }
        let text = format!("the health flag of site {}: exit code {}", site.name(), result.code);
        Err(Error::new(ErrorKind::Unavailable, text).with_source(result.output))
    }
}

fn content(epoch: u64, reason: &str) -> String {
    let reason = reason.replace(['\n', '\r'], " ");
    format!("{FLAG_TEXT}\nepoch {epoch}\n{reason}\n")
}

fn raise_command(path: &str, content: &str) -> String {
    let (path, content) = (quoted(path), quoted(content));
    format!(
        "umask 022 && mkdir -p -- \"$(dirname -- {path})\" && printf %s {content} > {path}.new && sync -- {path}.new \
         && mv -f -- {path}.new {path} && sync -- \"$(dirname -- {path})\""
    )
}

fn write(path: &Path, content: &str) -> std::io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = File::create(&aside)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn failed(verb: &str, path: &Path, e: std::io::Error) -> Error {
    let kind = match e.kind() {
        std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{verb} the health flag {}", path.display())).with_source(e)
}
