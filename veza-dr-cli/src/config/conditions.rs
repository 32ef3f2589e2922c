//! An alert's condition: a metric compared with a number.

use std::{borrow::Cow, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use veza_dr_core::{Error, ErrorKind, Result};

/// How a metric is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
}

/// A metric compared with a number.
///
/// ```
/// use veza_dr_cli::config::{Comparison, Condition};
/// let condition: Condition = "recovery_time > 3600".parse().unwrap();
/// assert_eq!((condition.metric.as_str(), condition.comparison), ("recovery_time", Comparison::Above));
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
#[non_exhaustive]
pub struct Condition {
    /// The metric's name.
    pub metric: String,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what.
    pub threshold: f64,
}

const SIGNS: [(&str, Comparison); 6] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    (">", Comparison::Above),
    ("<", Comparison::Below),
];

impl FromStr for Condition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::new(ErrorKind::Config, format!("`{text}` is not a condition"))
                .with_help("write a metric, one of > >= < <= == !=, and a number: recovery_time > 3600")
        };
        let found = SIGNS.iter().find_map(|(sign, comparison)| Some((text.split_once(sign)?, *comparison)));
        let ((metric, number), comparison) = found.ok_or_else(bad)?;
        let metric = metric.trim();
        let fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if metric.is_empty() || !metric.chars().all(fine) {
            return Err(bad());
        }
        let threshold: f64 = number.trim().parse().map_err(|_| bad())?;
        if !threshold.is_finite() {
            return Err(bad());
        }
        Ok(Self { metric: metric.to_owned(), comparison, threshold })
    }
}

impl TryFrom<String> for Condition {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl JsonSchema for Condition {
    fn schema_name() -> Cow<'static, str> {
        "Condition".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "condition", "examples": ["recovery_time > 3600"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sign_is_read_and_nonsense_refused() {
        for (text, comparison) in
            [("a>1", Comparison::Above), ("a >= 1.5", Comparison::AtLeast), ("a != 0", Comparison::NotEqual)]
        {
            assert_eq!(text.parse::<Condition>().unwrap().comparison, comparison);
        }
        for bad in ["", "a", "> 1", "a > b", "a b > 1", "a > inf", "a => 1"] {
            assert!(bad.parse::<Condition>().is_err(), "{bad}");
        }
    }
}
