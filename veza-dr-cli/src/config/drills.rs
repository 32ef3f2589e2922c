//! `drills:` how recoveries are rehearsed, and when.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use veza_dr_core::ScenarioKind;

use super::{CronText, ScheduleSetting, ScheduleSettings, Span, Text, ZoneName};

/// How recoveries are rehearsed. All of it may be left out.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DrillSettings {
    /// Where private servers and folders are made, about twice the plain size of the backups; the system's folder for
    /// temporary files where it is left out.
    #[serde(default)]
    pub scratch_dir: Option<Text>,
    /// Every so many drills of a scenario, damaged copies are tried first and must fail; 4 where it is left out, 0 for
    /// never.
    #[serde(default)]
    pub negative_control_every: Option<u32>,
    /// Whether the rows of production's tables are counted before and after, which reads all of them; `true` where it is
    /// left out. Without it, what a disaster would lose is unknown.
    #[serde(default)]
    pub count_rows: Option<bool>,
    /// When `veza-dr serve` runs a drill of each scenario.
    #[serde(default)]
    pub schedule: DrillSchedules,
}

/// When each scenario is rehearsed: `database: "0 3 1 */3 *"` is every quarter, at three in the morning.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DrillSchedules {
    /// The database is lost.
    #[serde(default)]
    pub database: Option<DrillSchedule>,
    /// Backend services are down.
    #[serde(default)]
    pub backend: Option<DrillSchedule>,
    /// The whole site is down.
    #[serde(default)]
    pub infrastructure: Option<DrillSchedule>,
    /// Data was tampered with.
    #[serde(default)]
    pub security: Option<DrillSchedule>,
}

impl DrillSchedules {
    /// Each scenario that is rehearsed.
    pub(crate) fn planned(&self) -> impl Iterator<Item = (ScenarioKind, &DrillSchedule)> {
        let all = [
            (ScenarioKind::Database, &self.database),
            (ScenarioKind::Backend, &self.backend),
            (ScenarioKind::Infrastructure, &self.infrastructure),
            (ScenarioKind::Security, &self.security),
        ];
        all.into_iter().filter_map(|(kind, schedule)| Some((kind, schedule.as_ref()?)))
    }
}

/// When a scenario is rehearsed, and in what: a cron expression, or a map of `cron`, `time_zone`, `jitter`, `catch_up` and
/// `compose`.
///
/// ```
/// use veza_dr_cli::config::DrillSchedule;
/// let yearly: DrillSchedule = serde_json::from_str(r#"{ "cron": "0 4 2 1 *", "compose": "primary" }"#).unwrap();
/// assert_eq!((yearly.when().as_str(), yearly.compose()), ("0 4 2 1 *", Some("primary")));
/// ```
#[derive(Debug, Clone)]
pub struct DrillSchedule {
    when: ScheduleSetting,
    compose: Option<String>,
}

impl DrillSchedule {
    /// When.
    #[must_use]
    pub fn when(&self) -> &ScheduleSetting {
        &self.when
    }

    /// The site in a copy of whose Compose project; private servers where it is `None`.
    #[must_use]
    pub fn compose(&self) -> Option<&str> {
        self.compose.as_deref()
    }
}

/// The long form of [`DrillSchedule`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DrillScheduleSettings {
    /// Minute hour day month weekday, or with seconds in front: `0 3 1 */3 *` is every quarter.
    pub cron: CronText,
    /// The zone that its hours are told in: `Europe/Paris`; the machine's own where it is left out.
    #[serde(default)]
    pub time_zone: Option<ZoneName>,
    /// Begins up to so much later: `10m`.
    #[serde(default)]
    pub jitter: Option<Span>,
    /// Whether one that was missed is made up for; `true` where it is left out.
    #[serde(default)]
    pub catch_up: Option<bool>,
    /// The site in a copy of whose Compose project it takes place, its services included; a site of this machine. In
    /// private servers where it is left out.
    #[serde(default)]
    pub compose: Option<String>,
}

impl From<DrillScheduleSettings> for DrillSchedule {
    fn from(settings: DrillScheduleSettings) -> Self {
        let DrillScheduleSettings { cron, time_zone, jitter, catch_up, compose } = settings;
        Self { when: ScheduleSettings { cron, time_zone, jitter, catch_up }.into(), compose }
    }
}

impl<'de> Deserialize<'de> for DrillSchedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = DrillSchedule;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a cron expression, or a map of cron, time_zone, jitter, catch_up and compose")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<DrillSchedule, E> {
                let when = ScheduleSetting::deserialize(de::value::StrDeserializer::new(text))?;
                Ok(DrillSchedule { when, compose: None })
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<DrillSchedule, A::Error> {
                DrillScheduleSettings::deserialize(de::value::MapAccessDeserializer::new(map)).map(Into::into)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for DrillSchedule {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DrillSchedule".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let short = generator.subschema_for::<CronText>();
        let long = generator.subschema_for::<DrillScheduleSettings>();
        json_schema!({ "anyOf": [short, long] })
    }
}
