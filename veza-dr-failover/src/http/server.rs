//! Listening, and stopping.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, middleware::from_fn_with_state};
use tokio::net::TcpListener;
use veza_dr_core::{Cx, Error, ErrorKind, ExposeSecret, Result, SecretString};

use super::{
    guard::{Guard, guard},
    limits::Limited,
};

/// Answers under way may take this long when the server stops.
const STOPPING: Duration = Duration::from_secs(5);

/// Where and for whom a server listens.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerConfig {
    /// The address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whoever asks must send `Authorization: Bearer <token>`. Needed unless the address is this machine's own.
    pub token: Option<SecretString>,
    /// Links that acknowledge calls are served without it: each carries a signature of its own.
    pub signed_links: bool,
    /// What is served is meant for everybody, on any address, without a token.
    pub public: bool,
}

impl ServerConfig {
    /// Listens here, for everybody on this machine.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, token: None, signed_links: false, public: false }
    }

    /// Serves everybody who reaches the address: only for routes without anything to hide, such as
    /// [`flag_routes`](super::flag_routes).
    #[must_use]
    pub fn for_everybody(mut self) -> Self {
        self.public = true;
        self
    }

    /// Admits only who sends this token.
    #[must_use]
    pub fn with_token(mut self, token: SecretString) -> Self {
        self.token = Some(token);
        self
    }

    /// Lets links that acknowledge calls through to [`acknowledge_routes`](super::acknowledge_routes), which check their
    /// signature.
    #[must_use]
    pub fn with_signed_links(mut self) -> Self {
        self.signed_links = true;
        self
    }
}

/// A server of its own for some routes. Where there is a token it is asked for before anything else, on every path.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    at: SocketAddr,
    router: Router,
}

impl Server {
    /// Begins to listen; nothing is answered before [`Server::run`].
    ///
    /// # Errors
    /// `Config` when others than this machine could reach it and there is no token; `Conflict` when the port is taken,
    /// `Denied` when it may not be used.
    pub async fn bind(config: ServerConfig, router: Router) -> Result<Self> {
        if config.token.as_ref().is_some_and(|t| t.expose_secret().trim().is_empty()) {
            return Err(Error::new(ErrorKind::Config, "the token of the page is empty: it would let everyone in"));
        }
        if !config.listen.ip().is_loopback() && config.token.is_none() && !config.public {
            let text = format!("{} can be reached from other machines and has no token", config.listen);
            return Err(Error::new(ErrorKind::Config, text)
                .with_help("give a token (serve.token_file), or listen on 127.0.0.1"));
        }
        let failed = |e: std::io::Error| {
            let kind = match e.kind() {
                std::io::ErrorKind::AddrInUse => ErrorKind::Conflict,
                std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                _ => ErrorKind::Config,
            };
            Error::new(kind, format!("cannot listen on {}", config.listen)).with_source(e)
        };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let at = listener.local_addr().map_err(failed)?;
        // Last, so that it lies around everything: also what no route answers, and what a route answers with 405.
        let router = router.layer(from_fn_with_state(Guard::new(config.token.as_ref(), config.signed_links), guard));
        Ok(Self { listener, at, router })
    }

    /// Where it listens, with the port that was taken.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.at
    }

    /// Serves until `cx` is cancelled; answers under way are then finished, for some seconds.
    ///
    /// # Errors
    /// `Unexpected` when the listener fails.
    pub async fn run(self, cx: &Cx) -> Result<()> {
        let (stop, late) = (cx.token().clone(), cx.token().clone());
        let serving = axum::serve(Limited::new(self.listener), self.router)
            .with_graceful_shutdown(async move { stop.cancelled().await });
        let late = async move {
            late.cancelled().await;
            tokio::time::sleep(STOPPING).await;
        };
        tokio::select! {
            done = async { serving.await } => {
                done.map_err(|e| Error::new(ErrorKind::Unexpected, "the HTTP server failed").with_source(e))
            }
            () = late => Ok(()),
        }
    }
}
