//! People.

use serde::Serialize;

/// Somebody who can be called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Contact {
    /// A short name.
    pub name: String,
    /// What they do.
    pub role: Option<String>,
    /// How they are reached, the first way first; the next is taken when one fails. Each is a name that
    /// [`Desk`](crate::alarm::Desk) was given a channel under.
    pub ways: Vec<String>,
}

impl Contact {
    /// Somebody with these ways to be reached.
    #[must_use]
    pub fn new(name: impl Into<String>, ways: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { name: name.into(), role: None, ways: ways.into_iter().map(Into::into).collect() }
    }

    /// Who does this.
    #[must_use]
    pub fn with_role(mut self, role: impl Into<String>) -> Self {
        self.role = Some(role.into());
        self
    }
}
