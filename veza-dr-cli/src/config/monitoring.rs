//! `scenarios:`, `metrics:` and `alerts:` what recovery must achieve, what is measured, when to raise the alarm.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use veza_dr_core::{ScenarioKind, Severity};

use super::{Condition, NetworkTcpSettings, Span, Text};

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

impl Scenarios {
    /// What is said of a kind.
    pub(crate) fn of(&self, kind: ScenarioKind) -> Option<&ScenarioSettings> {
        match kind {
            ScenarioKind::Database => self.database.as_ref(),
            ScenarioKind::Backend => self.backend.as_ref(),
            ScenarioKind::Infrastructure => self.infrastructure.as_ref(),
            ScenarioKind::Security => self.security.as_ref(),
            _ => None,
        }
    }
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
    /// Metrics compared with numbers, joined by `and`, `or`, `not`: `recovery_time > 1h and data_loss > 0`.
    pub condition: Condition,
    /// How bad it is.
    #[schemars(schema_with = "severity")]
    pub severity: Severity,
    /// It must hold for so long before the alarm is raised; at once by default.
    #[serde(default, rename = "for")]
    pub hold: Option<Span>,
    /// What follows when it cannot be told, as something was not measured; `tell` by default.
    #[serde(default)]
    pub missing: Option<MissingName>,
    /// The channels of `notify` that are told; all whose severity fits where it is left out.
    #[serde(default)]
    pub channels: Option<Vec<String>>,
    /// What to do about it; told with the alarm.
    #[serde(default)]
    pub help: Option<String>,
}

/// What follows when a condition cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MissingName {
    /// That is told, as a state of its own.
    Tell,
    /// The alarm is raised.
    Fire,
    /// Nothing.
    Ignore,
}

/// What users see, looked at all the time from this machine: the measure of `service_availability`, and what notices an
/// outage.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AvailabilitySettings {
    /// What users need: all of it must answer as it should.
    #[serde(default)]
    pub probes: Vec<UserProbeSettings>,
    /// How often it is looked at, from 50ms to 10s; 1s by default.
    #[serde(default)]
    pub every: Option<Span>,
    /// A later answer is none; 5s by default.
    #[serde(default)]
    pub patience: Option<Span>,
    /// The window of `service_availability`; 30d by default.
    #[serde(default)]
    pub window: Option<Span>,
    /// Bad answers for so long are an outage; 30s by default.
    #[serde(default)]
    pub outage_after: Option<Span>,
    /// So many good answers in a row end it; 3 by default.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub good_in_a_row: Option<u32>,
}

/// One thing that users need, asked for as they do: by its public name.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum UserProbeSettings {
    /// An HTTP answer.
    Http(UserHttpSettings),
    /// A port that takes connections.
    Tcp(NetworkTcpSettings),
}

/// An HTTP answer that users need.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct UserHttpSettings {
    /// The public address.
    pub url: Text,
    /// The status expected; any from 200 to 299 by default.
    #[serde(default)]
    #[schemars(range(min = 100, max = 599))]
    pub status: Option<u16>,
    /// Text that the answer must contain.
    #[serde(default)]
    pub contains: Option<Text>,
    /// A file of PEM certificates to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<Text>,
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
