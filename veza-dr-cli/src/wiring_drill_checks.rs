//! The checks of `validation:`, asked of the copy of a site instead of the site.
#![cfg_attr(not(feature = "docker"), allow(dead_code, reason = "only a container engine makes copies"))]

use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Arc};

use async_trait::async_trait;
use veza_dr_core::{ComponentName, Cx, Error, ErrorKind, Manifest, Result};
use veza_dr_failover::{
    drill::{CopyChecks, DrillChecks, DrillPlatform, Place},
    validate::Suite,
};

use crate::{wiring::Wiring, wiring_validation::At};

/// The checks of the configuration for a drill in a copy of a site.
#[derive(Debug)]
pub(crate) struct ChecksInCopy {
    pub(crate) wiring: Arc<Wiring>,
    pub(crate) site: String,
    /// The backups that the drill takes, which counts are compared with.
    pub(crate) manifests: BTreeMap<ComponentName, Manifest>,
}

/// Where a check finds the copy.
#[derive(Debug)]
pub(crate) struct InCopy<'a> {
    #[cfg_attr(
        not(any(feature = "postgres", feature = "redis")),
        allow(dead_code, reason = "only databases and Redis are asked where the copy keeps them")
    )]
    pub(crate) site: &'a str,
    platform: &'a dyn DrillPlatform,
    #[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "only counts of a database are compared with"))]
    manifests: &'a BTreeMap<ComponentName, Manifest>,
}

impl InCopy<'_> {
    /// Where what the site publishes at a port answers in the copy.
    pub(crate) async fn published(&self, cx: &Cx, port: u16) -> Result<SocketAddr> {
        self.platform.reach(cx, port).await
    }

    /// Where the copy keeps a component.
    #[cfg_attr(
        not(any(feature = "postgres", feature = "redis")),
        allow(dead_code, reason = "only databases and Redis are asked where the copy keeps them")
    )]
    pub(crate) async fn kept(&self, cx: &Cx, component: &ComponentName) -> Result<SocketAddr> {
        match self.platform.place(cx, component, Path::new("")).await? {
            Place::Service { address, .. } => Ok(address),
            other => {
                let text = format!("{component} is kept in {}, not in a service of the copy", other.location());
                Err(Error::new(ErrorKind::Unsupported, text))
            }
        }
    }

    /// The backup that the copy was made of.
    #[cfg(feature = "postgres")]
    pub(crate) fn backup(&self, component: &ComponentName) -> Result<Manifest> {
        let found = self.manifests.get(component).cloned();
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("the drill takes no backup of {component}")))
    }
}

#[async_trait]
impl DrillChecks for ChecksInCopy {
    async fn suite(&self, cx: &Cx, copy: &dyn DrillPlatform) -> Result<CopyChecks> {
        let at = InCopy { site: &self.site, platform: copy, manifests: &self.manifests };
        let at = At { host: None, store: None, copy: Some(&at) };
        let (mut checks, mut unled) = (Vec::new(), Vec::new());
        for (n, check) in self.wiring.loaded.config.validation.iter().enumerate() {
            let mut led = Vec::new();
            match self.wiring.check(cx, &format!("validation[{n}]"), check, at, &mut led).await {
                Ok(()) => checks.append(&mut led),
                Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
                Err(e) => {
                    let help = e.help().map(|h| format!(" ({h})")).unwrap_or_default();
                    unled.push((check.name.clone(), format!("{}{help}", e.chain())));
                }
            }
        }
        Ok(CopyChecks { suite: Suite::new(checks)?, unled })
    }
}
