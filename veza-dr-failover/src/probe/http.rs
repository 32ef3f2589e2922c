//! Whether an HTTP service answers as it should, asked at an address of our choice.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::Utc;
use futures::StreamExt;
use serde_json::Value;
use veza_dr_core::{Cx, Error, ErrorKind, ExposeSecret, Observation, Result, SecretString, ServiceProbe};

use super::{
    Identity, JsonExpectation, PATIENCE, Trust,
    connect::{failed, resolve},
    http_expect::short,
    look::{Contact, Seen, Stop, look},
    validity,
};

/// More than this of an answer is not read.
const BODY: usize = 1 << 20;

/// Sends one GET on a connection of its own and judges the answer. 5xx, no answer, another site's answer and a wrong
/// certificate are down; another status, a body that is not as expected and a certificate about to expire are degraded.
/// Redirects are not followed and no proxy is used: the answer must be that of the address asked.
///
/// ```
/// use veza_dr_failover::probe::{HttpProbe, JsonExpectation};
/// let probe = HttpProbe::new("https://api.veza.com/health")?
///     .at_address("192.0.2.20")
///     .with_json(JsonExpectation::equals("status", "ok"))
///     .with_certificate_days(14);
/// # Ok::<(), veza_dr_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct HttpProbe {
    name: String,
    url: reqwest::Url,
    address: Option<String>,
    status: Option<u16>,
    contains: Option<String>,
    json: Vec<JsonExpectation>,
    identity: Option<Identity>,
    certificate_days: i64,
    token: Option<SecretString>,
    trust: Option<Trust>,
    patience: Duration,
}

impl HttpProbe {
    /// Looks at a URL; any status from 200 to 299 will do.
    ///
    /// # Errors
    /// `Config` when it is no `http` or `https` URL.
    pub fn new(url: &str) -> Result<Self> {
        let bad = || {
            Error::new(ErrorKind::Config, "the URL of an HTTP probe cannot be used")
                .with_help("write it as http://host:port/path or https://host/path")
        };
        let url = reqwest::Url::parse(url).map_err(|e| bad().with_source(e))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(bad());
        }
        // Its query may hold a key.
        let mut shown = url.clone();
        shown.set_query(None);
        let _ = (shown.set_username(""), shown.set_password(None));
        Ok(Self {
            name: format!("http {shown}"),
            url,
            address: None,
            status: None,
            contains: None,
            json: Vec::new(),
            identity: None,
            certificate_days: 14,
            token: None,
            trust: None,
            patience: PATIENCE,
        })
    }

    /// Connects to this address, whatever the URL's name resolves to; the name still goes into `Host` and the TLS
    /// handshake. So the site that is meant is asked, and not the one that DNS points to.
    #[must_use]
    pub fn at_address(mut self, address: impl Into<String>) -> Self {
        let address = address.into();
        if self.url.host_str() != Some(address.as_str()) {
            self.name.push_str(&format!(" at {address}"));
        }
        self.address = Some(address);
        self
    }

    /// Exactly this status is expected.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// The body must contain this text.
    #[must_use]
    pub fn with_body(mut self, contains: impl Into<String>) -> Self {
        self.contains = Some(contains.into());
        self
    }

    /// The body must be JSON that says this; may be given several times.
    #[must_use]
    pub fn with_json(mut self, expected: JsonExpectation) -> Self {
        self.json.push(expected);
        self
    }

    /// The answer must say which site it comes from.
    #[must_use]
    pub fn with_identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// A certificate valid for fewer days is degraded; 14 by default.
    #[must_use]
    pub fn with_certificate_days(mut self, days: u32) -> Self {
        self.certificate_days = days.into();
        self
    }

    /// Sends `Authorization: Bearer …`.
    #[must_use]
    pub fn with_token(mut self, token: SecretString) -> Self {
        self.token = Some(token);
        self
    }

    /// Whose certificates are believed; those that this machine trusts by default.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// How long it waits; 5 s by default.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// A client of its own, with nothing kept open: an old connection would tell of the past.
    fn client(&self) -> Result<reqwest::Client> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("veza-dr/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(0)
            .connect_timeout(self.connect_patience())
            .tls_info(true);
        // Certificates are only loaded for those who ask for them.
        let trust = match (&self.trust, self.url.scheme()) {
            (Some(trust), _) => trust.clone(),
            (None, "https") => Trust::system()?,
            (None, _) => Trust::anybody()?,
        };
        builder = builder.tls_backend_preconfigured(rustls::ClientConfig::clone(trust.config()));
        let fixed = Fixed(self.address.clone());
        builder.dns_resolver(Arc::new(fixed)).build().map_err(|e| {
            Error::new(ErrorKind::Unexpected, "the HTTP client cannot be set up").with_source(e.without_url())
        })
    }

    /// Shorter than the whole, so that a connection that never came about is told from an answer that never did.
    fn connect_patience(&self) -> Duration {
        self.patience * 3 / 4
    }

    async fn ask(&self, contact: &Contact) -> Result<Seen, Stop> {
        let mut url = self.url.clone();
        // No name to resolve in a URL that spells an address out: the other address takes its place.
        let literal = url.host().is_some_and(|h| !matches!(h, url::Host::Domain(_)));
        let mut headers = reqwest::header::HeaderMap::new();
        if let (true, Some(address)) = (literal, &self.address) {
            let host = url.host_str().unwrap_or_default().to_owned();
            if host != *address {
                let host = url.port().map_or(host.clone(), |port| format!("{host}:{port}"));
                headers.insert(reqwest::header::HOST, value(&host)?);
                let port = self.url.port_or_known_default().unwrap_or(80);
                let at = resolve(address, port).await?.remove(0);
                let _ = url.set_ip_host(at.ip());
            }
        }
        if let Some(token) = &self.token {
            let mut bearer = value(&format!("Bearer {}", token.expose_secret()))?;
            bearer.set_sensitive(true);
            headers.insert(reqwest::header::AUTHORIZATION, bearer);
        }
        let at = self.address.as_deref().or(url.host_str()).unwrap_or_default().to_owned();
        let send = self.client()?.get(url).headers(headers).send();
        let mut send = std::pin::pin!(send);
        let answer = tokio::select! {
            answer = &mut send => answer,
            // A connection that did not come about has failed by now.
            () = tokio::time::sleep(self.connect_patience() + Duration::from_millis(50)) => {
                contact.made();
                send.await
            }
        };
        let answer = answer.map_err(|e| failure(&at, &e))?;
        contact.made();
        self.judge(answer).await
    }

    async fn judge(&self, answer: reqwest::Response) -> Result<Seen, Stop> {
        let status = answer.status();
        let tls = answer.extensions().get::<reqwest::tls::TlsInfo>();
        let expires = tls.and_then(|tls| tls.peer_certificate()).and_then(validity::not_after);
        let headers = answer.headers().clone();
        let body = read(answer).await?;
        let json_wanted = !self.json.is_empty() || self.identity.as_ref().is_some_and(Identity::needs_json);
        let document = if json_wanted { serde_json::from_slice::<Value>(&body).ok() } else { None };
        if let Some(identity) = &self.identity {
            let header = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
            identity.judge(header, document.as_ref())?;
        }
        let expected = self.status.map_or(status.is_success(), |wanted| status.as_u16() == wanted);
        if !expected {
            let text = format!("it answers {status}: {}", short(&String::from_utf8_lossy(&body)));
            return Ok(if status.is_server_error() { Seen::down(text) } else { Seen::degraded(text) });
        }
        if let Some(wanted) = &self.contains
            && !String::from_utf8_lossy(&body).contains(wanted.as_str())
        {
            let said = short(&String::from_utf8_lossy(&body));
            return Ok(Seen::degraded(format!("its answer {status} does not contain `{wanted}`: {said}")));
        }
        if !self.json.is_empty() {
            let Some(document) = &document else {
                let said = short(&String::from_utf8_lossy(&body));
                return Ok(Seen::degraded(format!("its answer {status} is no JSON: {said}")));
            };
            for expectation in &self.json {
                expectation.judge(document)?;
            }
        }
        let mut text = format!("it answers {status}");
        if let Some(expires) = expires {
            let days = (expires - Utc::now()).num_days();
            text.push_str(&format!(", its certificate is valid for {days} days"));
            if days < self.certificate_days {
                return Ok(Seen::degraded(text));
            }
        }
        Ok(Seen::healthy(text))
    }
}

