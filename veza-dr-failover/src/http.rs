//! The page that scrapers and load balancers read: `/metrics`, `/healthz`, `/livez`.
//!
//! [`routes`] are plain axum routes, for a service that has a server of its own; [`Server`] is one of its own, which
//! listens on this machine alone unless it is given a token.
//!
//! ```no_run
//! # async fn f() -> veza_dr_core::Result<()> {
//! use std::sync::Arc;
//! use veza_dr_core::Cx;
//! use veza_dr_failover::{http::{Server, ServerConfig, routes}, metrics::Metrics};
//! let metrics = Metrics::new();
//! let pages = routes(metrics.registry(), metrics);
//! let server = Server::bind(ServerConfig::new("127.0.0.1:9464".parse().unwrap()), pages).await?;
//! server.run(&Cx::background()).await
//! # }
//! ```

mod acknowledge;
mod flag_page;
mod guard;
mod limits;
mod login;
mod pages;
mod server;
pub(crate) mod session;

pub use acknowledge::acknowledge_routes;
pub use flag_page::{FLAG_PATH, flag_routes};
pub use pages::{Health, routes};
pub use server::{Server, ServerConfig};
