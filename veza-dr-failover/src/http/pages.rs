//! What is served.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use chrono::{DateTime, TimeDelta, Utc};
use prometheus_client::registry::Registry;
use serde::Serialize;
use veza_dr_core::{Clock, SystemClock, status::Status};

use crate::metrics::{Format, Metrics, encode};

/// A status that is older than this says nothing about now: whoever should look at the stores hangs.
const STALE: TimeDelta = TimeDelta::minutes(15);

/// The answer of `/healthz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The schedule is being met, in every store.
    pub healthy: bool,
    /// What is not as the schedule demands, one line each.
    pub reasons: Vec<String>,
    /// When the stores were looked at.
    pub looked_at: Option<DateTime<Utc>>,
}

impl Health {
    /// Healthy means: the stores were looked at lately, all of them answered, and each holds a backup of each scheduled
    /// component that is as young as the schedule demands.
    #[must_use]
    pub fn of(status: Option<&Status>, now: DateTime<Utc>) -> Self {
        let Some(status) = status else {
            return Self { healthy: false, reasons: vec!["the stores were not looked at yet".into()], looked_at: None };
        };
        let mut reasons = status.behind_schedule();
        if now - status.at > STALE {
            reasons.push(format!("the stores were last looked at {}", status.at));
        }
        Self { healthy: reasons.is_empty(), reasons, looked_at: Some(status.at) }
    }
}

struct Shared {
    registry: Registry,
    metrics: Metrics,
}

/// `/metrics` (Prometheus or OpenMetrics, as the scraper asks), `/healthz` (200 while the schedule is being met, else
/// 503, with the reasons as JSON) and `/livez` (200 while the process answers). Everything else is 404.
///
/// Without authentication of their own: [`super::Server`] puts it in front.
pub fn routes(registry: Registry, metrics: Metrics) -> Router {
    let shared = Arc::new(Shared { registry, metrics });
    Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", get(health))
        .route("/livez", get(|| async { "alive\n" }))
        .fallback(|| async { (StatusCode::NOT_FOUND, "not found\n") })
        .with_state(shared)
}

async fn scrape(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let format = Format::negotiate(headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()));
    match encode(&shared.registry, format) {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(e) => {
            tracing::error!(error = %e.chain(), "metrics");
            (StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written\n").into_response()
        }
    }
}

async fn health(State(shared): State<Arc<Shared>>) -> Response {
    let health = Health::of(shared.metrics.status().as_ref(), SystemClock.now());
    let status = if health.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(health)).into_response()
}
