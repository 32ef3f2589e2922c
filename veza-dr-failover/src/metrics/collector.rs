//! The one collector: it reads what is known at the moment of the scrape.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Registry};
use veza_dr_core::{Clock, Cx, Event, EventSink, Result, SystemClock, status::Status};

use super::{actions::Told, families, recovery::RecoveryKnown};
use crate::{
    alarm::AlarmView,
    measure::{Availability, Forecast, Objectives, RecoveryRecord},
    notify::{Delivery, DeliveryRecord},
};

/// What is known of protection, ready to be scraped. Cheap to clone; clones share it.
///
/// Feed it with [`Metrics::update`] whenever the status was looked at, and put it among the sinks of a daemon's events
/// and the records of its notification channels.
#[derive(Debug, Clone)]
pub struct Metrics {
    clock: Arc<dyn Clock>,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug)]
pub(super) struct Known {
    pub(super) started_at: DateTime<Utc>,
    pub(super) status: Option<Status>,
    pub(super) told: Told,
    pub(super) recovery: RecoveryKnown,
}

impl Metrics {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// Nothing is known yet; ages are counted by this clock.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let known =
            Known { started_at: clock.now(), status: None, told: Told::default(), recovery: RecoveryKnown::default() };
        Self { clock, known: Arc::new(Mutex::new(known)) }
    }

    /// Replaces what is known of the stores by what was found just now.
    pub fn update(&self, status: Status) {
        self.lock().status = Some(status);
    }

    /// What was last put in by [`Metrics::update`].
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.lock().status.clone()
    }

    /// Replaces what is known of past recoveries and drills, of the objectives, and of how long the next will take.
    pub fn update_recoveries(
        &self,
        past: Vec<RecoveryRecord>,
        objectives: Vec<(String, Objectives)>,
        forecasts: Vec<(String, Forecast)>,
    ) {
        let mut known = self.lock();
        (known.recovery.past, known.recovery.objectives, known.recovery.forecasts) = (past, objectives, forecasts);
    }

    /// Replaces what is known of alarms, and of the service as probes see it in a window.
    pub fn update_alarms(&self, alarms: AlarmView, service: Option<(Availability, Option<bool>)>) {
        let mut known = self.lock();
        (known.recovery.alarms, known.recovery.service) = (Some(alarms), service);
    }

    /// Adds the metrics to a registry of the embedding program. Their names begin with the registry's own prefix.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }

    /// A registry of its own that holds nothing else; every name begins with `veza_dr_`.
    #[must_use]
    pub fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("veza_dr");
        self.register(&mut registry);
        registry
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        families::encode(&self.lock(), self.clock.now(), encoder)
    }
}

#[async_trait]
impl EventSink for Metrics {
    async fn tell(&self, _: &Cx, event: &Event) -> Result<()> {
        self.lock().told.take(event);
        Ok(())
    }
}

impl DeliveryRecord for Metrics {
    fn record(&self, delivery: &Delivery) {
        let outcome = if delivery.error.is_none() { "delivered" } else { "failed" };
        *self.lock().told.notifications.entry((delivery.channel.clone(), outcome)).or_default() += 1;
    }
}
