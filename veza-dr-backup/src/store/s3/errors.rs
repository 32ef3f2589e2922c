//! What an answer of S3, or the lack of one, means.

use std::{error::Error as StdError, time::Duration};

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use veza_dr_core::{Effect, Error, ErrorKind, Retry};

/// The failure of `what`, with `Effect::Unknown` when the request may have been carried out all the same. For requests
/// that change nothing the caller clears that with [`reading`].
pub(super) fn s3_error<E>(e: SdkError<E, HttpResponse>, what: impl Into<String>) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let what = what.into();
    let status = e.raw_response().map(|r| r.status().as_u16());
    let code = e.as_service_error().and_then(|s| s.code()).map(str::to_owned);
    let wait = e.raw_response().and_then(|r| r.headers().get("retry-after")).and_then(|s| s.parse().ok());
    let request = e.raw_response().and_then(|r| r.headers().get("x-amz-request-id")).map(str::to_owned);
    let (kind, help, effect) = match &e {
        SdkError::ConstructionFailure(_) => construction(&e),
        SdkError::DispatchFailure(d) if d.is_user() => {
            (ErrorKind::Config, Some("check the endpoint's URL and the region"), Effect::None)
        }
        // Before a connection stood, nothing was sent.
        SdkError::DispatchFailure(_) => {
            let cause = chain(&e);
            let help = if cause.contains("certificate") {
                "the server's certificate is not trusted: set ca_file to its authority's certificate"
            } else {
                "check the network, the endpoint's URL and the region"
            };
            (ErrorKind::Unavailable, Some(help), if never_sent(&cause) { Effect::None } else { Effect::Unknown })
        }
        SdkError::TimeoutError(_) => (ErrorKind::Unavailable, None, Effect::Unknown),
        SdkError::ResponseError(_) => (ErrorKind::Unavailable, None, Effect::Unknown),
        _ => {
            let (kind, help) = classify(code.as_deref(), status);
            // A server that says it failed may have failed after it did the work, and so may one behind a gateway.
            let unsure = matches!(kind, ErrorKind::Unavailable | ErrorKind::Unexpected);
            (kind, help, if unsure { Effect::Unknown } else { Effect::None })
        }
    };
    let mut error = Error::new(kind, format!("{what}: {}", summary(code.as_deref(), status, kind))).with_effect(effect);
    if let Some(help) = help {
        error = error.with_help(help);
    }
    if let (Some(seconds), ErrorKind::Throttled | ErrorKind::Unavailable) = (wait, kind) {
        error = error.with_retry(Retry::Later { after: Some(Duration::from_secs(seconds)) });
    }
    // Another request on the same key was under way: S3 asks for the same one again.
    if matches!(code.as_deref(), Some("ConditionalRequestConflict" | "OperationAborted")) {
        error = error.with_retry(Retry::Later { after: None });
    }
    if let Some(request) = request {
        error = error.with_context("request", request);
    }
    error.with_source(Cause(chain(&e)))
}

/// Says that the failed request could not have changed anything.
pub(super) fn reading(e: Error) -> Error {
    e.with_effect(Effect::None)
}

/// The SDK's error as text: its own types hold the response, headers and all, which `Debug` would show.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Cause(String);

fn chain(e: &dyn StdError) -> String {
    let mut text = e.to_string();
    let mut next = e.source();
    while let Some(cause) = next {
        let part = cause.to_string();
        if !part.is_empty() && !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        next = cause.source();
    }
    text
}

/// Signs that no connection came about, in the words of the libraries below the SDK.
fn never_sent(cause: &str) -> bool {
    ["Connection refused", "dns error", "failed to lookup", "connect timeout", "unreachable"]
        .iter()
        .any(|sign| cause.contains(sign))
}

fn construction(e: &dyn StdError) -> (ErrorKind, Option<&'static str>, Effect) {
    let text = chain(e);
    if text.contains("credential") || text.contains("identity") {
        let help = "give access_key_id and secret_access_key, or make AWS's own credential chain find some";
        return (ErrorKind::Denied, Some(help), Effect::None);
    }
    (ErrorKind::Config, Some("check the bucket, the region and the endpoint"), Effect::None)
}

fn summary(code: Option<&str>, status: Option<u16>, kind: ErrorKind) -> String {
    match (code, status) {
        (Some(code), _) => format!("the server answered {code}"),
        (None, Some(status)) => format!("the server answered with status {status}"),
        (None, None) if kind == ErrorKind::Unavailable => "no answer from the server".to_owned(),
        (None, None) => "the request could not be made".to_owned(),
    }
}

