//! Small HTTP and WebSocket servers with known behaviour, for what asks them.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures::{SinkExt, StreamExt, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_tungstenite::tungstenite::{
    Message,
    handshake::server::{ErrorResponse, Request, Response as Accepted},
};

/// What a demo server saw and does.
#[derive(Debug, Default)]
pub struct Seen {
    /// Requests so far.
    pub requests: AtomicU64,
    /// The `Host` of the last one.
    pub host: Mutex<String>,
    /// Connections that are open.
    pub open: AtomicU32,
    /// How many were open at once at most.
    pub most_open: AtomicU32,
    /// While this lasts, `/work` holds every answer back.
    pub stall: Mutex<Option<(Instant, Instant)>>,
}

/// An HTTP server: `/health` (JSON, with `x-site`), `/work`, `/broken` (500), `/live` (an endless stream), `/short` (a
/// stream of 1000 bytes).
#[derive(Debug)]
pub struct DemoHttp {
    address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

impl Drop for DemoHttp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug, Clone)]
struct Site {
    name: &'static str,
    seen: Arc<Seen>,
}

impl DemoHttp {
    /// A server that says it is this site.
    pub async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Seen::default());
        let site = Site { name, seen: seen.clone() };
        let router = Router::new()
            .route("/health", get(health))
            .route("/work", get(work))
            .route("/broken", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }))
            .route("/live", get(live))
            .route("/short", get(|| async { vec![7_u8; 1000] }))
            .with_state(site);
        let listener = Counting { listener, seen: seen.clone() };
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { address, seen, task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The whole address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it saw.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }
}

async fn health(State(site): State<Site>, headers: HeaderMap) -> Response {
    site.seen.requests.fetch_add(1, Ordering::SeqCst);
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    *site.seen.host.lock().expect("a lock") = host.to_owned();
    let body = format!("{{\"status\":\"ok\",\"site\":\"{}\",\"checks\":[{{\"lag\":3}}]}}", site.name);
    ([("x-site", site.name), ("content-type", "application/json")], body).into_response()
}

async fn work(State(site): State<Site>) -> &'static str {
    site.seen.requests.fetch_add(1, Ordering::SeqCst);
    let stall = *site.seen.stall.lock().expect("a lock");
    if let Some((from, until)) = stall
        && (from..until).contains(&Instant::now())
    {
        tokio::time::sleep_until(until.into()).await;
    }
    "done"
}

async fn live() -> Response {
    let pieces = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(&[1; 512])), ()))
    });
    Body::from_stream(pieces).into_response()
}

/// Counts open connections.
struct Counting {
    listener: TcpListener,
    seen: Arc<Seen>,
}

struct Counted {
    stream: TcpStream,
    seen: Arc<Seen>,
}

impl axum::serve::Listener for Counting {
    type Io = Counted;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Counted, SocketAddr) {
        loop {
            if let Ok((stream, peer)) = self.listener.accept().await {
                let open = self.seen.open.fetch_add(1, Ordering::SeqCst) + 1;
                self.seen.most_open.fetch_max(open, Ordering::SeqCst);
                return (Counted { stream, seen: self.seen.clone() }, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.seen.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A chat server: wants `Bearer <token>`, greets, sends texts back, answers pings.
#[derive(Debug)]
pub struct DemoChat {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for DemoChat {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl DemoChat {
    /// A server that wants this token.
    pub async fn start(token: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(chat(stream, token));
            }
        });
        Self { address, task }
    }

    /// The address of its channel.
    pub fn url(&self) -> String {
        format!("ws://{}/chat", self.address)
    }
}

async fn chat(stream: TcpStream, token: &'static str) {
    #[expect(clippy::result_large_err, reason = "the library's own type")]
    let admit = |request: &Request, accepted: Accepted| -> Result<Accepted, ErrorResponse> {
        let given = request.headers().get("authorization").and_then(|v| v.to_str().ok());
        if given == Some(&format!("Bearer {token}")) {
            return Ok(accepted);
        }
        let mut refused = ErrorResponse::new(None);
        *refused.status_mut() = tokio_tungstenite::tungstenite::http::StatusCode::UNAUTHORIZED;
        Err(refused)
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, admit).await else { return };
    let _ = socket.send(Message::text("welcome")).await;
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() {
            let _ = socket.send(message).await;
        }
    }
}
