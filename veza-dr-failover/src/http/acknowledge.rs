//! The page behind a link that acknowledges a call. Looking at it changes nothing: programs that read mail open links.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderValue, StatusCode, Uri, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use veza_dr_core::{ErrorKind, Result};

use crate::{alarm::Desk, escalation::AckKey};

#[derive(Debug)]
struct Shared {
    desk: Arc<Desk>,
    key: AckKey,
}

/// What a link says besides its path.
#[derive(Debug, Default)]
struct Signed {
    by: String,
    token: String,
}

impl Signed {
    fn of(uri: &Uri) -> Self {
        let mut signed = Self::default();
        for (name, value) in url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            match name.as_ref() {
                "by" => signed.by = value.into_owned(),
                "token" => signed.token = value.into_owned(),
                _ => {}
            }
        }
        signed
    }
}

/// `/acknowledge/ID?by=NAME&token=…`: GET shows what is acknowledged and asks; POST does it. Without a signature by this
/// key for this very call and person, or after its time, the answer is 403 and nothing else. Works without scripts, in
/// English and French.
///
/// To be served by a [`Server`](super::Server) whose configuration says
/// [`with_signed_links`](super::ServerConfig::with_signed_links).
pub fn acknowledge_routes(desk: Arc<Desk>, key: AckKey) -> Router {
    Router::new().route("/acknowledge/{id}", get(show).post(confirm)).with_state(Arc::new(Shared { desk, key }))
}

fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let text = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <meta name=robots content=noindex><title>{title}</title><style>body{{font:1.1rem/1.5 system-ui,sans-serif;\
         max-width:40rem;margin:3rem auto;padding:0 1rem;color-scheme:light dark}}button{{font:inherit;padding:.6rem 1.2rem}}\
         </style><h1>{title}</h1>{body}"
    );
    let mut response = (status, Html(text)).into_response();
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'";
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// One answer for whatever is wrong with a link, but for its age.
fn checked(shared: &Shared, id: &str, signed: &Signed) -> Result<(), Box<Response>> {
    shared.key.check(&signed.token, id, &signed.by, shared.desk.now()).map_err(|e| {
        let help = e.help().map(|h| format!("<p>{}</p>", escaped(h))).unwrap_or_default();
        Box::new(page(
            StatusCode::FORBIDDEN,
            "Not valid / Non valable",
            &format!("<p>{}</p>{help}", escaped(&e.to_string())),
        ))
    })
}

async fn show(State(shared): State<Arc<Shared>>, Path(id): Path<String>, uri: Uri) -> Response {
    let signed = Signed::of(&uri);
    if let Err(refusal) = checked(&shared, &id, &signed) {
        return *refusal;
    }
    let Ok(view) = shared.desk.view() else { return broken() };
    let incident = view.incident.iter().find(|i| i.incident.id == id).map(|i| {
        let since = i.incident.began.format("%Y-%m-%d %H:%M:%S UTC");
        format!("users are not served since {since}; level {} was called", i.level)
    });
    let alert = || view.alerts.iter().find(|a| a.id == id).map(|a| format!("{}: {}", a.alert, a.text));
    let Some(what) = incident.or_else(alert) else {
        return page(StatusCode::OK, "It is over / C\u{2019}est termin\u{e9}", "<p>Nothing is left to do.</p>");
    };
    let body = format!(
        "<p>{}</p><form method=post><button autofocus>I take care of it / Je m\u{2019}en occupe</button></form><p>{}</p>",
        escaped(&what),
        escaped(&signed.by)
    );
    page(StatusCode::OK, &format!("{} \u{2014} acknowledge / prendre en charge", escaped(&id)), &body)
}

async fn confirm(State(shared): State<Arc<Shared>>, Path(id): Path<String>, uri: Uri) -> Response {
    let signed = Signed::of(&uri);
    if let Err(refusal) = checked(&shared, &id, &signed) {
        return *refusal;
    }
    match shared.desk.acknowledge(&id, &signed.by) {
        Ok(done) => {
            let until = done.until.map(|at| format!("<p>Nobody else is called until {}.</p>", at.format("%H:%M UTC")));
            page(StatusCode::OK, "Noted / C\u{2019}est not\u{e9}", &until.unwrap_or_default())
        }
        Err(e) if e.kind() == ErrorKind::NotFound => {
            page(StatusCode::NOT_FOUND, "Not known / Inconnu", &format!("<p>{}</p>", escaped(&e.to_string())))
        }
        Err(e) => {
            tracing::error!(error = %e.chain(), "a call cannot be acknowledged");
            broken()
        }
    }
}

fn broken() -> Response {
    page(StatusCode::INTERNAL_SERVER_ERROR, "It did not work", "<p>Use: veza-dr status --acknowledge ID</p>")
}
