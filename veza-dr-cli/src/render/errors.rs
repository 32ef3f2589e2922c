//! Errors, for people and as JSON.

use std::error::Error as StdError;

use serde_json::{Map, Value, json};
use veza_dr_core::{Effect, Error};

use super::Paint;
use crate::{Exit, config::Problems};

/// The message, its causes, what changed, and what to do.
pub(crate) fn error_text(label: &str, e: &Error, paint: Paint) -> String {
    let label = if label == "error" { paint.bad(label) } else { paint.warn(label) };
    let mut text = match problems(e) {
        Some(problems) => format!("{label}: {e}:\n  {}", problems.to_string().replace('\n', "\n  ")),
        None => format!("{label}: {}", e.chain()),
    };
    for (key, value) in e.context() {
        text.push_str(&format!("\n  {key}: {value}"));
    }
    match e.effect() {
        Effect::Applied => text.push_str("\n  the change took place although the command failed"),
        Effect::Unknown => text.push_str("\n  it is not known whether the change took place: look before trying again"),
        _ => {}
    }
    if let Some(help) = e.help() {
        text.push_str(&format!("\n  {}: {help}", paint.strong("help")));
    }
    text
}

/// The same as one JSON document: `{"error": {…}}`.
pub(crate) fn error_json(e: &Error, exit: Exit) -> Value {
    json!({ "error": error_value(e, exit) })
}

pub(super) fn error_value(e: &Error, exit: Exit) -> Value {
    let mut causes = Vec::new();
    let mut next = StdError::source(e);
    while let Some(cause) = next {
        causes.push(Value::from(cause.to_string()));
        next = cause.source();
    }
    let context: Map<String, Value> = e.context().map(|(k, v)| (k.to_owned(), v.into())).collect();
    let mut value = json!({
        "kind": exit.name(),
        "exit_code": exit.code(),
        "message": e.to_string(),
        "causes": causes,
        "help": e.help(),
        "retryable": e.is_retryable(),
        "effect": match e.effect() {
            Effect::None => "none",
            Effect::Applied => "applied",
            _ => "unknown",
        },
        "context": context,
    });
    if let Some(problems) = problems(e) {
        value["file"] = problems.file.clone().into();
        value["problems"] = serde_json::to_value(&problems.problems).unwrap_or_default();
        value["causes"] = Value::Array(Vec::new());
    }
    value
}

fn problems(e: &Error) -> Option<&Problems> {
    StdError::source(e)?.downcast_ref()
}
