//! Outgoing requests: short, bounded, without redirects, and with no word of a URL that may hold a secret.

use std::{fmt, time::Duration};

use veza_dr_core::{Cx, Error, ErrorKind, ExposeSecret, Result, Retry, SecretString};

use crate::trust::Trust;

/// A receiver that does not answer within this time is tried again later.
const PATIENCE: Duration = Duration::from_secs(15);

/// The address of a webhook or ping. Its path is often the whole secret: only scheme and host are ever shown.
#[derive(Clone)]
pub struct HookUrl(SecretString);

impl HookUrl {
    /// Takes an `http` or `https` address.
    ///
    /// ```
    /// use veza_dr_failover::notify::HookUrl;
    /// let url = HookUrl::parse("https://hooks.example/T0/secret".into()).unwrap();
    /// assert_eq!(url.to_string(), "https://hooks.example/…");
    /// assert!(HookUrl::parse("ftp://hooks.example/".into()).is_err());
    /// ```
    ///
    /// # Errors
    /// `Config` when it is none; the text itself is not repeated.
    pub fn parse(url: SecretString) -> Result<Self> {
        let bad = |why: &str| {
            Error::new(ErrorKind::Config, format!("a notification's URL {why}"))
                .with_help("write it as https://host/path")
        };
        let parsed = reqwest::Url::parse(url.expose_secret()).map_err(|_| bad("cannot be read"))?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
            return Err(bad("is neither http nor https"));
        }
        Ok(Self(url))
    }

    /// This address with more at the end of its path.
    pub(super) fn below(&self, end: &str) -> String {
        let url = self.0.expose_secret();
        let (path, query) = url.split_once('?').map_or((url, None), |(p, q)| (p, Some(q)));
        let path = if end.is_empty() { path.to_owned() } else { format!("{}/{end}", path.trim_end_matches('/')) };
        match query {
            Some(query) => format!("{path}?{query}"),
            None => path,
        }
    }
}

impl fmt::Display for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = reqwest::Url::parse(self.0.expose_secret()).ok();
        match url.as_ref().and_then(|u| Some((u.scheme(), u.host_str()?, u.port()))) {
            Some((scheme, host, Some(port))) => write!(f, "{scheme}://{host}:{port}/…"),
            Some((scheme, host, None)) => write!(f, "{scheme}://{host}/…"),
            None => f.write_str("…"),
        }
    }
}

impl fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HookUrl({self})")
    }
}

/// A client of its own: nothing of the process is asked or changed.
pub(super) fn client() -> Result<reqwest::Client> {
    // A machine without certificates can still speak plain http to its own network.
    let tls = rustls::ClientConfig::clone(Trust::system()?.config());
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("veza-dr/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .connect_timeout(PATIENCE)
        .build()
        .map_err(|e| Error::new(ErrorKind::Unexpected, "the HTTP client cannot be set up").with_source(e.without_url()))
}

/// Sends a request and looks at nothing but the status of the answer.
pub(super) async fn send(cx: &Cx, url: &HookUrl, request: reqwest::RequestBuilder) -> Result<()> {
    let sent = async {
        request.send().await.map_err(|e| {
            // What the library says names the whole URL unless it is told not to.
            let why = if e.is_timeout() { "did not answer in time" } else { "cannot be reached" };
            Error::new(ErrorKind::Unavailable, format!("{url} {why}")).with_source(e.without_url())
        })
    };
    let status = cx.run("notify", sent).await?.status();
    if status.is_success() {
        return Ok(());
    }
    let text = format!("{url} answered {status}");
    Err(match status.as_u16() {
        429 => Error::new(ErrorKind::Throttled, text).with_retry(Retry::Later { after: Some(Duration::from_secs(5)) }),
        408 | 500.. => Error::new(ErrorKind::Unavailable, text),
        401 | 403 => Error::new(ErrorKind::Denied, text),
        404 | 410 => Error::new(ErrorKind::NotFound, text),
        _ => Error::new(ErrorKind::Config, text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_extended_before_its_query() {
        let url = |text: &str| HookUrl::parse(SecretString::from(text.to_owned())).unwrap();
        assert_eq!(url("https://h.example/a").below("start"), "https://h.example/a/start");
        assert_eq!(url("https://h.example/a/?k=v").below("fail"), "https://h.example/a/fail?k=v");
        assert_eq!(url("https://h.example/a?k=v").below(""), "https://h.example/a?k=v");
        let shown = format!("{:?}", url("https://user:canary@h.example:8443/canary?k=canary"));
        assert_eq!(shown, "HookUrl(https://h.example:8443/…)");
    }
}
