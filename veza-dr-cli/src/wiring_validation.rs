//! Checks out of the configuration: those of `validation`, or those for the guide's services.

use std::{sync::Arc, time::Duration};

use veza_dr_core::{Cx, Error, ErrorKind, Result, SecretString};
use veza_dr_failover::{
    reach::HttpAddress,
    validate::{
        Check, Exchange, Expected, HttpCheck, JsonExpectation, LoadCheck, LoadLimits, LoadShape, SiteIdentity,
        StreamCheck, Suite, WebSocketCheck,
    },
};

use crate::{
    config::{
        CheckKind, CheckSettings, HttpCheckSettings, LoadCheckSettings, PostgresCheckSettings, RedisCheckSettings,
        SecretText, Source, Span, StreamCheckSettings, Text, WebSocketCheckSettings,
    },
    secrets::Given,
    wiring::Wiring,
    wiring_drill_checks::InCopy,
};

/// Where a check without a site looks.
const HERE: &str = "127.0.0.1";

/// Which site is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<'a> {
    /// Its address; `None`: this machine for ports, and what an address names for addresses.
    pub(crate) host: Option<&'a str>,
    /// The only store that counts are read from.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "only counts of a backup are read from a store"))]
    pub(crate) store: Option<&'a str>,
    /// The copy of a site that is looked at instead.
    pub(crate) copy: Option<&'a InCopy<'a>>,
}

/// Where and as whom an HTTP check asks.
struct Place<'a> {
    url: Option<&'a Text>,
    port: Option<u16>,
    path: Option<&'a Text>,
    ca_file: Option<&'a Text>,
    token: Option<&'a SecretText>,
    token_file: Option<&'a Text>,
}

macro_rules! place {
    ($settings:expr) => {
        Place {
            url: $settings.url.as_ref(),
            port: $settings.port,
            path: $settings.path.as_ref(),
            ca_file: $settings.ca_file.as_ref(),
            token: $settings.token.as_ref(),
            token_file: $settings.token_file.as_ref(),
        }
    };
}

fn span(setting: Option<Span>, default: u64) -> Duration {
    setting.map_or(Duration::from_secs(default), |s| s.0)
}

impl Wiring {
    /// The checks for a site, or for this machine; only those named, where some are.
    pub(crate) async fn validation(
        &self,
        cx: &Cx,
        site: Option<&str>,
        only: &[String],
        store: Option<&str>,
    ) -> Result<Suite> {
        let host = self.site_address(site)?;
        let at = At { host: host.as_deref(), store, copy: None };
        let defaults;
        let settings = match self.loaded.config.validation.as_slice() {
            [] => {
                defaults = self.default_checks();
                &defaults
            }
            given => given,
        };
        if let Some(unknown) = only.iter().find(|name| !settings.iter().any(|s| s.name == **name)) {
            let known: Vec<&str> = settings.iter().map(|s| s.name.as_str()).collect();
            return Err(Error::new(ErrorKind::NotFound, format!("there is no check `{unknown}`"))
                .with_help(format!("the checks are {}", known.join(", "))));
        }
        let mut checks: Vec<Arc<dyn Check>> = Vec::new();
        for (n, check) in settings.iter().enumerate() {
            if only.is_empty() || only.contains(&check.name) {
                self.check(cx, &format!("validation[{n}]"), check, at, &mut checks).await?;
            }
        }
        Suite::new(checks)
    }

    fn site_address(&self, site: Option<&str>) -> Result<Option<String>> {
        let Some(name) = site else { return Ok(None) };
        let sites = &self.loaded.config.sites;
        let Some(site) = sites.get(name) else {
            let known: Vec<&str> = sites.keys().map(String::as_str).collect();
            let help = match known.as_slice() {
                [] => "add it under `sites`".to_owned(),
                known => format!("its sites are {}", known.join(", ")),
            };
            let text = format!("{} has no site `{name}`", self.loaded.file.display());
            return Err(Error::new(ErrorKind::Config, text).with_help(help));
        };
        let path = format!("sites.{name}.address");
        match &site.address {
            Some(address) => self.text(&path, address).map(Some),
            None => Err(self.at(
                &format!("sites.{name}"),
                Error::new(ErrorKind::Config, "the site has no address")
                    .with_help("give it one: validation asks the site itself, whatever DNS says"),
            )),
        }
    }

