//! Whether a component's backups are young enough to recover from.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use veza_dr_core::{
    Cx, Error, ErrorKind, Observation, Result, ServiceProbe,
    status::{ComponentStatus, Protection},
};

use super::{
    PATIENCE,
    look::{Contact, Seen, Stop, look},
};

/// Asks for the status of one component.
pub type StatusOf = Box<dyn Fn(Cx) -> BoxFuture<'static, Result<ComponentStatus>> + Send + Sync>;

/// Judges a component by the age of its backups. Healthy, degraded and down are the status's good, weak and broken; a
/// status that is unknown is an error, never an answer.
pub struct BackupProbe {
    name: String,
    ask: StatusOf,
    patience: Duration,
}

impl fmt::Debug for BackupProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupProbe").field("name", &self.name).finish_non_exhaustive()
    }
}

impl BackupProbe {
    /// A probe named after the component, which asks `ask` each time.
    ///
    /// ```
    /// # use veza_dr_core::{Error, ErrorKind};
    /// use veza_dr_failover::probe::BackupProbe;
    /// let probe = BackupProbe::new("database", Box::new(|_cx| Box::pin(async {
    ///     Err(Error::new(ErrorKind::Unavailable, "the store does not answer"))
    /// })));
    /// ```
    #[must_use]
    pub fn new(component: &str, ask: StatusOf) -> Self {
        Self { name: format!("backup {component}"), ask, patience: PATIENCE }
    }

    /// How long it waits; 5 s by default.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

#[async_trait]
impl ServiceProbe for BackupProbe {
    fn name(&self) -> &str {
        &self.name
    }

    async fn observe(&self, cx: &Cx) -> Result<Observation> {
        let contact = Contact::default();
        let work = async { judge(&(self.ask)(cx.clone()).await?, Utc::now()).map_err(Stop::Cannot) };
        let seen = look(cx, &self.name, self.patience, &contact, work).await?;
        if !seen.reached {
            // No backup was seen to be missing: the stores were slow.
            let text = format!("{}: the stores did not answer within {:.1} s", self.name, self.patience.as_secs_f64());
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        Ok(seen)
    }
}

fn judge(status: &ComponentStatus, now: DateTime<Utc>) -> Result<Seen> {
    let age = status.newest().map_or_else(
        || "no backup".to_owned(),
        |b| format!("the newest backup shows {} min ago", (now - b.shows).num_minutes().max(0)),
    );
    let text = if status.reasons.is_empty() { age } else { format!("{age}; {}", status.reasons.join("; ")) };
    match status.protection {
        Protection::Good => Ok(Seen::healthy(text)),
        Protection::Weak => Ok(Seen::degraded(text)),
        Protection::Broken => Ok(Seen::down(text)),
        Protection::Unknown => Err(Error::new(ErrorKind::Unavailable, format!("it cannot be told: {text}"))
            .with_help("see which store does not answer: veza-dr status")),
    }
}
