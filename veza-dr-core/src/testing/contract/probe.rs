//! What every [`ServiceProbe`] must do.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use chrono::Utc;
use tokio::task::JoinSet;

use super::tools::{must_fail, soon};
use crate::{Cx, ErrorKind, Health, ServiceProbe};

/// A service that the suite can stop and start.
#[async_trait]
pub trait ProbeHarness: Send + Sync {
    /// The probe that looks at it.
    fn probe(&self) -> Arc<dyn ServiceProbe>;
    /// Makes the service healthy; returns when it is.
    async fn start(&self);
    /// Makes it not answer.
    async fn stop(&self);
}

/// A running service is healthy, and the observation says when and why.
pub async fn a_running_service_is_healthy(harness: Arc<dyn ProbeHarness>) {
    harness.start().await;
    let probe = harness.probe();
    assert!(!probe.name().is_empty());
    let before = Utc::now();
    let seen = probe.observe(&Cx::background()).await.unwrap();
    assert_eq!(seen.health, Health::Healthy, "{seen:?}");
    assert!(!seen.detail.is_empty());
    assert!(seen.at >= before - chrono::TimeDelta::seconds(5) && seen.at <= Utc::now() + chrono::TimeDelta::seconds(5));
}

/// A service that does not answer is down: an answer, not an error.
pub async fn a_stopped_service_is_down_and_not_an_error(harness: Arc<dyn ProbeHarness>) {
    harness.stop().await;
    let cx = Cx::background().with_deadline(SystemTime::now() + Duration::from_secs(30));
    let seen = harness.probe().observe(&cx).await.unwrap();
    assert_eq!(seen.health, Health::Down, "{seen:?}");
    assert!(!seen.detail.is_empty());
}

/// The probe follows the service down and up again.
pub async fn a_probe_follows_its_service(harness: Arc<dyn ProbeHarness>) {
    let probe = harness.probe();
    for _ in 0..2 {
        harness.start().await;
        assert_eq!(probe.observe(&Cx::background()).await.unwrap().health, Health::Healthy);
        harness.stop().await;
        assert_eq!(probe.observe(&Cx::background()).await.unwrap().health, Health::Down);
    }
}

/// Nothing begins under a cancelled context.
pub async fn a_cancelled_probe_says_so(harness: Arc<dyn ProbeHarness>) {
    harness.start().await;
    let cx = Cx::background();
    cx.cancel();
    must_fail(soon("observe", harness.probe().observe(&cx)).await, ErrorKind::Cancelled, "observe");
}

/// A probe answers, or fails, about when its deadline passes, whatever the service does.
pub async fn a_probe_keeps_its_deadline(harness: Arc<dyn ProbeHarness>) {
    harness.stop().await;
    let cx = Cx::background().with_deadline(SystemTime::now() + Duration::from_secs(2));
    let began = Instant::now();
    match harness.probe().observe(&cx).await {
        Ok(seen) => assert_eq!(seen.health, Health::Down, "{seen:?}"),
        Err(e) => assert_eq!(e.kind(), ErrorKind::Cancelled, "{e:?}"),
    }
    assert!(began.elapsed() < Duration::from_secs(4), "it took {:?}", began.elapsed());
}

/// Many looks at once agree.
pub async fn many_look_at_once(harness: Arc<dyn ProbeHarness>) {
    harness.start().await;
    let mut looks = JoinSet::new();
    for _ in 0..16 {
        let probe = harness.probe();
        looks.spawn(async move { probe.observe(&Cx::background()).await.unwrap().health });
    }
    for health in looks.join_all().await {
        assert_eq!(health, Health::Healthy);
    }
}

/// Emits the suite for a probe: one `#[tokio::test]` per case of [`crate::testing::contract::probe`].
///
/// The argument is a future of `(Arc<dyn ProbeHarness>, K)`, where `K` must live as long as the test.
#[macro_export]
macro_rules! probe_contract {
    ($fresh:expr) => {
        $crate::contract_cases! { probe, $fresh;
            a_running_service_is_healthy
            a_stopped_service_is_down_and_not_an_error
            a_probe_follows_its_service
            a_cancelled_probe_says_so
            a_probe_keeps_its_deadline
            many_look_at_once
        }
    };
}
