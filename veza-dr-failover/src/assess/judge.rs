//! From what probes said to what is the case.

use super::{Assessment, Condition, Finding, ServiceFinding, ServiceUnit, SiteFinding, SiteUnit};
use crate::site::SiteRole;

/// Whether this machine itself sees nothing of the world: every way out is silent.
pub(super) fn is_cut_off(network: &[Finding]) -> bool {
    !network.is_empty() && network.iter().all(|f| f.condition == Condition::Down && f.reached == Some(false))
}

pub(super) fn site(unit: &SiteUnit, services: Vec<(&ServiceUnit, Vec<Finding>)>, cut_off: bool) -> SiteFinding {
    let asked: Vec<&Finding> = services.iter().flat_map(|(_, probes)| probes).collect();
    // An error says nothing of the site's network, except that the container engine of another machine was asked in
    // vain: only answers and silence count.
    let answers = asked.iter().any(|f| f.reached == Some(true) || f.condition == Condition::Absent);
    let silent = asked.iter().any(|f| f.reached == Some(false));
    let reachable = match (answers, silent) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    };
    let services: Vec<ServiceFinding> =
        services.into_iter().map(|(unit, probes)| service(unit, probes, reachable, cut_off)).collect();
    let condition = match unit.role {
        SiteRole::Standby => standby(reachable, &services),
        _ => worst(services.iter().map(|s| s.condition)).unwrap_or(Condition::Unknown),
    };
    SiteFinding { site: unit.site.clone(), role: unit.role, reachable, condition, services }
}

/// A standby may wait with everything stopped: down is what it is until it is needed. It must be reachable.
fn standby(reachable: Option<bool>, services: &[ServiceFinding]) -> Condition {
    if reachable != Some(true) {
        return Condition::Unknown;
    }
    let awake = services.iter().map(|s| s.condition).filter(|c| *c != Condition::Down);
    worst(awake).unwrap_or(Condition::Healthy)
}

fn service(unit: &ServiceUnit, mut probes: Vec<Finding>, reachable: Option<bool>, cut_off: bool) -> ServiceFinding {
    let mut reasons = Vec::new();
    for probe in &mut probes {
        if probe.condition == Condition::Down && probe.reached == Some(false) && reachable != Some(true) {
            probe.condition = Condition::Unknown;
            let why = if cut_off { "this machine is cut off" } else { "nothing of the site answers" };
            probe.detail.push_str(&format!("; {why}, so it may be there all the same"));
        }
        if !matches!(probe.condition, Condition::Healthy | Condition::Absent) {
            reasons.push(format!("{}: {}", probe.probe, probe.detail));
        }
    }
    let absent = !probes.is_empty() && probes.iter().any(|p| p.condition == Condition::Absent);
    let others = worst(probes.iter().map(|p| p.condition).filter(|c| *c != Condition::Absent));
    let condition = match others {
        // The engine says that the site has no such service, and nothing answers in its place.
        None | Some(Condition::Down) if absent => Condition::Absent,
        Some(condition) => condition,
        None => {
            reasons.push("it has no probe".to_owned());
            Condition::Unknown
        }
    };
    ServiceFinding {
        service: unit.service.clone(),
        alias: unit.alias.clone(),
        kind: unit.kind,
        condition,
        reasons,
        probes,
    }
}

/// Down before unknown before degraded: what is known to be broken is not made less so by what is not known.
fn worst(conditions: impl Iterator<Item = Condition>) -> Option<Condition> {
    conditions.filter(|c| *c != Condition::Absent).max_by_key(|c| rank(*c))
}

fn rank(condition: Condition) -> u8 {
    match condition {
        Condition::Healthy | Condition::Absent => 0,
        Condition::Degraded => 1,
        Condition::Unknown => 2,
        Condition::Down => 3,
    }
}

pub(super) fn overall(found: &mut Assessment, cut_off: bool) {
    let mut conditions = Vec::new();
    for site in &found.sites {
        if site.role == SiteRole::Standby {
            if site.condition != Condition::Healthy {
                found.reasons.push(format!("standby site {}: {}", site.site, standby_reason(site)));
                // No service of users is hurt by it; only what could help is.
                conditions.push(Condition::Degraded);
            }
            continue;
        }
        conditions.push(site.condition);
        for service in site.services.iter().filter(|s| s.condition != Condition::Healthy) {
            let reasons = service.reasons.join("; ");
            if service.condition != Condition::Absent {
                found.reasons.push(format!("{} on {}: {reasons}", service.service, site.site));
            }
        }
    }
    for (what, findings) in [("network", &found.network), ("disk", &found.disks), ("backup", &found.backups)] {
        conditions.extend(findings.iter().map(|f| f.condition).filter(|c| *c == Condition::Healthy));
        for finding in findings.iter().filter(|f| f.condition != Condition::Healthy) {
            // They are not what users are served by: the worst they can make of it is degraded, or unknown.
            conditions.push(match finding.condition {
                Condition::Unknown | Condition::Absent => Condition::Unknown,
                _ => Condition::Degraded,
            });
            found.reasons.push(format!("{what}: {}: {}", finding.probe, finding.detail));
        }
    }
    if cut_off {
        found.reasons.insert(0, "this machine sees nothing of the network: assess from another one too".to_owned());
    }
    found.condition = worst(conditions.into_iter()).unwrap_or(Condition::Unknown);
}

fn standby_reason(site: &SiteFinding) -> String {
    if site.reachable != Some(true) {
        return "nothing of it answers, so nothing could fail over to it".to_owned();
    }
    let bad = site.services.iter().filter(|s| matches!(s.condition, Condition::Degraded | Condition::Unknown));
    let lines: Vec<String> = bad.map(|s| format!("{}: {}", s.service, s.reasons.join("; "))).collect();
    lines.join("; ")
}
