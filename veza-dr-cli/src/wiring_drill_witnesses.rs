//! What of production a drill is held to leave alone.

use std::sync::Arc;

use async_trait::async_trait;
use veza_dr_core::{ComponentName, Cx, Error, ErrorKind, Result};
use veza_dr_failover::drill::{Fact, SiteWitness, StoreWitness, Witness};

#[cfg(any(feature = "postgres", feature = "redis", feature = "files"))]
use crate::config::Source;
use crate::wiring::{Access, Wiring};

impl Wiring {
    /// Everything of production that the configuration names. Nothing is asked yet.
    pub(crate) async fn witnesses(
        self: &Arc<Self>,
        cx: &Cx,
        remarks: &mut Vec<Error>,
    ) -> Result<Vec<Arc<dyn Witness>>> {
        let mut all: Vec<Arc<dyn Witness>> = Vec::new();
        for component in self.components() {
            all.push(Arc::new(SourceWitness { wiring: self.clone(), component: component.clone() }));
            let opened = self.open(cx, Some(&component), None, Access::Read).await?;
            for repository in opened.repositories {
                all.push(Arc::new(StoreWitness::new(repository.store().clone(), component.clone())));
            }
            for (store, e) in opened.failed {
                all.push(Arc::new(Blind(format!("backups of {component} in store {store}"), e.chain())));
            }
        }
        for site in self.sites()? {
            all.push(Arc::new(SiteWitness::new(site.control)));
        }
        if self.loaded.config.dns.as_ref().is_some_and(|d| d.route53.is_some()) {
            match self.dns_witness(cx).await {
                Ok(witness) => all.push(Arc::new(witness)),
                Err(e) => {
                    all.push(Arc::new(Blind("DNS records".to_owned(), e.chain())));
                    remarks.push(e);
                }
            }
        }
        Ok(all)
    }
}

/// Something that could not even be set up to be looked at.
#[derive(Debug)]
struct Blind(String, String);

#[async_trait]
impl Witness for Blind {
    fn what(&self) -> String {
        self.0.clone()
    }

    async fn look(&self, _: &Cx) -> Result<Vec<Fact>> {
        Err(Error::new(ErrorKind::Unavailable, self.1.clone()))
    }
}

/// The source of a component itself.
#[derive(Debug)]
struct SourceWitness {
    wiring: Arc<Wiring>,
    component: ComponentName,
}

#[async_trait]
impl Witness for SourceWitness {
    fn what(&self) -> String {
        format!("source {}", self.component)
    }

    fn component(&self) -> Option<&ComponentName> {
        Some(&self.component)
    }

    async fn look(&self, cx: &Cx) -> Result<Vec<Fact>> {
        let (wiring, component) = (&self.wiring, &self.component);
        cx.check("look at a source")?;
        match wiring.source(component)? {
            #[cfg(feature = "postgres")]
            Source::Postgres(_) => {
                let count = wiring.loaded.config.drills.count_rows.unwrap_or(true);
                let seen =
                    veza_dr_backup::postgres::look(cx, &wiring.postgres_of(cx, component, None).await?, count).await?;
                let mut facts = vec![
                    Fact::fixed("server start", seen.server_started),
                    Fact::fixed("databases", seen.databases.join(", ")),
                    Fact::fixed("roles", seen.roles.join(", ")),
                    Fact::fixed("catalogue", format!("sha256:{}", seen.catalogue)),
                ];
                facts.extend(seen.rows.into_iter().map(|(table, rows)| Fact::records(table, rows)));
                Ok(facts)
            }
            #[cfg(feature = "redis")]
            Source::Redis(_) => {
                let seen = veza_dr_backup::redis::look(cx, &wiring.redis(cx, component, None).await?).await?;
                let mut facts = vec![Fact::fixed("run id", seen.run_id), Fact::fixed("role", seen.role)];
                facts.extend(seen.databases.into_iter().map(|(n, keys)| Fact::records(format!("db{n}"), keys)));
                Ok(facts)
            }
            #[cfg(feature = "files")]
            Source::Files(_) => {
                let roots = wiring.loaded.config.backup.get(component.as_str()).map_or(&[][..], |p| &p.include);
                let mut facts = Vec::new();
                for (n, root) in roots.iter().enumerate() {
                    let path =
                        std::path::PathBuf::from(wiring.text(&format!("backup.{component}.include[{n}]"), root)?);
                    facts.push(Fact::fixed(path.display().to_string(), identity(&path)?));
                }
                Ok(facts)
            }
            #[allow(unreachable_patterns, reason = "reached where an engine is left out of the build")]
            source => {
                let text = format!("this build cannot look at {} sources", source.engine());
                Err(Error::new(ErrorKind::Unsupported, text))
            }
        }
    }
}

/// Which folder or file it is: another one under the same name is not the same.
#[cfg(feature = "files")]
fn identity(path: &std::path::Path) -> Result<String> {
    use std::os::unix::fs::MetadataExt;
    match std::fs::symlink_metadata(path) {
        Ok(m) => Ok(format!("device {} inode {} mode {:o} owner {}:{}", m.dev(), m.ino(), m.mode(), m.uid(), m.gid())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok("absent".to_owned()),
        Err(e) => {
            Err(Error::new(ErrorKind::Unavailable, format!("{} cannot be looked at", path.display())).with_source(e))
        }
    }
}
