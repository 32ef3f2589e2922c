//! The form by which a browser gets in. The token goes into the body of a POST, never into an address.

use std::time::Duration;

use axum::{
    body::to_bytes,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use url::form_urlencoded;

use super::session::is_same_origin;
use crate::{
    dashboard::look::{policy, style},
    report::{Language, escape_html as escape},
};

/// A form with a token is not longer.
const LONGEST: usize = 4096;
/// What trying tokens costs.
const PENALTY: Duration = Duration::from_millis(300);

/// The answer to who may not come in: for browsers the form, for others a line.
pub(super) fn refuse(method: &Method, path: &str, headers: &HeaderMap) -> Response {
    let mut response = if wants_page(method, headers) {
        page(StatusCode::UNAUTHORIZED, headers, path, false)
    } else {
        (StatusCode::UNAUTHORIZED, "a bearer token is needed\n").into_response()
    };
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"veza-dr\""));
    response
}

fn wants_page(method: &Method, headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    *method == Method::GET && accepted.split(',').any(|t| t.trim().starts_with("text/html"))
}

/// What was filled in, when it came from our own form.
pub(super) struct Filled {
    pub(super) token: String,
    pub(super) next: String,
    headers: HeaderMap,
}

impl Filled {
    /// Reads the form.
    pub(super) async fn read(request: Request) -> Result<Self, Response> {
        let (head, body) = request.into_parts();
        if !is_same_origin(&head.headers) {
            return Err((StatusCode::FORBIDDEN, "this must be sent from this server's own page\n").into_response());
        }
        let Ok(bytes) = to_bytes(body, LONGEST).await else {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, "too long\n").into_response());
        };
        let field = |name: &str| {
            form_urlencoded::parse(&bytes).find(|(k, _)| k == name).map(|(_, v)| v.into_owned()).unwrap_or_default()
        };
        Ok(Self { token: field("token"), next: local(&field("next")), headers: head.headers })
    }

    /// The wrong token: the form again, after a while.
    pub(super) async fn wrong(self) -> Response {
        tokio::time::sleep(PENALTY).await;
        page(StatusCode::UNAUTHORIZED, &self.headers, &self.next, true)
    }

    /// In: to where they wanted to go.
    pub(super) fn welcome(self, cookie: HeaderValue) -> Response {
        let to = HeaderValue::from_str(&self.next).unwrap_or(HeaderValue::from_static("/"));
        (StatusCode::SEE_OTHER, [(header::LOCATION, to), (header::SET_COOKIE, cookie)]).into_response()
    }

    /// Whether the browser reached us by TLS, through a proxy that says so.
    pub(super) fn is_secure(&self) -> bool {
        let forwarded = self.headers.get("x-forwarded-proto").and_then(|v| v.to_str().ok());
        forwarded.is_some_and(|p| p.eq_ignore_ascii_case("https"))
    }
}

/// A path of this server; anything that could lead elsewhere is its first page.
fn local(path: &str) -> String {
    let plain = path.chars().all(|c| c.is_ascii_graphic() && c != '\\' && c != '"');
    let good = path.starts_with('/') && !path.starts_with("//") && plain && path != "/login" && path.len() < 500;
    if good { path.to_owned() } else { "/".to_owned() }
}

fn page(status: StatusCode, headers: &HeaderMap, next: &str, wrong: bool) -> Response {
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let language = Language::accepted(accepted);
    let t = |english, french| language.pick(english, french);
    let said = if wrong {
        let text = t("That is not the token.", "Ce jeton n'est pas le bon.");
        format!("<p id=\"said\" role=\"alert\"><span class=\"tag bad\">{text}</span></p>")
    } else {
        String::new()
    };
    let described = if wrong { " aria-describedby=\"said\" aria-invalid=\"true\"" } else { "" };
    let body = format!(
        "<!doctype html>\n<html lang=\"{}\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Veza DR · {title}</title>\
         <style>{}</style></head><body><main id=\"main\"><h1>Veza DR</h1><p>{}</p>{said}\
         <form method=\"post\" action=\"/login\"><input type=\"hidden\" name=\"next\" value=\"{}\">\
         <p><label for=\"token\">{}</label><br>\
         <input id=\"token\" name=\"token\" type=\"password\" autocomplete=\"current-password\" required autofocus{described}></p>\
         <p><button type=\"submit\">{title}</button></p></form></main></body></html>\n",
        language.code(),
        style(),
        t(
            "This page asks for the token of the daemon (<code>serve.token_file</code>).",
            "Cette page demande le jeton du démon (<code>serve.token_file</code>)."
        ),
        escape(&local(next)),
        t("Token", "Jeton"),
        title = t("Sign in", "Se connecter"),
    );
    let head = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, policy()),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    (status, head, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_never_leads_elsewhere() {
        for good in ["/", "/reports/a?lang=fr", "/runs/x"] {
            assert_eq!(local(good), good);
        }
        for bad in ["", "//evil", "https://evil", "/\\evil", "/a\r\nb: c", "/\t/evil", "/login", "evil", "/é", "/a\"b"]
        {
            assert_eq!(local(bad), "/", "{bad:?}");
        }
    }
}
