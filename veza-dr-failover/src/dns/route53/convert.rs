//! Record sets in Route 53's shape and back. What cannot be carried both ways is refused: putting it back after a
//! switch would lose it.

use aws_sdk_route53::types::{self, ResourceRecord, ResourceRecordSet, ResourceRecordSetFailover, RrType};
use veza_dr_core::{AliasTarget, Error, ErrorKind, FailoverRole, RecordKey, RecordSet, RecordType, Result};

use super::super::names::{absolute, same_name};

pub(super) fn rr_type(kind: RecordType) -> Result<RrType> {
    RrType::try_parse(kind.as_str())
        .map_err(|_| Error::new(ErrorKind::Unsupported, format!("route53 has no records of type {kind}")))
}

/// Whether a set of Route 53's is the one that `key` names.
pub(super) fn is_key(set: &ResourceRecordSet, key: &RecordKey) -> bool {
    set.set_identifier() == key.set_id.as_deref() && is_name(set, key)
}

/// Whether a set of Route 53's has the name and type of `key`.
pub(super) fn is_name(set: &ResourceRecordSet, key: &RecordKey) -> bool {
    set.r#type().as_str() == key.kind.as_str() && same_name(set.name(), &key.name)
}

/// A set of Route 53's as ours, under the key it was asked for by.
pub(super) fn from_route53(set: &ResourceRecordSet, key: &RecordKey) -> Result<RecordSet> {
    let strange = [
        ("latency routing", set.region().is_some()),
        ("geolocation routing", set.geo_location().is_some()),
        ("geoproximity routing", set.geo_proximity_location().is_some()),
        ("IP-based routing", set.cidr_routing_config().is_some()),
        ("multivalue answers", set.multi_value_answer() == Some(true)),
        ("a traffic policy", set.traffic_policy_instance_id().is_some()),
    ];
    if let Some((what, _)) = strange.iter().find(|(_, is)| *is) {
        return Err(Error::new(ErrorKind::Unsupported, format!("record {key} uses {what}, which a switch would lose"))
            .with_help("switch it in Route 53 itself, or leave it out of dns.records and use a health flag"));
    }
    let number = |n: i64, what: &str| {
        u32::try_from(n).map_err(|_| Error::new(ErrorKind::Unexpected, format!("record {key} has a {what} of {n}")))
    };
    let mut record = RecordSet::new(
        key.clone(),
        set.ttl().map_or(Ok(0), |ttl| number(ttl, "TTL"))?,
        set.resource_records().iter().map(|r| r.value().to_owned()).collect(),
    );
    record.weight = match set.weight() {
        None => None,
        Some(weight) => Some(u8::try_from(weight).map_err(|_| {
            Error::new(ErrorKind::Unexpected, format!("record {key} has a weight of {weight}, above 255"))
        })?),
    };
    record.failover = match set.failover() {
        None => None,
        Some(ResourceRecordSetFailover::Primary) => Some(FailoverRole::Primary),
        Some(ResourceRecordSetFailover::Secondary) => Some(FailoverRole::Secondary),
        Some(other) => {
            let text = format!("record {key} has the unknown failover role {}", other.as_str());
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
    };
    record.health_check = set.health_check_id().map(str::to_owned);
    record.alias = set.alias_target().map(|a| AliasTarget {
        zone: a.hosted_zone_id().to_owned(),
        name: a.dns_name().to_owned(),
        evaluate_health: a.evaluate_target_health(),
    });
    Ok(record)
}

/// One of our sets as Route 53 takes it.
pub(super) fn to_route53(record: &RecordSet) -> Result<ResourceRecordSet> {
    let refuse = |e: aws_sdk_route53::error::BuildError| {
        Error::new(ErrorKind::Config, format!("record {} cannot be sent", record.key)).with_source(e)
    };
    let mut set = ResourceRecordSet::builder()
        .name(absolute(&record.key.name))
        .r#type(rr_type(record.key.kind)?)
        .set_set_identifier(record.key.set_id.clone())
        .set_weight(record.weight.map(i64::from))
        .set_health_check_id(record.health_check.clone());
    if let Some(role) = record.failover {
        set = set.failover(match role {
            FailoverRole::Primary => ResourceRecordSetFailover::Primary,
            FailoverRole::Secondary => ResourceRecordSetFailover::Secondary,
        });
    }
    if let Some(alias) = &record.alias {
        if !record.values.is_empty() {
            let text = format!("record {} is an alias and has values of its own", record.key);
            return Err(Error::new(ErrorKind::Config, text));
        }
        let target = types::AliasTarget::builder()
            .hosted_zone_id(&alias.zone)
            .dns_name(&alias.name)
            .evaluate_target_health(alias.evaluate_health);
        return set.alias_target(target.build().map_err(refuse)?).build().map_err(refuse);
    }
    set = set.ttl(i64::from(record.ttl));
    for value in &record.values {
        set = set.resource_records(ResourceRecord::builder().value(value).build().map_err(refuse)?);
    }
    set.build().map_err(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> RecordKey {
        RecordKey { zone: "Z1".into(), name: "api.veza.com.".into(), kind: RecordType::A, set_id: None }
    }

    #[test]
    fn what_a_switch_would_lose_is_refused() {
        let set = ResourceRecordSet::builder().name("api.veza.com.").r#type(RrType::A).ttl(60);
        let value = ResourceRecord::builder().value("192.0.2.1").build().unwrap();
        let plain = set.clone().resource_records(value).build().unwrap();
        assert_eq!(from_route53(&plain, &key()).unwrap(), RecordSet::new(key(), 60, vec!["192.0.2.1".into()]));
        for strange in [
            set.clone().multi_value_answer(true),
            set.clone().traffic_policy_instance_id("t-1"),
            set.clone().region(aws_sdk_route53::types::ResourceRecordSetRegion::EuWest3),
        ] {
            let e = from_route53(&strange.build().unwrap(), &key()).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Unsupported);
        }
    }

    #[test]
    fn a_name_matches_whatever_its_case_and_its_last_dot() {
        let set = ResourceRecordSet::builder().name("API.veza.com").r#type(RrType::A).build().unwrap();
        assert!(is_key(&set, &key()));
        assert!(!is_key(&set, &RecordKey { set_id: Some("x".into()), ..key() }));
        assert!(!is_name(&set, &RecordKey { kind: RecordType::Aaaa, ..key() }));
    }
}
