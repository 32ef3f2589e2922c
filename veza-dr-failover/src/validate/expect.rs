//! What an answer must hold.

use std::fmt;

use serde_json::Value;
use veza_dr_core::{Error, ErrorKind, Result};

/// What a value in a JSON answer must be.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Expected {
    /// Exactly this.
    Equals(Value),
    /// A number within these bounds, each included; a bound that is absent does not count.
    Between(Option<f64>, Option<f64>),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equals(value) => write!(f, "is {value}"),
            Self::Between(Some(low), Some(high)) => write!(f, "is {low} to {high}"),
            Self::Between(Some(low), None) => write!(f, "is at least {low}"),
            Self::Between(None, Some(high)) => write!(f, "is at most {high}"),
            Self::Between(None, None) => write!(f, "is a number"),
        }
    }
}

/// A place in a JSON answer and what must be there.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonExpectation {
    path: String,
    steps: Vec<Step>,
    expected: Expected,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

impl JsonExpectation {
    /// The place as keys and indexes: `status`, `$.checks[0].state`.
    ///
    /// # Errors
    /// `Config` when it cannot be read.
    pub fn new(path: &str, expected: Expected) -> Result<Self> {
        let bad = || {
            Error::new(ErrorKind::Config, format!("`{path}` is no place in a JSON answer"))
                .with_help("write it as status, or checks[0].state")
        };
        let mut steps = Vec::new();
        let bare = path.strip_prefix("$.").or(path.strip_prefix('$')).unwrap_or(path);
        for part in bare.split('.') {
            let (key, indexes) = part.split_at(part.find('[').unwrap_or(part.len()));
            if !key.is_empty() {
                steps.push(Step::Key(key.to_owned()));
            } else if indexes.is_empty() {
                return Err(bad());
            }
            for index in indexes.split_terminator(']') {
                let index = index.strip_prefix('[').and_then(|i| i.parse().ok()).ok_or_else(bad)?;
                steps.push(Step::Index(index));
            }
            if !indexes.is_empty() && !indexes.ends_with(']') {
                return Err(bad());
            }
        }
        Ok(Self { path: path.to_owned(), steps, expected })
    }

    /// The value at the place.
    fn find<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        self.steps.iter().try_fold(document, |value, step| match step {
            Step::Key(key) => value.get(key),
            Step::Index(index) => value.get(index),
        })
    }

    /// `None` when it is as it should be, else what is wrong.
    pub(super) fn complaint(&self, document: &Value) -> Option<String> {
        let Some(found) = self.find(document) else { return Some(format!("the answer has no {}", self.path)) };
        let right = match &self.expected {
            Expected::Equals(wanted) => found == wanted,
            Expected::Between(low, high) => {
                found.as_f64().is_some_and(|n| low.is_none_or(|l| n >= l) && high.is_none_or(|h| n <= h))
            }
        };
        let shown: String = found.to_string().chars().take(80).collect();
        (!right).then(|| format!("{} is {shown}", self.path))
    }
}

impl fmt::Display for JsonExpectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.expected)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn places_are_found_and_compared() {
        let document = json!({ "status": "ok", "checks": [{ "lag": 3 }], "a": [[1, 2]] });
        let is = |path: &str, expected| JsonExpectation::new(path, expected).unwrap().complaint(&document);
        assert_eq!(is("$.status", Expected::Equals(json!("ok"))), None);
        assert_eq!(is("checks[0].lag", Expected::Between(None, Some(5.0))), None);
        assert_eq!(is("a[0][1]", Expected::Equals(json!(2))), None);
        assert_eq!(is("checks[0].lag", Expected::Between(Some(4.0), None)).unwrap(), "checks[0].lag is 3");
        assert_eq!(is("status", Expected::Between(None, None)).unwrap(), "status is \"ok\"");
        assert_eq!(is("nothing", Expected::Equals(json!(null))).unwrap(), "the answer has no nothing");
        for bad in ["", "a..b", "a[x]", "a[1", "a]"] {
            let read = JsonExpectation::new(bad, Expected::Between(None, None));
            assert!(read.is_err() || bad == "a]", "{bad}");
        }
    }
}
