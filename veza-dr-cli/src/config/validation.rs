//! `validation:` what must be true of a site before users are led to it.

use std::{borrow::Cow, collections::BTreeMap, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use super::{ByteSize, SecretText, Span, Text};

/// One check: its name, and one of `http`, `websocket`, `stream`, `postgres`, `redis` and `load`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "Spelled")]
#[schemars(with = "Spelled")]
#[non_exhaustive]
pub struct CheckSettings {
    /// What it is called in tables and after `--only`.
    pub name: String,
    /// What is looked at.
    pub kind: CheckKind,
}

/// The kinds of checks.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CheckKind {
    /// One HTTP answer.
    Http(Box<HttpCheckSettings>),
    /// A WebSocket and a message that comes back.
    WebSocket(Box<WebSocketCheckSettings>),
    /// The beginning of a stream.
    Stream(Box<StreamCheckSettings>),
    /// A database.
    Postgres(Box<PostgresCheckSettings>),
    /// A Redis server.
    Redis(Box<RedisCheckSettings>),
    /// A load.
    Load(Box<LoadCheckSettings>),
}

/// One check: its name, and one of `http`, `websocket`, `stream`, `postgres`, `redis` and `load`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    rename = "CheckSettings",
    extend("oneOf" = [
        {"required": ["http"]}, {"required": ["websocket"]}, {"required": ["stream"]},
        {"required": ["postgres"]}, {"required": ["redis"]}, {"required": ["load"]}
    ])
)]
struct Spelled {
    /// What it is called in tables and after `--only`.
    name: String,
    /// One HTTP answer: status, body, latency, site.
    #[serde(default)]
    http: Option<Box<HttpCheckSettings>>,
    /// A WebSocket and a message that comes back.
    #[serde(default)]
    websocket: Option<Box<WebSocketCheckSettings>>,
    /// The beginning of a stream.
    #[serde(default)]
    stream: Option<Box<StreamCheckSettings>>,
    /// A database: a row written and removed, counts, the newest row, sequences.
    #[serde(default)]
    postgres: Option<Box<PostgresCheckSettings>>,
    /// A Redis server: a key written and removed.
    #[serde(default)]
    redis: Option<Box<RedisCheckSettings>>,
    /// A load, by number of requests or by rate.
    #[serde(default)]
    load: Option<Box<LoadCheckSettings>>,
}

impl TryFrom<Spelled> for CheckSettings {
    type Error = &'static str;

    fn try_from(s: Spelled) -> Result<Self, Self::Error> {
        let mut kinds = [
            s.http.map(CheckKind::Http),
            s.websocket.map(CheckKind::WebSocket),
            s.stream.map(CheckKind::Stream),
            s.postgres.map(CheckKind::Postgres),
            s.redis.map(CheckKind::Redis),
            s.load.map(CheckKind::Load),
        ]
        .into_iter()
        .flatten();
        match (kinds.next(), kinds.next()) {
            (Some(kind), None) => Ok(Self { name: s.name, kind }),
            _ => Err("a check is exactly one of http, websocket, stream, postgres, redis and load"),
        }
    }
}

/// Where something answers: a port of the site, or a public address that is asked for at the site.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HttpCheckSettings {
    /// The public address, such as `https://api.veza.com/health`: its name goes into the request and into TLS, the
    /// connection to the site. Instead of `port` and `path`.
    #[serde(default)]
    pub url: Option<Text>,
    /// The port of the site, over plain HTTP.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The path; `/` by default.
    #[serde(default)]
    pub path: Option<Text>,
    /// A file of PEM certificates to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<Text>,
    /// A file whose first line is a bearer token.
    #[serde(default)]
    pub token_file: Option<Text>,
    /// The bearer token. Prefer `token_file` or `${env:NAME}`.
    #[serde(default)]
    pub token: Option<SecretText>,
    /// The status; 200 by default.
    #[serde(default)]
    #[schemars(range(min = 100, max = 599))]
    pub status: Option<u16>,
    /// What the body must hold.
    #[serde(default)]
    pub contains: Option<Text>,
    /// A place in the JSON answer, such as `status` or `checks[0].state`, and the value that must be there.
    #[serde(default)]
    pub json: BTreeMap<String, Scalar>,
    /// A header and its value by which the site is told from the other one.
    #[serde(default)]
    pub site_header: BTreeMap<String, Text>,
    /// How long the whole answer may take; 5s by default.
    #[serde(default)]
    pub within: Option<Span>,
}

