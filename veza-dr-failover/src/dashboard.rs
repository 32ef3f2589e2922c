//! The page that people look at: how ready each scenario is and why, backups and proofs, a calendar of a year, the run
//! that is under way, and every report.
//!
//! [`Dashboard::routes`] are axum routes; [`crate::http::Server`] puts authentication before them. Everything is read, nothing
//! changed. Pages are whole without JavaScript; with it they follow what happens (server-sent events).
//!
//! ```no_run
//! # async fn f(metrics: veza_dr_failover::metrics::Metrics) -> veza_dr_core::Result<()> {
//! use veza_dr_core::{Cx, Scenario};
//! use veza_dr_failover::{dashboard::{Dashboard, DashboardConfig}, http::{Server, ServerConfig, routes}};
//! let cx = Cx::background();
//! let config = DashboardConfig::new("/var/lib/veza-dr").with_scenarios(Scenario::guide(&["database".parse()?]));
//! let dashboard = Dashboard::open(config, metrics.clone())?;
//! let pages = dashboard.routes(&cx).merge(routes(metrics.registry(), metrics));
//! let server = Server::bind(ServerConfig::new("127.0.0.1:9464".parse().unwrap()), pages).await?;
//! tokio::join!(dashboard.watch(&cx), server.run(&cx)).1
//! # }
//! ```

mod alarm_section;
mod calendar;
mod calendar_view;
mod finding_section;
mod live;
pub(crate) mod look;
mod overview;
mod readiness;
mod report_pages;
mod routes;
mod run_page;
mod state;

pub use calendar::{Calendar, Day};
pub use live::{Eta, LiveRun};
pub use readiness::{Readiness, Ready, Reason, readiness};
pub use state::{Dashboard, DashboardConfig};
