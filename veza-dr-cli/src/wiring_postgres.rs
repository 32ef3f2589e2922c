//! PostgreSQL settings as the engines take them.

use std::sync::Arc;

use veza_dr_backup::postgres::{PostgresConfig, PostgresTarget};
use veza_dr_core::{BackupTarget, ComponentName, Cx, ErrorKind, ExposeSecret, Result, SecretString};
use veza_dr_restore::postgres::PostgresRestore;

use crate::{
    config::Source,
    secrets::Given,
    wiring::{TO_PASSWORD, Wiring},
};

impl Wiring {
    /// How to reach a component's database, with its password read from where the file says.
    pub(crate) async fn postgres(&self, cx: &Cx, component: &ComponentName) -> Result<PostgresConfig> {
        let Source::Postgres(source) = self.source(component)? else {
            let text = format!("{component} is not a postgres source");
            return Err(veza_dr_core::Error::new(ErrorKind::Unsupported, text));
        };
        let at = |key: &str| format!("sources.{component}.postgres.{key}");
        let url = source.url.expand(&self.env).map_err(|e| self.at(&at("url"), e))?;
        let mut config = PostgresConfig::new(url.expose_secret()).allowing_unreadable(source.allow_unreadable);
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

    /// The database to back up.
    pub(crate) async fn postgres_backup(&self, cx: &Cx, component: &ComponentName) -> Result<Arc<dyn BackupTarget>> {
        let config = self.postgres(cx, component).await?;
        let target = PostgresTarget::new(component.clone(), config);
        Ok(Arc::new(target.map_err(|e| self.at(&format!("sources.{component}.postgres.url"), e))?))
    }

    /// The database to restore into.
    pub(crate) async fn postgres_restore(&self, cx: &Cx, component: &ComponentName) -> Result<PostgresRestore> {
        let config = self.postgres(cx, component).await?;
        let target = PostgresRestore::new(component.clone(), config)
            .map_err(|e| self.at(&format!("sources.{component}.postgres.url"), e))?;
        Ok(match self.env.get(TO_PASSWORD) {
            Some(password) => target.with_target_password(SecretString::from(password)),
            None => target,
        })
    }
}
