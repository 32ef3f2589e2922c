//! Record sets in words.

use veza_dr_core::{FailoverRole, RecordSet};

/// One record set, or its absence, on one line.
#[must_use]
pub fn shown(record: Option<&RecordSet>) -> String {
    let Some(record) = record else { return "no record".to_owned() };
    let mut text = match &record.alias {
        Some(alias) => format!("alias of {}", alias.name),
        None => format!("{} (TTL {} s)", record.sorted().values.join(", "), record.ttl),
    };
    if let Some(weight) = record.weight {
        text.push_str(&format!(", weight {weight}"));
    }
    match record.failover {
        Some(FailoverRole::Primary) => text.push_str(", failover primary"),
        Some(FailoverRole::Secondary) => text.push_str(", failover secondary"),
        None => {}
    }
    text
}
