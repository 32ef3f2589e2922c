//! What an answer of Route 53, or the lack of one, means.

use std::error::Error as StdError;

use aws_sdk_route53::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use veza_dr_core::{Effect, Error, ErrorKind, Retry};

/// The failure of `what`. For a request that changes something the effect is unknown where an answer got lost.
pub(super) fn route53_error<E>(e: &SdkError<E, HttpResponse>, what: &str, changes: bool) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let status = e.raw_response().map(|r| r.status().as_u16());
    let service = e.as_service_error();
    let code = service.and_then(|s| s.code()).map(str::to_owned);
    let said = service.and_then(|s| s.message()).map(str::to_owned);
    let cause = chain(e);
    let (kind, help, sure) = match e {
        SdkError::ConstructionFailure(_) if cause.contains("credential") || cause.contains("identity") => {
            let help =
                "give access_key_id_file and secret_access_key_file, or make AWS's own credential chain find some";
            (ErrorKind::Denied, Some(help), true)
        }
        SdkError::ConstructionFailure(_) => (ErrorKind::Config, Some("check the endpoint and the region"), true),
        SdkError::DispatchFailure(_) => {
            let help = if cause.contains("certificate") {
                "the server's certificate is not trusted: set ca_file to its authority's certificate"
            } else {
                "Route 53's control plane may be down, which its answers survive: use the health flag (docs/dns.md), \
                 or check the network and the endpoint"
            };
            (ErrorKind::Unavailable, Some(help), never_sent(&cause))
        }
        SdkError::TimeoutError(_) | SdkError::ResponseError(_) => (ErrorKind::Unavailable, None, never_sent(&cause)),
        _ => {
            let (kind, help) = classify(code.as_deref(), status);
            (kind, help, !matches!(kind, ErrorKind::Unavailable | ErrorKind::Unexpected))
        }
    };
    let answer = match (&code, status) {
        (Some(code), _) => format!("Route 53 answered {code}"),
        (None, Some(status)) => format!("Route 53 answered with status {status}"),
        (None, None) if kind == ErrorKind::Unavailable => "no answer from Route 53".to_owned(),
        (None, None) => "the request could not be made".to_owned(),
    };
    let answer = said.map_or(answer.clone(), |said| format!("{answer}: {said}"));
    let effect = if changes && !sure { Effect::Unknown } else { Effect::None };
    let mut error = Error::new(kind, format!("{what}: {answer}")).with_effect(effect);
    if code.as_deref() == Some("PriorRequestNotComplete") {
        error = error.with_retry(Retry::Later { after: None });
    }
    if let Some(help) = help {
        error = error.with_help(help);
    }
    if service.is_none() { error.with_source(Cause(cause)) } else { error }
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

fn classify(code: Option<&str>, status: Option<u16>) -> (ErrorKind, Option<&'static str>) {
    match code.unwrap_or_default() {
        // AWS answers both while it is busy, and has done nothing then.
        "Throttling" | "ThrottlingException" | "TooManyRequestsException" | "RequestLimitExceeded" => {
            (ErrorKind::Throttled, Some("others use up the account's five requests a second: stop them, or wait"))
        }
        "PriorRequestNotComplete" => {
            (ErrorKind::Throttled, Some("another change of this zone is being carried out: wait for it"))
        }
        "NoSuchHostedZone" => (ErrorKind::NotFound, Some("correct dns.route53.zone: aws route53 list-hosted-zones")),
        "NoSuchChange" => (ErrorKind::NotFound, None),
        "InvalidChangeBatch" => (ErrorKind::Conflict, None),
        "InvalidInput" | "ValidationError" | "MalformedInput" => (ErrorKind::Config, Some("correct the records")),
        "NoSuchHealthCheck" => (ErrorKind::Conflict, Some("the health check of a record to be put back is gone")),
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => {
            (ErrorKind::Denied, Some("the temporary credentials have expired: obtain new ones"))
        }
        "SignatureDoesNotMatch" => (ErrorKind::Denied, Some("the secret access key is wrong, or the clock is")),
        "InvalidClientTokenId" | "UnrecognizedClientException" | "InvalidAccessKeyId" => {
            (ErrorKind::Denied, Some("the access key is not known to AWS"))
        }
        "AccessDenied" | "AccessDeniedException" | "OptInRequired" => (
            ErrorKind::Denied,
            Some(
                "allow route53:ListResourceRecordSets and route53:ChangeResourceRecordSets on the zone, and \
                 route53:GetChange",
            ),
        ),
        _ => match status {
            Some(401 | 403) => (ErrorKind::Denied, Some("check the credentials and what they allow")),
            Some(404) => (ErrorKind::NotFound, None),
            Some(429) => (ErrorKind::Throttled, None),
            Some(400) => (ErrorKind::Config, None),
            Some(200..=299 | 500..) => (ErrorKind::Unavailable, None),
            _ => (ErrorKind::Unexpected, None),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_told_from_wrong() {
        for (code, status, kind) in [
            (Some("Throttling"), 400, ErrorKind::Throttled),
            (Some("PriorRequestNotComplete"), 400, ErrorKind::Throttled),
            (Some("InvalidChangeBatch"), 400, ErrorKind::Conflict),
            (Some("InvalidInput"), 400, ErrorKind::Config),
            (Some("NoSuchHostedZone"), 404, ErrorKind::NotFound),
            (Some("ServiceUnavailable"), 503, ErrorKind::Unavailable),
            (None, 500, ErrorKind::Unavailable),
            (None, 403, ErrorKind::Denied),
        ] {
            assert_eq!(classify(code, Some(status)).0, kind, "{code:?} {status}");
        }
    }
}
