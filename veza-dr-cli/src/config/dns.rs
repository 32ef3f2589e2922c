//! `dns:` the names that lead users to a site, who serves them, and how a switch is proven.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{SecretText, Span, Text};

/// The names that a failover switches.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DnsSettings {
    /// The zone in Amazon Route 53, whose records are changed; not needed where the flag alone leads users.
    #[serde(default)]
    pub route53: Option<Route53Settings>,
    /// The health flag that leads users to the standby without a call to Route 53.
    #[serde(default)]
    pub flag: Option<FlagSettings>,
    /// Resolvers that are asked what users get, and where the zone's servers are: an address, with a port where it is
    /// not 53. 1.1.1.1, 8.8.8.8 and 9.9.9.9 where it is left out.
    #[serde(default)]
    pub resolvers: Option<Vec<Text>>,
    /// The zone's own servers, each of which must have a switch. Found by way of the resolvers where it is left out.
    #[serde(default)]
    pub nameservers: Vec<Text>,
    /// The records: a name of your choice for each.
    #[serde(default)]
    pub records: BTreeMap<String, RecordSettings>,
    /// How long Route 53 may take to bring a change to all its servers; 5m.
    #[serde(default)]
    pub in_sync_within: Option<Span>,
    /// How long the zone's servers may go on with the old answer after that; 60s.
    #[serde(default)]
    pub verify_within: Option<Span>,
}

/// A file that the standby serves: while it is there, a health check takes the primary for sick.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FlagSettings {
    /// The file, on the machine of `site`.
    pub file: Text,
    /// The site on whose machine the file is; this machine where it is left out.
    #[serde(default)]
    pub site: Option<String>,
    /// Where the file is served, as the health check fetches it: looked at after each switch.
    #[serde(default)]
    pub url: Option<Text>,
    /// An address and port on which `veza-dr serve` of this machine serves the file, to everybody, at
    /// /veza-dr-flag/failover.
    #[serde(default)]
    pub listen: Option<Text>,
    /// How long the health check and the name servers may take to follow; 3m.
    #[serde(default)]
    pub follow_within: Option<Span>,
}

/// A hosted zone and how to be let in.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Route53Settings {
    /// The id of the hosted zone: `Z0123456789ABC`.
    pub zone: Text,
    /// The region to sign for; `us-east-1` where it is left out.
    #[serde(default)]
    pub region: Option<Text>,
    /// The server, for others than Amazon.
    #[serde(default)]
    pub endpoint: Option<Text>,
    /// The key's id. Left out, credentials come from the usual AWS places.
    #[serde(default)]
    pub access_key_id: Option<SecretText>,
    /// A file whose first line is the key's id.
    #[serde(default)]
    pub access_key_id_file: Option<Text>,
    /// The secret key. Prefer `secret_access_key_file` or `${env:NAME}`.
    #[serde(default)]
    pub secret_access_key: Option<SecretText>,
    /// A file whose first line is the secret key.
    #[serde(default)]
    pub secret_access_key_file: Option<Text>,
    /// The session token of temporary credentials.
    #[serde(default)]
    pub session_token: Option<SecretText>,
    /// A file whose first line is the session token.
    #[serde(default)]
    pub session_token_file: Option<Text>,
    /// A file of PEM certificates to trust besides the system's.
    #[serde(default)]
    pub ca_file: Option<Text>,
}

/// One name and where it leads on each side.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RecordSettings {
    /// The full name: `api.veza.com`.
    pub name: Text,
    /// The type.
    #[serde(rename = "type")]
    pub kind: RecordTypeName,
    /// The values that lead to the primary.
    #[schemars(length(min = 1))]
    pub primary: Vec<Text>,
    /// The values that lead to the standby.
    #[schemars(length(min = 1))]
    pub standby: Vec<Text>,
    /// For how many seconds resolvers keep an answer; 60.
    #[serde(default = "sixty")]
    #[schemars(range(min = 1, max = 604_800))]
    pub ttl: u32,
    /// The set identifiers of the two weighted sets, where the name has some: a switch then moves weights.
    #[serde(default)]
    pub weighted: Option<WeightedSettings>,
}

/// Two weighted sets of one name.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct WeightedSettings {
    /// The set that leads to the primary.
    pub primary: Text,
    /// The set that leads to the standby.
    pub standby: Text,
}

/// The types of records that can be switched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[non_exhaustive]
pub enum RecordTypeName {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Another name.
    Cname,
}

fn sixty() -> u32 {
    60
}
