//! Tells people and machines of events: each channel is an [`EventSink`](veza_dr_core::EventSink) that delivers once,
//! and [`Queued`] puts a filter, a queue and retries before any of them, so that a slow or broken channel never holds
//! up the work that it speaks of.
//!
//! ```no_run
//! # #[cfg(feature = "http")]
//! # async fn f() -> veza_dr_core::Result<()> {
//! use std::sync::Arc;
//! use veza_dr_core::{Cx, Event, EventSink, RetryPolicy};
//! use veza_dr_failover::notify::{Filter, HookUrl, Queued, Webhook};
//! let webhook = Webhook::new(HookUrl::parse("https://hooks.example/backup".into())?)?;
//! let queued = Queued::start("ops", Arc::new(webhook), Filter::default(), RetryPolicy::default(), Vec::new());
//! # let event = Event::new(chrono::Utc::now(), veza_dr_core::Action::Backup, veza_dr_core::Phase::Failed, "no space");
//! queued.tell(&Cx::background(), &event).await?;
//! queued.close(std::time::Duration::from_secs(5)).await;
//! # Ok(()) }
//! ```

mod command;
mod delivery;
mod event_log;
mod filter;
#[cfg(feature = "http")]
mod http_client;
#[cfg(feature = "http")]
mod ping;
mod queue;
#[cfg(feature = "http")]
mod signature;
#[cfg(feature = "http")]
mod slack;
#[cfg(feature = "smtp")]
mod smtp;
#[cfg(feature = "http")]
mod webhook;
mod wording;

pub use command::CommandChannel;
pub use delivery::{Delivery, DeliveryRecord};
pub use event_log::EventLog;
pub use filter::Filter;
#[cfg(feature = "http")]
pub use http_client::HookUrl;
#[cfg(feature = "http")]
pub use ping::Ping;
pub use queue::Queued;
#[cfg(feature = "http")]
pub use signature::sign;
#[cfg(feature = "http")]
pub use slack::Slack;
#[cfg(feature = "smtp")]
pub use smtp::{Smtp, SmtpConfig, SmtpTls};
#[cfg(feature = "http")]
pub use webhook::Webhook;
pub use wording::{body, event_json, subject};
