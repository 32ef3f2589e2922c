//! One spelling for one document, so that its hash can be worked out again by anybody.

use std::fmt::Write;

use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha256};

/// The field that holds the hash, and is therefore not part of what is hashed.
pub(super) const HASH: &str = "sha256";

/// A JSON document with its keys sorted and no white space: `jq -cS` and Python's
/// `json.dumps(sort_keys=True, separators=(",", ":"), ensure_ascii=False)` write the same.
///
/// ```
/// let value = serde_json::json!({ "b": [1, "é"], "a": null });
/// assert_eq!(veza_dr_failover::report::canonical(&value), "{\"a\":null,\"b\":[1,\"é\"]}");
/// ```
#[must_use]
pub fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Array(list) => {
            out.push('[');
            for (at, one) in list.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(one, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push('{');
            for (at, key) in keys.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                let _ = write!(out, "{}:", Value::String(key.clone()));
                if let Some(one) = map.get(key) {
                    write(one, out);
                }
            }
            out.push('}');
        }
        leaf => {
            let _ = write!(out, "{leaf}");
        }
    }
}

/// The hash of a report's document: of its canonical form without the field that holds the hash.
pub(super) fn hash(document: &Map<String, Value>) -> String {
    let mut rest = document.clone();
    rest.shift_remove(HASH);
    hex::encode(Sha256::digest(canonical(&Value::Object(rest))))
}

/// Numbers as every tool writes them the same: no more than four places after the point, and whole ones without it. What
/// is too large for that becomes text.
pub(super) fn settle(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(settle),
        Value::Object(map) => map.values_mut().for_each(settle),
        Value::Number(number) if number.is_f64() => {
            let exact = number.as_f64().unwrap_or_default();
            let rounded = (exact * 1e4).round() / 1e4;
            *value = if rounded.abs() >= 1e11 {
                Value::String(number.to_string())
            } else if rounded.fract() == 0.0 {
                #[allow(clippy::cast_possible_truncation, reason = "bounded just above")]
                Value::from(rounded as i64)
            } else {
                Number::from_f64(rounded).map_or(Value::Null, Value::Number)
            };
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settled_numbers_come_back_as_they_were_written() {
        for exact in [0.1, 99.441_234_567, 1e300, -0.0, 12.0, 1.0 / 3.0, 123_456_789.987_65, 3e-9, -7.5] {
            let mut value = json!([exact]);
            settle(&mut value);
            let once = canonical(&value);
            let again: Value = serde_json::from_str(&once).unwrap();
            assert_eq!(canonical(&again), once);
            assert!(!once.contains('e') || once.contains('"'), "{once}");
        }
        let mut value = json!({ "a": 12.0, "b": [0.123_456], "c": -0.0, "d": 18_446_744_073_709_551_615u64 });
        settle(&mut value);
        assert_eq!(canonical(&value), "{\"a\":12,\"b\":[0.1235],\"c\":0,\"d\":18446744073709551615}");
    }
}
