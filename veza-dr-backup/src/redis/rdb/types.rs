//! Whose format a file is in, and the forms a value can have in it.

use std::fmt;

use serde::{Deserialize, Serialize};
use veza_dr_core::{Error, ErrorKind, Result};

/// Who defines the format from version 12 and 80 on: the same numbers mean different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Dialect {
    /// `REDIS0001` and up; also Valkey up to 8.
    Redis,
    /// `VALKEY080` and up.
    Valkey,
}

/// The first nine bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// Whose format.
    pub dialect: Dialect,
    /// Its version.
    pub version: u32,
}

impl Header {
    /// Reads the nine bytes.
    ///
    /// # Errors
    /// `Corrupt` when they begin no RDB.
    pub fn parse(magic: [u8; 9]) -> Result<Self> {
        let number = |digits: &[u8]| -> Option<u32> {
            digits.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
        };
        let parsed = if let Some(digits) = magic.strip_prefix(b"REDIS") {
            number(digits).map(|version| Self { dialect: Dialect::Redis, version })
        } else {
            let digits = magic.strip_prefix(b"VALKEY").and_then(number);
            digits.map(|version| Self { dialect: Dialect::Valkey, version })
        };
        parsed.filter(|h| h.version > 0).ok_or_else(|| {
            let text = format!("`{}` begins no RDB: REDIS or VALKEY and a version was expected", magic.escape_ascii());
            Error::new(ErrorKind::Corrupt, text)
        })
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dialect {
            Dialect::Redis => write!(f, "REDIS{:04}", self.version),
            Dialect::Valkey => write!(f, "VALKEY{:03}", self.version),
        }
    }
}

/// What clients call the type of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Class {
    /// A string, bitmap or HyperLogLog.
    String,
    /// A list.
    List,
    /// A set.
    Set,
    /// A sorted set, also of places.
    Zset,
    /// A hash.
    Hash,
    /// A stream with its consumer groups.
    Stream,
    /// Something that a module defines.
    Module,
}

impl Class {
    /// The word that `TYPE` answers, `module` for all modules' types.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::Zset => "zset",
            Self::Hash => "hash",
            Self::Stream => "stream",
            Self::Module => "module",
        }
    }
}

/// The form of a value: the byte before each key, which is also the first of a `DUMP` payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ValueType(u8);

impl ValueType {
    /// The form that this byte means in a file with this header.
    ///
    /// # Errors
    /// `Unsupported`, naming both, for one that this build does not know: where the value ends cannot be told.
    pub fn of(byte: u8, header: Header) -> Result<Self> {
        let known = match header.dialect {
            Dialect::Redis => matches!(byte, 0..=5 | 7 | 9..=21 | 24 | 25),
            // 22 was something else in Redis before its release.
            Dialect::Valkey => matches!(byte, 0..=5 | 7 | 9..=22),
        };
        if known {
            return Ok(Self(byte));
        }
        let text = format!("value type {byte} of {header} is not known to this build");
        Err(Error::new(ErrorKind::Unsupported, text)
            .with_help("the server is newer than this build of veza-dr: use a newer one"))
    }

    /// The byte.
    #[must_use]
    pub fn byte(self) -> u8 {
        self.0
    }

    /// What clients call it.
    #[must_use]
    pub fn class(self) -> Class {
        match self.0 {
            0 => Class::String,
            1 | 10 | 14 | 18 => Class::List,
            2 | 11 | 20 => Class::Set,
            3 | 5 | 12 | 17 => Class::Zset,
            4 | 9 | 13 | 16 | 22 | 24 | 25 => Class::Hash,
            15 | 19 | 21 => Class::Stream,
            _ => Class::Module,
        }
    }

    /// The lowest RDB version whose servers read it.
    #[must_use]
    pub fn since(self) -> u32 {
        match self.0 {
            0..=4 => 1,
            9..=13 => 4,
            14 => 7,
            5 | 7 => 8,
            15 => 9,
            16..=19 => 10,
            20 | 21 => 11,
            22 => 80,
            _ => 12,
        }
    }
}
