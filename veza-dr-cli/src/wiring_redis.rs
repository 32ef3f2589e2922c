//! Redis settings as the engines take them.

use std::sync::Arc;

use veza_dr_backup::redis::{ReadMode, RedisConfig, RedisTarget};
use veza_dr_core::{BackupTarget, ComponentName, Cx, Error, ErrorKind, ExposeSecret, Result};

use crate::{
    config::{RedisMode, RedisSource, Source},
    secrets::Given,
    wiring::Wiring,
};

impl Wiring {
    /// A component's server, or the one that a site keeps it in; and where the file says so.
    pub(crate) fn redis_place(&self, component: &ComponentName, site: Option<&str>) -> Result<(&RedisSource, String)> {
        if let Some(site) = site
            && let Some(own) = self.site_data(site, component)?.redis.as_deref()
        {
            return Ok((own, format!("sites.{site}.data.{component}.redis")));
        }
        match self.source(component)? {
            Source::Redis(source) => Ok((source, format!("sources.{component}.redis"))),
            _ => Err(Error::new(ErrorKind::Unsupported, format!("{component} is not a redis source"))),
        }
    }

    /// How to reach a component's server, or the one of a site, with its password read from where the file says.
    pub(crate) async fn redis(&self, cx: &Cx, component: &ComponentName, site: Option<&str>) -> Result<RedisConfig> {
        self.redis_moved(cx, component, site, |url| Ok(url.to_owned())).await
    }

    /// The same, at an address made of its own.
    pub(crate) async fn redis_moved(
        &self,
        cx: &Cx,
        component: &ComponentName,
        site: Option<&str>,
        moved: impl FnOnce(&str) -> Result<String> + Send,
    ) -> Result<RedisConfig> {
        let (source, place) = self.redis_place(component, site)?;
        let at = |key: &str| format!("{place}.{key}");
        let url = source.url.expand(&self.env).map_err(|e| self.at(&at("url"), e))?;
        let mut config = RedisConfig::new(moved(url.expose_secret())?).with_mode(match source.mode {
            RedisMode::Auto => ReadMode::Auto,
            RedisMode::Disk => ReadMode::Disk,
            RedisMode::Diskless => ReadMode::Diskless,
            RedisMode::Scan => ReadMode::Scan,
        });
        let given = Given::of(&source.password, &source.password_file, &source.password_command);
        if let Some(password) = self.secret(cx, &at("password"), given).await? {
            config = config.with_password(password);
        }
        if let Some(name) = &source.username {
            config = config.with_username(self.text(&at("username"), name)?);
        }
        if let Some(file) = &source.ca_file {
            config = config.with_ca_file(self.loaded.resolve(&self.text(&at("ca_file"), file)?));
        }
        match (&source.client_cert_file, &source.client_key_file) {
            (Some(cert), Some(key)) => {
                let cert = self.loaded.resolve(&self.text(&at("client_cert_file"), cert)?);
                let key = self.loaded.resolve(&self.text(&at("client_key_file"), key)?);
                config = config.with_client_cert(cert, key);
            }
            (None, None) => {}
            _ => {
                let e = Error::new(ErrorKind::Config, "client_cert_file and client_key_file go together");
                return Err(self.at(&at("client_cert_file"), e));
            }
        }
        Ok(config)
    }

    /// The server to back up.
    pub(crate) async fn redis_backup(
        &self,
        cx: &Cx,
        component: &ComponentName,
        site: Option<&str>,
    ) -> Result<Arc<dyn BackupTarget>> {
        let config = self.redis(cx, component, site).await?;
        let (_, place) = self.redis_place(component, site)?;
        let target = RedisTarget::new(component.clone(), config);
        Ok(Arc::new(target.map_err(|e| self.at(&format!("{place}.url"), e))?))
    }
}
