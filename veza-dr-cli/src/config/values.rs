//! The kinds of values that a configuration file holds.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use veza_dr_core::{Error, ErrorKind, ExposeSecret, Result, SecretString, parse_duration};

use super::expand::expand;
use crate::Environment;

/// Text in which `${env:NAME}` stands for an environment variable.
///
/// ```
/// use veza_dr_cli::{Environment, config::Text};
/// let env = Environment::of([("HOST", "db.example")]);
/// assert_eq!(Text::from("https://${env:HOST}/$x").expand(&env).unwrap(), "https://db.example/$x");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Text(String);

impl Text {
    /// The text with its variables filled in.
    ///
    /// # Errors
    /// `Config` naming a variable that is not set.
    pub fn expand(&self, env: &Environment) -> Result<String> {
        expand(&self.0, env)
    }

    /// The text as the file spells it.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// [`Text`] that may be or hold a secret: never shown, not even as the file spells it.
#[derive(Debug, Clone)]
pub struct SecretText(SecretString);

impl SecretText {
    /// The secret with its variables filled in.
    ///
    /// # Errors
    /// `Config` naming a variable that is not set.
    pub fn expand(&self, env: &Environment) -> Result<SecretString> {
        expand(self.0.expose_secret(), env).map(SecretString::from)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(SecretString::from(text)))
    }
}

impl JsonSchema for SecretText {
    fn schema_name() -> Cow<'static, str> {
        "SecretText".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // `writeOnly` is JSON Schema's word for "do not show"; the shape check heeds it.
        json_schema!({ "type": "string", "writeOnly": true })
    }
}

/// A number of bytes: `8388608`, `64MiB`, `1.5 GiB`, `100MB`.
///
/// ```
/// use veza_dr_cli::config::ByteSize;
/// assert_eq!("64MiB".parse::<ByteSize>().unwrap().bytes(), 64 << 20);
/// assert!("64 parsecs".parse::<ByteSize>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(u64);

impl ByteSize {
    /// How many bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::new(ErrorKind::Config, format!("`{text}` is not a size"))
                .with_help("write it as 64MiB, 1.5GiB or a number of bytes")
        };
        let trimmed = text.trim();
        let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let number: f64 = trimmed[..end].parse().map_err(|_| bad())?;
        let unit: f64 = match trimmed[end..].trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "kib" | "k" => 1024.0,
            "mib" | "m" => 1_048_576.0,
            "gib" | "g" => 1_073_741_824.0,
            "tib" | "t" => 1_099_511_627_776.0,
            "kb" => 1e3,
            "mb" => 1e6,
            "gb" => 1e9,
            "tb" => 1e12,
            _ => return Err(bad()),
        };
        let bytes = number * unit;
        // Above 2^53 a float no longer counts single bytes, and no object of ours is that large.
        if !(1.0..=9_007_199_254_740_992.0).contains(&bytes) {
            return Err(bad());
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked above")]
        Ok(Self(bytes.round() as u64))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = ByteSize;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 64MiB")
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<ByteSize, E> {
                self.visit_str(&n.to_string())
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<ByteSize, E> {
                self.visit_str(&n.to_string())
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "format": "size", "examples": ["64MiB"], "minimum": 1 })
    }
}

/// A length of time: `90s`, `15m`, `4h`, `2d`, `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Self).map_err(de::Error::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "span", "examples": ["4h"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_both_families_of_units() {
        for (text, bytes) in [("1", 1), ("1KiB", 1024), ("1.5 GiB", 3 << 29), ("100MB", 100_000_000), ("8m", 8 << 20)] {
            assert_eq!(text.parse::<ByteSize>().unwrap().bytes(), bytes, "{text}");
        }
        for bad in ["", "MiB", "-1", "0", "1.2.3M", "99999999TiB", "1 Mo"] {
            assert_eq!(bad.parse::<ByteSize>().unwrap_err().to_string(), format!("`{bad}` is not a size"));
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret: SecretText = serde_json::from_str("\"canary-91b2\"").unwrap();
        assert!(!format!("{secret:?}").contains("canary"), "{secret:?}");
        assert_eq!(secret.expand(&Environment::of([])).unwrap().expose_secret(), "canary-91b2");
    }
}
