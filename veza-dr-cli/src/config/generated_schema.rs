//! The JSON Schema of the configuration file, made from its types: what editors complete from, and what a file is
//! checked against.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Config;

/// The JSON Schema (draft 2020-12) of `veza-dr.yml`.
///
/// ```
/// let schema = veza_dr_cli::config::json_schema();
/// assert!(schema["properties"]["sources"].is_object());
/// ```
#[must_use]
pub fn json_schema() -> Value {
    SchemaSettings::draft2020_12().for_deserialize().into_generator().into_root_schema_for::<Config>().to_value()
}
