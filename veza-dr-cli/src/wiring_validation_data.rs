//! Checks of databases and Redis servers out of the configuration.

use std::sync::Arc;

use veza_dr_core::{Cx, Error, ErrorKind, Result};
use veza_dr_failover::validate::Check;

use crate::{
    config::{PostgresCheckSettings, RedisCheckSettings},
    wiring::Wiring,
    wiring_validation::At,
};

#[cfg(feature = "postgres")]
mod postgres {
    use std::{collections::BTreeMap, time::Duration};

    use veza_dr_backup::Selector;
    use veza_dr_core::{ComponentName, ExposeSecret, Manifest};
    use veza_dr_failover::{
        reach::PostgresAccess,
        validate::{PostgresCanary, RowCounts, Sequences, Watermark},
    };

    use super::*;
    use crate::{args::Wanted, choose::choose, config::Source, secrets::Given, wiring::Access};

    impl Wiring {
        pub(crate) async fn postgres_checks(
            &self,
            cx: &Cx,
            path: &str,
            name: &str,
            s: &PostgresCheckSettings,
            at: At<'_>,
            to: &mut Vec<Arc<dyn Check>>,
        ) -> Result<()> {
            let access = self.postgres_access(cx, path, s, at).await?;
            let counted = !s.counts.is_empty() || s.counts_of_backup.is_some();
            let asked = s.canary.is_some() || s.canary_table.is_some() || s.sequences.is_some();
            let nothing = !counted && !asked && s.watermark.is_none();
            let within = s.within.map_or(Duration::from_secs(5), |w| w.0);
            if s.canary.unwrap_or(nothing || s.canary_table.is_some()) {
                let mut check = PostgresCanary::new(format!("{name}.canary"), access.clone()).within(within);
                if let Some(table) = &s.canary_table {
                    check = check.with_table(self.text(&format!("{path}.canary_table"), table)?);
                }
                to.push(Arc::new(check));
            }
            if counted {
                let mut tables: BTreeMap<String, u64> = s.counts.clone();
                if let Some(component) = &s.counts_of_backup {
                    let manifest = self.newest_backup(cx, component, at).await?;
                    for content in manifest.contents {
                        tables.entry(content.name).or_insert(content.rows);
                    }
                }
                let missing = s.missing.map_or(0.0, |m| m.0);
                let check = RowCounts::new(format!("{name}.counts"), access.clone(), tables).with_missing(missing);
                to.push(Arc::new(check));
            }
            if let Some(w) = &s.watermark {
                let table = self.text(&format!("{path}.watermark.table"), &w.table)?;
                let column = self.text(&format!("{path}.watermark.column"), &w.column)?;
                let mut check = Watermark::new(format!("{name}.watermark"), access.clone(), table, column);
                if let Some(age) = w.max_age {
                    check = check.not_older_than(age.0);
                }
                if let Some(component) = &w.of_backup {
                    let manifest = self.newest_backup(cx, component, at).await?;
                    let slack = w.slack.map_or(Duration::from_secs(60), |s| s.0);
                    let slack = chrono::TimeDelta::from_std(slack).unwrap_or_default();
                    check = check.not_before(manifest.consistency.at - slack);
                }
                to.push(Arc::new(check));
            }
            if s.sequences.unwrap_or(nothing) {
                to.push(Arc::new(Sequences::new(format!("{name}.sequences"), access)));
            }
            Ok(())
        }

        async fn newest_backup(&self, cx: &Cx, component: &str, at: At<'_>) -> Result<Manifest> {
            let component: ComponentName =
                component.parse().map_err(|e| Error::new(ErrorKind::Config, format!("{component}: {e}")))?;
            if let Some(copy) = at.copy {
                return copy.backup(&component);
            }
            let opened = self.open(cx, Some(&component), at.store, Access::Read).await?;
            Ok(choose(cx, opened, &component, &Wanted::Backup(Selector::Latest)).await?.manifest)
        }

        async fn postgres_access(
            &self,
            cx: &Cx,
            path: &str,
            s: &PostgresCheckSettings,
            at: At<'_>,
        ) -> Result<PostgresAccess> {
            if let (Some(name), Some(copy)) = (&s.source, at.copy) {
                let component: ComponentName = name.parse()?;
                let access = self.site_postgres_access(cx, &component, copy.site, None).await?;
                return Ok(access.at_address(copy.kept(cx, &component).await?));
            }
            if let Some(name) = &s.source {
                let Some(Source::Postgres(source)) = self.loaded.config.sources.get(name) else {
                    return Err(Error::new(ErrorKind::Config, format!("{name} is not a postgres source")));
                };
                let key = |key: &str| format!("sources.{name}.postgres.{key}");
                let url = source.url.expand(&self.env).map_err(|e| self.at(&key("url"), e))?;
                let access = PostgresAccess::parse(url.expose_secret()).map_err(|e| self.at(&key("url"), e))?;
                let given = Given {
                    text: source.password.as_ref(),
                    file: source.password_file.as_ref(),
                    command: source.password_command.as_deref(),
                };
                let access = match self.secret(cx, &key("password"), given).await? {
                    Some(password) => access.with_password(password),
                    None => access,
                };
                let access = match &source.ca_file {
                    Some(file) => access.with_ca_file(self.loaded.resolve(&self.text(&key("ca_file"), file)?)),
                    None => access,
                };
                return Ok(at.host.map_or(access.clone(), |host| access.at(host)));
            }
            let mut access = match (&s.url, &s.user, &s.database) {
                (Some(url), ..) => {
                    let key = format!("{path}.url");
                    let url = url.expand(&self.env).map_err(|e| self.at(&key, e))?;
                    let access = PostgresAccess::parse(url.expose_secret()).map_err(|e| self.at(&key, e))?;
                    at.host.map_or(access.clone(), |host| access.at(host))
                }
                (None, Some(user), Some(database)) => {
                    let user = self.text(&format!("{path}.user"), user)?;
                    let database = self.text(&format!("{path}.database"), database)?;
                    let host = at.host.unwrap_or("127.0.0.1");
                    let access = PostgresAccess::new(host, s.port.unwrap_or(5432), &user, &database);
                    if s.ca_file.is_some() { access.verified() } else { access }
                }
                _ => return Err(self.at(path, Error::new(ErrorKind::Config, "user or database is missing"))),
            };
            if let Some(copy) = at.copy {
                let port = access.port().ok_or_else(|| {
                    let text = "the check asks a socket in a folder of this machine: it is not in the copy";
                    self.at(path, Error::new(ErrorKind::Unsupported, text))
                })?;
                access = access.at_address(copy.published(cx, port).await?);
            }
            if let Some(file) = &s.ca_file {
                access = access.with_ca_file(self.loaded.resolve(&self.text(&format!("{path}.ca_file"), file)?));
            }
            let given = Given { text: None, file: s.password_file.as_ref(), command: None };
            Ok(match self.secret(cx, &format!("{path}.password"), given).await? {
                Some(password) => access.with_password(password),
                None => access,
            })
        }
    }
}