    /// What the guide's validation asks, with its ports, and every source.
    fn default_checks(&self) -> Vec<CheckSettings> {
        let text = |text: &str| Some(Text::from(text));
        let mut checks = Vec::new();
        let mut add = |name: &str, kind| checks.push(CheckSettings { name: name.to_owned(), kind });
        for (name, port) in [("api", 8080), ("stream", 8082)] {
            let http = HttpCheckSettings { port: Some(port), path: text("/health"), ..Default::default() };
            add(name, CheckKind::Http(Box::new(http)));
        }
        let chat = WebSocketCheckSettings { port: Some(8081), path: text("/chat"), ..Default::default() };
        add("chat", CheckKind::WebSocket(Box::new(chat)));
        for (name, source) in &self.loaded.config.sources {
            let source_name = Some(name.clone());
            match source {
                Source::Postgres(_) => {
                    let settings = PostgresCheckSettings { source: source_name, ..Default::default() };
                    add(name, CheckKind::Postgres(Box::new(settings)));
                }
                Source::Redis(_) => {
                    let settings = RedisCheckSettings { source: source_name, ..Default::default() };
                    add(name, CheckKind::Redis(Box::new(settings)));
                }
                _ => {}
            }
        }
        let load = LoadCheckSettings { port: Some(8080), path: text("/api/v1/users"), ..Default::default() };
        add("load", CheckKind::Load(Box::new(load)));
        checks
    }

    /// Adds what one entry of `validation` asks for.
    pub(crate) async fn check(
        &self,
        cx: &Cx,
        path: &str,
        check: &CheckSettings,
        at: At<'_>,
        to: &mut Vec<Arc<dyn Check>>,
    ) -> Result<()> {
        let name = check.name.as_str();
        match &check.kind {
            CheckKind::Http(s) => to.push(Arc::new(self.http_check(cx, &format!("{path}.http"), name, s, at).await?)),
            CheckKind::WebSocket(s) => {
                to.push(Arc::new(self.websocket_check(cx, &format!("{path}.websocket"), name, s, at).await?));
            }
            CheckKind::Stream(s) => {
                to.push(Arc::new(self.stream_check(cx, &format!("{path}.stream"), name, s, at).await?));
            }
            CheckKind::Load(s) => to.push(Arc::new(self.load_check(cx, &format!("{path}.load"), name, s, at).await?)),
            CheckKind::Postgres(s) => self.postgres_checks(cx, &format!("{path}.postgres"), name, s, at, to).await?,
            CheckKind::Redis(s) => self.redis_checks(cx, &format!("{path}.redis"), name, s, at, to).await?,
        }
        Ok(())
    }

    /// The address, at the site, and the token.
    async fn place(
        &self,
        cx: &Cx,
        path: &str,
        place: Place<'_>,
        at: At<'_>,
    ) -> Result<(HttpAddress, Option<SecretString>)> {
        let mut address = match (place.url, place.port) {
            (Some(url), _) => {
                let key = format!("{path}.url");
                let address = HttpAddress::parse(&self.text(&key, url)?).map_err(|e| self.at(&key, e))?;
                match at.host {
                    Some(host) => address.at(host),
                    None => address,
                }
            }
            (None, port) => {
                let bare = place.path.map_or(Ok("/".to_owned()), |p| self.text(&format!("{path}.path"), p))?;
                let (host, slash) = (at.host.unwrap_or(HERE), if bare.starts_with('/') { "" } else { "/" });
                let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
                let url = format!("http://{host}:{}{slash}{bare}", port.unwrap_or(80));
                HttpAddress::parse(&url).map_err(|e| self.at(path, e))?
            }
        };
        if let Some(copy) = at.copy {
            address = address.clone().at(&copy.published(cx, address.port()).await?.to_string());
        }
        if let Some(file) = place.ca_file {
            address = address.with_ca_file(self.loaded.resolve(&self.text(&format!("{path}.ca_file"), file)?));
        }
        let given = Given { text: place.token, file: place.token_file, command: None };
        Ok((address, self.secret(cx, &format!("{path}.token"), given).await?))
    }

