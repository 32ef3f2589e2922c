//! How well a component is protected, and why not better.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use veza_dr_core::{
    Verdict,
    status::{Protection, StoreStatus},
};

use super::query::ComponentQuery;

/// Clocks may differ by so much without anything being wrong.
const CLOCKS_APART: TimeDelta = TimeDelta::minutes(5);

fn delta(d: Duration) -> TimeDelta {
    TimeDelta::from_std(d).unwrap_or(TimeDelta::MAX)
}

/// Whether a store's newest backup is as young as the schedule demands. `None`: no schedule, or it cannot be told.
pub(super) fn on_schedule(query: &ComponentQuery, store: &StoreStatus, now: DateTime<Utc>) -> Option<bool> {
    let interval = query.expected_interval?;
    if store.unknown.is_some() {
        return None;
    }
    let limit = delta(interval.saturating_add(query.grace));
    // The start of the run counts, which is what the schedule sets; it is in the id.
    // Only where there is no backup at all does the time count since which there could be one.
    let last = store.last_success.as_ref().map(|s| s.id.started_at()).or(query.since);
    Some(last.is_some_and(|at| now - at <= limit && at - now <= CLOCKS_APART))
}

/// How old the newest backup may be: what the objective allows; without one, what the schedule does.
fn allowed(query: &ComponentQuery) -> Option<(Duration, &'static str)> {
    // No backup meets an objective of nothing lost: it is what replication is for, and says nothing about backups.
    let rpo = query.rpo.filter(|r| !r.0.is_zero()).map(|r| (r.0, "the recovery point objective allows"));
    rpo.or(query.expected_interval.map(|i| (i.saturating_add(query.grace), "the schedule demands")))
}

/// The verdict and the reasons for it not being better, the gravest first.
pub(super) fn judge(query: &ComponentQuery, stores: &[StoreStatus], now: DateTime<Utc>) -> (Protection, Vec<String>) {
    let mut reasons = Vec::new();
    let allowed = allowed(query);
    let mut young = 0;
    for s in stores {
        let name = &s.store;
        match (&s.unknown, &s.last_success) {
            (Some(why), _) => reasons.push(format!("{name}: cannot be asked: {why}")),
            (None, None) => reasons.push(format!("{name}: no complete backup")),
            (None, Some(last)) => {
                let age = now - last.shows;
                if -age > CLOCKS_APART {
                    let ahead = span((-age).to_std().unwrap_or_default());
                    reasons
                        .push(format!("{name}: the newest backup is {ahead} in the future: a clock was or is wrong"));
                    continue;
                }
                match allowed.filter(|(limit, _)| age > delta(*limit)) {
                    Some((limit, who)) => {
                        let (age, limit) = (span(age.to_std().unwrap_or_default()), span(limit));
                        reasons.push(format!("{name}: the newest backup is {age} old, {who} {limit}"));
                    }
                    None => young += 1,
                }
            }
        }
        let since = s.last_success.as_ref().map(|l| l.finished_at);
        if let Some(attempt) = s.last_attempt.as_ref().filter(|a| a.error.is_some() && since.is_none_or(|f| a.at > f)) {
            let why = attempt.error.as_deref().unwrap_or_default();
            reasons.push(format!("{name}: the last attempt failed: {why}"));
        }
        if let Some(proof) = s.last_proof.as_ref().filter(|p| p.verdict != Verdict::Equal) {
            let found = if proof.verdict == Verdict::Different { "found differences" } else { "could not be made" };
            reasons.push(format!("{name}: the last verification ({}) of {} {found}", proof.level, proof.backup));
        }
    }
    if stores.is_empty() {
        reasons.push("it goes to no store".to_owned());
    }
    let proven = stores.iter().any(|s| s.last_proven_restore.is_some());
    let any = stores.iter().any(|s| s.last_success.is_some());
    if any && !proven {
        reasons.push("no restore was ever proven".to_owned());
    }
    let protection = match young {
        0 if stores.iter().any(|s| s.unknown.is_some()) => Protection::Unknown,
        0 => Protection::Broken,
        _ if reasons.is_empty() => Protection::Good,
        _ => Protection::Weak,
    };
    (protection, reasons)
}

