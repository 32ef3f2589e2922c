//! Who may ask: machines by the token in every request, browsers by a cookie that they get for the token, once.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, HeaderValue, Method, header};
use sha2::{Digest, Sha256};
use veza_dr_core::OperationId;

/// The name of the cookie.
const COOKIE: &str = "veza_dr_session";
/// A browser asks for the token again after this.
const LIFE: Duration = Duration::from_secs(12 * 3600);
/// Browsers at once; the one that came first goes when there are more.
const MOST: usize = 64;

/// How whoever asks was let in; an extension of every request that reaches a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visitor {
    /// Nobody is asked for a token: only this machine can ask.
    Local,
    /// By the token itself.
    Token,
    /// By a cookie.
    Cookie,
}

/// The browsers that were let in. Only digests are kept, and only in memory: a restart lets nobody in.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<[u8; 32], Instant>>);

impl Sessions {
    /// A new session; gives the header that sets its cookie.
    pub(super) fn begin(&self, secure: bool) -> Option<HeaderValue> {
        // Four times 64 bits of the system's randomness.
        let id: String = (0..4).map(|_| OperationId::random().to_string()).collect();
        let now = Instant::now();
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, until| *until > now);
        while sessions.len() >= MOST {
            let Some(oldest) = sessions.iter().min_by_key(|(_, until)| **until).map(|(k, _)| *k) else { break };
            sessions.remove(&oldest);
        }
        sessions.insert(digest(&id), now + LIFE);
        let secure = if secure { "; Secure" } else { "" };
        let text = format!("{COOKIE}={id}; HttpOnly; SameSite=Lax; Path=/; Max-Age={}{secure}", LIFE.as_secs());
        HeaderValue::from_str(&text).ok()
    }

    /// Whether the request belongs to a session that still lasts.
    pub(super) fn knows(&self, headers: &HeaderMap) -> bool {
        let now = Instant::now();
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cookies(headers).any(|id| sessions.get(&digest(id)).is_some_and(|until| *until > now))
    }

    /// Ends the session of the request.
    pub(super) fn end(&self, headers: &HeaderMap) -> HeaderValue {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for id in cookies(headers) {
            sessions.remove(&digest(id));
        }
        HeaderValue::from_static("veza_dr_session=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0")
    }
}

fn digest(id: &str) -> [u8; 32] {
    Sha256::digest(id).into()
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|v| v.to_str().ok());
    all.flat_map(|v| v.split(';')).filter_map(|c| c.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// Whether a request that changes something comes from a page of this server itself, and not from one of somebody else
/// that the browser has open, too. Browsers say so; what says nothing is refused.
pub(super) fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    if text("sec-fetch-site").is_some_and(|site| site != "same-origin") {
        return false;
    }
    let Some(host) = text("host") else { return false };
    let origin = text("origin").and_then(|o| o.split_once("://")).map(|(_, host)| host);
    origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host))
}

/// Whether the request changes nothing.
pub(super) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether `Host` names this machine: else a page of somebody else had its name lead here.
pub(crate) fn is_local_host(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|v| v.to_str().ok()) else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect()
    }

    #[test]
    fn only_this_servers_own_pages_may_change_something() {
        let good = [("host", "dr:9464"), ("origin", "http://dr:9464")];
        assert!(is_same_origin(&headers(&good)));
        assert!(is_same_origin(&headers(&[good[0], good[1], ("sec-fetch-site", "same-origin")])));
        for bad in [
            vec![("host", "dr:9464")],
            vec![("host", "dr:9464"), ("origin", "http://evil")],
            vec![("host", "dr:9464"), ("origin", "null")],
            vec![("host", "dr:9464"), ("origin", "http://dr")],
            vec![("host", "dr:9464"), ("origin", "http://dr:9464.evil")],
            vec![("origin", "http://dr:9464")],
            vec![good[0], good[1], ("sec-fetch-site", "cross-site")],
            vec![good[0], good[1], ("sec-fetch-site", "same-site")],
        ] {
            assert!(!is_same_origin(&headers(&bad)), "{bad:?}");
        }
    }

    #[test]
    fn a_session_is_known_until_it_ends_and_there_are_never_too_many() {
        let sessions = Sessions::default();
        let cookie = |v: &HeaderValue| v.to_str().unwrap().split(';').next().unwrap().to_owned();
        let first = sessions.begin(false).unwrap();
        assert!(first.to_str().unwrap().contains("HttpOnly; SameSite=Lax"));
        assert!(sessions.begin(true).unwrap().to_str().unwrap().ends_with("; Secure"));
        let known = headers(&[("cookie", &format!("a=b; {}", cookie(&first)))]);
        assert!(sessions.knows(&known));
        assert!(!sessions.knows(&headers(&[("cookie", "veza_dr_session=")])));
        assert!(!sessions.knows(&headers(&[("cookie", &format!("{}0", cookie(&first)))])));
        sessions.end(&known);
        assert!(!sessions.knows(&known));
        for _ in 0..200 {
            sessions.begin(false).unwrap();
        }
        assert!(sessions.0.lock().unwrap().len() <= MOST);
        assert!(!format!("{sessions:?}").contains(&cookie(&first)[16..]));
    }

    #[test]
    fn other_names_are_not_this_machine() {
        for good in ["localhost", "LOCALHOST:9464", "127.0.0.1:9464", "127.0.0.2", "[::1]:9464", "[::1]"] {
            assert!(is_local_host(&headers(&[("host", good)])), "{good}");
        }
        for bad in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:9464", "localhost.evil", "", "[::2]:1"] {
            assert!(!is_local_host(&headers(&[("host", bad)])), "{bad}");
        }
        assert!(!is_local_host(&HeaderMap::new()));
    }
}
