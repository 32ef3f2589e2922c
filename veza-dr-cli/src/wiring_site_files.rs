//! Files of a site: exchanged on this machine, or sent to its own.

#[cfg(feature = "docker")]
use std::sync::Arc;

use serde_json::{Value, json};
#[cfg(feature = "docker")]
use veza_dr_backup::files::{FilesDetail, unescape};
#[cfg(feature = "docker")]
use veza_dr_core::Manifest;
use veza_dr_core::{BackupId, ComponentName, Cx, Error, ErrorKind, Report, RestoreTarget, Result};
#[cfg(feature = "docker")]
use veza_dr_failover::site::{SiteFiles, TreeRoot};
use veza_dr_restore::files::FilesRestore;

#[cfg(feature = "docker")]
use crate::config::SiteFilesSettings;
use crate::wiring::Wiring;

/// The trees of a component where a site keeps them.
#[derive(Debug)]
pub(crate) enum SiteTrees {
    /// At their own paths on this machine.
    Here(Box<FilesRestore>),
    /// On the site's machine, or below a folder of this one.
    #[cfg(feature = "docker")]
    There(Box<SiteFiles>),
}

impl SiteTrees {
    pub(crate) fn into_target(self) -> Box<dyn RestoreTarget> {
        match self {
            Self::Here(files) => files,
            #[cfg(feature = "docker")]
            Self::There(files) => files,
        }
    }

    /// The last exchange on record, for the way back.
    pub(crate) async fn last_exchange(&self, cx: &Cx) -> Result<Value> {
        Ok(match self {
            Self::Here(files) => json!(files.last_exchange(cx).await?),
            #[cfg(feature = "docker")]
            Self::There(files) => json!(files.last_exchange(cx).await?),
        })
    }

    /// Puts back what was live after that exchange.
    pub(crate) async fn back_to(&self, cx: &Cx, last: &Value) -> Result<Report> {
        let unreadable = |e| Error::new(ErrorKind::Unexpected, "what was there before is not told").with_source(e);
        match self {
            Self::Here(files) => {
                let since = serde_json::from_value(last.clone()).map_err(unreadable)?;
                files.back_to(cx, since).await
            }
            #[cfg(feature = "docker")]
            Self::There(files) => {
                let last: Option<String> = serde_json::from_value(last.clone()).map_err(unreadable)?;
                files.back_to(cx, last.as_deref()).await
            }
        }
    }

    /// Where what the restore of a backup replaced is kept.
    pub(crate) async fn kept_for(&self, cx: &Cx, backup: &BackupId) -> Result<Option<String>> {
        match self {
            Self::Here(files) => files.kept_for(cx, backup).await,
            #[cfg(feature = "docker")]
            Self::There(files) => files.kept_for(cx, backup).await,
        }
    }
}

impl Wiring {
    /// The files of a component where a site keeps them.
    pub(crate) fn site_files(&self, component: &ComponentName, site: &str) -> Result<SiteTrees> {
        let at = format!("sites.{site}.data.{component}.files.root");
        let root = self.site_data(site, component)?.files.as_ref().and_then(|f| f.root.as_ref());
        let root = root.map(|text| self.text(&at, text)).transpose()?;
        let settings = &self.loaded.config.sites[site];
        if settings.ssh.is_none() && root.is_none() {
            return Ok(SiteTrees::Here(Box::new(self.files_restore(component)?)));
        }
        #[cfg(feature = "docker")]
        {
            if let Some(root) = root.as_ref().filter(|r| !SiteFilesSettings::is_root(r)) {
                let e = Error::new(ErrorKind::Config, format!("`{root}` is not an absolute path"));
                return Err(self.at(&at, e.with_help("write it out: root: /srv/standby")));
            }
            let project = self.compose_project(site, &format!("sites.{site}"), settings)?;
            let scratch = self.state_dir()?.join("sites");
            let here = Arc::new(self.files_restore(component)?.with_scratch_dir(scratch.clone()));
            let files = SiteFiles::new(&project, component.clone(), here, roots, scratch)?;
            Ok(SiteTrees::There(Box::new(match root {
                Some(root) => files.below(root),
                None => files,
            })))
        }
        #[cfg(not(feature = "docker"))]
        {
            let text = format!("site {site}: this build has no support for docker");
            Err(Error::new(ErrorKind::Unsupported, text)
                .with_help("enable the cargo feature: cargo install veza-dr-cli --features docker"))
        }
    }
}

/// The trees that a backup holds.
#[cfg(feature = "docker")]
fn roots(manifest: &Manifest) -> Result<Vec<TreeRoot>> {
    let detail = FilesDetail::of(manifest)?;
    let roots = detail.roots.iter().filter(|root| root.entries > 0).map(|root| {
        let member = unescape(root.member.as_bytes()).and_then(|m| String::from_utf8(m.into_owned()).ok());
        let member = member.ok_or_else(|| {
            let text = format!("backup {} holds /{}, which is not UTF-8", manifest.id, root.member);
            Error::new(ErrorKind::Unsupported, text).with_help("restore it on the machine itself")
        })?;
        let path = if member == "." { "/".to_owned() } else { format!("/{member}") };
        Ok(TreeRoot::new(path, root.bytes, root.entries))
    });
    roots.collect()
}