    async fn http_check(
        &self,
        cx: &Cx,
        path: &str,
        name: &str,
        s: &HttpCheckSettings,
        at: At<'_>,
    ) -> Result<HttpCheck> {
        let (address, token) = self.place(cx, path, place!(s), at).await?;
        let mut check =
            HttpCheck::new(name, address).within(span(s.within, 5)).with_status(vec![s.status.unwrap_or(200)]);
        if let Some(part) = &s.contains {
            check = check.with_body(self.text(&format!("{path}.contains"), part)?);
        }
        for (place, value) in &s.json {
            let expectation = JsonExpectation::new(place, Expected::Equals(value.0.clone()));
            check = check.with_json(expectation.map_err(|e| self.at(&format!("{path}.json"), e))?);
        }
        for (header, value) in &s.site_header {
            let value = self.text(&format!("{path}.site_header.{header}"), value)?;
            check = check.with_identity(SiteIdentity::Header(header.clone(), value));
        }
        Ok(match token {
            Some(token) => check.with_token(token),
            None => check,
        })
    }

    async fn websocket_check(
        &self,
        cx: &Cx,
        path: &str,
        name: &str,
        s: &WebSocketCheckSettings,
        at: At<'_>,
    ) -> Result<WebSocketCheck> {
        let (address, token) = self.place(cx, path, place!(s), at).await?;
        let mut check = WebSocketCheck::new(name, address).within(span(s.within, 5));
        if let Some(send) = &s.send {
            let send = self.text(&format!("{path}.send"), send)?;
            let expect = s.expect.as_ref().map(|e| self.text(&format!("{path}.expect"), e)).transpose()?;
            check = check.with_exchange(Exchange::Text { expect: expect.unwrap_or_else(|| send.clone()), send });
        }
        Ok(match token {
            Some(token) => check.with_token(token),
            None => check,
        })
    }

    async fn stream_check(
        &self,
        cx: &Cx,
        path: &str,
        name: &str,
        s: &StreamCheckSettings,
        at: At<'_>,
    ) -> Result<StreamCheck> {
        let (address, token) = self.place(cx, path, place!(s), at).await?;
        let check = StreamCheck::new(name, address, s.bytes.bytes());
        let check = check.with_first_byte_within(span(s.first_byte_within, 2)).within(span(s.within, 10));
        Ok(match token {
            Some(token) => check.with_token(token),
            None => check,
        })
    }

    async fn load_check(
        &self,
        cx: &Cx,
        path: &str,
        name: &str,
        s: &LoadCheckSettings,
        at: At<'_>,
    ) -> Result<LoadCheck> {
        let (address, token) = self.place(cx, path, place!(s), at).await?;
        let shape = match s.rate {
            Some(rate) => LoadShape::Rate {
                per_second: rate.0,
                lasting: span(s.lasting, 60),
                concurrency: s.concurrency.unwrap_or(50),
            },
            None => LoadShape::Count { requests: s.requests.unwrap_or(100), concurrency: s.concurrency.unwrap_or(10) },
        };
        let mut limits = LoadLimits::default();
        limits.p95 = s.p95.map(|d| d.0).or(limits.p95);
        limits.p99 = s.p99.map(|d| d.0).or(limits.p99);
        limits.errors = s.errors.map_or(limits.errors, |e| e.0);
        limits.stop_at_errors = s.stop_at.map_or(limits.stop_at_errors, |e| e.0);
        limits.timeout = s.timeout.map_or(limits.timeout, |d| d.0);
        let mut check = LoadCheck::new(name, address, shape).with_limits(limits);
        if let Some(requests) = s.warm_up {
            check = check.with_warm_up(requests);
        }
        Ok(match token {
            Some(token) => check.with_token(token),
            None => check,
        })
    }
}
