//! The health flag as health checkers fetch it.

use std::{io::ErrorKind, path::PathBuf, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

/// Where the flag is served.
pub const FLAG_PATH: &str = "/veza-dr-flag/failover";

/// [`FLAG_PATH`]: 200 with the flag's text while its file is there, 404 while it is not, 503 when that cannot be told.
/// Nothing else is served, and nothing else of the machine can be read through it.
///
/// ```no_run
/// # async fn f() -> veza_dr_core::Result<()> {
/// use veza_dr_core::Cx;
/// use veza_dr_failover::http::{Server, ServerConfig, flag_routes};
/// let config = ServerConfig::new("0.0.0.0:8080".parse().unwrap()).for_everybody();
/// let server = Server::bind(config, flag_routes("/var/lib/veza-dr/flag/failover")).await?;
/// server.run(&Cx::background()).await
/// # }
/// ```
pub fn flag_routes(file: impl Into<PathBuf>) -> Router {
    Router::new().route(FLAG_PATH, get(flag)).with_state(Arc::new(file.into()))
}

async fn flag(State(file): State<Arc<PathBuf>>) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    match tokio::fs::read(file.as_ref()).await {
        Ok(text) => (headers, text).into_response(),
        Err(e) if e.kind() == ErrorKind::NotFound => (StatusCode::NOT_FOUND, headers, "not raised\n").into_response(),
        Err(e) => {
            tracing::error!(file = %file.display(), error = %e, "the health flag cannot be read");
            (StatusCode::SERVICE_UNAVAILABLE, headers, "it cannot be told\n").into_response()
        }
    }
}
