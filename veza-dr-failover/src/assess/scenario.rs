//! Which of the planned disasters a state looks like, and the commands that follow from it.

use veza_dr_core::ScenarioKind;

use super::{Assessment, Condition, ServiceFinding, ServiceKind, SiteFinding, Suggestion, TtlAdvice};
use crate::site::SiteRole;

impl Assessment {
    pub(super) fn suggest(&mut self, compromised: bool, cut_off: bool) {
        let primary = self.sites.iter().find(|s| s.role != SiteRole::Standby);
        let suggestion = if compromised {
            let why = "an attack is suspected: no probe can see one, and what looks healthy may be tampered with";
            Some(Suggestion { scenario: ScenarioKind::Security, reasons: vec![why.to_owned()] })
        } else {
            primary.filter(|_| !cut_off).and_then(of_site)
        };
        let mut next = Vec::new();
        match suggestion.as_ref().map(|s| s.scenario) {
            Some(scenario @ (ScenarioKind::Security | ScenarioKind::Infrastructure)) => {
                next.push(format!("veza-dr failover plan --scenario {scenario}"));
            }
            planned => {
                next.extend(primary.into_iter().flat_map(broken).map(recover));
                if let Some(scenario) = planned {
                    next.push(format!("veza-dr failover plan --scenario {scenario}"));
                }
            }
        }
        let any = |findings: &[super::Finding]| findings.iter().any(|f| f.condition != Condition::Healthy);
        if any(&self.backups) {
            next.push("veza-dr status".to_owned());
        }
        if self.condition == Condition::Unknown || cut_off {
            next.push("veza-dr check   (and veza-dr assess from another machine)".to_owned());
        }
        (self.suggestion, self.next) = (suggestion, next);
    }

    /// First of all, as it takes as long as the old TTL to help.
    pub(super) fn advise(&mut self, ttl: Option<TtlAdvice>) {
        let primary = self.sites.iter().find(|s| s.role != SiteRole::Standby).map(|s| s.condition);
        match (ttl, primary) {
            (Some(TtlAdvice::Lower(to)), Some(Condition::Degraded | Condition::Down)) => {
                self.next.insert(0, format!("veza-dr dns switch --lower-ttl {to}"));
            }
            (Some(TtlAdvice::Restore), Some(Condition::Healthy)) => {
                self.next.push("veza-dr dns switch --restore-ttl".to_owned());
            }
            _ => {}
        }
    }
}

fn broken(site: &SiteFinding) -> impl Iterator<Item = &ServiceFinding> {
    site.services.iter().filter(|s| matches!(s.condition, Condition::Down | Condition::Degraded))
}

fn recover(service: &ServiceFinding) -> String {
    format!("veza-dr recover {}", service.alias.as_ref().unwrap_or(&service.service))
}

fn of_site(site: &SiteFinding) -> Option<Suggestion> {
    let there: Vec<&ServiceFinding> = site.services.iter().filter(|s| s.condition != Condition::Absent).collect();
    if site.reachable == Some(false) {
        let why =
            format!("nothing of site {} answers; whether it still serves others cannot be told from here", site.site);
        return Some(Suggestion { scenario: ScenarioKind::Infrastructure, reasons: vec![why] });
    }
    let down: Vec<&ServiceFinding> = there.iter().copied().filter(|s| s.condition == Condition::Down).collect();
    let of = |kind: ServiceKind| down.iter().filter(|s| s.kind == kind).map(|s| s.service.as_str()).collect::<Vec<_>>();
    let (database, backend, cache) = (of(ServiceKind::Database), of(ServiceKind::Backend), of(ServiceKind::Cache));
    let stopped = |s: &&&ServiceFinding| stopped(s);
    let suggest = |scenario, why: String| Some(Suggestion { scenario, reasons: vec![why] });
    // A service that answers badly because its database is gone still runs: only those that do not count as lost.
    let lost = down.iter().filter(stopped).count();
    let data_lost = !database.is_empty() || !cache.is_empty();
    if down.len() == there.len() && down.len() > 1 && lost == down.len() || data_lost && lost * 2 > there.len() {
        return suggest(
            ScenarioKind::Infrastructure,
            format!("{} of {} services of site {} are down, with their data", down.len(), there.len(), site.site),
        );
    }
    if !database.is_empty() {
        let why = format!("{} is down and {} others are not", database.join(", "), there.len() - down.len());
        let mut found = suggest(ScenarioKind::Database, why);
        if let (Some(found), false) = (&mut found, backend.is_empty()) {
            found.reasons.push(format!("{} run but do not work, as they need it", backend.join(", ")));
        }
        return found;
    }
    if !backend.is_empty() {
        return suggest(ScenarioKind::Backend, format!("{} down, the data services are not", backend.join(", ")));
    }
    None
}

/// Whether no probe saw it run: a container that runs, or anything that answers, is a sign of life.
fn stopped(service: &ServiceFinding) -> bool {
    service.probes.iter().all(|p| matches!(p.condition, Condition::Down | Condition::Unknown))
}
