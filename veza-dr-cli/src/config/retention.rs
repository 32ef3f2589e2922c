//! `retention:` a number of days, or a map of rules.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use veza_dr_backup::{RetentionPolicy, Zone};

/// For how long backups are kept: `7` days, or a map of rules of which any keeps a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionSetting {
    rules: RetentionSettings,
}

/// The long form of [`RetentionSetting`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RetentionSettings {
    /// All that are no more than so many days older than the newest.
    #[serde(default)]
    #[schemars(range(min = 1, max = 36500))]
    pub days: Option<u32>,
    /// The newest so many.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100_000))]
    pub keep_last: Option<u32>,
    /// The newest of each of the last so many hours that have one.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100_000))]
    pub hourly: Option<u32>,
    /// The newest of each of the last so many days that have one.
    #[serde(default)]
    #[schemars(range(min = 1, max = 36500))]
    pub daily: Option<u32>,
    /// The newest of each of the last so many weeks that have one.
    #[serde(default)]
    #[schemars(range(min = 1, max = 5200))]
    pub weekly: Option<u32>,
    /// The newest of each of the last so many months that have one.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1200))]
    pub monthly: Option<u32>,
    /// The newest of each of the last so many years that have one.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    pub yearly: Option<u32>,
    /// No more than this share, in percent, goes at once; 50 where it is left out.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    pub max_delete_percent: Option<u8>,
}

impl RetentionSetting {
    /// The days that backups are kept, where such a rule is given.
    #[must_use]
    pub fn days(&self) -> Option<u32> {
        self.rules.days
    }

    /// Whether there is any rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.policy(Zone::Local).keeps_everything()
    }

    /// As the library takes it; days and months begin in `zone`.
    #[must_use]
    pub fn policy(&self, zone: Zone) -> RetentionPolicy {
        let RetentionSettings { days, keep_last, hourly, daily, weekly, monthly, yearly, max_delete_percent } =
            self.rules;
        let policy = RetentionPolicy::default()
            .with_days(days)
            .with_keep_last(keep_last.unwrap_or(0))
            .with_hourly(hourly.unwrap_or(0))
            .with_daily(daily.unwrap_or(0))
            .with_weekly(weekly.unwrap_or(0))
            .with_monthly(monthly.unwrap_or(0))
            .with_yearly(yearly.unwrap_or(0))
            .with_zone(zone);
        match max_delete_percent {
            Some(percent) => policy.with_max_delete_percent(percent),
            None => policy,
        }
    }
}

impl<'de> Deserialize<'de> for RetentionSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = RetentionSetting;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of days, or a map of rules")
            }
            fn visit_u64<E: de::Error>(self, days: u64) -> Result<RetentionSetting, E> {
                let days = u32::try_from(days).map_err(E::custom)?;
                Ok(RetentionSetting { rules: RetentionSettings { days: Some(days), ..Default::default() } })
            }
            fn visit_i64<E: de::Error>(self, days: i64) -> Result<RetentionSetting, E> {
                self.visit_u64(u64::try_from(days).map_err(E::custom)?)
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<RetentionSetting, A::Error> {
                let rules = RetentionSettings::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(RetentionSetting { rules })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for RetentionSetting {
    fn schema_name() -> Cow<'static, str> {
        "Retention".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let long = generator.subschema_for::<RetentionSettings>();
        json_schema!({ "anyOf": [{ "type": "integer", "minimum": 1, "maximum": 36500 }, long] })
    }
}
