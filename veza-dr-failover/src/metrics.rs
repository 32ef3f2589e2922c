//! Metrics for Prometheus and OpenMetrics, from recorded outcomes alone: what is not known has no sample, never a 0.
//!
//! Nothing is global: an embedding service registers [`Metrics`] in its own registry, under a prefix of its choice.
//!
//! ```
//! use veza_dr_failover::metrics::{Format, Metrics, encode};
//! let metrics = Metrics::new();
//! let mut registry = prometheus_client::registry::Registry::default();
//! metrics.register(registry.sub_registry_with_prefix("veza_dr"));
//! assert!(encode(&registry, Format::OpenMetrics).unwrap().ends_with("# EOF\n"));
//! ```

mod actions;
mod collector;
mod exposition;
mod families;
mod recovery;

pub use collector::Metrics;
pub use exposition::{Format, encode};