/// From S3's error code, or from the status alone where there was no body to hold one.
fn classify(code: Option<&str>, status: Option<u16>) -> (ErrorKind, Option<&'static str>) {
    match code.unwrap_or_default() {
        "ExpiredToken" | "TokenRefreshRequired" | "ExpiredTokenException" | "RequestExpired" => {
            (ErrorKind::Denied, Some("the temporary credentials have expired: obtain new ones"))
        }
        "RequestTimeTooSkewed" => (ErrorKind::Denied, Some("this machine's clock is wrong: set it")),
        "SignatureDoesNotMatch" => (ErrorKind::Denied, Some("the secret access key is wrong, or the region is")),
        "InvalidAccessKeyId" | "InvalidToken" | "InvalidSecurity" => {
            (ErrorKind::Denied, Some("the access key is not known to this server"))
        }
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "Forbidden" | "UnauthorizedAccess" => (
            ErrorKind::Denied,
            Some(
                "allow s3:GetObject, s3:PutObject, s3:DeleteObject, s3:ListBucket, s3:AbortMultipartUpload and \
                  s3:ListBucketMultipartUploads on the bucket; object lock forbids deletes until it ends",
            ),
        ),
        "NoSuchBucket" => (ErrorKind::Config, Some("create the bucket, or correct its name, region or endpoint")),
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            (ErrorKind::Config, Some("the bucket is in another region: correct the region"))
        }
        "InvalidBucketName" => (ErrorKind::Config, Some("correct the bucket's name")),
        "NoSuchKey" | "NotFound" | "NoSuchUpload" | "NoSuchVersion" => (ErrorKind::NotFound, None),
        "PreconditionFailed" | "ConditionalRequestConflict" | "OperationAborted" => (ErrorKind::Conflict, None),
        "InvalidObjectState" => (
            ErrorKind::Unsupported,
            Some("the object is archived: restore it first (aws s3api restore-object), then try again"),
        ),
        "SlowDown"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequests"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded" => (ErrorKind::Throttled, None),
        "QuotaExceeded"
        | "XMinioStorageFull"
        | "InsufficientStorage"
        | "StorageFull"
        | "QuotaExceededException"
        | "XMinioAdminBucketQuotaExceeded"
        | "EntityTooLarge" => (ErrorKind::Full, Some("make room or raise the quota; apply retention: veza-dr prune")),
        "BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch" => {
            (ErrorKind::Corrupt, Some("the data was changed on the way to the server"))
        }
        "NotImplemented" | "MethodNotAllowed" => {
            (ErrorKind::Unsupported, Some("use a server that implements this part of S3"))
        }
        "InternalError" | "ServiceUnavailable" | "RequestTimeout" | "RequestTimeoutException" => {
            (ErrorKind::Unavailable, None)
        }
        _ => match status {
            Some(401 | 403) => {
                (ErrorKind::Denied, Some("check the credentials and what they allow on this bucket and prefix"))
            }
            Some(404) => (ErrorKind::NotFound, None),
            Some(409 | 412) => (ErrorKind::Conflict, None),
            Some(429) => (ErrorKind::Throttled, None),
            Some(501 | 405) => (ErrorKind::Unsupported, Some("use a server that implements this part of S3")),
            Some(507) => (ErrorKind::Full, Some("make room or raise the quota; apply retention: veza-dr prune")),
            Some(301 | 307 | 400 | 416) => (ErrorKind::Config, None),
            // A success that is none: the body holds an error, or not what it must.
            Some(200..=299 | 500..) => (ErrorKind::Unavailable, None),
            _ => (ErrorKind::Unexpected, None),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_decide_before_statuses() {
        let kind = |code, status| classify(code, status).0;
        for (code, status, expected) in [
            (Some("AccessDenied"), 403, ErrorKind::Denied),
            (Some("SignatureDoesNotMatch"), 403, ErrorKind::Denied),
            (Some("ExpiredToken"), 400, ErrorKind::Denied),
            (Some("NoSuchBucket"), 404, ErrorKind::Config),
            (Some("NoSuchKey"), 404, ErrorKind::NotFound),
            (Some("SlowDown"), 503, ErrorKind::Throttled),
            (Some("ServiceUnavailable"), 503, ErrorKind::Unavailable),
            (Some("InternalError"), 200, ErrorKind::Unavailable),
            (Some("PreconditionFailed"), 412, ErrorKind::Conflict),
            (Some("QuotaExceeded"), 403, ErrorKind::Full),
            (None, 507, ErrorKind::Full),
            (None, 412, ErrorKind::Conflict),
            (None, 503, ErrorKind::Unavailable),
            (None, 200, ErrorKind::Unavailable),
            (None, 403, ErrorKind::Denied),
        ] {
            assert_eq!(kind(code, Some(status)), expected, "{code:?} {status}");
        }
    }

    #[test]
    fn whoever_is_denied_is_told_why() {
        for code in ["ExpiredToken", "AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId"] {
            assert!(classify(Some(code), Some(403)).1.is_some(), "{code}");
        }
        assert!(classify(Some("ExpiredToken"), None).1.unwrap().contains("expired"));
    }
}
