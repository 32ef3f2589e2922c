//! Watches over protection and recovery: metrics, the page that serves them, dead-man pings and notifications; probes of
//! services and the assessment over them; DNS switched and brought back; recoveries measured.
//!
//! The pieces: [`metrics::Metrics`] turns a [`Status`](veza_dr_core::status::Status) and the
//! [`Event`](veza_dr_core::Event)s of a daemon into samples, [`notify`] tells people and machines of events, and
//! [`http`] serves what both know.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod actions;
pub mod alarm;
pub mod alerts;
pub mod assess;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub mod dashboard;
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub mod divergence;
#[cfg(feature = "dns")]
#[cfg_attr(docsrs, doc(cfg(feature = "dns")))]
pub mod dns;
pub mod drill;
pub mod escalation;
mod files;
mod hmac;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub mod http;
pub mod measure;
pub mod metrics;
pub mod notify;
pub mod probe;
pub mod reach;
pub mod recover;
pub mod report;
pub mod runbook;
mod shell;
pub mod site;
#[cfg(any(feature = "http", feature = "postgres", feature = "redis"))]
mod trust;
pub mod validate;
