//! Probes against real servers, servers that misbehave, and the verdicts that an assessment draws from them.

mod assess;
mod contract;
mod http;
mod postgres;
mod redis;
mod servers;
mod silence;
mod websocket;

use std::time::{Duration, SystemTime};

use veza_dr_core::{Cx, Observation, Result, ServiceProbe};

/// One look that must not take longer than a deadline of `secs` allows.
async fn look(probe: &dyn ServiceProbe, secs: u64) -> Result<Observation> {
    let limit = Duration::from_secs(secs);
    let cx = Cx::background().with_deadline(SystemTime::now() + limit);
    let late = limit + Duration::from_secs(1);
    tokio::time::timeout(late, probe.observe(&cx)).await.expect("the probe keeps its deadline")
}