#[cfg(feature = "redis")]
mod redis {
    use veza_dr_core::ExposeSecret;
    use veza_dr_failover::{reach::RedisAccess, validate::RedisCanary};

    use super::*;
    use crate::secrets::Given;

    impl Wiring {
        pub(crate) async fn redis_checks(
            &self,
            cx: &Cx,
            path: &str,
            name: &str,
            s: &RedisCheckSettings,
            at: At<'_>,
            to: &mut Vec<Arc<dyn Check>>,
        ) -> Result<()> {
            let mut check = RedisCanary::new(name, self.redis_access(cx, path, s, at).await?);
            if let Some(within) = s.within {
                check = check.within(within.0);
            }
            to.push(Arc::new(check));
            Ok(())
        }

        async fn redis_access(&self, cx: &Cx, path: &str, s: &RedisCheckSettings, at: At<'_>) -> Result<RedisAccess> {
            let (mut access, key, username, ca_file, given) = match &s.source {
                Some(name) => {
                    let (source, key) = self.redis_place(&name.parse()?, at.copy.map(|copy| copy.site))?;
                    if source.client_cert_file.is_some() {
                        let text = "a check of Redis shows no client certificate";
                        let e = Error::new(ErrorKind::Unsupported, text);
                        return Err(self.at(&format!("{key}.client_cert_file"), e));
                    }
                    let place = format!("{key}.url");
                    let url = source.url.expand(&self.env).map_err(|e| self.at(&place, e))?;
                    let access = RedisAccess::parse(url.expose_secret()).map_err(|e| self.at(&place, e))?;
                    let given = Given {
                        text: source.password.as_ref(),
                        file: source.password_file.as_ref(),
                        command: source.password_command.as_deref(),
                    };
                    (access, key, source.username.as_ref(), source.ca_file.as_ref(), given)
                }
                None => {
                    let access = match &s.url {
                        Some(url) => {
                            let key = format!("{path}.url");
                            RedisAccess::parse(&self.text(&key, url)?).map_err(|e| self.at(&key, e))?
                        }
                        None => RedisAccess::new("127.0.0.1", s.port.unwrap_or(6379)),
                    };
                    let given = Given { text: None, file: s.password_file.as_ref(), command: None };
                    (access, path.to_owned(), s.username.as_ref(), s.ca_file.as_ref(), given)
                }
            };
            if let Some(host) = at.host {
                access = access.at(host);
            }
            if let Some(copy) = at.copy {
                let to = match &s.source {
                    Some(name) => copy.kept(cx, &name.parse()?).await?,
                    None => copy.published(cx, access.port()).await?,
                };
                access = access.at_address(to);
            }
            if let Some(file) = ca_file {
                access = access.with_ca_file(self.loaded.resolve(&self.text(&format!("{key}.ca_file"), file)?));
            }
            let username = username.map(|u| self.text(&format!("{key}.username"), u)).transpose()?;
            Ok(match self.secret(cx, &format!("{key}.password"), given).await? {
                Some(password) => access.with_login(username, password),
                None => access,
            })
        }
    }
}

#[cfg(not(feature = "postgres"))]
impl Wiring {
    pub(crate) async fn postgres_checks(
        &self,
        _: &Cx,
        path: &str,
        _: &str,
        _: &PostgresCheckSettings,
        _: At<'_>,
        _: &mut Vec<Arc<dyn Check>>,
    ) -> Result<()> {
        Err(self.at(path, Error::new(ErrorKind::Unsupported, "this build has no support for postgres")))
    }
}

#[cfg(not(feature = "redis"))]
impl Wiring {
    pub(crate) async fn redis_checks(
        &self,
        _: &Cx,
        path: &str,
        _: &str,
        _: &RedisCheckSettings,
        _: At<'_>,
        _: &mut Vec<Arc<dyn Check>>,
    ) -> Result<()> {
        Err(self.at(path, Error::new(ErrorKind::Unsupported, "this build has no support for redis")))
    }
}
