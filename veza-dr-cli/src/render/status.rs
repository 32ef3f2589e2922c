//! `status`, for people and as JSON.

use std::time::Duration;

use chrono::{DateTime, Utc};
use comfy_table::{Cell, Color};
use serde_json::{Value, json};
use veza_dr_core::status::{ComponentStatus, Protection, Status, StoreStatus};

use super::{
    Paint,
    human::{right, table},
    words::{bytes, local, span},
};

fn word(protection: Protection) -> &'static str {
    match protection {
        Protection::Good => "good",
        Protection::Weak => "weak",
        Protection::Broken => "BROKEN",
        Protection::Unknown => "UNKNOWN",
    }
}

fn painted(protection: Protection, paint: Paint) -> String {
    match protection {
        Protection::Good => paint.good(word(protection)),
        Protection::Weak => paint.warn(word(protection)),
        Protection::Broken | Protection::Unknown => paint.bad(word(protection)),
    }
}

fn age(at: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (now - at).to_std().unwrap_or_default()
}

/// A table of components and stores, then what is amiss, then what to do.
pub(crate) fn status_text(status: &Status, paint: Paint) -> String {
    let heads = ["component", "store", "age", "allowed", "size", "backups", "restore proven", "next backup"];
    let mut out = table(paint, &heads);
    for c in &status.components {
        for s in &c.stores {
            out.add_row(row(c, s, status.at));
        }
    }
    let mut text = out.trim_fmt();
    text.push('\n');
    for c in &status.components {
        text.push_str(&format!("\n{}: {}", paint.strong(c.component.as_str()), painted(c.protection, paint)));
        if c.running {
            text.push_str(", being backed up now");
        }
        for reason in &c.reasons {
            text.push_str(&format!("\n  {reason}"));
        }
    }
    let has = |p: Protection| status.components.iter().any(|c| c.protection == p);
    let unproven = |c: &ComponentStatus| c.reasons.iter().any(|r| r == "no restore was ever proven");
    if has(Protection::Unknown) || has(Protection::Broken) {
        text.push_str("\nnext: veza-dr check   (then veza-dr backup)");
    } else if status.components.iter().any(unproven) {
        text.push_str("\nnext: veza-dr verify --level restore");
    }
    text
}

fn row(c: &ComponentStatus, s: &StoreStatus, now: DateTime<Utc>) -> Vec<Cell> {
    let allowed = c.rpo.map(|r| r.0).or(c.expected_interval);
    let mut cells = vec![Cell::new(&c.component), Cell::new(&s.store)];
    cells.push(match (&s.unknown, &s.last_success) {
        (Some(_), _) => Cell::new("unknown").fg(Color::Red),
        (None, None) => Cell::new("none").fg(Color::Red),
        (None, Some(last)) => {
            let age = age(last.shows, now);
            let late = match c.rpo {
                Some(rpo) => age > rpo.0,
                None => s.on_schedule == Some(false),
            };
            right(span(age)).fg(if late { Color::Red } else { Color::Green })
        }
    });
    cells.push(right(allowed.map_or_else(|| "-".to_owned(), span)));
    let known = s.unknown.is_none();
    cells.push(right(if known { bytes(s.stored_bytes) } else { "-".to_owned() }));
    cells.push(right(if known { s.backups.to_string() } else { "-".to_owned() }));
    cells.push(match &s.last_proven_restore {
        Some(proof) => Cell::new(format!("{} ago", span(age(proof.at, now)))).fg(Color::Green),
        None => Cell::new(if known { "never" } else { "-" }).fg(Color::Yellow),
    });
    cells.push(Cell::new(c.next_run.map_or_else(|| "-".to_owned(), local)));
    cells
}

fn seconds(d: Duration) -> f64 {
    (d.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Durations in seconds; what is not known is `null`.
pub(crate) fn status_json(status: &Status) -> Value {
    let components: Vec<Value> = status.components.iter().map(|c| component_json(c, status.at)).collect();
    json!({ "at": status.at, "protection": status.protection(), "components": components })
}

fn component_json(c: &ComponentStatus, now: DateTime<Utc>) -> Value {
    json!({
        "component": c.component,
        "engine": c.engine,
        "protection": c.protection,
        "reasons": c.reasons,
        "rpo_seconds": c.rpo.map(|r| seconds(r.0)),
        "age_seconds": c.newest().map(|b| seconds(age(b.shows, now))),
        "on_schedule": c.on_schedule,
        "expected_interval_seconds": c.expected_interval.map(seconds),
        "next_run": c.next_run,
        "running": c.running,
        "stores": c.stores.iter().map(|s| store_json(s, now)).collect::<Vec<_>>(),
    })
}

fn store_json(s: &StoreStatus, now: DateTime<Utc>) -> Value {
    let known = s.unknown.is_none();
    json!({
        "store": s.store,
        "unknown": s.unknown,
        "on_schedule": s.on_schedule,
        "last_success": s.last_success.as_ref().map(|b| json!({
            "id": b.id, "shows": b.shows, "finished_at": b.finished_at, "age_seconds": seconds(age(b.shows, now)),
            "took_seconds": seconds(b.took), "bytes": b.bytes, "stored_bytes": b.stored_bytes,
        })),
        "last_attempt": s.last_attempt.as_ref().map(|a| json!({
            "at": a.at, "ok": a.error.is_none(), "error": a.error, "took_seconds": a.took.map(seconds),
        })),
        "last_proof": s.last_proof,
        "last_proven_restore": s.last_proven_restore,
        // A store that cannot be asked is not an empty one.
        "backups": known.then_some(s.backups),
        "stored_bytes": known.then_some(s.stored_bytes),
    })
}
