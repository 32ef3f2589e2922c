//! A service whose health a test sets.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use crate::{Clock, Cx, Health, Observation, Result, ServiceProbe, SystemClock};

/// Observes a health that is set by hand; clones look at the same service.
#[derive(Debug, Clone)]
pub struct MemoryProbe {
    name: String,
    clock: Arc<dyn Clock>,
    seen: Arc<Mutex<(Health, String)>>,
}

impl MemoryProbe {
    /// A service with this health.
    #[must_use]
    pub fn new(name: impl Into<String>, health: Health) -> Self {
        let seen = (health, format!("set to {health:?}"));
        Self { name: name.into(), clock: Arc::new(SystemClock), seen: Arc::new(Mutex::new(seen)) }
    }

    /// Dates observations by this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Changes what is observed from now on.
    pub fn set(&self, health: Health, detail: impl Into<String>) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = (health, detail.into());
    }
}

#[async_trait]
impl ServiceProbe for MemoryProbe {
    fn name(&self) -> &str {
        &self.name
    }

    async fn observe(&self, cx: &Cx) -> Result<Observation> {
        cx.check(&format!("observe {}", self.name))?;
        let (health, detail) = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Observation::new(health, detail, self.clock.now(), Duration::ZERO))
    }
}
