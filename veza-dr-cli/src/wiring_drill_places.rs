//! What restores a component into a private place, whatever the configuration says of the real one.

use std::sync::Arc;

use async_trait::async_trait;
#[cfg(feature = "redis")]
use veza_dr_core::ExposeSecret;
use veza_dr_core::{
    ComponentName, Cx, Error, ErrorKind, Manifest, RestoreRequest, RestoreTarget, Result, Verification,
};
use veza_dr_failover::drill::{Place, PlaceSpec, RestoreInto};

use crate::{config::Source, wiring::Wiring};

impl Wiring {
    /// What a component is restored into during a drill, and what restores it.
    pub(crate) fn private_place(self: &Arc<Self>, manifest: &Manifest) -> Result<(PlaceSpec, Arc<dyn RestoreInto>)> {
        let component = &manifest.component;
        let database = manifest.source.database.clone().unwrap_or_else(|| component.to_string());
        let restore = Arc::new(IntoPlace { wiring: self.clone(), component: component.clone(), database, site: None });
        let spec = match self.source(component)? {
            Source::Postgres(source) => {
                let at = format!("sources.{component}.postgres.bin_dir");
                let dir = source.bin_dir.as_ref().map(|d| self.text(&at, d)).transpose()?;
                PlaceSpec::Postgres { bin_dir: dir.map(|d| self.loaded.resolve(&d)) }
            }
            Source::Redis(source) => {
                let at = format!("sources.{component}.redis.restore.redis_server");
                let program = source.restore.redis_server.as_ref().map(|p| self.text(&at, p)).transpose()?;
                PlaceSpec::Redis { redis_server: program.unwrap_or_else(|| "redis-server".to_owned()).into() }
            }
            Source::Files(_) => PlaceSpec::Folder,
        };
        Ok((spec, restore))
    }

    /// What restores a component into the copy of the service that keeps it at a site.
    pub(crate) fn into_service(self: &Arc<Self>, manifest: &Manifest, site: &str) -> Arc<dyn RestoreInto> {
        let component = manifest.component.clone();
        let database = manifest.source.database.clone().unwrap_or_else(|| component.to_string());
        Arc::new(IntoPlace { wiring: self.clone(), component, database, site: Some(site.to_owned()) })
    }
}

#[derive(Debug)]
struct IntoPlace {
    #[cfg_attr(
        not(any(feature = "postgres", feature = "redis", feature = "files")),
        allow(dead_code, reason = "asked by engines alone")
    )]
    wiring: Arc<Wiring>,
    component: ComponentName,
    /// What a database is called in its backup.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "only a database has a name"))]
    database: String,
    /// The site whose settings say who may log in, for a copy of its services.
    #[cfg_attr(not(feature = "docker"), allow(dead_code, reason = "only a container engine copies services"))]
    site: Option<String>,
}

impl IntoPlace {
    #[cfg(feature = "postgres")]
    fn postgres(&self, place: &Place) -> Result<veza_dr_restore::postgres::PostgresRestore> {
        use veza_dr_backup::postgres::PostgresConfig;
        let (Source::Postgres(source), Place::Postgres { port, user, password, bin_dir, .. }) =
            (self.wiring.source(&self.component)?, place)
        else {
            return Err(self.misfit(place));
        };
        // Nothing of the real server but what its database was called.
        let database = in_url(&self.database);
        let url = format!("postgres://{user}@127.0.0.1:{port}/{database}?sslmode=disable");
        let mut config = PostgresConfig::new(url).with_password(password.clone()).with_bin_dir(bin_dir);
        if let Some(jobs) = source.jobs {
            config = config.with_jobs(jobs as usize);
        }
        veza_dr_restore::postgres::PostgresRestore::new(self.component.clone(), config)
    }

    #[cfg(feature = "redis")]
    fn redis(&self, place: &Place) -> Result<veza_dr_restore::redis::RedisRestore> {
        use veza_dr_backup::redis::RedisConfig;
        use veza_dr_restore::redis::{RedisRestore, RedisRestoreOptions};
        let (Source::Redis(source), Place::Redis { port, password, redis_server, state, .. }) =
            (self.wiring.source(&self.component)?, place)
        else {
            return Err(self.misfit(place));
        };
        let mut config = RedisConfig::new(format!("redis://127.0.0.1:{port}"));
        if !password.expose_secret().is_empty() {
            config = config.with_password(password.clone());
        }
        // Neither the container nor the sentinels of the real one.
        let options = RedisRestoreOptions::new(state)
            .with_redis_server(redis_server)
            .allowing_downgrade(source.restore.allow_downgrade);
        RedisRestore::new(self.component.clone(), config, options)
    }

