//! A bare connection, for replication: no driver hands the bytes out that follow `PSYNC`.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use veza_dr_core::{Cx, Error, ErrorKind, ExposeSecret, Result};

use super::{
    Endpoint,
    errors::{io_error, server_error},
};

const CONNECT: Duration = Duration::from_secs(10);
/// Longer answers than this are none of those that are expected before the data.
const LINE: usize = 4096;
const PIECE: usize = 256 * 1024;

/// A connection, with TLS or without.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// One connection, authenticated.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    read: BytesMut,
    location: String,
    idle: Duration,
}

impl Endpoint {
    /// A bare connection, logged in, for what a driver cannot send: many gigabytes of commands, answered in order.
    ///
    /// # Errors
    /// `Denied` for wrong credentials, `Unavailable` when nothing answers.
    pub async fn stream(&self, cx: &Cx) -> Result<Box<dyn Stream>> {
        // Nothing was asked but to be let in, so no byte can have been read beyond the answer to that.
        Ok(Wire::connect(cx, self, CONNECT).await?.stream)
    }
}

impl Wire {
    /// Connects and logs in. Every read fails after `idle` without a byte.
    pub(super) async fn connect(cx: &Cx, to: &Endpoint, idle: Duration) -> Result<Self> {
        let location = to.location();
        let what = format!("connect to {location}");
        let open = async {
            let connect = timeout(CONNECT, TcpStream::connect((to.host.as_str(), to.port))).await;
            let tcp = connect.map_err(|_| silent(&what, CONNECT))?.map_err(|e| io_error(&what, e))?;
            tcp.set_nodelay(true).map_err(|e| io_error(&what, e))?;
            let stream: Box<dyn Stream> = match to.tls_config()? {
                None => Box::new(tcp),
                Some(config) => Box::new(tls(&what, to, config, tcp).await?),
            };
            let mut wire = Self { stream, read: BytesMut::new(), location: location.clone(), idle };
            if let Some(password) = &to.password {
                let mut login: Vec<&[u8]> = vec![b"AUTH"];
                login.extend(to.username.as_deref().map(str::as_bytes));
                login.push(password.expose_secret().as_bytes());
                wire.ask(&login).await?.map_err(|reply| server_error(&what, &reply))?;
            }
            Ok(wire)
        };
        cx.run(&what, open).await
    }

    /// Sends one command and waits for its one-line answer: the text after `+`, or that after `-`.
    pub(super) async fn ask(&mut self, words: &[&[u8]]) -> Result<Result<String, String>> {
        let mut out = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            out.extend_from_slice(word);
            out.extend_from_slice(b"\r\n");
        }
        let what = String::from_utf8_lossy(words[0]).into_owned();
        let send = async {
            self.stream.write_all(&out).await?;
            self.stream.flush().await
        };
        let sent = timeout(self.idle, send).await.map_err(|_| silent(&what, self.idle))?;
        sent.map_err(|e| io_error(&what, e))?;
        let line = self.line(&what).await?;
        match line.split_at_checked(1) {
            Some(("+", text)) => Ok(Ok(text.to_owned())),
            Some(("-", text)) => Ok(Err(text.to_owned())),
            _ => Err(self.garbled(&what, &line)),
        }
    }

    /// The next line that is not empty: lone line feeds are signs of life.
    pub(super) async fn line(&mut self, what: &str) -> Result<String> {
        let mut line = Vec::new();
        loop {
            if self.read.is_empty() && self.more(what).await? == 0 {
                return Err(self.ended(what, "before its answer"));
            }
            let end = self.read.iter().position(|b| *b == b'\n');
            let taken = self.read.split_to(end.map_or(self.read.len(), |at| at + 1));
            line.extend_from_slice(&taken);
            if line.len() > LINE {
                return Err(self.garbled(what, &String::from_utf8_lossy(&line)));
            }
            if end.is_some() {
                while line.last().is_some_and(|b| matches!(b, b'\r' | b'\n')) {
                    line.pop();
                }
                if !line.is_empty() {
                    return Ok(String::from_utf8_lossy(&line).into_owned());
                }
            }
        }
    }

    /// The next bytes of the data; empty when the server closed the connection.
    pub(super) async fn piece(&mut self, what: &str, limit: u64) -> Result<Bytes> {
        if self.read.is_empty() {
            self.more(what).await?;
        }
        let n = self.read.len().min(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(self.read.split_to(n).freeze())
    }

    async fn more(&mut self, what: &str) -> Result<usize> {
        if self.read.capacity() < PIECE / 4 {
            self.read.reserve(PIECE);
        }
        let read = timeout(self.idle, self.stream.read_buf(&mut self.read)).await;
        read.map_err(|_| silent(what, self.idle))?.map_err(|e| io_error(what, e))
    }

    pub(super) fn ended(&self, what: &str, when: &str) -> Error {
        let text = format!("{what}: {} closed the connection {when}", self.location);
        Error::new(ErrorKind::Unavailable, text)
            .with_help("the server's log says why; common are a failed fork or a full disk on its side")
    }

    pub(super) fn garbled(&self, what: &str, line: &str) -> Error {
        let line: String = line.chars().take(80).collect();
        Error::new(ErrorKind::Unexpected, format!("{what}: {} answered `{}`", self.location, line.escape_debug()))
            .with_help("is it a Redis server, and the port that for TLS, or that without?")
    }
}

async fn tls(
    what: &str,
    to: &Endpoint,
    config: Arc<rustls::ClientConfig>,
    tcp: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from(to.host.clone())
        .map_err(|e| Error::new(ErrorKind::Config, format!("{what}: not a host name")).with_source(e))?;
    let shake = timeout(CONNECT, TlsConnector::from(config).connect(name, tcp)).await;
    shake.map_err(|_| silent(what, CONNECT))?.map_err(|e| {
        io_error(what, e)
            .with_help("check ca_file, client_cert, and that the url's host is in the server's certificate")
    })
}

fn silent(what: &str, limit: Duration) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{what}: no byte from Redis for {limit:?}"))
        .with_help("is the server frozen, or the network cut? raise idle_timeout if it is only slow")
}
