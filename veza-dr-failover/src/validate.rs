//! Validation: named checks, each with a tolerance that is fixed before the run, and a verdict that is never kinder
//! than what was seen.
//!
//! A [`Suite`] takes any [`Check`], so a service can bring its own. Checks run group by group, those of a group at the
//! same time: is it there, are its data right, does it bear the load. What could not be told is an error, an error is
//! no pass, and neither is a suite without checks.
//!
//! ```
//! use std::sync::Arc;
//! use async_trait::async_trait;
//! use veza_dr_core::{Cx, Result};
//! use veza_dr_failover::validate::{Check, Finding, Suite, Verdict};
//!
//! #[derive(Debug)]
//! struct QueueIsShort;
//!
//! #[async_trait]
//! impl Check for QueueIsShort {
//!     fn name(&self) -> &str { "queue" }
//!     fn tolerance(&self) -> String { "at most 100 jobs wait".to_owned() }
//!     async fn run(&self, _: &Cx) -> Result<Finding> { Ok(Finding::pass("3 jobs")) }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
//! let report = Suite::new(vec![Arc::new(QueueIsShort)])?.run(&Cx::background()).await;
//! assert_eq!(report.verdict(), Verdict::Pass);
//! # Ok(()) }
//! ```

mod check;
mod junit;
mod model;
mod suite;

#[cfg(feature = "http")]
mod expect;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "http")]
mod load;
#[cfg(feature = "http")]
mod load_figures;
#[cfg(feature = "http")]
mod load_run;
#[cfg(feature = "http")]
mod stream;
#[cfg(feature = "http")]
mod websocket;

#[cfg(feature = "postgres")]
mod postgres_canary;
#[cfg(feature = "postgres")]
mod postgres_data;
#[cfg(feature = "postgres")]
mod postgres_sequences;

#[cfg(feature = "redis")]
mod redis_canary;

pub use check::{Check, Finding, Group};
pub use junit::junit;
pub use model::{CheckResult, PlannedCheck, ValidationReport, Verdict};
pub use suite::Suite;

#[cfg(feature = "http")]
pub use expect::{Expected, JsonExpectation};
#[cfg(feature = "http")]
pub use http::{HttpCheck, SiteIdentity};
#[cfg(feature = "http")]
pub use load::{LoadCheck, LoadLimits, LoadShape};
#[cfg(feature = "http")]
pub use load_figures::LoadFigures;
#[cfg(feature = "http")]
pub use stream::StreamCheck;
#[cfg(feature = "http")]
pub use websocket::{Exchange, WebSocketCheck};

#[cfg(feature = "postgres")]
pub use postgres_canary::PostgresCanary;
#[cfg(feature = "postgres")]
pub use postgres_data::{RowCounts, Watermark};
#[cfg(feature = "postgres")]
pub use postgres_sequences::Sequences;

#[cfg(feature = "redis")]
pub use redis_canary::RedisCanary;
