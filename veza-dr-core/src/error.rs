//! The one error of the public API: what went wrong, whether trying again can help, and whether the world changed.

use std::{error::Error as StdError, fmt, time::Duration};

/// What every fallible public call returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The class of a failure; the command line maps each to a documented exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request or configuration cannot be carried out as written.
    Config,
    /// What was asked for does not exist.
    NotFound,
    /// Something else holds or changed what this call needed unchanged.
    Conflict,
    /// Credentials are wrong, missing or not sufficient.
    Denied,
    /// The other side could not be reached or stopped answering.
    Unavailable,
    /// The other side asked us to slow down.
    Throttled,
    /// Data is not what its checksum, count or format says it must be.
    Corrupt,
    /// Verification ran to its end and the copy differs from what was recorded.
    Mismatch,
    /// Verification could not be carried out; never to be read as a pass.
    Unverified,
    /// The server, the store or this build cannot do what was asked.
    Unsupported,
    /// No room left at the place written to.
    Full,
    /// Some of the work was done and recorded, the rest failed.
    Partial,
    /// The caller cancelled, or the deadline passed.
    Cancelled,
    /// A defect of ours, or an answer nobody foresaw.
    Unexpected,
}

impl ErrorKind {
    /// The stable name used in JSON output.
    ///
    /// ```
    /// assert_eq!(veza_dr_core::ErrorKind::NotFound.as_str(), "not_found");
    /// ```
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Denied => "denied",
            Self::Unavailable => "unavailable",
            Self::Throttled => "throttled",
            Self::Corrupt => "corrupt",
            Self::Mismatch => "mismatch",
            Self::Unverified => "unverified",
            Self::Unsupported => "unsupported",
            Self::Full => "full",
            Self::Partial => "partial",
            Self::Cancelled => "cancelled",
            Self::Unexpected => "unexpected",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether the same call may succeed when made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// It will fail the same way.
    Never,
    /// It may pass later; `after` is the other side's own advice.
    Later {
        /// How long the other side asked us to wait.
        after: Option<Duration>,
    },
    /// It was retried until the policy's limit.
    Exhausted {
        /// How many times it was tried.
        attempts: u32,
    },
}

/// Whether the failed call changed the outside world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// Nothing was changed.
    None,
    /// The change took place although the call failed.
    Applied,
    /// It cannot be told; look before trying again.
    Unknown,
}

/// A failure with its class, retry advice, effect, context and cause.
///
/// The message is a lower-case fragment that names the operation and its object and never repeats its source;
/// [`Error::help`] says what to do about it.
///
/// ```
/// use veza_dr_core::{Effect, Error, ErrorKind};
/// let e = Error::new(ErrorKind::NotFound, "backup 42 is not in store local")
///     .with_help("list what is there: veza-dr list");
/// assert_eq!(e.effect(), Effect::None);
/// assert_eq!(e.to_string(), "backup 42 is not in store local");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    retry: Retry,
    effect: Effect,
    message: String,
    help: Option<String>,
    context: Vec<(&'static str, String)>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure that is not worth retrying and changed nothing, until said otherwise by the `with_*` methods.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let retry = match kind {
            ErrorKind::Unavailable | ErrorKind::Throttled => Retry::Later { after: None },
            _ => Retry::Never,
        };
        Self(Box::new(Inner {
            kind,
            retry,
            effect: Effect::None,
            message: message.into(),
            help: None,
            context: Vec::new(),
            source: None,
        }))
    }

    /// Sets the cause, which [`std::error::Error::source`] returns.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Says what the reader can do about it, best as a command to run.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Overrides the retry advice.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// States whether the outside world changed.
    #[must_use]
    pub fn with_effect(mut self, effect: Effect) -> Self {
        self.0.effect = effect;
        self
    }

    /// Adds a named fact, such as the table or the store.
    #[must_use]
    pub fn with_context(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.0.context.push((key, value.into()));
        self
    }

    /// The class of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether trying again can help.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// True only for [`Retry::Later`].
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.retry, Retry::Later { .. })
    }

    /// Whether the outside world changed.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.0.effect
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// The named facts, in the order they were added.
    pub fn context(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.context.iter().map(|(k, v)| (*k, v.as_str()))
    }

    /// The message and every cause under it, joined by `: `.
    ///
    /// ```
    /// use veza_dr_core::{Error, ErrorKind};
    /// let e = Error::new(ErrorKind::Denied, "login failed").with_source(Error::new(ErrorKind::Denied, "bad password"));
    /// assert_eq!(e.chain(), "login failed: bad password");
    /// ```
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.0.message.clone();
        let mut next = StdError::source(self);
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut d = f.debug_struct("Error");
        d.field("kind", &self.0.kind)
            .field("retry", &self.0.retry)
            .field("effect", &self.0.effect)
            .field("message", &self.0.message);
        for (k, v) in &self.0.context {
            d.field(k, v);
        }
        if let Some(help) = &self.0.help {
            d.field("help", help);
        }
        if let Some(source) = &self.0.source {
            d.field("source", source);
        }
        d.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|s| s as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_pointer_wide_and_crosses_threads() {
        fn crosses<T: Send + Sync + 'static>() {}
        crosses::<Error>();
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn only_transient_kinds_default_to_retry() {
        assert!(Error::new(ErrorKind::Unavailable, "x").is_retryable());
        assert!(Error::new(ErrorKind::Throttled, "x").is_retryable());
        assert!(!Error::new(ErrorKind::Corrupt, "x").is_retryable());
    }
}
