//! PostgreSQL settings as the engines take them.

use std::sync::Arc;

use veza_dr_backup::postgres::{PostgresConfig, PostgresTarget};
use veza_dr_core::{BackupTarget, ComponentName, Cx, ErrorKind, ExposeSecret, Result, SecretString};
use veza_dr_failover::reach::PostgresAccess;
use veza_dr_restore::postgres::PostgresRestore;

use crate::{
    config::{PostgresSource, Source},
    secrets::Given,
    wiring::{TO_PASSWORD, Wiring},
};

impl Wiring {
    /// A component's database, or the one that a site keeps it in; and where the file says so.
    pub(crate) fn postgres_place(
        &self,
        component: &ComponentName,
        site: Option<&str>,
    ) -> Result<(&PostgresSource, String)> {
        if let Some(site) = site
            && let Some(own) = self.site_data(site, component)?.postgres.as_deref()
        {
            return Ok((own, format!("sites.{site}.data.{component}.postgres")));
        }
        match self.source(component)? {
            Source::Postgres(source) => Ok((source, format!("sources.{component}.postgres"))),
            _ => {
                let text = format!("{component} is not a postgres source");
                Err(veza_dr_core::Error::new(ErrorKind::Unsupported, text))
            }
        }
    }

    /// How to reach it, with its password read from where the file says.
    pub(crate) async fn postgres_of(
        &self,
        cx: &Cx,
        component: &ComponentName,
        site: Option<&str>,
    ) -> Result<PostgresConfig> {
        self.postgres_of_moved(cx, component, site, |url| Ok(url.to_owned())).await
    }

    /// The same, at an address made of its own.
    pub(crate) async fn postgres_of_moved(
        &self,
        cx: &Cx,
        component: &ComponentName,
        site: Option<&str>,
        moved: impl FnOnce(&str) -> Result<String> + Send,
    ) -> Result<PostgresConfig> {
        let (source, place) = self.postgres_place(component, site)?;
        let at = |key: &str| format!("{place}.{key}");
        let url = source.url.expand(&self.env).map_err(|e| self.at(&at("url"), e))?;
        let mut config = PostgresConfig::new(moved(url.expose_secret())?).allowing_unreadable(source.allow_unreadable);
        let given = Given::of(&source.password, &source.password_file, &source.password_command);
        if let Some(password) = self.secret(cx, &at("password"), given).await? {
            config = config.with_password(password);
        }
        if let Some(file) = &source.ca_file {
            config = config.with_ca_file(self.loaded.resolve(&self.text(&at("ca_file"), file)?));
        }
        if let Some(folder) = &source.bin_dir {
            config = config.with_bin_dir(self.loaded.resolve(&self.text(&at("bin_dir"), folder)?));
        }
        if let Some(jobs) = source.jobs {
            config = config.with_jobs(jobs as usize);
        }
        if let Some(size) = source.chunk_bytes {
            config = config.with_chunk_bytes(size.bytes());
        }
        Ok(config)
    }

    /// A session in the database that a site keeps a component in, or in another one of the same server.
    pub(crate) async fn site_postgres_access(
        &self,
        cx: &Cx,
        component: &ComponentName,
        site: &str,
        database: Option<&str>,
    ) -> Result<PostgresAccess> {
        let (source, place) = self.postgres_place(component, Some(site))?;
        let at = |key: &str| format!("{place}.{key}");
        let url = source.url.expand(&self.env).map_err(|e| self.at(&at("url"), e))?;
        let mut access = PostgresAccess::parse(url.expose_secret()).map_err(|e| self.at(&at("url"), e))?;
        if let Some(file) = &source.ca_file {
            access = access.with_ca_file(self.loaded.resolve(&self.text(&at("ca_file"), file)?));
        }
        if let Some(database) = database {
            access = access.in_database(database);
        }
        let given = Given::of(&source.password, &source.password_file, &source.password_command);
        Ok(match self.secret(cx, &at("password"), given).await? {
            Some(password) => access.with_password(password),
            None => access,
        })
    }

    /// The database to back up: a component's, or the one that a site keeps it in.
    pub(crate) async fn postgres_backup(
        &self,
        cx: &Cx,
        component: &ComponentName,
        site: Option<&str>,
    ) -> Result<Arc<dyn BackupTarget>> {
        let config = self.postgres_of(cx, component, site).await?;
        let (_, place) = self.postgres_place(component, site)?;
        let target = PostgresTarget::new(component.clone(), config);
        Ok(Arc::new(target.map_err(|e| self.at(&format!("{place}.url"), e))?))
    }

    /// The database to restore into: a component's, or the one that a site keeps it in.
    pub(crate) async fn postgres_restore(
        &self,
        cx: &Cx,
        component: &ComponentName,
        site: Option<&str>,
    ) -> Result<PostgresRestore> {
        let config = self.postgres_of(cx, component, site).await?;
        let (_, place) = self.postgres_place(component, site)?;
        let target =
            PostgresRestore::new(component.clone(), config).map_err(|e| self.at(&format!("{place}.url"), e))?;
        Ok(match self.env.get(TO_PASSWORD).filter(|_| site.is_none()) {
            Some(password) => target.with_target_password(SecretString::from(password)),
            None => target,
        })
    }
}