/// A WebSocket.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct WebSocketCheckSettings {
    /// The public address, such as `wss://chat.veza.com/chat`, asked for at the site. Instead of `port` and `path`.
    #[serde(default)]
    pub url: Option<Text>,
    /// The port of the site, without TLS.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The path; `/` by default.
    #[serde(default)]
    pub path: Option<Text>,
    /// A file of PEM certificates to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<Text>,
    /// A file whose first line is a bearer token.
    #[serde(default)]
    pub token_file: Option<Text>,
    /// The bearer token. Prefer `token_file` or `${env:NAME}`.
    #[serde(default)]
    pub token: Option<SecretText>,
    /// A text to send; a ping by default, which every server answers.
    #[serde(default)]
    pub send: Option<Text>,
    /// What the answer must hold; the text that was sent by default.
    #[serde(default)]
    pub expect: Option<Text>,
    /// How long handshake and answer may take; 5s by default.
    #[serde(default)]
    pub within: Option<Span>,
}

/// A stream.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct StreamCheckSettings {
    /// The public address, asked for at the site. Instead of `port` and `path`.
    #[serde(default)]
    pub url: Option<Text>,
    /// The port of the site, over plain HTTP.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The path; `/` by default.
    #[serde(default)]
    pub path: Option<Text>,
    /// A file of PEM certificates to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<Text>,
    /// A file whose first line is a bearer token.
    #[serde(default)]
    pub token_file: Option<Text>,
    /// The bearer token. Prefer `token_file` or `${env:NAME}`.
    #[serde(default)]
    pub token: Option<SecretText>,
    /// How much must come.
    pub bytes: ByteSize,
    /// How soon the first byte must come; 2s by default.
    #[serde(default)]
    pub first_byte_within: Option<Span>,
    /// How soon all of it must come; 10s by default.
    #[serde(default)]
    pub within: Option<Span>,
}

/// A database, and what is asked of it; without any question a row is written and the sequences are looked at.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PostgresCheckSettings {
    /// One of `sources`: its address and password count, at the site's host. Instead of the settings below.
    #[serde(default)]
    pub source: Option<String>,
    /// `postgres://user@host:5432/database?sslmode=verify-full`; at the site's host where there is one.
    #[serde(default)]
    pub url: Option<SecretText>,
    /// The port; 5432 by default.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The role.
    #[serde(default)]
    pub user: Option<Text>,
    /// The database.
    #[serde(default)]
    pub database: Option<Text>,
    /// A file whose first line is the password.
    #[serde(default)]
    pub password_file: Option<Text>,
    /// A file of PEM certificates to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<Text>,
    /// Whether a row is written, read back and removed.
    #[serde(default)]
    pub canary: Option<bool>,
    /// The table that it is written to, which has a text column `id`; one of its own by default, made and removed.
    #[serde(default)]
    pub canary_table: Option<Text>,
    /// Tables and how many rows they must have at least.
    #[serde(default)]
    pub counts: BTreeMap<String, u64>,
    /// The component whose newest backup says how many rows each table must have at least.
    #[serde(default)]
    pub counts_of_backup: Option<String>,
    /// The share of rows that may be missing, such as `0.5%`; none by default.
    #[serde(default)]
    pub missing: Option<Share>,
    /// The newest row of a table.
    #[serde(default)]
    pub watermark: Option<WatermarkSettings>,
    /// Whether every sequence must go on beyond the numbers in its column.
    #[serde(default)]
    pub sequences: Option<bool>,
    /// How long writing and reading may take; 5s by default.
    #[serde(default)]
    pub within: Option<Span>,
}

/// The newest row of a table.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct WatermarkSettings {
    /// The table, as SQL names it.
    pub table: Text,
    /// The column with the time.
    pub column: Text,
    /// How old the newest row may be.
    #[serde(default)]
    pub max_age: Option<Span>,
    /// The component whose newest backup must be shown in full: the newest row is at most `slack` older than it.
    #[serde(default)]
    pub of_backup: Option<String>,
    /// How much older; 1m by default.
    #[serde(default)]
    pub slack: Option<Span>,
}

