//! One HTTP answer: status, body, a place in its JSON, who gave it, and how long that took.

use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Limited};
use hyper::{
    Response,
    body::Incoming,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use serde_json::{Value, json};
use tokio::time::Instant;
use veza_dr_core::{Cx, Error, ErrorKind, ExposeSecret, Result, SecretString};

use super::{Check, Finding, Group, JsonExpectation, suite::seconds};
use crate::reach::HttpAddress;

/// Health pages are small; what is beyond this is not looked at and fails the check.
const BODY_LIMIT: usize = 1 << 20;

/// How an answer tells which site gave it: the old site may answer just as well as the new one.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum SiteIdentity {
    /// A header with this value.
    Header(String, String),
    /// A place in the JSON answer.
    Json(JsonExpectation),
}

/// Asks an address once.
///
/// ```
/// use std::time::Duration;
/// use veza_dr_failover::{reach::HttpAddress, validate::{Check, HttpCheck}};
/// let check = HttpCheck::new("api", HttpAddress::parse("https://api.veza.com/health")?.at("192.0.2.20"))
///     .with_body("ok")
///     .within(Duration::from_millis(500));
/// assert_eq!(check.tolerance(), "status 200, body holds \"ok\", within 500 ms");
/// # Ok::<(), veza_dr_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct HttpCheck {
    name: String,
    address: HttpAddress,
    status: Vec<u16>,
    body: Option<String>,
    json: Vec<JsonExpectation>,
    identity: Option<SiteIdentity>,
    token: Option<SecretString>,
    within: Duration,
}

impl HttpCheck {
    /// Status 200 within 5 s.
    #[must_use]
    pub fn new(name: impl Into<String>, address: HttpAddress) -> Self {
        Self {
            name: name.into(),
            address,
            status: vec![200],
            body: None,
            json: Vec::new(),
            identity: None,
            token: None,
            within: Duration::from_secs(5),
        }
    }

    /// Passes with one of these statuses. Redirects are not followed: they may lead to the other site.
    #[must_use]
    pub fn with_status(mut self, status: Vec<u16>) -> Self {
        self.status = status;
        self
    }

    /// The body must hold this.
    #[must_use]
    pub fn with_body(mut self, part: impl Into<String>) -> Self {
        self.body = Some(part.into());
        self
    }

    /// The body must be JSON with this in it.
    #[must_use]
    pub fn with_json(mut self, expectation: JsonExpectation) -> Self {
        self.json.push(expectation);
        self
    }

    /// The answer must say that it is this site's.
    #[must_use]
    pub fn with_identity(mut self, identity: SiteIdentity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Sends this bearer token.
    #[must_use]
    pub fn with_token(mut self, token: SecretString) -> Self {
        self.token = Some(token);
        self
    }

    /// How long connection and whole answer may take.
    #[must_use]
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    async fn ask(&self) -> Result<Finding> {
        let headers = bearer(self.token.as_ref())?;
        let mut connection = match self.address.connect().await {
            Ok(connection) => connection,
            Err(e) => return Finding::of_unreachable(e),
        };
        let answer = match connection.get(&headers).await {
            Ok(answer) => answer,
            Err(e) => return Finding::of_unreachable(e),
        };
        let status = answer.status().as_u16();
        let head = answer.headers().clone();
        let body = match body(answer).await {
            Ok(body) => body,
            Err(why) => return Ok(Finding::fail(format!("status {status}"), why)),
        };
        let mut wrong = Vec::new();
        if !self.status.contains(&status) {
            wrong.push(format!("{} answered {status}", self.address));
        }
        if let Some(part) = &self.body
            && !String::from_utf8_lossy(&body).contains(part)
        {
            wrong.push(format!("the body does not hold {part:?}"));
        }
        let places = self.json.iter().map(|j| (j, false));
        let identity = self.identity.iter().filter_map(|i| match i {
            SiteIdentity::Json(j) => Some((j, true)),
            SiteIdentity::Header(..) => None,
        });
        let document: Option<Value> = serde_json::from_slice(&body).ok();
        for (place, is_identity) in places.chain(identity) {
            let complaint = match &document {
                Some(document) => place.complaint(document),
                None => Some(format!("the body is no JSON, so it has no {place}")),
            };
            wrong.extend(complaint.map(|c| if is_identity { format!("another site answered: {c}") } else { c }));
        }
        if let Some(SiteIdentity::Header(name, wanted)) = &self.identity {
            let found = head.get(name.as_str()).and_then(|v| v.to_str().ok());
            if found != Some(wanted.as_str()) {
                wrong.push(format!("another site answered: {name} is {}", found.unwrap_or("not there")));
            }
        }
        let measured = format!("status {status}, {} bytes", body.len());
        Ok(if wrong.is_empty() { Finding::pass(measured) } else { Finding::fail(measured, wrong.join("; ")) })
    }
}

/// The header that carries a token.
pub(super) fn bearer(token: Option<&SecretString>) -> Result<Vec<(HeaderName, HeaderValue)>> {
    let Some(token) = token else { return Ok(Vec::new()) };
    let value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()));
    // What the token is made of is not repeated.
    let mut value = value.map_err(|_| Error::new(ErrorKind::Config, "the token has characters that none may have"))?;
    value.set_sensitive(true);
    Ok(vec![(AUTHORIZATION, value)])
}

async fn body(answer: Response<Incoming>) -> std::result::Result<Vec<u8>, String> {
    match Limited::new(answer.into_body(), BODY_LIMIT).collect().await {
        Ok(body) => Ok(body.to_bytes().to_vec()),
        Err(e) => Err(format!("the body did not arrive whole, or is larger than 1 MiB: {e}")),
    }
}

#[async_trait]
impl Check for HttpCheck {
    fn name(&self) -> &str {
        &self.name
    }

    fn group(&self) -> Group {
        Group::Connectivity
    }

    fn tolerance(&self) -> String {
        let status: Vec<String> = self.status.iter().map(u16::to_string).collect();
        let mut told = vec![format!("status {}", status.join(" or "))];
        told.extend(self.body.iter().map(|part| format!("body holds {part:?}")));
        told.extend(self.json.iter().map(ToString::to_string));
        told.extend(self.identity.iter().map(|i| match i {
            SiteIdentity::Header(name, value) => format!("{name}: {value}"),
            SiteIdentity::Json(place) => format!("site {place}"),
        }));
        told.push(format!("within {}", seconds(self.within)));
        told.join(", ")
    }

    fn deadline(&self) -> Duration {
        self.within + Duration::from_secs(2)
    }

    async fn run(&self, _: &Cx) -> Result<Finding> {
        let started = Instant::now();
        let Ok(found) = tokio::time::timeout(self.within, self.ask()).await else {
            let text = format!("{} did not answer whole within {}", self.address, seconds(self.within));
            return Ok(Finding::fail("no answer in time", text));
        };
        let took = started.elapsed();
        let mut found = found?;
        found.measured = format!("{}, {}", found.measured, seconds(took));
        Ok(found.with_evidence(json!({ "address": self.address.to_string(), "took_seconds": took.as_secs_f64() })))
    }
}
