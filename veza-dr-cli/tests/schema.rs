//! The JSON Schema that editors complete from.

use serde_json::Value;
use veza_dr_cli::config::json_schema;

fn visit(value: &Value, path: &str, each: &mut impl FnMut(&str, &serde_json::Map<String, Value>)) {
    match value {
        Value::Object(map) => {
            each(path, map);
            map.iter().for_each(|(key, inner)| visit(inner, &format!("{path}/{key}"), each));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, inner)| visit(inner, &format!("{path}/{at}"), each))
        }
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_type_is_known() {
    let schema = json_schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let mut seen = 0;
    visit(&schema, "", &mut |path, map| {
        if let Some(Value::String(reference)) = map.get("$ref") {
            seen += 1;
            let pointer = reference.strip_prefix('#').expect("a local reference");
            assert!(schema.pointer(pointer).is_some(), "{path}: {reference}");
        }
        if let Some(Value::String(name)) = map.get("type") {
            let known = ["object", "array", "string", "integer", "number", "boolean", "null"];
            assert!(known.contains(&name.as_str()), "{path}: {name}");
        }
    });
    assert!(seen > 5, "only {seen} references");
}

#[test]
fn no_map_of_known_keys_lets_an_unknown_one_through_and_every_key_is_described() {
    visit(&json_schema(), "", &mut |path, map| {
        // `properties` may itself be the name of a map of properties; those have no `type`.
        if let (Some(Value::Object(properties)), Some(_)) = (map.get("properties"), map.get("type")) {
            assert_eq!(map.get("additionalProperties"), Some(&Value::Bool(false)), "{path}");
            // The one key of an enum's variant is described by what it refers to.
            for (key, value) in properties.iter().filter(|(_, v)| v.get("$ref").is_none()) {
                assert!(value.get("description").is_some(), "{path}: {key}");
            }
        }
    });
}

#[test]
fn every_secret_is_marked_as_not_to_be_shown() {
    let schema = json_schema();
    let defs = &schema["$defs"];
    for (of, key) in [
        ("PostgresSource", "url"),
        ("PostgresSource", "password"),
        ("RedisSource", "password"),
        ("S3Settings", "secret_access_key"),
        ("S3Settings", "session_token"),
        ("Route53Settings", "secret_access_key"),
        ("ServeSettings", "token"),
        ("WebhookSettings", "url"),
        ("WebhookSettings", "secret"),
        ("SlackSettings", "url"),
        ("SmtpSettings", "password"),
        ("PingSettings", "url"),
        ("HttpProbeSettings", "url"),
        ("WebSocketProbeSettings", "url"),
        ("PostgresProbeSettings", "password"),
        ("RedisProbeSettings", "password"),
    ] {
        let property = &defs[of]["properties"][key];
        assert!(property.to_string().contains("\"writeOnly\":true"), "{of}.{key}: {property}");
    }
}
