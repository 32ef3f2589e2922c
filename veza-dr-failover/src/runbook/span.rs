//! Durations as plans write them: `90s`, `1h30m`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de};
use veza_dr_core::parse_duration;

fn text(span: Duration) -> String {
    let (seconds, rest) = (span.as_secs(), span.subsec_millis());
    match (seconds, rest) {
        (0, ms) => format!("{ms}ms"),
        (s, 0) => format!("{s}s"),
        (s, ms) => format!("{s}s{ms}ms"),
    }
}

pub(crate) fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*span))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let given = String::deserialize(deserializer)?;
    parse_duration(&given).map_err(|e| {
        let help = e.help().map(|h| format!("; {h}")).unwrap_or_default();
        de::Error::custom(format!("{e}{help}"))
    })
}

pub(crate) mod optional {
    use super::{Deserializer, Duration, Serializer};

    pub(crate) fn serialize<S: Serializer>(span: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => super::serialize(span, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        super::deserialize(deserializer).map(Some)
    }
}
