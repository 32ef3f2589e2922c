//! Waits until a provider says that all its servers have a change.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::{Instant, sleep};
use veza_dr_core::{ChangeId, ChangeState, Cx, DnsProvider, Effect, Error, ErrorKind, Result};

/// No pause between two questions is longer.
const LONGEST: Duration = Duration::from_secs(5);

/// Asks every `first` to 5 s until the change is in sync, for at most `within`.
pub(super) async fn in_sync(
    cx: &Cx,
    provider: &dyn DnsProvider,
    change: &ChangeId,
    first: Duration,
    within: Duration,
) -> Result<DateTime<Utc>> {
    let limit = Instant::now() + within;
    let mut pause = first;
    let help = "the change is accepted and may still spread: look with veza-dr dns show, take it back with veza-dr dns \
                rollback";
    loop {
        let last = match provider.status(cx, change).await {
            Ok(ChangeState::InSync) => return Ok(Utc::now()),
            Ok(ChangeState::Pending) => None,
            // The change stands, so a failed question about it is asked again.
            Err(e) if e.is_retryable() || matches!(e.retry(), veza_dr_core::Retry::Exhausted { .. }) => Some(e),
            Err(e) => return Err(told(e, change, help)),
        };
        if Instant::now() + pause > limit {
            let text = format!("change {} of {} is still pending after {within:?}", change.0, provider.name());
            let error = Error::new(ErrorKind::Unverified, text).with_effect(Effect::Applied).with_help(help);
            return Err(match last {
                Some(cause) => error.with_source(cause),
                None => error,
            });
        }
        let waited = cx.run("wait for the DNS change", async {
            sleep(pause).await;
            Ok(())
        });
        waited.await.map_err(|e| told(e, change, help))?;
        pause = (pause * 3 / 2).min(LONGEST.max(first));
    }
}

/// The change was accepted whatever became of the wait.
fn told(e: Error, change: &ChangeId, help: &str) -> Error {
    e.with_effect(Effect::Applied).with_context("change", change.0.clone()).with_help(help)
}
