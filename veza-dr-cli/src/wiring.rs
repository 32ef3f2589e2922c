//! From configuration to library objects: the one place that knows which setting becomes which argument.

use std::{path::PathBuf, sync::Arc};

use veza_dr_backup::{BackupOptions, Encryption, Repository, store::DirectoryStore};
use veza_dr_core::{BackupStore, BackupTarget, ComponentName, Cx, Error, ErrorKind, RestoreTarget, Result};

use crate::{
    Environment,
    config::{Loaded, Source, Store, StorePlace, Text},
    open_folder::patiently,
};

/// Makes rustls use ring, once per process; both tokio-postgres and the AWS client ask for the process's choice.
pub(crate) fn install_crypto() {
    // An error means that one is installed already, by an earlier run in this process.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The password of a server that `restore --to` names: on the command line every user of the machine would see it.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) const TO_PASSWORD: &str = "VEZA_DR_TO_PASSWORD";

/// Makes library objects out of a configuration.
#[derive(Debug)]
pub(crate) struct Wiring {
    pub(crate) loaded: Loaded,
    pub(crate) env: Environment,
}

/// Whether a store that is not there yet may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Look only: a folder that is missing is an error, it may be a disk that is not mounted.
    Read,
    /// Make what is missing.
    Write,
}

/// The stores that could be opened, and those that could not.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) repositories: Vec<Repository>,
    pub(crate) failed: Vec<(String, Error)>,
}

impl Wiring {
    /// The names of the components of the configuration, in order.
    pub(crate) fn components(&self) -> Vec<ComponentName> {
        // Names that do not parse were refused when the file was read.
        self.loaded.config.sources.keys().filter_map(|name| name.parse().ok()).collect()
    }

    /// The stores that a component's backups go to, those of all components where none is named; folders first, as
    /// they are the quickest to read from.
    pub(crate) fn store_names(&self, component: Option<&ComponentName>, only: Option<&str>) -> Result<Vec<&str>> {
        let stores = &self.loaded.config.stores;
        let policy = component.and_then(|c| self.loaded.config.backup.get(c.as_str()));
        let wanted = |name: &str| match (only, policy.and_then(|p| p.stores.as_ref())) {
            (Some(only), _) => name == only,
            (None, Some(listed)) => listed.iter().any(|l| l == name),
            (None, None) => true,
        };
        let mut names: Vec<(&str, &Store)> =
            stores.iter().map(|(n, s)| (n.as_str(), s)).filter(|(n, _)| wanted(n)).collect();
        names.sort_by_key(|(name, store)| (!matches!(store.place, StorePlace::Directory(_)), *name));
        if names.is_empty() {
            let known: Vec<&str> = stores.keys().map(String::as_str).collect();
            let text = match only {
                Some(only) => format!("{} has no store `{only}`", self.loaded.file.display()),
                None => format!("{} names no store to keep backups in", self.loaded.file.display()),
            };
            let help = match known.as_slice() {
                [] => "add one: stores: { local: { directory: { path: /opt/backups } } }".to_owned(),
                known => format!("its stores are {}", known.join(", ")),
            };
            return Err(Error::new(ErrorKind::Config, text).with_help(help));
        }
        Ok(names.into_iter().map(|(name, _)| name).collect())
    }

    /// Opens the stores of a component, or all. One that cannot be opened does not keep the others from being used.
    pub(crate) async fn open(
        &self,
        cx: &Cx,
        component: Option<&ComponentName>,
        only: Option<&str>,
        access: Access,
    ) -> Result<Opened> {
        let mut opened = Opened { repositories: Vec::new(), failed: Vec::new() };
        for name in self.store_names(component, only)? {
            match self.repository(cx, name, access).await {
                Ok(repository) => opened.repositories.push(repository),
                Err(e) => opened.failed.push((name.to_owned(), e)),
            }
        }
        Ok(opened)
    }

