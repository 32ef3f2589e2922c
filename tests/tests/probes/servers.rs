//! Servers of the tests' own: HTTP and WebSocket, with TLS where a test wants it, that can be stopped and started.

use std::{net::SocketAddr, path::Path, sync::Arc};

use axum::{Router, http::HeaderMap, routing::get};
use futures::{SinkExt, StreamExt};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use tokio_tungstenite::tungstenite::{
    Message,
    handshake::server::{ErrorResponse, Request, Response},
};

/// A listener on a port that a server before it may have used.
pub(crate) fn listen(at: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(at).unwrap();
    socket.listen(64).unwrap()
}

pub(crate) fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// Ends its task when dropped.
pub(crate) struct Running {
    pub(crate) at: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An HTTP service that tells its site in a header, echoes the bearer token's presence, and has broken pages.
pub(crate) fn http(listener: TcpListener, site: &'static str) -> Running {
    let at = listener.local_addr().unwrap();
    let named = [("x-veza-site", site)];
    let health = move |headers: HeaderMap| async move {
        let host = headers.get("host").and_then(|h| h.to_str().ok()).unwrap_or_default().to_owned();
        let token = headers.get("authorization").and_then(|h| h.to_str().ok()).unwrap_or_default().to_owned();
        let body = serde_json::json!({
            "status": "ok", "site": site, "host": host, "token": token, "checks": [ { "database": "up" } ],
        });
        (named, axum::Json(body))
    };
    let routes = Router::new()
        .route("/health", get(health))
        .route("/error-page", get(|| async { "<html>Something went wrong, sorry</html>" }))
        .route("/broken", get(|| async { (axum::http::StatusCode::SERVICE_UNAVAILABLE, "no database") }))
        .route("/moved", get(|| async { axum::response::Redirect::temporary("/health") }))
        .route("/endless", get(|| async { "x".repeat(3 << 20) }));
    let task = tokio::spawn(async move {
        let _ = axum::serve(listener, routes).await;
    });
    Running { at, task }
}

/// A WebSocket service that wants the token `right` and sends every text back; silent when told so.
pub(crate) fn websocket(listener: TcpListener, echoes: bool) -> Running {
    let at = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut open = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.spawn(chat(stream, echoes));
        }
    });
    Running { at, task }
}

async fn chat(stream: TcpStream, echoes: bool) {
    #[allow(clippy::result_large_err, reason = "the shape that the library asks for")]
    let let_in = |request: &Request, answer: Response| {
        let token = request.headers().get("authorization").and_then(|h| h.to_str().ok());
        if token == Some("Bearer right") {
            return Ok(answer);
        }
        let mut refusal = ErrorResponse::new(None);
        *refusal.status_mut() = axum::http::StatusCode::UNAUTHORIZED;
        Err(refusal)
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, let_in).await else { return };
    // What others chat about meanwhile.
    let _ = socket.send(Message::text("welcome")).await;
    while let Some(Ok(message)) = socket.next().await {
        if let (Message::Text(_), true) = (&message, echoes) {
            let _ = socket.send(message).await;
        }
    }
}

/// Takes connections and never says a word, as a process does that hangs, or a peer behind a one-way partition.
pub(crate) fn mute(listener: TcpListener) -> Running {
    let at = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
        }
    });
    Running { at, task }
}

/// Certificates of an authority whose own is at `ca`; the server's for `api.veza.test` is valid for so many days.
pub(crate) fn https(listener: TcpListener, ca: &Path, days: i64) -> Running {
    let at = listener.local_addr().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(ca, issuer.pem()).unwrap();
    let mut params = CertificateParams::new(vec!["api.veza.test".to_owned()]).unwrap();
    let now = std::time::SystemTime::now();
    let day = std::time::Duration::from_secs(86_400);
    params.not_before = (now - day * 30).into();
    let span = day * u32::try_from(days.unsigned_abs()).unwrap() + day / 2;
    params.not_after = if days < 0 { (now - span).into() } else { (now + span).into() };
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, &issuer).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(cert.pem().as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = [0u8; 4096];
                let n = stream.read(&mut request).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&request[..n]).to_ascii_lowercase();
                let body = if text.contains("host: api.veza.test") { "named" } else { "unnamed" };
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    Running { at, task }
}