#[async_trait]
impl ServiceProbe for HttpProbe {
    fn name(&self) -> &str {
        &self.name
    }

    async fn observe(&self, cx: &Cx) -> Result<Observation> {
        let contact = Contact::default();
        look(cx, &self.name, self.patience, &contact, self.ask(&contact)).await
    }
}

/// Answers every name with the one address, or as the system does.
struct Fixed(Option<String>);

impl reqwest::dns::Resolve for Fixed {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let host = self.0.clone().unwrap_or_else(|| name.as_str().to_owned());
        Box::pin(async move {
            let found: Vec<SocketAddr> = resolve(&host, 0).await?;
            Ok(Box::new(found.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

async fn read(answer: reqwest::Response) -> Result<Vec<u8>, Stop> {
    let mut body = Vec::new();
    let mut pieces = answer.bytes_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|e| Seen::down(format!("its answer breaks off: {}", cause(&e))))?;
        body.extend_from_slice(&piece[..piece.len().min(BODY - body.len())]);
        if body.len() == BODY {
            break;
        }
    }
    Ok(body)
}

fn value(text: &str) -> Result<reqwest::header::HeaderValue> {
    reqwest::header::HeaderValue::from_str(text)
        .map_err(|_| Error::new(ErrorKind::Config, "a header of an HTTP probe has characters that no header may have"))
}

/// What a request that got no answer says.
fn failure(at: &str, e: &reqwest::Error) -> Stop {
    let mut source = std::error::Error::source(e);
    while let Some(inner) = source {
        if let Some(ours) = inner.downcast_ref::<Error>() {
            return Error::new(ours.kind(), ours.to_string()).into();
        }
        if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
            return Seen::down(format!("TLS with {at} fails: {tls}")).into();
        }
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            if let Some(tls) = io.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
                return Seen::down(format!("TLS with {at} fails: {tls}")).into();
            }
            if io.raw_os_error().is_some() || io.kind() != std::io::ErrorKind::Other {
                return failed(at, io);
            }
        }
        source = inner.source();
    }
    if e.is_timeout() {
        return Seen::silent(format!("{at}: no connection came about in time")).into();
    }
    Seen::down(format!("{at} gives no HTTP answer: {}", cause(e))).into()
}

/// The innermost cause: the outer ones name the whole URL, which may hold a secret.
fn cause(e: &(dyn std::error::Error + 'static)) -> String {
    let mut last = e;
    while let Some(inner) = last.source() {
        last = inner;
    }
    short(&last.to_string())
}
