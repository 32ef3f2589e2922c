//! Compares a located YAML tree with the JSON Schema of the configuration and tells every difference at once, with its
//! place and the nearest valid name. Knows the part of JSON Schema that the configuration's types produce.

use serde_json::Value as Json;

use super::{
    ByteSize, Condition, CronText, Problem, ZoneName,
    expand::is_well_formed,
    tree::{Node, Place, Value, join},
};
use veza_dr_core::{Error, parse_duration};

pub(super) fn check(schema: &Json, root: &Node) -> Vec<Problem> {
    let mut shape = Shape { definitions: &schema["$defs"], problems: Vec::new() };
    shape.node(root, schema, "");
    shape.problems
}

/// The name among `known` that `given` was probably meant to be.
pub(super) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = given.to_ascii_lowercase();
    let score = |name: &str| strsim::damerau_levenshtein(&lower, &name.to_ascii_lowercase());
    let (distance, name) = known.into_iter().map(|name| (score(name), name)).min_by_key(|(d, _)| *d)?;
    // `postgresql` for `postgres`: a longer word for the same thing is meant, however many letters it adds.
    let contains = name.len() > 2 && (lower.contains(name) || name.contains(&lower) && lower.len() > 2);
    (distance <= 1 + given.len() / 4 || contains).then_some(name)
}

struct Shape<'a> {
    definitions: &'a Json,
    problems: Vec<Problem>,
}

impl<'a> Shape<'a> {
    fn say(&mut self, at: Place, path: &str, message: impl Into<String>, help: Option<String>) {
        let (path, message) = (path.to_owned(), message.into());
        self.problems.push(Problem { line: at.line, column: at.column, path, message, help });
    }

    fn resolve(&self, schema: &'a Json) -> &'a Json {
        let name = schema["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/"));
        name.map_or(schema, |name| &self.definitions[name])
    }

    fn node(&mut self, node: &Node, schema: &'a Json, path: &str) {
        let schema = self.resolve(schema);
        if let Some(choices) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
            let choices: Vec<&Json> = choices.iter().map(|c| self.resolve(c)).collect();
            if choices.iter().any(|c| c.get("const").is_some() || c.get("enum").is_some()) {
                let words = choices.iter().flat_map(|c| words(c)).collect();
                return self.word(node, words, path);
            }
            if choices
                .iter()
                .any(|c| c["properties"].is_object() && c["additionalProperties"] == false && c["required"].is_array())
                && choices.iter().all(|c| c["properties"].as_object().is_some_and(|p| p.len() == 1))
            {
                return self.kinds(node, &choices, path);
            }
            // Alternatives that only say which keys must be there belong to the map itself.
            if choices.iter().any(|c| c.get("type").is_some() || c.get("anyOf").is_some()) {
                return match choices.iter().find(|c| accepts(c, &node.value)) {
                    Some(choice) => self.node(node, choice, path),
                    None => self.wrong_type(node, schema, path),
                };
            }
        }
        if !accepts(schema, &node.value) {
            return self.wrong_type(node, schema, path);
        }
        match &node.value {
            Value::Map(entries) => self.map(node.at, entries, schema, path),
            Value::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.node(item, &schema["items"], &format!("{path}[{at}]"));
                }
                if schema["minItems"].as_u64().is_some_and(|least| (items.len() as u64) < least) {
                    self.say(node.at, path, "is empty", None);
                }
            }
            Value::Text(_) if schema.get("enum").is_some() => self.word(node, words(schema), path),
            Value::Text(text) => self.text(node.at, text, schema, path),
            Value::Int(n) => self.number(node.at, *n, schema, path),
            Value::Null | Value::Bool | Value::Float => {}
        }
    }

    fn map(&mut self, at: Place, entries: &[(String, Place, Node)], schema: &'a Json, path: &str) {
        let known = schema["properties"].as_object();
        let names = || known.into_iter().flat_map(|k| k.keys().map(String::as_str));
        let mut unknown = false;
        for (key, key_at, node) in entries {
            if let Some(inner) = known.and_then(|k| k.get(key)) {
                self.node(node, inner, &join(path, key));
            } else if schema["additionalProperties"].is_object() {
                self.node(node, &schema["additionalProperties"], &join(path, key));
            } else {
                unknown = true;
                let help = suggestion(key, names());
                self.say(*key_at, path, format!("unknown key `{key}`"), Some(help));
            }
        }
        let has = |key: &str| entries.iter().any(|(k, ..)| k == key);
        for key in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            if !has(key) && !unknown {
                self.say(at, path, format!("`{key}` is missing"), None);
            }
        }
        let choices: Vec<&str> =
            schema["oneOf"].as_array().into_iter().flatten().filter_map(|c| c["required"][0].as_str()).collect();
        let chosen = choices.iter().filter(|key| has(key)).count();
        if !choices.is_empty() && chosen != 1 && !unknown {
            self.say(at, path, format!("needs exactly one of {}", listed(&choices)), None);
        }
    }

    /// An externally tagged enum: a map of exactly one key, which names the kind.
    fn kinds(&mut self, node: &Node, choices: &[&'a Json], path: &str) {
        let kind = |c: &'a Json| c["properties"].as_object().and_then(|p| p.iter().next());
        let known: Vec<&str> = choices.iter().filter_map(|c| kind(c)).map(|(name, _)| name.as_str()).collect();
        let Value::Map(entries) = &node.value else {
            let message = format!("must be a map whose one key is the kind: {}", listed(&known));
            return self.say(node.at, path, message, None);
        };
        if entries.len() != 1 {
            let message = format!("must have exactly one kind ({}), it has {} keys", listed(&known), entries.len());
            self.say(node.at, path, message, None);
        }
        for (key, at, inner) in entries {
            match choices.iter().filter_map(|c| kind(c)).find(|(name, _)| *name == key) {
                Some((_, schema)) => self.node(inner, schema, &join(path, key)),
                None => self.say(*at, path, format!("unknown kind `{key}`"), Some(suggestion(key, known.clone()))),
            }
        }
    }

    fn word(&mut self, node: &Node, known: Vec<&str>, path: &str) {
        match &node.value {
            Value::Text(text) if known.contains(&text.as_str()) => {}
            Value::Text(text) => {
                self.say(node.at, path, format!("`{text}` is not one of {}", listed(&known)), near(text, known));
            }
            _ => self.say(node.at, path, format!("must be one of {}", listed(&known)), None),
        }
    }

    fn text(&mut self, at: Place, text: &str, schema: &Json, path: &str) {
        let secret = schema["writeOnly"] == true;
        let checked = match schema["format"].as_str() {
            Some("cron") => text.parse::<CronText>().map(drop),
            Some("time-zone") => text.parse::<ZoneName>().map(drop),
            Some("size") => text.parse::<ByteSize>().map(drop),
            Some("span") => parse_duration(text).map(drop),
            Some("condition") => text.parse::<Condition>().map(drop),
            _ => is_well_formed(text),
        };
        if let Err(e) = checked {
            self.error(at, path, &e);
        } else if text.trim().is_empty() && (secret || schema["type"] == "string") {
            self.say(at, path, "is empty", None);
        }
    }

    fn number(&mut self, at: Place, n: i128, schema: &Json, path: &str) {
        let bound = |key: &str| schema[key].as_i64().map(i128::from);
        let (least, most) = (bound("minimum"), bound("maximum"));
        if least.is_some_and(|m| n < m) || most.is_some_and(|m| n > m) {
            let range = match (least, most) {
                (Some(least), Some(most)) => format!("not between {least} and {most}"),
                (Some(least), None) => format!("below {least}"),
                (_, most) => format!("above {}", most.unwrap_or_default()),
            };
            self.say(at, path, format!("{n} is {range}"), None);
        }
    }

    fn wrong_type(&mut self, node: &Node, schema: &'a Json, path: &str) {
        let expected = expected(schema, self);
        // The value is not repeated: it may be a secret that lacks its quotes.
        let message = format!("must be {expected}, it is {}", kind_of(&node.value));
        let number_for_text = matches!(node.value, Value::Int(_) | Value::Float | Value::Bool) && expected == "text";
        self.say(node.at, path, message, number_for_text.then(|| "put it in quotes".to_owned()));
    }

    fn error(&mut self, at: Place, path: &str, e: &Error) {
        self.say(at, path, e.chain(), e.help().map(str::to_owned));
    }
}

