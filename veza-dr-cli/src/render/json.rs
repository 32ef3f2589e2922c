//! Results as JSON: snake_case, UTC, plain numbers.

use std::time::Duration;

use serde_json::{Value, json};
use veza_dr_backup::{BackupReport, BackupState, CatalogEntry, Proof};
use veza_dr_core::{Manifest, Report, Step};

use super::errors::error_value;
use crate::{
    Exit,
    commands::{BackupRun, Checked, Verified},
};

/// Seconds with three digits.
fn took_seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

/// One line of `list`.
pub(crate) fn entry_json(entry: &CatalogEntry) -> Value {
    let (state, why) = match &entry.state {
        BackupState::Complete(_) => ("complete", None),
        BackupState::Unfinished => ("unfinished", None),
        BackupState::Broken(why) => ("broken", Some(why)),
    };
    let manifest = entry.manifest();
    let proven = entry.proven();
    json!({
        "id": entry.id,
        "component": entry.component,
        "store": entry.store,
        "state": state,
        "problem": why,
        "started_at": entry.id.started_at(),
        "finished_at": manifest.map(|m| m.finished_at),
        "consistency_at": manifest.map(|m| m.consistency.at),
        "rows": manifest.map(Manifest::rows),
        "bytes": manifest.map_or(0, Manifest::bytes),
        "stored_bytes": manifest.map_or(0, Manifest::stored_bytes),
        "verified": proven.is_some(),
        "verified_level": proven.map(|p| p.level),
        "verified_at": proven.map(|p| p.at),
    })
}

/// `show`.
pub(crate) fn manifest_json(store: &str, manifest: &Manifest, proofs: &[Proof]) -> Value {
    let mut value = serde_json::to_value(manifest).unwrap_or_default();
    value["store"] = store.into();
    value["proofs"] = serde_json::to_value(proofs).unwrap_or_default();
    value
}

/// `backup`.
pub(crate) fn backup_json(runs: &[BackupRun]) -> Value {
    let results: Vec<Value> = runs
        .iter()
        .map(|run| match &run.result {
            Ok(report) => report_json(run, report),
            Err(e) => json!({ "component": run.component, "ok": false, "error": error_value(e, e.into()) }),
        })
        .collect();
    json!({ "results": results })
}

fn report_json(run: &BackupRun, report: &BackupReport) -> Value {
    let stores: Vec<Value> = report
        .stores
        .iter()
        .map(|s| match &s.result {
            Ok(m) => json!({
                "store": s.store, "ok": true, "bytes": m.bytes(), "stored_bytes": m.stored_bytes(),
                "added_bytes": m.added_bytes(), "objects": m.objects.len(),
            }),
            Err(e) => json!({ "store": s.store, "ok": false, "error": error_value(e, e.into()) }),
        })
        .collect();
    let swept: Vec<Value> = report.swept.iter().map(|(s, id)| json!({ "store": s, "id": id })).collect();
    json!({
        "component": run.component,
        "ok": report.is_complete(),
        "id": report.id,
        "consistency_at": report.manifest().map(|m| m.consistency.at),
        "recovery_point": report.manifest().and_then(|m| m.recovery_point.as_ref()),
        "contents": report.manifest().map(|m| m.contents.len()),
        "rows": report.manifest().map(Manifest::rows),
        "took_seconds": took_seconds(report.took),
        "skipped": report.manifest().map(|m| &m.skipped),
        "stores": stores,
        "swept": swept,
    })
}

/// `verify`.
pub(crate) fn verify_json(all: &[Verified]) -> Value {
    let results: Vec<Value> = all
        .iter()
        .map(|v| {
            let mut value = json!({ "component": v.component, "store": v.store, "id": v.id, "level": v.level });
            match &v.result {
                Ok(found) => {
                    value["verdict"] = serde_json::to_value(found.verdict()).unwrap_or_default();
                    value["equal"] = found.equal.into();
                    value["rows"] = found.rows.into();
                    value["findings"] = serde_json::to_value(&found.findings).unwrap_or_default();
                    value["took_seconds"] = took_seconds(found.took).into();
                }
                Err(e) => {
                    value["verdict"] = "unverified".into();
                    value["error"] = error_value(e, e.into());
                }
            }
            value
        })
        .collect();
    json!({ "results": results })
}

/// `check`.
pub(crate) fn check_json(file: &str, checks: &[Checked], exit: Exit) -> Value {
    let checks: Vec<Value> = checks
        .iter()
        .map(|c| {
            json!({
                "what": c.what, "name": c.name, "kind": c.kind, "location": c.location,
                "ok": c.report.is_ok(), "steps": steps_json(&c.report),
            })
        })
        .collect();
    json!({ "ok": exit == Exit::Ok, "config": file, "checks": checks })
}

/// The steps of a report.
pub(crate) fn steps_json(report: &Report) -> Value {
    let step = |s: &Step| json!({ "name": s.name, "outcome": s.outcome, "detail": s.detail, "took_seconds": took_seconds(s.took) });
    report.steps.iter().map(step).collect()
}
