//! What a check is.

use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use veza_dr_core::{Cx, Error, ErrorKind, Result};

/// When a check runs: groups run one after the other, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Group {
    /// Is it there, and is it the right one?
    Connectivity,
    /// Can data be read and written, and are they the right ones?
    Data,
    /// Does it bear the load? Left out when a check before it did not pass: it would tell nothing, and hurt.
    Load,
}

/// What a check measured.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Finding {
    pub(super) passed: bool,
    pub(super) measured: String,
    pub(super) reason: Option<String>,
    pub(super) evidence: Value,
}

impl Finding {
    /// It was within the tolerance: `measured` says by which value.
    pub fn pass(measured: impl Into<String>) -> Self {
        Self { passed: true, measured: measured.into(), reason: None, evidence: Value::Null }
    }

    /// It was not: `measured` says by which value, `reason` what that means and what to do.
    pub fn fail(measured: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { passed: false, measured: measured.into(), reason: Some(reason.into()), evidence: Value::Null }
    }

    /// The facts behind it, kept in the report. Must hold no secret.
    pub fn with_evidence(mut self, evidence: Value) -> Self {
        self.evidence = evidence;
        self
    }

    /// A service that does not answer fails its check; everything else that went wrong leaves the question open.
    ///
    /// # Errors
    /// `e` itself, unless it is `Unavailable`.
    pub fn of_unreachable(e: Error) -> Result<Self> {
        match e.kind() {
            ErrorKind::Unavailable | ErrorKind::Throttled => Ok(Self::fail("no answer", told(&e))),
            _ => Err(e),
        }
    }
}

/// An error with its causes and its advice, on one line.
pub(super) fn told(e: &Error) -> String {
    match e.help() {
        Some(help) => format!("{} ({help})", e.chain()),
        None => e.chain(),
    }
}

/// One question about a site, with the answer that is accepted.
#[async_trait]
pub trait Check: Debug + Send + Sync + 'static {
    /// Its name, one of its kind in a suite.
    fn name(&self) -> &str;

    /// When it runs.
    fn group(&self) -> Group {
        Group::Connectivity
    }

    /// What passes, in words and with numbers; fixed before the run.
    fn tolerance(&self) -> String;

    /// How long it may take as a whole; a check that takes longer is ended, and its question is open.
    fn deadline(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// Looks. A check that changes something puts it back before its future ends, and also when that is dropped.
    ///
    /// # Errors
    /// Only when it cannot tell; what is not as it should be is a [`Finding`] that failed.
    async fn run(&self, cx: &Cx) -> Result<Finding>;
}
