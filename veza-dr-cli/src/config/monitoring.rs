//! `scenarios:`, `metrics:` and `alerts:` what recovery must achieve, what is measured, when to raise the alarm.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use veza_dr_core::Severity;

use super::{Condition, Span};

/// The kinds of disaster, each with what recovery from it must achieve.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Scenarios {
    /// The database is lost.
    #[serde(default)]
    pub database: Option<ScenarioSettings>,
    /// Backend services are down.
    #[serde(default)]
    pub backend: Option<ScenarioSettings>,
    /// The whole site is down.
    #[serde(default)]
    pub infrastructure: Option<ScenarioSettings>,
    /// Data was tampered with.
    #[serde(default)]
    pub security: Option<ScenarioSettings>,
}

/// What recovery from one kind of disaster must achieve.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ScenarioSettings {
    /// How long recovery may take: `4h`.
    pub rto: Span,
    /// How much recent data may be lost, as time: `1h`.
    pub rpo: Span,
    /// The sources that must be restorable for it; all where it is left out.
    #[serde(default)]
    pub needs: Option<Vec<String>>,
}

/// Something measured during a recovery.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Metric {
    /// `recovery_time`, `data_loss`, `service_availability`, or a name of your own.
    pub name: String,
    /// What it means, for people.
    #[serde(default)]
    pub description: Option<String>,
    /// What it counts.
    pub unit: MetricUnit,
}

/// What a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MetricUnit {
    /// Time.
    Seconds,
    /// Rows, keys or files.
    Records,
    /// Bytes.
    Bytes,
    /// Parts of a hundred.
    Percentage,
    /// Whatever is counted one by one.
    Count,
}

/// When to raise the alarm.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Alert {
    /// A name of your choice.
    pub name: String,
    /// A metric compared with a number: `recovery_time > 3600`.
    pub condition: Condition,
    /// How bad it is.
    #[schemars(schema_with = "severity")]
    pub severity: Severity,
}

/// How [`Severity`] is spelled; core knows nothing of schemas.
pub(super) fn severity(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "How much somebody has to care: `info` all is well, `low` some day, `medium` today, `high` \
            something is not protected as it should be, `critical` wake somebody.",
        "type": "string",
        "enum": ["info", "low", "medium", "high", "critical"]
    })
}
