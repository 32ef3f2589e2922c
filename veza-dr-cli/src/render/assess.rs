//! `assess`, for people and as JSON.

use comfy_table::{Cell, Color};
use serde_json::{Value, json};
use veza_dr_failover::{
    assess::{Assessment, Condition, Finding},
    site::SiteRole,
};

use super::{
    Paint,
    human::{right, table},
    words::took,
};

fn word(condition: Condition) -> &'static str {
    match condition {
        Condition::Healthy => "healthy",
        Condition::Degraded => "degraded",
        Condition::Down => "DOWN",
        Condition::Absent => "not here",
        _ => "UNKNOWN",
    }
}

fn cell(condition: Condition) -> Cell {
    let cell = Cell::new(word(condition));
    match condition {
        Condition::Healthy => cell.fg(Color::Green),
        Condition::Degraded => cell.fg(Color::Yellow),
        Condition::Absent => cell,
        _ => cell.fg(Color::Red),
    }
}

fn painted(condition: Condition, paint: Paint) -> String {
    match condition {
        Condition::Healthy => paint.good(word(condition)),
        Condition::Degraded => paint.warn(word(condition)),
        _ => paint.bad(word(condition)),
    }
}

/// A table of what was looked at, then the verdict with its reasons, then what to do.
pub(crate) fn assess_text(found: &Assessment, paint: Paint) -> String {
    let mut out = table(paint, &["where", "what", "state", "took", "seen"]);
    for site in &found.sites {
        for service in &site.services {
            if service.probes.is_empty() {
                let cells = [Cell::new(&site.site), Cell::new(&service.service), cell(service.condition)];
                out.add_row(cells);
            }
            for probe in &service.probes {
                let mut cells = vec![Cell::new(&site.site), Cell::new(&service.service)];
                cells.extend(row(probe));
                out.add_row(cells);
            }
        }
    }
    for (place, findings) in [("network", &found.network), ("disk", &found.disks), ("backup", &found.backups)] {
        for finding in findings {
            let mut cells = vec![Cell::new("here"), Cell::new(place)];
            cells.extend(row(finding));
            out.add_row(cells);
        }
    }
    let mut text = out.trim_fmt();
    text.push('\n');
    for site in &found.sites {
        let role = if site.role == SiteRole::Standby { "standby" } else { "primary" };
        text.push_str(&format!("\nsite {} ({role}): {}", paint.strong(&site.site), painted(site.condition, paint)));
        if site.reachable == Some(false) {
            text.push_str(", nothing of it answers");
        }
    }
    text.push_str(&format!("\noverall: {}, after {}", painted(found.condition, paint), took(found.took)));
    for reason in &found.reasons {
        text.push_str(&format!("\n  {reason}"));
    }
    if let Some(suggestion) = &found.suggestion {
        text.push_str(&format!("\nscenario: {}", paint.strong(&suggestion.scenario.to_string())));
        for reason in &suggestion.reasons {
            text.push_str(&format!("\n  {reason}"));
        }
    }
    for (at, command) in found.next.iter().enumerate() {
        text.push_str(&format!("\n{} {command}", if at == 0 { "next:" } else { "then:" }));
    }
    text
}

fn row(finding: &Finding) -> [Cell; 3] {
    let seen = format!("{}: {}", finding.probe, finding.detail);
    [cell(finding.condition), right(took(finding.took)), Cell::new(seen)]
}

/// Durations in seconds; what is not known is `null`.
pub(crate) fn assess_json(found: &Assessment) -> Value {
    let all = |findings: &[Finding]| findings.iter().map(finding_json).collect::<Vec<_>>();
    let sites: Vec<Value> = found
        .sites
        .iter()
        .map(|site| {
            let services: Vec<Value> = site
                .services
                .iter()
                .map(|s| {
                    json!({
                        "service": s.service, "alias": s.alias, "kind": s.kind, "condition": s.condition,
                        "reasons": s.reasons, "probes": all(&s.probes),
                    })
                })
                .collect();
            json!({
                "site": site.site, "role": site.role, "reachable": site.reachable, "condition": site.condition,
                "services": services,
            })
        })
        .collect();
    json!({
        "at": found.at,
        "took_seconds": found.took.as_secs_f64(),
        "condition": found.condition,
        "reasons": found.reasons,
        "scenario": found.suggestion.as_ref().map(|s| s.scenario),
        "scenario_reasons": found.suggestion.as_ref().map(|s| &s.reasons),
        "sites": sites,
        "network": all(&found.network),
        "disks": all(&found.disks),
        "backups": all(&found.backups),
        "next": found.next,
    })
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "probe": finding.probe, "condition": finding.condition, "detail": finding.detail,
        "took_seconds": finding.took.as_secs_f64(), "reached": finding.reached,
    })
}
