//! `failover:` how runbooks are run.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Text;

/// How runbooks are run. All of it may be left out.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FailoverSettings {
    /// The store that keeps the lease of the runs and copies of their journals; it should not be at the primary site.
    /// The first bucket where it is left out, else the first folder.
    #[serde(default)]
    pub store: Option<String>,
    /// A folder with plans of your own, each `NAME.yml`; one of the name of a shipped plan takes its place.
    #[serde(default)]
    pub runbooks: Option<Text>,
}
