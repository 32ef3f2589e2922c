//! What an HTTP answer must say.

use serde_json::Value;

use super::look::Seen;

/// A place in a JSON document, and what must be there.
#[derive(Debug, Clone)]
pub struct JsonExpectation {
    path: String,
    equals: Option<Value>,
}

impl JsonExpectation {
    /// Something must be at `path`: `checks.database.status`, `checks.0`, or as a JSON pointer `/checks/database`.
    #[must_use]
    pub fn exists(path: impl Into<String>) -> Self {
        Self { path: path.into(), equals: None }
    }

    /// Exactly this must be at `path`.
    ///
    /// ```
    /// use veza_dr_failover::probe::JsonExpectation;
    /// let expected = JsonExpectation::equals("checks.database", "up");
    /// ```
    #[must_use]
    pub fn equals(path: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { path: path.into(), equals: Some(value.into()) }
    }

    pub(super) fn judge(&self, document: &Value) -> Result<(), Seen> {
        let path = &self.path;
        match (at(document, path), &self.equals) {
            (None, _) => Err(Seen::degraded(format!("its answer has nothing at `{path}`"))),
            (Some(found), Some(wanted)) if !same(found, wanted) => {
                Err(Seen::degraded(format!("its answer has {} at `{path}`, not {wanted}", short(&found.to_string()))))
            }
            _ => Ok(()),
        }
    }
}

/// Where a service says which site it runs on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Identity {
    /// A header of its answer has this value.
    Header(String, String),
    /// A place in its JSON answer has this value.
    Json(String, String),
}

impl Identity {
    /// Another site that answers at this address is not this site: it counts as down.
    pub(super) fn judge(&self, header: impl Fn(&str) -> Option<String>, document: Option<&Value>) -> Result<(), Seen> {
        let (said, wanted, place) = match self {
            Self::Header(name, wanted) => (header(name), wanted, format!("header {name}")),
            Self::Json(path, wanted) => {
                (document.and_then(|d| at(d, path)).map(text), wanted, format!("`{path}` of its answer"))
            }
        };
        match said {
            Some(said) if said == *wanted => Ok(()),
            Some(said) => Err(Seen::down(format!("site {} answers here, not {wanted} ({place})", short(&said)))),
            None => Err(Seen::down(format!("what answers here does not say that it is site {wanted} ({place})"))),
        }
    }

    pub(super) fn needs_json(&self) -> bool {
        matches!(self, Self::Json(..))
    }
}

fn at<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() || path.starts_with('/') {
        return document.pointer(path);
    }
    path.strip_prefix("$.").unwrap_or(path).split('.').try_fold(document, |value, key| match value {
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        other => other.get(key),
    })
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A configuration file may say `true` or `"true"`: both mean the same word in the answer.
fn same(found: &Value, wanted: &Value) -> bool {
    found == wanted || text(found) == text(wanted)
}

/// The beginning of a text that others wrote, fit for one line.
pub(super) fn short(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(120).collect();
    if line.chars().count() < text.chars().count() { format!("{line}…") } else { line }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn places_are_found_by_dots_and_by_pointer() {
        let document = json!({ "checks": [ { "db": "up" } ], "a.b": 1, "ok": true });
        let found = |path: &str| at(&document, path).map(text);
        assert_eq!(found("checks.0.db").as_deref(), Some("up"));
        assert_eq!(found("$.checks.0.db").as_deref(), Some("up"));
        assert_eq!(found("/checks/0/db").as_deref(), Some("up"));
        assert_eq!(found("/a.b").as_deref(), Some("1"));
        assert_eq!((found("checks.1"), found("checks.db"), found("nothing.here")), (None, None, None));
        assert!(JsonExpectation::equals("ok", "true").judge(&document).is_ok());
        assert!(JsonExpectation::equals("ok", false).judge(&document).is_err());
    }

    #[test]
    fn another_site_is_not_this_one() {
        let id = Identity::Json("site".into(), "standby".into());
        assert!(id.judge(|_| None, Some(&json!({ "site": "standby" }))).is_ok());
        let other = id.judge(|_| None, Some(&json!({ "site": "primary" }))).unwrap_err();
        assert!(format!("{other:?}").contains("site primary answers here, not standby"));
        assert!(id.judge(|_| None, None).is_err());
    }
}
