//! How a Redis server is restored: settings as the engine takes them.

#[cfg(feature = "docker")]
use std::sync::Arc;

use veza_dr_core::{ComponentName, Cx, Error, ErrorKind, RestoreTarget, Result, SecretString};
use veza_dr_restore::redis::{KeyConflict, RedisRestore, RedisRestoreOptions, RedisWay, TtlPolicy};

use crate::{
    config::{RedisConflict, RedisRestoreWay, RedisTtl, SecretText, Text},
    wiring::{TO_PASSWORD, Wiring},
};

impl Wiring {
    /// The server to restore.
    pub(crate) async fn redis_restore(
        &self,
        cx: &Cx,
        component: &ComponentName,
        site: Option<&str>,
    ) -> Result<Box<dyn RestoreTarget>> {
        let config = self.redis(cx, component, site).await?;
        let options = self.redis_restore_options(component, site)?;
        let (_, place) = self.redis_place(component, site)?;
        let target =
            RedisRestore::new(component.clone(), config, options).map_err(|e| self.at(&format!("{place}.url"), e))?;
        Ok(Box::new(match self.env.get(TO_PASSWORD).filter(|_| site.is_none()) {
            Some(password) => target.with_target_password(SecretString::from(password)),
            None => target,
        }))
    }

    fn redis_restore_options(&self, component: &ComponentName, site: Option<&str>) -> Result<RedisRestoreOptions> {
        let (source, place) = self.redis_place(component, site)?;
        let settings = &source.restore;
        let at = |key: &str| format!("{place}.restore.{key}");
        let text = |key: &str, text: &Option<Text>| text.as_ref().map(|t| self.text(&at(key), t)).transpose();
        let mut options = RedisRestoreOptions::new(self.state_dir()?.join("redis"))
            .with_way(match settings.way {
                RedisRestoreWay::Auto => RedisWay::Auto,
                RedisRestoreWay::Replication => RedisWay::Replication,
                RedisRestoreWay::Keys => RedisWay::Keys,
                RedisRestoreWay::File => RedisWay::File,
            })
            .with_on_conflict(match settings.on_conflict {
                RedisConflict::Replace => KeyConflict::Replace,
                RedisConflict::Skip => KeyConflict::Skip,
            })
            .with_ttl(match settings.ttl {
                RedisTtl::Keep => TtlPolicy::Keep,
                RedisTtl::Shift => TtlPolicy::Shift,
                RedisTtl::Strip => TtlPolicy::Strip,
            })
            .allowing_downgrade(settings.allow_downgrade);
        if let Some(place) = text("advertise", &settings.advertise)? {
            let parts = place.rsplit_once(':').and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
            let (host, port) = parts.ok_or_else(|| self.at(&at("advertise"), not_a_place(&place, "host:port")))?;
            options = options.with_advertise(host, port);
        }
        if let Some(place) = text("bind", &settings.bind)? {
            let address = place.parse().map_err(|_| self.at(&at("bind"), not_a_place(&place, "address:port")))?;
            options = options.with_bind(address);
        }
        match (
            text("tls_certificate_file", &settings.tls_certificate_file)?,
            text("tls_key_file", &settings.tls_key_file)?,
        ) {
            (Some(cert), Some(key)) => {
                options = options.with_replication_tls(self.loaded.resolve(&cert), self.loaded.resolve(&key));
            }
            (None, None) => {}
            _ => {
                let e = Error::new(ErrorKind::Config, "tls_certificate_file and tls_key_file go together");
                return Err(self.at(&at("tls_certificate_file"), e));
            }
        }
        if let Some(sentinel) = &settings.sentinel {
            let master = self.text(&at("sentinel.master"), &sentinel.master)?;
            let url = |url: &SecretText| url.expand(&self.env).map_err(|e| self.at(&at("sentinel.urls"), e));
            let urls = sentinel.urls.iter().map(url).collect::<Result<Vec<_>>>()?;
            options = options.with_sentinels(master, urls);
        }
        if let Some(program) = text("redis_server", &settings.redis_server)? {
            options = options.with_redis_server(program);
        }
        match text("container", &settings.container)? {
            Some(name) => self.with_container(options, &at("container"), name),
            None => Ok(options),
        }
    }

    #[cfg(feature = "docker")]
    fn with_container(&self, options: RedisRestoreOptions, at: &str, name: String) -> Result<RedisRestoreOptions> {
        let instance = veza_dr_restore::redis::DockerInstance::connect(name).map_err(|e| self.at(at, e))?;
        Ok(options.with_instance(Arc::new(instance)))
    }

    #[cfg(not(feature = "docker"))]
    fn with_container(&self, _: RedisRestoreOptions, at: &str, name: String) -> Result<RedisRestoreOptions> {
        let e = Error::new(ErrorKind::Unsupported, format!("container {name}: this build has no support for docker"));
        Err(self.at(at, e.with_help("enable the cargo feature: cargo install veza-dr-cli --features docker")))
    }
}

fn not_a_place(text: &str, form: &str) -> Error {
    Error::new(ErrorKind::Config, format!("`{text}` is not {form}"))
}
