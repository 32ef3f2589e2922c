//! What the libraries have to say, on standard error and beside the progress bars.

use std::io::{self, Write};

use indicatif::MultiProgress;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::args::{Global, LogFormat};

/// Overrides what is logged, in the words of `tracing_subscriber::EnvFilter`.
const VARIABLE: &str = "VEZA_DR_LOG";

/// Sets logging up for the process. Only our own crates speak by default: drivers log statements and headers.
/// A daemon tells of all it does, with the time.
pub(crate) fn set_up(global: &Global, bars: MultiProgress, filter: Option<String>, daemon: Option<LogFormat>) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (_, 0) if daemon.is_none() => "warn",
        (_, 0) => "info",
        (_, 1) => "info",
        _ => "debug",
    };
    let ours = ["cli", "core", "backup", "restore", "failover"].map(|c| format!("veza_dr_{c}={level}")).join(",");
    let filter = filter.and_then(|f| EnvFilter::try_new(f).ok()).unwrap_or_else(|| EnvFilter::new(ours));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(AboveBars(bars)).with_target(false);
    // A log that cannot be written must not end what it is about.
    let log = log.log_internal_errors(false);
    // Already set by an embedding program: then its choice stands.
    let _ = if daemon == Some(LogFormat::Json) {
        log.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else if global.verbose == 0 && daemon.is_none() {
        log.without_time().with_ansi(false).compact().try_init()
    } else {
        log.with_ansi(false).compact().try_init()
    };
    tracing::debug!(variable = VARIABLE, "logging is set up");
}

pub(crate) fn variable() -> &'static str {
    VARIABLE
}

#[derive(Debug, Clone)]
struct AboveBars(MultiProgress);

impl Write for AboveBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Bars are taken off the screen for the time of the line, so that neither tears the other apart.
        self.0.suspend(|| io::stderr().write_all(bytes)).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for AboveBars {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
