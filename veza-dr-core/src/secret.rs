//! Where a secret comes from. The secret itself is a [`SecretString`] from the moment it is read.

use std::path::PathBuf;

pub use secrecy::{ExposeSecret, SecretString};

/// A place a secret is read from, at the time it is needed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SecretSource {
    /// Given by the embedding program.
    Inline(SecretString),
    /// The first line of a file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// The first line a command prints; program and arguments.
    Command(Vec<String>),
}

impl From<SecretString> for SecretSource {
    fn from(secret: SecretString) -> Self {
        Self::Inline(secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_secret() {
        let source = SecretSource::from(SecretString::from("canary-7f3a".to_owned()));
        assert!(!format!("{source:?}").contains("canary-7f3a"));
    }
}