/// `3 d 4 h`, `2 h 05 min`, `45 s`.
fn span(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0..120 => format!("{s} s"),
        120..7_200 => format!("{} min", s / 60),
        7_200..172_800 => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use veza_dr_core::{
        Rpo,
        status::{Attempt, BackupSummary, ProofSummary},
    };

    use super::*;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minute)
    }

    fn store(name: &str, shows: Option<i64>) -> StoreStatus {
        let last_success = shows.map(|m| BackupSummary {
            id: format!("{}-000000", at(m).format("%Y%m%dT%H%M%SZ")).parse().unwrap(),
            shows: at(m),
            finished_at: at(m),
            took: Duration::ZERO,
            bytes: 1,
            stored_bytes: 1,
        });
        StoreStatus {
            store: name.into(),
            unknown: None,
            on_schedule: None,
            last_success,
            last_attempt: None,
            last_proof: None,
            last_proven_restore: None,
            backups: 1,
            stored_bytes: 1,
        }
    }

    fn proven(mut s: StoreStatus) -> StoreStatus {
        let backup = s.last_success.as_ref().unwrap().id.clone();
        let proof = ProofSummary { backup, level: "restore".into(), verdict: Verdict::Equal, at: at(1) };
        (s.last_proof, s.last_proven_restore) = (Some(proof.clone()), Some(proof));
        s
    }

    fn unknown(name: &str) -> StoreStatus {
        StoreStatus { unknown: Some("no answer".into()), ..store(name, None) }
    }

    fn query() -> ComponentQuery {
        ComponentQuery::new("database".parse().unwrap(), "postgres").with_rpo(Rpo(Duration::from_secs(3600)))
    }

    #[test]
    fn the_verdict_follows_the_best_store_and_doubt_never_improves_it() {
        let judged = |stores: &[StoreStatus]| judge(&query(), stores, at(100)).0;
        let (young, old) = (|n| proven(store(n, Some(50))), |n| proven(store(n, Some(30))));
        assert_eq!(judged(&[young("a"), young("b")]), Protection::Good);
        assert_eq!(judged(&[young("a"), old("b")]), Protection::Weak);
        assert_eq!(judged(&[young("a"), unknown("b")]), Protection::Weak);
        assert_eq!(judged(&[store("a", Some(50))]), Protection::Weak, "nothing was proven");
        assert_eq!(judged(&[old("a"), store("b", None)]), Protection::Broken);
        assert_eq!(judged(&[old("a"), unknown("b")]), Protection::Unknown, "b may hold a younger one");
        assert_eq!(judged(&[]), Protection::Broken);
        let future = proven(store("a", Some(5000)));
        let (protection, reasons) = judge(&query(), &[future], at(100));
        assert!(protection != Protection::Good && reasons[0].contains("in the future"), "{protection:?} {reasons:?}");
    }

    #[test]
    fn a_failed_attempt_weakens_until_a_success_follows() {
        let mut s = proven(store("a", Some(50)));
        s.last_attempt = Some(Attempt { at: at(60), took: None, error: Some("no space".into()) });
        let (protection, reasons) = judge(&query(), &[s.clone()], at(100));
        assert_eq!(protection, Protection::Weak);
        assert_eq!(reasons, ["a: the last attempt failed: no space"]);
        s.last_attempt = Some(Attempt { at: at(40), took: None, error: Some("no space".into()) });
        assert_eq!(judge(&query(), &[s], at(100)).0, Protection::Good);
    }

    #[test]
    fn lateness_counts_from_the_start_of_the_run_or_of_the_daemon() {
        let hourly = query().every(Duration::from_secs(3600), Duration::from_secs(600));
        let met = |q: &ComponentQuery, s: &StoreStatus, now| on_schedule(q, s, at(now));
        assert_eq!(met(&hourly, &store("a", Some(30)), 100), Some(true));
        assert_eq!(met(&hourly, &store("a", Some(30)), 101), Some(false));
        assert_eq!(met(&hourly, &store("a", None), 1), Some(false));
        assert_eq!(met(&hourly, &unknown("a"), 1), None);
        assert_eq!(met(&query(), &store("a", None), 1), None);
        let just_begun = ComponentQuery { since: Some(at(90)), ..hourly };
        assert_eq!(met(&just_begun, &store("a", None), 100), Some(true));
        assert_eq!(met(&just_begun, &store("a", None), 161), Some(false));
        assert_eq!(met(&just_begun, &store("a", Some(10)), 100), Some(false), "a new start makes no old backup young");
        assert_eq!(met(&just_begun, &store("a", Some(1000)), 100), Some(false), "nor does a wrong clock");
    }

    #[test]
    fn ages_are_told_in_two_units() {
        let told: Vec<String> = [45, 600, 7_500, 277_200].map(|s| span(Duration::from_secs(s))).into();
        assert_eq!(told, ["45 s", "10 min", "2 h 05 min", "3 d 5 h"]);
    }
}
