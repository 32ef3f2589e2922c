//! What became of a notification.

use std::fmt::Debug;

use chrono::{DateTime, Utc};
use veza_dr_core::Event;

/// The end of one notification's way.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Delivery {
    /// The channel's name.
    pub channel: String,
    /// What was to be told.
    pub event: Event,
    /// When it was delivered or given up.
    pub at: DateTime<Utc>,
    /// How often it was tried; 0 when the queue was full or closed.
    pub attempts: u32,
    /// Why it was given up; `None`: it was delivered. Never holds a secret.
    pub error: Option<String>,
}

/// Keeps what became of notifications: a log, a counter.
pub trait DeliveryRecord: Debug + Send + Sync + 'static {
    /// Takes one. Must not block for long.
    fn record(&self, delivery: &Delivery);
}