fn words(schema: &Json) -> Vec<&str> {
    let listed = schema["enum"].as_array().into_iter().flatten().filter_map(Json::as_str);
    listed.chain(schema["const"].as_str()).collect()
}

fn types(schema: &Json) -> Vec<&str> {
    match &schema["type"] {
        Json::String(one) => vec![one],
        Json::Array(many) => many.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

fn accepts(schema: &Json, value: &Value) -> bool {
    let types = types(schema);
    let one_of = |names: &[&str]| types.is_empty() || types.iter().any(|t| names.contains(t));
    match value {
        Value::Null => one_of(&["null"]),
        Value::Bool => one_of(&["boolean"]),
        Value::Int(_) => one_of(&["integer", "number"]),
        Value::Float => one_of(&["number"]),
        Value::Text(_) => one_of(&["string"]),
        Value::List(_) => one_of(&["array"]),
        Value::Map(_) => one_of(&["object"]),
    }
}

fn expected(schema: &Json, shape: &Shape<'_>) -> String {
    let mut names: Vec<&str> = Vec::new();
    let choices = schema["anyOf"].as_array().map_or(vec![schema], |c| c.iter().collect());
    for choice in choices {
        let name = choice["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/"));
        let choice = name.map_or(choice, |name| &shape.definitions[name]);
        for name in types(choice) {
            names.extend(match name {
                "boolean" => Some("true or false"),
                "integer" => Some("a whole number"),
                "number" => Some("a number"),
                "string" => Some("text"),
                "array" => Some("a list"),
                "object" => Some("a map"),
                _ => None,
            });
        }
        if choice["oneOf"].is_array() && types(choice).is_empty() {
            names.push("a map");
        }
    }
    names.dedup();
    names.join(", or ")
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool => "true or false",
        Value::Int(_) => "a whole number",
        Value::Float => "a number",
        Value::Text(_) => "text",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
    }
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}

fn near<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(given, known).map(|name| format!("did you mean `{name}`?"))
}

fn suggestion<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    near(given, known.iter().copied()).unwrap_or_else(|| {
        if known.is_empty() {
            "nothing is expected here".to_owned()
        } else {
            format!("expected one of {}", listed(&known))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near_or_nothing() {
        let known = ["password", "password_file", "postgres", "schedule"];
        assert_eq!(nearest("pasword", known), Some("password"));
        assert_eq!(nearest("passwordfile", known), Some("password_file"));
        assert_eq!(nearest("postgresql", known), Some("postgres"));
        assert_eq!(nearest("Schedule", known), Some("schedule"));
        assert_eq!(nearest("mysql", known), None);
        assert_eq!(nearest("x", []), None);
    }
}
