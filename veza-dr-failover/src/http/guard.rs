//! What stands before every route, known or not: the token or the session, and a limit of time.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use veza_dr_core::{ExposeSecret, SecretString};

use super::{
    login::{Filled, refuse},
    session::{Sessions, Visitor, is_safe, is_same_origin},
};

/// Nothing served here takes longer to begin its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Links below this carry a signature of their own, which their page checks.
pub(super) const SIGNED: &str = "/acknowledge/";

/// The digest of the token, where there is one, and the browsers that gave it; and whether there are signed links.
#[derive(Clone)]
pub(super) struct Guard(Option<Arc<Lock>>, bool);

struct Lock {
    token: [u8; 32],
    sessions: Sessions,
}

impl Lock {
    /// Digests are compared, and all of both: how long it takes tells nothing about the token.
    fn opens(&self, given: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(given.trim()).into();
        let differing = given.iter().zip(self.token.iter()).fold(0u8, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(differing) == 0
    }

    fn knows(&self, headers: &HeaderMap) -> Option<Visitor> {
        let given = headers.get(header::AUTHORIZATION).and_then(|h| h.to_str().ok()).and_then(|h| h.split_once(' '));
        let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map_or("", |(_, token)| token);
        if self.opens(given) {
            return Some(Visitor::Token);
        }
        self.sessions.knows(headers).then_some(Visitor::Cookie)
    }
}

impl Guard {
    pub(super) fn new(token: Option<&SecretString>, signed_links: bool) -> Self {
        let lock = |t: &SecretString| Lock {
            token: Sha256::digest(t.expose_secret().trim()).into(),
            sessions: Sessions::default(),
        };
        Self(token.map(|t| Arc::new(lock(t))), signed_links)
    }

    async fn admit(&self, request: Request) -> Result<Request, Response> {
        if self.1 && request.uri().path().starts_with(SIGNED) {
            return Ok(request);
        }
        let Some(lock) = &self.0 else {
            return from_here(request, Visitor::Local, |h| !h.contains_key(header::ORIGIN) || is_same_origin(h))
                .ok_or_else(forbidden);
        };
        let is_login = request.uri().path() == "/login";
        if is_login && request.method() == Method::POST {
            return Err(lock.log_in(request).await);
        }
        let Some(visitor) = lock.knows(request.headers()) else {
            let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
            return Err(refuse(request.method(), path, request.headers()));
        };
        if is_login && request.method() == Method::GET {
            return Err((StatusCode::SEE_OTHER, [(header::LOCATION, "/")]).into_response());
        }
        let request = match visitor {
            // No page of somebody else can send the token.
            Visitor::Token => from_here(request, visitor, |_| true),
            _ => from_here(request, visitor, is_same_origin),
        };
        let request = request.ok_or_else(forbidden)?;
        if request.uri().path() == "/logout" && request.method() == Method::POST {
            let forget = lock.sessions.end(request.headers());
            let to = HeaderValue::from_static("/");
            return Err((StatusCode::SEE_OTHER, [(header::LOCATION, to), (header::SET_COOKIE, forget)]).into_response());
        }
        Ok(request)
    }
}

impl Lock {
    async fn log_in(&self, request: Request) -> Response {
        let filled = match Filled::read(request).await {
            Ok(filled) => filled,
            Err(refusal) => return refusal,
        };
        if !self.opens(&filled.token) {
            return filled.wrong().await;
        }
        match self.sessions.begin(filled.is_secure()) {
            Some(cookie) => filled.welcome(cookie),
            None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

/// The request with who it is from; of those that change something only what `good` says so.
fn from_here(mut request: Request, visitor: Visitor, good: impl FnOnce(&HeaderMap) -> bool) -> Option<Request> {
    if !is_safe(request.method()) && !good(request.headers()) {
        return None;
    }
    request.extensions_mut().insert(visitor);
    Some(request)
}

fn forbidden() -> Response {
    (StatusCode::FORBIDDEN, "this must be sent from this server's own page\n").into_response()
}

pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let answered = async {
        match guard.admit(request).await {
            Ok(request) => next.run(request).await,
            Err(answer) => answer,
        }
    };
    let mut response = match tokio::time::timeout(PATIENCE, answered).await {
        Ok(response) => response,
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "took too long\n").into_response(),
    };
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