/// A Redis server.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RedisCheckSettings {
    /// One of `sources`: its address and password count, at the site's host. Instead of the settings below.
    #[serde(default)]
    pub source: Option<String>,
    /// `redis://host:6379`, or `rediss://` for TLS; at the site's host where there is one.
    #[serde(default)]
    pub url: Option<Text>,
    /// The port; 6379 by default.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The user, where the server has more than the default one.
    #[serde(default)]
    pub username: Option<Text>,
    /// A file whose first line is the password.
    #[serde(default)]
    pub password_file: Option<Text>,
    /// A file of PEM certificates to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<Text>,
    /// How long everything may take; 5s by default.
    #[serde(default)]
    pub within: Option<Span>,
}

/// A load: `requests` over `concurrency` connections, or `rate` for a time.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LoadCheckSettings {
    /// The public address, asked for at the site. Instead of `port` and `path`.
    #[serde(default)]
    pub url: Option<Text>,
    /// The port of the site, over plain HTTP.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The path; `/` by default.
    #[serde(default)]
    pub path: Option<Text>,
    /// A file of PEM certificates to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<Text>,
    /// A file whose first line is a bearer token.
    #[serde(default)]
    pub token_file: Option<Text>,
    /// The bearer token. Prefer `token_file` or `${env:NAME}`.
    #[serde(default)]
    pub token: Option<SecretText>,
    /// How many requests; 100 by default, where there is no `rate`.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub requests: Option<u64>,
    /// Over how many connections at most; 10 by default, 50 with a `rate`.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10000))]
    pub concurrency: Option<u32>,
    /// Requests that arrive whatever the answers do: `50/s`.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// For how long they arrive; 1m by default.
    #[serde(default, rename = "for")]
    pub lasting: Option<Span>,
    /// How many requests come before those that count; one for each connection by default.
    #[serde(default)]
    pub warm_up: Option<u64>,
    /// 95 of 100 answers are at most as slow; 1s by default.
    #[serde(default)]
    pub p95: Option<Span>,
    /// 99 of 100 answers are at most as slow; 2s by default.
    #[serde(default)]
    pub p99: Option<Span>,
    /// The share of requests that may fail; 1% by default.
    #[serde(default)]
    pub errors: Option<Share>,
    /// The share of failures, of the last 50, at which it ends early; 50% by default.
    #[serde(default)]
    pub stop_at: Option<Share>,
    /// How long one answer may take; 10s by default.
    #[serde(default)]
    pub timeout: Option<Span>,
}

/// A text, a number, `true` or `false`, as JSON has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Scalar(pub Value);

impl JsonSchema for Scalar {
    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "integer", "boolean"] })
    }
}

/// A share: `1%`, `0.5%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(pub f64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').and_then(|n| n.trim().parse::<f64>().ok());
        let number = number.filter(|n| (0.0..=100.0).contains(n));
        number.map(|n| Self(n / 100.0)).ok_or_else(|| format!("`{text}` is not a share: write it as 1%"))
    }
}

/// Requests a second: `50/s`, `600/m`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate(pub f64);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (number, unit) = text.split_once('/')?;
            let per = match unit.trim() {
                "s" => 1.0,
                "m" => 60.0,
                _ => return None,
            };
            number.trim().parse::<f64>().ok().map(|n| n / per).filter(|n| *n > 0.0 && *n <= 1e6)
        };
        read().map(Self).ok_or_else(|| format!("`{text}` is not a rate: write it as 50/s or 600/m"))
    }
}

macro_rules! as_text {
    ($type:ty, $name:literal, $pattern:literal, $example:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "examples": [$example] })
            }
        }
    };
}
as_text!(Share, "Share", r"^[0-9.]+ *%$", "1%");
as_text!(Rate, "Rate", r"^[0-9.]+ */ *[sm]$", "50/s");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_rates_are_read() {
        assert_eq!("0.5%".parse(), Ok(Share(0.005)));
        assert_eq!("50/s".parse(), Ok(Rate(50.0)));
        assert_eq!("600/m".parse(), Ok(Rate(10.0)));
        for bad in ["1", "101%", "-1%", "x%"] {
            assert!(bad.parse::<Share>().is_err(), "{bad}");
        }
        for bad in ["50", "0/s", "5/h", "/s"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }
}
