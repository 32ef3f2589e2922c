//! HTTP over one connection that is ours: which address it goes to and how many there are is never left to a pool.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
    header::{HOST, HeaderName, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
};
use url::Url;
use veza_dr_core::{Error, ErrorKind, Result};

use crate::trust::Trust;

/// What an HTTP or WebSocket check asks, and at which address.
///
/// ```
/// use veza_dr_failover::reach::HttpAddress;
/// let public = HttpAddress::parse("https://api.veza.com/health")?;
/// assert_eq!(public.at("192.0.2.20").to_string(), "https://api.veza.com/health at 192.0.2.20");
/// # Ok::<(), veza_dr_core::Error>(())
/// ```
#[derive(Clone)]
pub struct HttpAddress {
    url: Url,
    tls: bool,
    name: String,
    port: u16,
    at: Option<(String, Option<u16>)>,
    ca_file: Option<PathBuf>,
}

impl HttpAddress {
    /// Reads an address with the scheme `http`, `https`, `ws` or `wss`.
    ///
    /// # Errors
    /// `Config` saying what is wrong; an address that holds credentials is refused, and not repeated.
    pub fn parse(url: &str) -> Result<Self> {
        let bad = |why: String| {
            Error::new(ErrorKind::Config, format!("the address of a check {why}"))
                .with_help("write it as https://host:port/path")
        };
        let url = Url::parse(url).map_err(|e| bad(format!("cannot be read: {e}")))?;
        let tls = match url.scheme() {
            "http" | "ws" => false,
            "https" | "wss" => true,
            other => return Err(bad(format!("has the scheme `{other}`, not http, https, ws or wss"))),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("holds credentials".to_owned()).with_help("give a token by token_file"));
        }
        let name = url.host_str().ok_or_else(|| bad("names no host".to_owned()))?.trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { url, tls, name, port, at: None, ca_file: None })
    }

    /// Connects there, whatever DNS says, while `Host` and TLS keep the address's own name. `host` may have a port.
    #[must_use]
    pub fn at(mut self, host: &str) -> Self {
        let (name, port) = match (host.parse::<std::net::SocketAddr>(), host.parse::<std::net::IpAddr>()) {
            (Ok(address), _) => (address.ip().to_string(), Some(address.port())),
            (_, Ok(ip)) => (ip.to_string(), None),
            _ => match host.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse().ok()?))) {
                Some((name, port)) => (name.to_owned(), Some(port)),
                None => (host.to_owned(), None),
            },
        };
        self.at = Some((name, port));
        self
    }

    /// Trusts the authorities of this PEM file instead of the system's.
    #[must_use]
    pub fn with_ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(file.into());
        self
    }

    /// The port that it names, or that of its scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, as requests name them.
    pub(crate) fn target(&self) -> String {
        match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        }
    }

    /// The whole address, with the scheme that WebSocket clients want.
    pub(crate) fn websocket_url(&self) -> String {
        let scheme = if self.tls { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.host_header(), self.target())
    }

    fn host_header(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// A connection, with TLS where the scheme asks for it.
    ///
    /// # Errors
    /// `NotFound` when the name does not resolve, `Config` when TLS cannot be set up; `Unavailable` when nothing
    /// answers, or not with the certificate that the name asks for.
    pub(crate) async fn open(&self) -> Result<Box<dyn Stream>> {
        let (host, port) = match &self.at {
            Some((host, port)) => (host.as_str(), port.unwrap_or(self.port)),
            None => (self.name.as_str(), self.port),
        };
        let found = tokio::net::lookup_host((host, port)).await;
        let addresses: Vec<_> = found
            .map_err(|e| Error::new(ErrorKind::NotFound, format!("{host} does not resolve")).with_source(e))?
            .collect();
        let tcp = TcpStream::connect(addresses.as_slice()).await;
        let tcp = tcp.map_err(|e| {
            Error::new(ErrorKind::Unavailable, format!("nothing answers at {host}:{port}")).with_source(e)
        })?;
        // Only a delay is at stake.
        let _ = tcp.set_nodelay(true);
        if !self.tls {
            return Ok(Box::new(tcp));
        }
        let name = ServerName::try_from(self.name.clone())
            .map_err(|e| Error::new(ErrorKind::Config, format!("`{}` is no name for TLS", self.name)).with_source(e))?;
        let connector = tokio_rustls::TlsConnector::from(Trust::of_file_or_system(self.ca_file())?.config().clone());
        let stream = connector.connect(name, tcp).await.map_err(|e| {
            Error::new(ErrorKind::Unavailable, format!("{host}:{port} does not speak TLS as {}", self.name))
                .with_source(e)
        })?;
        Ok(Box::new(stream))
    }

    /// A connection that takes requests.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) async fn connect(&self) -> Result<HttpConnection> {
        let io = TokioIo::new(self.open().await?);
        let (sender, connection) = handshake(io).await.map_err(|e| broken(self, e))?;
        let task = tokio::spawn(async move {
            // How it ended reaches whoever waits for an answer.
            let _ = connection.await;
        });
        Ok(HttpConnection { sender, task, address: self.clone() })
    }
}

fn broken(address: &HttpAddress, e: hyper::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{address} broke the connection off")).with_source(e)
}

impl fmt::Display for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A query may hold a token.
        let mut shown = self.url.clone();
        shown.set_query(None);
        match &self.at {
            Some((host, Some(port))) => write!(f, "{shown} at {host}:{port}"),
            Some((host, None)) => write!(f, "{shown} at {host}"),
            None => write!(f, "{shown}"),
        }
    }
}

impl fmt::Debug for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpAddress({self})")
    }
}

/// A connection, with TLS or without.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One connection that takes one request after another. Dropping it closes it.
pub(crate) struct HttpConnection {
    sender: SendRequest<Empty<Bytes>>,
    task: JoinHandle<()>,
    address: HttpAddress,
}

impl Drop for HttpConnection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HttpConnection {
    /// Whether the other side still takes requests on it; waits until the last answer is over.
    pub(crate) async fn is_ready(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    /// Asks, and returns once the head of the answer is there.
    ///
    /// # Errors
    /// `Unavailable` when the connection breaks, or what comes back is not HTTP.
    pub(crate) async fn get(&mut self, headers: &[(HeaderName, HeaderValue)]) -> Result<Response<Incoming>> {
        let mut request = Request::get(self.address.target())
            .header(HOST, self.address.host_header())
            .header(USER_AGENT, concat!("veza-dr/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Empty::new())
            .map_err(|e| Error::new(ErrorKind::Config, format!("{} makes no request", self.address)).with_source(e))?;
        self.sender.send_request(request).await.map_err(|e| broken(&self.address, e))
    }
}
