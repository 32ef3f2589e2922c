//! Which requests meet which fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What happens to a request instead of passing. Byte counts are of the body, after the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The proxy answers; the server never hears of the request.
    Reply {
        /// The status code.
        status: u16,
        /// The body, as `application/xml`.
        body: String,
    },
    /// The request passes to its end and the server carries it out, but the connection closes instead of an answer:
    /// the client cannot know the outcome.
    LoseResponse,
    /// The request is read to its end, and the connection closes; the server never hears of it.
    CloseBeforeResponse,
    /// The connection is reset when the request's head is there, before its body is read.
    ResetOnHead,
    /// So many bytes of the request's body reach the server, then both connections are reset.
    ResetRequestAfter(u64),
    /// The answer's head and so many bytes of its body reach the client, then the connection is reset.
    ResetResponseAfter(u64),
    /// As before, but the connection ends in the orderly way, as a careless middlebox does.
    TruncateResponseAfter(u64),
    /// One bit of the answer's body is flipped, at this offset.
    CorruptResponseAt(u64),
    /// One bit of the request's body is flipped, at this offset.
    CorruptRequestAt(u64),
    /// Nothing is read of the request's body beyond so many bytes for so long; then it goes on.
    StallRequest {
        /// Bytes that still pass.
        after: u64,
        /// How long nothing does.
        pause: Duration,
    },
    /// Nothing of the answer's body beyond so many bytes is sent for so long; then it goes on.
    StallResponse {
        /// Bytes that still pass.
        after: u64,
        /// How long nothing does.
        pause: Duration,
    },
    /// The request waits for so long before anything of it reaches the server.
    Delay(Duration),
}

impl Fault {
    /// An answer of the kind S3 gives when it refuses.
    pub fn s3_error(status: u16, code: &str, message: &str) -> Self {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message>\
             <RequestId>VEZAFAULT</RequestId><HostId>fault-proxy</HostId></Error>"
        );
        Self::Reply { status, body }
    }

    /// `503 SlowDown`: too many requests, try again.
    pub fn slow_down() -> Self {
        Self::s3_error(503, "SlowDown", "Please reduce your request rate.")
    }

    /// `500 InternalError`: try again.
    pub fn internal_error() -> Self {
        Self::s3_error(500, "InternalError", "We encountered an internal error. Please try again.")
    }

    /// `200` with an error as its body, as `CompleteMultipartUpload` and `CopyObject` can answer.
    pub fn error_in_ok() -> Self {
        Self::s3_error(200, "InternalError", "We encountered an internal error. Please try again.")
    }

    /// `403 ExpiredToken`: the credentials ran out, and trying again with the same is of no use.
    pub fn expired_token() -> Self {
        Self::s3_error(403, "ExpiredToken", "The provided token has expired.")
    }

    /// `403 AccessDenied`.
    pub fn access_denied() -> Self {
        Self::s3_error(403, "AccessDenied", "Access Denied")
    }

    /// `403 RequestTimeTooSkewed`: the clocks differ.
    pub fn clock_skew() -> Self {
        let message = "The difference between the request time and the current time is too large.";
        Self::s3_error(403, "RequestTimeTooSkewed", message)
    }

    /// `507 InsufficientStorage`: the store is full.
    pub fn insufficient_storage() -> Self {
        Self::s3_error(507, "InsufficientStorage", "The store has no space left.")
    }
}

/// A fault and the requests that meet it. Without conditions, that is all of them.
#[derive(Debug, Clone)]
pub struct Rule {
    pub(super) fault: Fault,
    method: Option<String>,
    path: Option<String>,
    first: usize,
    times: usize,
    matched: usize,
    pub(super) fired: Arc<AtomicUsize>,
}

impl Rule {
    /// A rule for every request.
    pub fn new(fault: Fault) -> Self {
        Self { fault, method: None, path: None, first: 1, times: usize::MAX, matched: 0, fired: Arc::default() }
    }

    /// Only requests of this method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only requests whose path and query, as sent, contain this text.
    #[must_use]
    pub fn path(mut self, part: &str) -> Self {
        self.path = Some(part.to_owned());
        self
    }

    /// Only from the `n`th matching request on, counted from 1 and from when the rule was added.
    #[must_use]
    pub fn from_nth(mut self, n: usize) -> Self {
        self.first = n;
        self
    }

    /// Only the `n`th matching request.
    #[must_use]
    pub fn nth(self, n: usize) -> Self {
        self.from_nth(n).times(1)
    }

    /// At most so many requests.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// Counts the request if it matches, and says whether the fault strikes it.
    pub(super) fn strikes(&mut self, method: &str, target: &str) -> bool {
        let matches = self.method.as_deref().is_none_or(|wanted| wanted == method)
            && self.path.as_deref().is_none_or(|part| target.contains(part));
        if !matches {
            return false;
        }
        self.matched += 1;
        let strikes = self.matched >= self.first && self.matched - self.first < self.times;
        if strikes {
            self.fired.fetch_add(1, Ordering::SeqCst);
        }
        strikes
    }
}

/// A request that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRecord {
    /// The method.
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    /// The fault it met.
    pub fault: Option<Fault>,
}
