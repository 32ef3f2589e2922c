//! Turns what a server, or the driver, complains of into the one public error.

use veza_dr_core::{Error, ErrorKind};

/// Wraps an error reply (without its `-`) met while doing `what`.
#[must_use]
pub fn server_error(what: &str, reply: &str) -> Error {
    let (kind, help) = classify(reply);
    let error = Error::new(kind, format!("{what}: {reply}"));
    match help {
        Some(help) => error.with_help(help),
        None => error,
    }
}

fn classify(reply: &str) -> (ErrorKind, Option<&'static str>) {
    let code = reply.split(' ').next().unwrap_or_default();
    match code {
        "NOAUTH" | "WRONGPASS" => (ErrorKind::Denied, Some("check username, password_file and the server's ACL LIST")),
        "NOPERM" => {
            (ErrorKind::Denied, Some("see what the user may do with ACL GETUSER; docs/redis.md lists what it needs"))
        }
        "LOADING" | "NOMASTERLINK" | "MASTERDOWN" | "BUSY" | "TRYAGAIN" | "CLUSTERDOWN" => {
            (ErrorKind::Unavailable, Some("the server is not ready: try again when it is"))
        }
        "MISCONF" | "READONLY" | "NOREPLICAS" => (ErrorKind::Conflict, None),
        "OOM" => (ErrorKind::Full, Some("the server's maxmemory is reached")),
        _ if is_unknown_command(reply) => (ErrorKind::Unsupported, None),
        _ if reply.contains("invalid password") || reply.contains("without any password") => {
            (ErrorKind::Denied, Some("check username and password_file"))
        }
        _ => (ErrorKind::Unexpected, None),
    }
}

/// True for the answer to a command that the server does not have, or that was renamed away.
pub(super) fn is_unknown_command(reply: &str) -> bool {
    let lower = reply.to_ascii_lowercase();
    lower.contains("unknown command") || lower.contains("unknown subcommand") || lower.contains("disabled command")
}

/// Wraps an error of the driver.
pub(super) fn driver_error(what: &str, error: fred::error::Error) -> Error {
    use fred::error::ErrorKind as K;
    let details = error.details().to_owned();
    match error.kind() {
        K::IO | K::Canceled | K::Timeout | K::Tls | K::Backpressure => {
            Error::new(ErrorKind::Unavailable, format!("{what}: connection to Redis failed"))
                .with_source(error)
                .with_help("is the server up and reachable from here? try: veza-dr check")
        }
        _ => server_error(what, &details).with_source(error),
    }
}

/// A connection that failed.
pub(super) fn io_error(what: &str, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{what}: connection to Redis failed"))
        .with_source(error)
        .with_help("is the server up and reachable from here? try: veza-dr check")
}
