//! `schedule:` a cron expression, or a map that says more; checked when the file is read.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema as JsonSchemaValue, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use veza_dr_backup::{Schedule, Timetable, Zone};
use veza_dr_core::{Error, Result};

use super::Span;

/// When backups begin: `"0 */6 * * *"`, or a map of `cron`, `time_zone`, `jitter` and `catch_up`.
///
/// ```
/// use veza_dr_cli::config::ScheduleSetting;
/// let plain: ScheduleSetting = serde_json::from_str("\"0 */6 * * *\"").unwrap();
/// assert_eq!(plain.as_str(), "0 */6 * * *");
/// ```
#[derive(Debug, Clone)]
pub struct ScheduleSetting {
    schedule: Schedule,
    jitter: Option<Span>,
    catch_up: bool,
}

impl ScheduleSetting {
    /// The expression.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.schedule.as_str()
    }

    /// The zone that its hours are told in.
    #[must_use]
    pub fn zone(&self) -> Zone {
        self.schedule.zone()
    }

    /// As the scheduler takes it; `machine` tells this machine's jitter from others'.
    #[must_use]
    pub fn timetable(&self, machine: &str) -> Timetable {
        let table = Timetable::new(self.schedule.clone()).with_catch_up(self.catch_up);
        match self.jitter {
            Some(Span(most)) => table.with_jitter(most, machine),
            None => table,
        }
    }
}

/// The long form of [`ScheduleSetting`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ScheduleSettings {
    /// Minute hour day month weekday, or with seconds in front: `0 */6 * * *` is every six hours.
    pub cron: CronText,
    /// The zone that its hours are told in: `Europe/Paris`; the machine's own where it is left out.
    #[serde(default)]
    pub time_zone: Option<ZoneName>,
    /// Begins up to so much later, so that not all machines begin at once: `10m`.
    #[serde(default)]
    pub jitter: Option<Span>,
    /// Whether a run that was missed is made up for; `true` where it is left out.
    #[serde(default)]
    pub catch_up: Option<bool>,
}

/// A cron expression.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct CronText(Schedule);

/// The name of a time zone.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub struct ZoneName(Zone);

impl FromStr for CronText {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.parse().map(Self)
    }
}

impl TryFrom<String> for CronText {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for ZoneName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.parse().map(Self)
    }
}

impl TryFrom<String> for ZoneName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl JsonSchema for CronText {
    fn schema_name() -> Cow<'static, str> {
        "Cron".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> JsonSchemaValue {
        json_schema!({ "type": "string", "format": "cron", "examples": ["0 */6 * * *"] })
    }
}

impl JsonSchema for ZoneName {
    fn schema_name() -> Cow<'static, str> {
        "TimeZone".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> JsonSchemaValue {
        json_schema!({ "type": "string", "format": "time-zone", "examples": ["Europe/Paris", "UTC", "local"] })
    }
}

impl From<ScheduleSettings> for ScheduleSetting {
    fn from(settings: ScheduleSettings) -> Self {
        let schedule = settings.cron.0.in_zone(settings.time_zone.map_or(Zone::Local, |zone| zone.0));
        Self { schedule, jitter: settings.jitter, catch_up: settings.catch_up.unwrap_or(true) }
    }
}

impl<'de> Deserialize<'de> for ScheduleSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ScheduleSetting;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a cron expression, or a map of cron, time_zone, jitter and catch_up")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ScheduleSetting, E> {
                let schedule = text.parse().map_err(E::custom)?;
                Ok(ScheduleSetting { schedule, jitter: None, catch_up: true })
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<ScheduleSetting, A::Error> {
                ScheduleSettings::deserialize(de::value::MapAccessDeserializer::new(map)).map(Into::into)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for ScheduleSetting {
    fn schema_name() -> Cow<'static, str> {
        "Schedule".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> JsonSchemaValue {
        let short = generator.subschema_for::<CronText>();
        let long = generator.subschema_for::<ScheduleSettings>();
        json_schema!({ "anyOf": [short, long] })
    }
}
