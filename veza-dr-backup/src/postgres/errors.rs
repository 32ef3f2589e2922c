//! Turns a driver error into the one public error: class, retry advice, what to do.

use std::error::Error as _;

use tokio_postgres::error::SqlState;
use veza_dr_core::{Error, ErrorKind};

/// The SQLSTATE of a server error; `None` when the connection itself failed.
#[must_use]
pub fn sql_state(error: &tokio_postgres::Error) -> Option<&SqlState> {
    error.as_db_error().map(tokio_postgres::error::DbError::code)
}

/// Wraps a driver error met while doing `what`.
///
/// ```no_run
/// # async fn f(client: tokio_postgres::Client) -> veza_dr_core::Result<()> {
/// use veza_dr_backup::postgres::pg_error;
/// client.batch_execute("SELECT 1").await.map_err(|e| pg_error("ask the server", e))?;
/// # Ok(()) }
/// ```
#[must_use]
pub fn pg_error(what: &str, error: tokio_postgres::Error) -> Error {
    let Some(db) = error.as_db_error() else {
        let kind = if error.is_closed() { ErrorKind::Unavailable } else { transport_kind(&error) };
        let wrapped = Error::new(kind, format!("{what}: connection to PostgreSQL failed"));
        return wrapped.with_source(error).with_help("is the server up and reachable from here? try: veza-dr check");
    };
    let code = db.code().clone();
    let mut text = format!("{what}: {} (SQLSTATE {})", db.message(), code.code());
    for extra in [db.detail(), db.hint()].into_iter().flatten() {
        text.push_str("; ");
        text.push_str(extra);
    }
    if let Some(place) = db.where_().filter(|w| w.starts_with("COPY")) {
        text.push_str("; ");
        text.push_str(place.lines().next().unwrap_or_default());
    }
    let (kind, help) = classify(&code);
    let wrapped = Error::new(kind, text);
    match help {
        Some(help) => wrapped.with_help(help),
        None => wrapped,
    }
}

fn transport_kind(error: &tokio_postgres::Error) -> ErrorKind {
    // The driver reports a bad password as an authentication error without a server message in some paths.
    let text = error.source().map(ToString::to_string).unwrap_or_default() + &error.to_string();
    if text.contains("password missing") || text.contains("authentication") {
        ErrorKind::Denied
    } else {
        ErrorKind::Unavailable
    }
}

fn classify(code: &SqlState) -> (ErrorKind, Option<&'static str>) {
    let state = code.code();
    match state {
        "28P01" | "28000" => (ErrorKind::Denied, Some("check user, password_file and pg_hba.conf")),
        "3D000" => (ErrorKind::NotFound, Some("check the database name at the end of the url")),
        "42501" => (ErrorKind::Denied, Some("grant the right, or connect as the owner or a superuser")),
        "55P03" | "55006" | "42P04" | "40001" | "40P01" => (ErrorKind::Conflict, None),
        "53100" => (ErrorKind::Full, Some("free or add disk space on the database server")),
        "53200" => (
            ErrorKind::Full,
            Some("raise max_locks_per_transaction on the server if the message names it, then restart it"),
        ),
        "53300" => (ErrorKind::Unavailable, Some("raise max_connections, or lower `jobs`")),
        // Our own cancellation never waits for the server's word: this one was somebody else's.
        "57014" => (
            ErrorKind::Unavailable,
            Some("an administrator, or a timeout set on the server, cancelled the statement; run it again"),
        ),
        "22021" | "22P05" => (
            ErrorKind::Unsupported,
            Some("the data has bytes that its encoding does not allow; see docs/postgres.md, trap T9"),
        ),
        "0A000" => (ErrorKind::Unsupported, None),
        _ if state.starts_with("08") || state.starts_with("57P") => (
            ErrorKind::Unavailable,
            Some("the server is going down, starting, or ended our session; run it again when the server is up"),
        ),
        _ if state.starts_with("23") => (ErrorKind::Conflict, None),
        _ => (ErrorKind::Unexpected, None),
    }
}
