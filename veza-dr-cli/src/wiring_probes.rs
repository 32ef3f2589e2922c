//! From the settings of a probe to the probe, as seen on one site.

use std::{sync::Arc, time::Duration};

use veza_dr_core::{Cx, Error, ErrorKind, ExposeSecret, Result, ServiceProbe};
use veza_dr_failover::probe::{HttpProbe, Identity, JsonExpectation, TcpProbe, Trust, WebSocketProbe};

use crate::{
    config::{HttpProbeSettings, ProbeSettings, SecretText, Span, Text, WebSocketProbeSettings},
    secrets::Given,
    wiring::Wiring,
};

/// One site, from which probes take their host.
#[derive(Debug)]
pub(crate) struct SiteView<'a> {
    wiring: &'a Wiring,
    site: &'a str,
    address: Option<String>,
    deadline: Duration,
    #[cfg(feature = "docker")]
    containers: Arc<veza_dr_failover::probe::Containers>,
}

/// Where a setting is in the file.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    service: &'a str,
    at: usize,
    kind: &'a str,
}

impl Place<'_> {
    fn of(self, key: &str) -> String {
        format!("services.{}.probes[{}].{}.{key}", self.service, self.at, self.kind)
    }
}

impl<'a> SiteView<'a> {
    pub(crate) fn new(wiring: &'a Wiring, site: &'a str, deadline: Duration) -> Result<Self> {
        let settings = &wiring.loaded.config.sites[site];
        let address = match &settings.address {
            Some(address) => Some(wiring.text(&format!("sites.{site}.address"), address)?),
            None => None,
        };
        Ok(Self {
            wiring,
            site,
            address,
            deadline,
            #[cfg(feature = "docker")]
            containers: veza_dr_failover::probe::Containers::new(wiring.site(Some(site))?.control),
        })
    }

    /// The probe of a service on this site.
    pub(crate) async fn probe(
        &self,
        cx: &Cx,
        service: &str,
        at: usize,
        settings: &ProbeSettings,
    ) -> Result<Arc<dyn ServiceProbe>> {
        let place = |kind| Place { service, at, kind };
        match settings {
            #[cfg(feature = "docker")]
            ProbeSettings::Docker(docker) => {
                let probe = self.containers.probe(service).with_patience(self.patience(docker.timeout));
                Ok(Arc::new(probe))
            }
            ProbeSettings::Tcp(tcp) => {
                let host = self.host(place("tcp"), tcp.host.as_ref())?;
                Ok(Arc::new(TcpProbe::new(host, tcp.port).with_patience(self.patience(tcp.timeout))))
            }
            ProbeSettings::Http(http) => Ok(Arc::new(self.http(cx, place("http"), http).await?)),
            ProbeSettings::Websocket(socket) => Ok(Arc::new(self.websocket(cx, place("websocket"), socket).await?)),
            #[cfg(feature = "postgres")]
            ProbeSettings::Postgres(postgres) => Ok(Arc::new(self.postgres(cx, place("postgres"), postgres).await?)),
            #[cfg(feature = "redis")]
            ProbeSettings::Redis(redis) => Ok(Arc::new(self.redis(cx, place("redis"), redis).await?)),
            #[allow(unreachable_patterns, reason = "reached where a feature is left out of the build")]
            _ => Err(Error::new(ErrorKind::Unsupported, format!("this build lacks a probe of service {service}"))),
        }
    }

    fn patience(&self, given: Option<Span>) -> Duration {
        given.map_or(self.deadline, |span| span.0.min(self.deadline))
    }

    fn host(&self, place: Place<'_>, given: Option<&Text>) -> Result<String> {
        match given {
            Some(host) => self.wiring.text(&place.of("host"), host),
            None => self.address.clone().ok_or_else(|| {
                let text = format!("site {} has no address to ask service {} at", self.site, place.service);
                Error::new(ErrorKind::Config, text).with_help(format!("add sites.{}.address", self.site))
            }),
        }
    }

    fn trust(&self, place: Place<'_>, ca_file: Option<&Text>) -> Result<Option<Trust>> {
        let Some(file) = ca_file else { return Ok(None) };
        let key = place.of("ca_file");
        let file = self.wiring.loaded.resolve(&self.wiring.text(&key, file)?);
        Trust::of_file(&file).map(Some).map_err(|e| self.wiring.at(&key, e))
    }

    async fn token(
        &self,
        cx: &Cx,
        place: Place<'_>,
        file: Option<&Text>,
    ) -> Result<Option<veza_dr_core::SecretString>> {
        self.wiring.secret(cx, &place.of("token"), Given { text: None, file, command: None }).await
    }

    /// The URL that is given, or one made of the site's address.
    fn url(
        &self,
        place: Place<'_>,
        scheme: &str,
        (url, port, path): (Option<&SecretText>, Option<u16>, Option<&Text>),
    ) -> Result<String> {
        if let Some(url) = url {
            let url = url.expand(&self.wiring.env).map_err(|e| self.wiring.at(&place.of("url"), e))?;
            return Ok(url.expose_secret().to_owned());
        }
        let host = self.host(place, None)?;
        let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
        let path = match path {
            Some(path) => self.wiring.text(&place.of("path"), path)?,
            None => "/".to_owned(),
        };
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(format!("{scheme}://{host}:{}{slash}{path}", port.unwrap_or(80)))
    }

