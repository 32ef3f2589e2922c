//! Validated names: components, backups, object keys.

use std::{fmt, str::FromStr};

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{Clock, Error, ErrorKind};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{value}` {why}")]
pub struct IdError {
    what: &'static str,
    value: String,
    why: &'static str,
}

impl From<IdError> for Error {
    fn from(e: IdError) -> Self {
        Self::new(ErrorKind::Config, e.to_string())
    }
}

macro_rules! text_type {
    ($name:ident) => {
        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(s: String) -> Result<Self, IdError> {
                s.parse()
            }
        }
        impl From<$name> for String {
            fn from(n: $name) -> Self {
                n.0
            }
        }
    };
}

/// The name of one protected thing, as the configuration spells it: `database`, `redis`, `files`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ComponentName(String);

text_type!(ComponentName);

impl FromStr for ComponentName {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Self, IdError> {
        let bad = |why| Err(IdError { what: "component name", value: s.to_owned(), why });
        if s.is_empty() || s.len() > 64 {
            return bad("must have 1 to 64 characters");
        }
        // Where leases and the records of drills live, beside the components.
        if matches!(s, "locks" | "drills") {
            return bad("is reserved");
        }
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        if !s.chars().all(fine) || s.starts_with('-') {
            return bad("may hold only a-z, 0-9, `_` and `-`, and must not begin with `-`");
        }
        Ok(Self(s.to_owned()))
    }
}

/// A time-sortable backup identity: `YYYYMMDDTHHMMSSZ-` and six hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackupId(String);

text_type!(BackupId);

const STAMP: &str = "%Y%m%dT%H%M%SZ";

impl BackupId {
    /// A new identity, stamped with the clock's time.
    #[must_use]
    pub fn new(clock: &dyn Clock) -> Self {
        let now = clock.now();
        // Half of the suffix is the second's fraction: two backups of one second still sort in the order they began.
        let fraction = now.timestamp_subsec_nanos().min(999_999_999) / 244_141;
        Self(format!("{}-{fraction:03x}{:03x}", now.format(STAMP), rand::random::<u32>() & 0xfff))
    }

    /// When the backup began, to the second.
    #[must_use]
    pub fn started_at(&self) -> DateTime<Utc> {
        NaiveDateTime::parse_from_str(&self.0[..16], STAMP).map(|t| t.and_utc()).unwrap_or_default()
    }

    /// The random suffix, for short names derived from the identity.
    #[must_use]
    pub fn suffix(&self) -> &str {
        &self.0[17..]
    }
}

impl FromStr for BackupId {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Self, IdError> {
        let bad = |why| Err(IdError { what: "backup id", value: s.to_owned(), why });
        if s.len() != 23 || !s.is_ascii() || s.as_bytes()[16] != b'-' {
            return bad("is not of the form 20261123T104500Z-7f3a9c");
        }
        if NaiveDateTime::parse_from_str(&s[..16], STAMP).is_err() {
            return bad("does not begin with a UTC time such as 20261123T104500Z");
        }
        if !s[17..].bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return bad("does not end in six hexadecimal digits");
        }
        Ok(Self(s.to_owned()))
    }
}

/// The name of one stored object below a store's prefix: `/`-separated, never absolute, never climbing.
///
/// ```
/// use veza_dr_core::ObjectKey;
/// assert!("database/20261123T104500Z-7f3a9c/manifest.json".parse::<ObjectKey>().is_ok());
/// assert!("../outside".parse::<ObjectKey>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(String);

text_type!(ObjectKey);

impl ObjectKey {
    /// This key with `name` below it.
    ///
    /// # Errors
    /// When the result is not a valid key.
    pub fn join(&self, name: &str) -> Result<Self, IdError> {
        format!("{}/{name}", self.0).parse()
    }

    /// The part after the last `/`.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl FromStr for ObjectKey {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Self, IdError> {
        let bad = |why| Err(IdError { what: "object key", value: s.to_owned(), why });
        if s.is_empty() || s.len() > 900 {
            return bad("must have 1 to 900 bytes");
        }
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '=' | '+');
        if !s.chars().all(fine) {
            return bad("may hold only letters, digits and `-_.=+/`");
        }
        // A segment beginning with a dot would hide in a directory store, where temporary files live.
        if s.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
            return bad("must not be absolute, climb, or hold empty or dotted parts");
        }
        Ok(Self(s.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::SystemClock;

    #[test]
    fn a_new_id_parses_and_sorts_by_time() {
        let id = BackupId::new(&SystemClock);
        assert_eq!(id.as_str().parse::<BackupId>().unwrap(), id);
        let early: BackupId = "20200101T000000Z-ffffff".parse().unwrap();
        assert!(early < id);
    }

    #[test]
    fn ids_of_one_second_sort_by_the_time_in_it() {
        #[derive(Debug)]
        struct At(u32);
        impl Clock for At {
            fn now(&self) -> DateTime<Utc> {
                DateTime::from_timestamp(1_700_000_000, self.0).unwrap()
            }
        }
        let ids: Vec<_> = [0, 1_000_000, 500_000_000, 999_999_999].map(|n| BackupId::new(&At(n))).into();
        assert!(ids.is_sorted(), "{ids:?}");
        assert!(ids.iter().all(|id| id.as_str().parse::<BackupId>().is_ok()));
    }

    #[test]
    fn bad_names_are_refused_with_a_reason() {
        for bad in ["", "Data Base", "locks", "drills", "-x", "é"] {
            assert!(bad.parse::<ComponentName>().is_err(), "{bad}");
        }
        for bad in ["", "/a", "a//b", "a/../b", "a/.tmp", "a b", "a\\b"] {
            assert!(bad.parse::<ObjectKey>().is_err(), "{bad}");
        }
        for bad in ["latest", "20261323T104500Z-7f3a9c", "20261123T104500Z-7f3a9", "20261123T104500Z-7F3A9C"] {
            assert!(bad.parse::<BackupId>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(s in ".*") {
            let _ = s.parse::<BackupId>();
            let _ = s.parse::<ObjectKey>();
            let _ = s.parse::<ComponentName>();
        }
    }
}
