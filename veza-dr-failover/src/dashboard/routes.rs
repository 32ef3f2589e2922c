//! What is served.

use std::{convert::Infallible, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures::{Stream, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::form_urlencoded;
use veza_dr_core::{Clock, Cx, ErrorKind, SystemClock};

use super::{Dashboard, LiveRun, alarm_section, look::Asked, overview, report_pages, run_page};
use crate::{
    http::session::{Visitor, is_local_host},
    report::{Language, RecoveryReport},
};

const SCRIPT: &str = include_str!("app.js");
/// Pages are made anew at least this often, as "ago" goes on; below the time after which a silent connection ends.
const BEAT: Duration = Duration::from_secs(20);
/// A stream ends after this; browsers begin another, and are asked again who they are.
const STREAM: Duration = Duration::from_secs(3600);

#[derive(Clone)]
struct Shared {
    dashboard: Dashboard,
    stop: CancellationToken,
}

impl Dashboard {
    /// `/`, `/reports`, `/reports/ID` (also `ID.json`, `ID.md`), `/runs`, `/runs/RUN`, `/events`, `/app.js`, and POST to
    /// `/alarms/ID` with a form's `by`, which acknowledges. Streams of events end when `cx` is cancelled.
    ///
    /// Without authentication of their own: [`crate::http::Server`] puts it in front. A request that was let in only because
    /// it comes from this machine must name this machine, so that no page elsewhere can have its name lead here.
    pub fn routes(&self, cx: &Cx) -> Router {
        let shared = Shared { dashboard: self.clone(), stop: cx.token().clone() };
        Router::new()
            .route("/", get(first))
            .route("/reports", get(reports))
            .route("/reports/{id}", get(report))
            .route("/runs", get(runs))
            .route("/runs/{run}", get(run))
            .route("/alarms/{id}", post(acknowledge))
            .route("/events", get(events))
            .route("/app.js", get(script))
            .layer(from_fn(only_by_own_name))
            .with_state(shared)
    }
}

async fn only_by_own_name(request: Request, next: Next) -> Response {
    if request.extensions().get::<Visitor>() == Some(&Visitor::Local) && !is_local_host(request.headers()) {
        let text = "ask for it as localhost, or give the daemon a token (serve.token_file)\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    next.run(request).await
}

fn asked(uri: &Uri, headers: &HeaderMap, visitor: Option<Visitor>) -> Asked {
    let query = uri.query().unwrap_or_default();
    let chosen = form_urlencoded::parse(query.as_bytes()).find(|(k, _)| k == "lang");
    let chosen = chosen.and_then(|(_, v)| v.parse::<Language>().ok());
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    Asked {
        language: chosen.unwrap_or_else(|| Language::accepted(accepted)),
        chosen: chosen.is_some(),
        visitor,
        path: uri.path().to_owned(),
        now: SystemClock.now(),
    }
}

fn of(request: &Request) -> Asked {
    asked(request.uri(), request.headers(), request.extensions().get::<Visitor>().copied())
}

async fn first(State(shared): State<Shared>, request: Request) -> Response {
    let asked = of(&request);
    let (title, main) = overview::overview(&shared.dashboard, &asked);
    asked.page(&title, &main)
}

async fn acknowledge(State(shared): State<Shared>, Path(id): Path<String>, request: Request) -> Response {
    let asked = of(&request);
    alarm_section::acknowledge(shared.dashboard, asked, id, request).await
}

async fn reports(State(shared): State<Shared>, request: Request) -> Response {
    let asked = of(&request);
    let (title, main) = report_pages::list(&asked, &shared.dashboard);
    asked.page(&title, &main)
}

async fn runs(State(shared): State<Shared>, request: Request) -> Response {
    let asked = of(&request);
    let (title, main) = run_page::list(&asked, &shared.dashboard);
    asked.page(&title, &main)
}

async fn run(State(shared): State<Shared>, Path(name): Path<String>, request: Request) -> Response {
    let asked = of(&request);
    let made = asked.clone();
    blocking(&asked, move || match LiveRun::read(&shared.dashboard.0.config.state_dir, &name) {
        Ok(live) => {
            let (title, main) = run_page::page(&made, &live, &shared.dashboard);
            made.page(&title, &main)
        }
        Err(e) => failed(&made, &e),
    })
    .await
}

async fn report(State(shared): State<Shared>, Path(name): Path<String>, request: Request) -> Response {
    let asked = of(&request);
    let made = asked.clone();
    blocking(&asked, move || {
        let (id, form) = match name.rsplit_once('.') {
            Some((id, form @ ("json" | "md"))) => (id, form),
            _ => (name.as_str(), "html"),
        };
        let report = match shared.dashboard.0.reports.read(id) {
            Ok(report) => report,
            Err(e) => return failed(&made, &e),
        };
        match form {
            "json" => match report.json() {
                Ok(text) => file("application/json", text),
                Err(e) => failed(&made, &e),
            },
            "md" => file("text/markdown; charset=utf-8", report.markdown(made.language)),
            _ => {
                let policy = format!("{}; frame-ancestors 'none'", RecoveryReport::html_policy());
                let policy = HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
                let mut response = file("text/html; charset=utf-8", report.html(made.language));
                response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
                response
            }
        }
    })
    .await
}

fn file(kind: &'static str, text: String) -> Response {
    let head = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
    ];
    (head, text).into_response()
}

fn failed(asked: &Asked, e: &veza_dr_core::Error) -> Response {
    let status = match e.kind() {
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    asked.problem(status, asked.t("This cannot be shown", "Affichage impossible"), &e.chain())
}

async fn blocking(asked: &Asked, work: impl FnOnce() -> Response + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(work).await {
        Ok(response) => response,
        Err(_) => asked.problem(StatusCode::INTERNAL_SERVER_ERROR, "500", asked.t("it failed", "échec")),
    }
}

async fn script() -> Response {
    let head =
        [(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), (header::CACHE_CONTROL, "private, max-age=3600")];
    (head, SCRIPT).into_response()
}

/// Says whenever something changed, and now and then that time goes by. What changed is in the page itself.
async fn events(State(shared): State<Shared>) -> Response {
    let head = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (head, Body::from_stream(told(shared))).into_response()
}

fn told(shared: Shared) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let changes = shared.dashboard.0.changes.subscribe();
    let until = Instant::now() + STREAM;
    let begin = stream::once(async { Ok(Bytes::from_static(b"retry: 3000\n\n")) });
    let rest = stream::unfold((shared, changes), move |(shared, mut changes)| async move {
        let name = tokio::select! {
            () = shared.stop.cancelled() => return None,
            () = tokio::time::sleep_until(until) => return None,
            changed = changes.changed() => match changed {
                Ok(()) => "change",
                Err(_) => return None,
            },
            () = tokio::time::sleep(BEAT) => "beat",
        };
        let n = *changes.borrow_and_update();
        Some((Ok(Bytes::from(format!("event: {name}\ndata: {n}\n\n"))), (shared, changes)))
    });
    futures::StreamExt::chain(begin, rest)
}