    async fn http(&self, cx: &Cx, place: Place<'_>, http: &HttpProbeSettings) -> Result<HttpProbe> {
        let text = |key: &str, text: &Text| self.wiring.text(&place.of(key), text);
        let url = self.url(place, "http", (http.url.as_ref(), http.port, http.path.as_ref()))?;
        let mut probe = HttpProbe::new(&url)
            .map_err(|e| self.wiring.at(&place.of("url"), e))?
            .with_patience(self.patience(http.timeout));
        if let Some(address) = &self.address {
            probe = probe.at_address(address);
        }
        if let Some(status) = http.status {
            probe = probe.with_status(status);
        }
        if let Some(contains) = &http.contains {
            probe = probe.with_body(text("contains", contains)?);
        }
        for (path, value) in &http.json {
            probe = probe.with_json(JsonExpectation::equals(path, text(&format!("json.{path}"), value)?));
        }
        if let Some(header) = &http.site_header {
            probe = probe.with_identity(Identity::Header(text("site_header", header)?, self.site.to_owned()));
        } else if let Some(field) = &http.site_field {
            probe = probe.with_identity(Identity::Json(text("site_field", field)?, self.site.to_owned()));
        }
        if let Some(days) = http.certificate_days {
            probe = probe.with_certificate_days(days);
        }
        if let Some(token) = self.token(cx, place, http.token_file.as_ref()).await? {
            probe = probe.with_token(token);
        }
        if let Some(trust) = self.trust(place, http.ca_file.as_ref())? {
            probe = probe.with_trust(trust);
        }
        Ok(probe)
    }

    async fn websocket(&self, cx: &Cx, place: Place<'_>, socket: &WebSocketProbeSettings) -> Result<WebSocketProbe> {
        let url = self.url(place, "ws", (socket.url.as_ref(), socket.port, socket.path.as_ref()))?;
        let mut probe = WebSocketProbe::new(&url)
            .map_err(|e| self.wiring.at(&place.of("url"), e))?
            .with_patience(self.patience(socket.timeout));
        if let Some(address) = &self.address {
            probe = probe.at_address(address);
        }
        if socket.echo {
            probe = probe.with_echo();
        }
        if let Some(token) = self.token(cx, place, socket.token_file.as_ref()).await? {
            probe = probe.with_token(token);
        }
        if let Some(trust) = self.trust(place, socket.ca_file.as_ref())? {
            probe = probe.with_trust(trust);
        }
        Ok(probe)
    }

    #[cfg(feature = "postgres")]
    async fn postgres(
        &self,
        cx: &Cx,
        place: Place<'_>,
        settings: &crate::config::PostgresProbeSettings,
    ) -> Result<veza_dr_failover::probe::PostgresProbe> {
        use veza_dr_failover::probe::{Heartbeat, PostgresProbe};
        let text = |key: &str, text: &Text| self.wiring.text(&place.of(key), text);
        let host = self.host(place, settings.host.as_ref())?;
        let (user, database) = (text("user", &settings.user)?, text("database", &settings.database)?);
        let mut probe = PostgresProbe::new(host, settings.port.unwrap_or(5432), user, database)
            .with_patience(self.patience(settings.timeout));
        let given = Given {
            text: settings.password.as_ref(),
            file: settings.password_file.as_ref(),
            command: settings.password_command.as_deref(),
        };
        if let Some(password) = self.wiring.secret(cx, &place.of("password"), given).await? {
            probe = probe.with_password(password);
        }
        if let Some(trust) = self.trust(place, settings.ca_file.as_ref())? {
            probe = probe.with_trust(trust);
        }
        if let Some(in_recovery) = settings.in_recovery {
            probe = probe.expecting_recovery(in_recovery);
        }
        if let Some(lag) = settings.max_lag {
            probe = probe.with_max_lag(lag.0);
        }
        if let Some(beat) = &settings.heartbeat {
            let (table, column) = (text("heartbeat.table", &beat.table)?, text("heartbeat.column", &beat.column)?);
            probe = probe.with_heartbeat(Heartbeat::new(table, column, beat.max_age.0));
        }
        Ok(probe)
    }

    #[cfg(feature = "redis")]
    async fn redis(
        &self,
        cx: &Cx,
        place: Place<'_>,
        settings: &crate::config::RedisProbeSettings,
    ) -> Result<veza_dr_failover::probe::RedisProbe> {
        let host = self.host(place, settings.host.as_ref())?;
        let mut probe = veza_dr_failover::probe::RedisProbe::new(host, settings.port.unwrap_or(6379))
            .with_patience(self.patience(settings.timeout));
        let given = Given {
            text: settings.password.as_ref(),
            file: settings.password_file.as_ref(),
            command: settings.password_command.as_deref(),
        };
        if let Some(username) = &settings.username {
            probe = probe.with_username(self.wiring.text(&place.of("username"), username)?);
        }
        if let Some(password) = self.wiring.secret(cx, &place.of("password"), given).await? {
            probe = probe.with_password(password);
        }
        if let Some(trust) = self.trust(place, settings.ca_file.as_ref())? {
            probe = probe.with_trust(trust);
        }
        if let Some(replica) = settings.replica {
            probe = probe.expecting_replica(replica);
        }
        Ok(probe)
    }
}
