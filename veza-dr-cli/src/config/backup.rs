//! `backup:` when each source is backed up, how, and for how long backups are kept.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use veza_dr_backup::Compression;
use veza_dr_core::manifest::Codec;

use super::{PingSettings, QuiesceSettings, RetentionSetting, ScheduleSetting, Text};

/// How one source is backed up.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct BackupPolicy {
    /// When, in cron's words: minute hour day month weekday. `0 */6 * * *` is every six hours. Or a map of `cron`,
    /// `time_zone`, `jitter` and `catch_up`.
    #[serde(default)]
    pub schedule: Option<ScheduleSetting>,
    /// For how many days a backup is kept; or a map of `days`, `keep_last`, `hourly`, `daily`, `weekly`, `monthly`,
    /// `yearly` and `max_delete_percent`. Left out, backups are kept for ever.
    #[serde(default)]
    pub retention: Option<RetentionSetting>,
    /// `true` for zstd, `false` for none, or a map of `codec` and `level`.
    #[serde(default)]
    pub compression: CompressionSetting,
    /// For files: the folders and files to back up.
    #[serde(default)]
    pub include: Vec<Text>,
    /// For files: patterns of what to leave out.
    #[serde(default)]
    pub exclude: Vec<Text>,
    /// Which stores it goes to; all of them where it is left out.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub stores: Option<Vec<String>>,
    /// What rests while it is read: containers, or commands before and after.
    #[serde(default)]
    pub quiesce: Option<QuiesceSettings>,
    /// A watcher elsewhere that raises the alarm when backups stay away: healthchecks.io and its like.
    #[serde(default)]
    pub ping: Option<PingSettings>,
}

/// How objects are compressed: `true`, `false`, or a format with its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompressionSetting(pub Compression);

/// The long form of [`CompressionSetting`].
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CompressionSettings {
    /// The format.
    #[serde(deserialize_with = "known_codec")]
    #[schemars(extend("enum" = ["zstd", "gzip", "none"]), with = "String")]
    pub codec: Codec,
    /// 1 to 19 for zstd (1 by default), 1 to 9 for gzip (6 by default).
    #[serde(default)]
    #[schemars(range(min = 0, max = 19))]
    pub level: Option<i32>,
}

impl CompressionSettings {
    fn to_compression(self) -> Compression {
        let mut compression = Compression::of(self.codec);
        compression.level = self.level.unwrap_or(compression.level);
        compression
    }
}

// `age` is a codec of the format but no compression: the configuration's list is shorter than the manifest's.
fn known_codec<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Codec, D::Error> {
    match Codec::deserialize(deserializer)? {
        Codec::Age => Err(de::Error::custom("age is encryption, not a compression")),
        codec => Ok(codec),
    }
}

impl<'de> Deserialize<'de> for CompressionSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = CompressionSetting;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, or a map of codec and level")
            }
            fn visit_bool<E>(self, on: bool) -> Result<CompressionSetting, E> {
                Ok(CompressionSetting(Compression::of(if on { Codec::Zstd } else { Codec::None })))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<CompressionSetting, A::Error> {
                let settings = CompressionSettings::deserialize(de::value::MapAccessDeserializer::new(map))?;
                // The level is checked with the rest of the meaning, so that it is told together with other problems.
                Ok(CompressionSetting(settings.to_compression()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for CompressionSetting {
    fn schema_name() -> Cow<'static, str> {
        "Compression".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let long = generator.subschema_for::<CompressionSettings>();
        json_schema!({ "anyOf": [{ "type": "boolean" }, long] })
    }
}
