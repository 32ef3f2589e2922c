//! An alert's condition, as the file spells it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use veza_dr_core::{Error, Result};
use veza_dr_failover::alerts::Expression;

/// Metrics compared with numbers.
///
/// ```
/// use veza_dr_cli::config::Condition;
/// let condition: Condition = "recovery_time > 1h and data_loss > 0".parse().unwrap();
/// assert_eq!(condition.expression().metrics(), ["recovery_time", "data_loss"]);
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Condition(Expression);

impl Condition {
    /// What it says.
    #[must_use]
    pub fn expression(&self) -> &Expression {
        &self.0
    }
}

impl std::str::FromStr for Condition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.parse().map(Self)
    }
}

impl TryFrom<String> for Condition {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl JsonSchema for Condition {
    fn schema_name() -> Cow<'static, str> {
        "Condition".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let examples = ["recovery_time > 3600", "recovery_time > 1h and data_loss > 0", "service_availability < 99.9%"];
        json_schema!({ "type": "string", "format": "condition", "examples": examples })
    }
}