    /// What restores into a service, with the name and password that its site's settings have.
    #[cfg(feature = "docker")]
    async fn service(&self, cx: &Cx, place: &Place) -> Result<Box<dyn RestoreTarget>> {
        use crate::wiring_drill_compose::moved;
        let (Place::Service { address, state, .. }, Some(site)) = (place, self.site.as_deref()) else {
            return Err(self.misfit(place));
        };
        let _ = (cx, state, site, address, moved);
        match self.wiring.source(&self.component)? {
            #[cfg(feature = "postgres")]
            Source::Postgres(_) => {
                let at = |url: &str| moved(url, *address);
                let config = self.wiring.postgres_of_moved(cx, &self.component, Some(site), at).await?;
                Ok(Box::new(veza_dr_restore::postgres::PostgresRestore::new(self.component.clone(), config)?))
            }
            #[cfg(feature = "redis")]
            Source::Redis(source) => {
                use veza_dr_restore::redis::{RedisRestore, RedisRestoreOptions, RedisWay};
                let at = |url: &str| moved(url, *address);
                let config = self.wiring.redis_moved(cx, &self.component, Some(site), at).await?;
                let mut options = RedisRestoreOptions::new(state).allowing_downgrade(source.restore.allow_downgrade);
                if address.ip().is_loopback() {
                    // Led to through SSH: it cannot connect to us, as replication needs.
                    options = options.with_way(RedisWay::Keys);
                }
                Ok(Box::new(RedisRestore::new(self.component.clone(), config, options)?))
            }
            _ => Err(self.misfit(place)),
        }
    }

    fn misfit(&self, place: &Place) -> Error {
        let text = format!("{} cannot be restored into {}", self.component, place.location());
        Error::new(ErrorKind::Unsupported, text)
    }
}

#[async_trait]
impl RestoreInto for IntoPlace {
    async fn target(&self, cx: &Cx, place: &Place) -> Result<(Box<dyn RestoreTarget>, RestoreRequest)> {
        cx.check("set up a private restore")?;
        match place {
            #[cfg(feature = "postgres")]
            Place::Postgres { .. } => Ok((Box::new(self.postgres(place)?), RestoreRequest::in_place())),
            #[cfg(feature = "redis")]
            Place::Redis { .. } => Ok((Box::new(self.redis(place)?), RestoreRequest::in_place())),
            #[cfg(feature = "files")]
            Place::Folder { path, .. } => {
                let request = RestoreRequest::in_place().to(path.display().to_string());
                Ok((Box::new(self.wiring.files_restore(&self.component)?), request))
            }
            #[cfg(feature = "docker")]
            Place::Service { .. } => Ok((self.service(cx, place).await?, RestoreRequest::in_place())),
            place => Err(self.misfit(place)),
        }
    }

    async fn compare(&self, cx: &Cx, place: &Place, manifest: &Manifest) -> Result<Verification> {
        cx.check("compare")?;
        tracing::debug!(backup = %manifest.id, place = place.location(), "compare");
        match place {
            #[cfg(feature = "postgres")]
            Place::Postgres { .. } => self.postgres(place)?.verify(cx, manifest).await,
            #[cfg(feature = "redis")]
            Place::Redis { .. } => self.redis(place)?.verify(cx, manifest).await,
            #[cfg(feature = "files")]
            Place::Folder { path, .. } => {
                let config = self.wiring.files(&self.component)?;
                let target = veza_dr_restore::files::FilesRestore::new(self.component.clone(), config)?;
                target.verify_below(cx, path, manifest).await
            }
            #[cfg(feature = "docker")]
            Place::Service { .. } => self.service(cx, place).await?.verify(cx, manifest).await,
            place => Err(self.misfit(place)),
        }
    }
}

/// A name as a URL holds it.
#[cfg(feature = "postgres")]
fn in_url(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(all(test, feature = "postgres"))]
mod tests {
    use super::*;

    #[test]
    fn any_name_of_a_database_survives_the_url() {
        use veza_dr_backup::postgres::{Endpoint, PostgresConfig};
        for name in ["veza_db", "a b", "x/y?z=1", "é%", "it's"] {
            let config = PostgresConfig::new(format!("postgres://u@h:1/{}?sslmode=disable", in_url(name)));
            assert_eq!(Endpoint::parse(&config).unwrap().database(), name);
        }
    }
}