    /// One store, ready to be used as a repository. Nothing is asked of a bucket yet.
    pub(crate) async fn repository(&self, cx: &Cx, name: &str, access: Access) -> Result<Repository> {
        let store = self.loaded.config.stores.get(name).ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("{} has no store `{name}`", self.loaded.file.display()))
        })?;
        let encryption = self.encryption(name, store)?;
        let place: Arc<dyn BackupStore> = match &store.place {
            StorePlace::Directory(settings) => {
                let at = format!("stores.{name}.directory.path");
                let path = self.loaded.resolve(&self.text(&at, &settings.path)?);
                let (name, folder) = (name.to_owned(), path.clone());
                let open = move || {
                    if access == Access::Read && !folder.exists() {
                        let text = format!("the folder {} of store {name} does not exist", folder.display());
                        return Err(Error::new(ErrorKind::NotFound, text).with_help(
                            "the first backup makes it; if there should be backups in it, is its disk mounted?",
                        ));
                    }
                    DirectoryStore::open(name, folder)
                };
                Arc::new(patiently(cx, &path, open).await?)
            }
            StorePlace::S3(settings) => self.s3(cx, name, settings).await?,
        };
        Ok(Repository::new(place, encryption))
    }

    /// Where this host keeps what a crash must not lose. Made by whoever writes there first.
    pub(crate) fn state_dir(&self) -> Result<PathBuf> {
        if let Some(text) = &self.loaded.config.state_dir {
            return Ok(self.loaded.resolve(&self.text("state_dir", text)?));
        }
        if rustix::process::geteuid().is_root() {
            return Ok(PathBuf::from("/var/lib/veza-dr"));
        }
        let set = |name: &str| self.env.get(name).filter(|v| v.starts_with('/')).map(PathBuf::from);
        let home = || set("HOME").map(|home| home.join(".local/state"));
        set("XDG_STATE_HOME").or_else(home).map(|base| base.join("veza-dr")).ok_or_else(|| {
            let text = "no folder for this host's state: neither XDG_STATE_HOME nor HOME is set";
            Error::new(ErrorKind::Config, text).with_help("set state_dir in the configuration file")
        })
    }

    fn encryption(&self, name: &str, store: &Store) -> Result<Encryption> {
        let settings = &store.encryption;
        let at = format!("stores.{name}.encryption");
        let recipients = settings
            .recipients
            .iter()
            .enumerate()
            .map(|(n, text)| self.text(&format!("{at}.recipients[{n}]"), text))
            .collect::<Result<Vec<_>>>()?;
        let mut encryption = Encryption::to_recipients(&recipients).map_err(|e| self.at(&at, e))?;
        if let Some(file) = &settings.identity_file {
            let file = self.text(&format!("{at}.identity_file"), file)?;
            encryption = encryption.with_identity_file(self.loaded.resolve(&file));
        }
        Ok(encryption)
    }

    /// How a component's backups are made.
    pub(crate) fn options(&self, component: &ComponentName) -> BackupOptions {
        let policy = self.loaded.config.backup.get(component.as_str());
        BackupOptions::default().with_compression(policy.map(|p| p.compression.0).unwrap_or_default())
    }

    /// Whether that is a component of files.
    pub(crate) fn is_files(&self, component: &str) -> bool {
        matches!(self.loaded.config.sources.get(component), Some(Source::Files(_)))
    }

    pub(crate) fn source(&self, component: &ComponentName) -> Result<&Source> {
        let sources = &self.loaded.config.sources;
        sources.get(component.as_str()).ok_or_else(|| {
            let known: Vec<&str> = sources.keys().map(String::as_str).collect();
            let text = format!("{} has no source `{component}`", self.loaded.file.display());
            Error::new(ErrorKind::Config, text).with_help(match known.as_slice() {
                [] => "add it under `sources`".to_owned(),
                known => format!("its sources are {}", known.join(", ")),
            })
        })
    }

    /// What reads a component for a backup.
    pub(crate) async fn backup_target(&self, cx: &Cx, component: &ComponentName) -> Result<Arc<dyn BackupTarget>> {
        self.backup_target_at(cx, component, None).await
    }

    /// As [`backup_target`](Self::backup_target), where a site keeps it.
    pub(crate) async fn backup_target_at(
        &self,
        cx: &Cx,
        component: &ComponentName,
        site: Option<&str>,
    ) -> Result<Arc<dyn BackupTarget>> {
        cx.check("set up")?;
        // Not asked for in a build without an engine that sites have.
        let _ = site;
        let source = self.source(component)?;
        match source {
            #[cfg(feature = "postgres")]
            Source::Postgres(_) => self.postgres_backup(cx, component, site).await,
            #[cfg(feature = "redis")]
            Source::Redis(_) => self.redis_backup(cx, component, site).await,
            #[cfg(feature = "files")]
            Source::Files(_) => match site {
                None => self.files_backup(component),
                Some(site) => Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("the files of site {site} are not backed up from here"),
                )
                .with_help(format!("back them up on its own machine: veza-dr backup {component}"))),
            },
            #[allow(unreachable_patterns, reason = "reached where an engine is left out of the build")]
            _ => Err(no_engine(component, source)),
        }
    }

    /// What brings a component back.
    pub(crate) async fn restore_target(&self, cx: &Cx, component: &ComponentName) -> Result<Box<dyn RestoreTarget>> {
        self.restore_target_at(cx, component, None).await
    }

    /// As [`restore_target`](Self::restore_target), where a site keeps it.
    pub(crate) async fn restore_target_at(
        &self,
        cx: &Cx,
        component: &ComponentName,
        site: Option<&str>,
    ) -> Result<Box<dyn RestoreTarget>> {
        cx.check("set up")?;
        let _ = site;
        let source = self.source(component)?;
        match source {
            #[cfg(feature = "postgres")]
            Source::Postgres(_) => Ok(Box::new(self.postgres_restore(cx, component, site).await?)),
            #[cfg(feature = "redis")]
            Source::Redis(_) => self.redis_restore(cx, component, site).await,
            #[cfg(feature = "files")]
            Source::Files(_) => match site {
                None => Ok(Box::new(self.files_restore(component)?)),
                Some(site) => Ok(self.site_files(component, site)?.into_target()),
            },
            #[allow(unreachable_patterns, reason = "reached where an engine is left out of the build")]
            _ => Err(no_engine(component, source)),
        }
    }

    /// Where a site keeps a component.
    #[cfg(any(feature = "postgres", feature = "redis", feature = "files"))]
    pub(crate) fn site_data(&self, site: &str, component: &ComponentName) -> Result<&crate::config::SiteDataSettings> {
        let data = self.loaded.config.sites.get(site).and_then(|s| s.data.get(component.as_str()));
        data.ok_or_else(|| {
            let text = format!("{} does not say where site {site} keeps {component}", self.loaded.file.display());
            let what = match self.loaded.config.sources.get(component.as_str()) {
                Some(Source::Files(_)) => "{ files: {} }".to_owned(),
                source => format!("{{ services: […], {}: {{ url: … }} }}", source.map_or("postgres", Source::engine)),
            };
            let help = format!("add it: sites.{site}.data.{component}: {what}");
            Error::new(ErrorKind::Config, text).with_help(help)
        })
    }

    /// A setting with its variables filled in; errors name its place in the file.
    pub(crate) fn text(&self, path: &str, text: &Text) -> Result<String> {
        text.expand(&self.env).map_err(|e| self.at(path, e))
    }

    /// An error about a setting, with the setting's place in front.
    pub(crate) fn at(&self, path: &str, e: Error) -> Error {
        let mut located = Error::new(e.kind(), format!("{}: {e}", self.loaded.locate(path)));
        if let Some(help) = e.help() {
            located = located.with_help(help);
        }
        match std::error::Error::source(&e) {
            Some(cause) => located.with_source(cause.to_string()),
            None => located,
        }
    }
}

fn no_engine(component: &ComponentName, source: &Source) -> Error {
    let engine = source.engine();
    Error::new(ErrorKind::Unsupported, format!("{component}: this build has no support for {engine}"))
        .with_help(format!("enable the cargo feature: cargo install veza-dr-cli --features {engine}"))
}
