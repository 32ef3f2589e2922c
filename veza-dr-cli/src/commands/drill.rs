//! `veza-dr drill`: recoveries rehearsed, and what became of them.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use serde_json::json;
use veza_dr_core::{BackupId, Error, ErrorKind, Result, ScenarioKind, lease::Holder};
use veza_dr_failover::drill::{
    CleanUpState, DrillLock, DrillOutcome, DrillRecord, Reaped, Unseen, last_proven, list, lock, reap,
};

use super::{
    Session,
    report::{copied, write_report},
};
use crate::{
    Exit,
    args::{Drill, DrillCommand, DrillRun, WhichDrill},
    render::{DrillLines, drill_text, drills_json, drills_text, reaped_json, reaped_text},
    wiring::Wiring,
    wiring_drill::{DrillAsk, DrillStores},
};

pub(crate) async fn drill(session: &Session, args: &Drill) -> Result<Exit> {
    let wiring = Arc::new(session.wiring()?);
    match &args.command {
        DrillCommand::Run(args) => run(session, &wiring, args).await,
        DrillCommand::List { scenario } => shown(session, &wiring, scenario.map(Into::into)).await,
        DrillCommand::Report { drill, format, place } => {
            let record = found(session, &wiring, drill).await?;
            match format {
                Some(format) => {
                    write_report(session, &wiring.drill_report(&record)?, *format, place)?;
                    Ok(exit_of(&record))
                }
                None if place.output.is_some() => {
                    let e = Error::new(ErrorKind::Config, "--output is for a report: its form is not given");
                    Err(e.with_help("add --format html, md or json"))
                }
                None => Ok(told(session, &record, None)),
            }
        }
        DrillCommand::Clean { force } => clean(session, &wiring, *force).await,
    }
}

async fn run(session: &Session, wiring: &Arc<Wiring>, args: &DrillRun) -> Result<Exit> {
    let (cx, out) = (&session.cx, &session.out);
    let stores = opened(session, wiring).await?;
    let lock = lock(&wiring.drill_state()?)?;
    for found in reaped(session, wiring, &lock, &stores, false).await? {
        out.show(|paint| reaped_text(&found, paint));
    }
    let user = session.env.get("USER").unwrap_or_else(|| "operator".to_owned());
    let ask = DrillAsk {
        scenario: args.scenario.map(Into::into),
        at: args.at,
        control: args.negative_control,
        cold: args.cold_start,
        compose: args.compose.clone(),
        by: format!("{user}@{}", Holder::this_process("").host),
        store: session.store().map(str::to_owned),
    };
    let mut ready = match wiring.drill(cx, &ask, &stores.stores).await {
        // A plan that no failover would run: refused by the same number.
        Err(e) if e.kind() == ErrorKind::Conflict && e.context().any(|(key, _)| key == "rule") => {
            out.error(&e, Exit::Unsafe);
            return Ok(Exit::Unsafe);
        }
        ready => ready?,
    };
    for remark in &ready.remarks {
        out.warn(remark);
    }
    if !session.global.quiet {
        ready.drill.watcher = Arc::new(DrillLines(out.stderr()));
    }
    let record = ready.run(cx, &lock, &stores.stores).await?;
    // The record is in the stores: that its page cannot be written is told, and changes nothing about it.
    let page = match wiring.keep_drill_report(&record) {
        Ok(page) => Some(page),
        Err(e) => {
            out.warn(&e);
            None
        }
    };
    copied(session, wiring).await;
    Ok(told(session, &record, page.as_deref()))
}

async fn opened(session: &Session, wiring: &Wiring) -> Result<DrillStores> {
    let stores = wiring.drill_stores(&session.cx, session.store()).await?;
    for e in &stores.failed {
        session.out.warn(e);
    }
    Ok(stores)
}

async fn reaped(
    session: &Session,
    wiring: &Wiring,
    lock: &DrillLock,
    stores: &DrillStores,
    force: bool,
) -> Result<Vec<Reaped>> {
    reap(&session.cx, lock, &wiring.drill_state()?, &stores.stores, force).await
}

fn told(session: &Session, record: &DrillRecord, page: Option<&Path>) -> Exit {
    session.out.result(
        || {
            let mut document = json!(record);
            if let Some(page) = page {
                document["report"] = json!(page);
            }
            document
        },
        |paint| match page {
            Some(page) => format!("{}report: {}\n", drill_text(record, paint), page.display()),
            None => drill_text(record, paint),
        },
    );
    exit_of(record)
}

fn exit_of(record: &DrillRecord) -> Exit {
    match record.outcome {
        DrillOutcome::ProductionChanged => Exit::ProductionChanged,
        DrillOutcome::ControlMissed => Exit::ControlMissed,
        DrillOutcome::Failed => Exit::DrillFailed,
        _ if record.cleanup.state != CleanUpState::Cleaned => Exit::CleanupIncomplete,
        DrillOutcome::Unproven => Exit::Unverified,
        DrillOutcome::TargetMissed => Exit::TargetMissed,
        DrillOutcome::Interrupted => Exit::Cancelled,
        DrillOutcome::Passed => Exit::Ok,
        _ => Exit::Unexpected,
    }
}

/// A scenario, and what is known of its rehearsals.
#[derive(Debug)]
pub(crate) struct Rehearsed {
    pub(crate) scenario: ScenarioKind,
    pub(crate) last: Option<DrillRecord>,
    pub(crate) last_passed: Option<DrillRecord>,
    /// Why more may have been made than is known.
    pub(crate) unknown: Option<String>,
}

/// Each scenario that needs a component, with its last drill and the last that passed. That no store answers makes it
/// unknown, and keeps nobody from the rest of a status.
pub(crate) async fn rehearsed(session: &Session, wiring: &Wiring) -> Vec<Rehearsed> {
    let (records, unknown) = match known(session, wiring).await {
        Ok((records, unreadable)) => (records, unreadable.first().map(|u| format!("{}: {}", u.what, u.why))),
        Err(e) => (Vec::new(), Some(e.chain())),
    };
    let scenarios = wiring.scenarios().into_iter().filter(|s| !s.needs.is_empty());
    scenarios
        .map(|s| Rehearsed {
            scenario: s.kind,
            last: records.iter().rev().find(|r| r.scenario == s.kind).cloned(),
            last_passed: last_proven(&records, s.kind).map(|(record, _)| record.clone()),
            unknown: unknown.clone(),
        })
        .collect()
}

/// Every drill that any store knows, oldest first; and what could not be read.
async fn known(session: &Session, wiring: &Wiring) -> Result<(Vec<DrillRecord>, Vec<Unseen>)> {
    let stores = opened(session, wiring).await?;
    let (mut all, mut unreadable) = (BTreeMap::<BackupId, DrillRecord>::new(), Vec::new());
    for e in &stores.failed {
        unreadable.push(Unseen { what: "a store".to_owned(), why: e.chain() });
    }
    for store in &stores.stores {
        let name = &store.info().name;
        match list(&session.cx, store.as_ref()).await {
            Ok(found) => {
                all.extend(found.records.into_iter().map(|r| (r.id.clone(), r)));
                let named = found.unreadable.into_iter();
                unreadable.extend(named.map(|u| Unseen { what: format!("{} in store {name}", u.what), why: u.why }));
            }
            Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
            Err(e) => unreadable.push(Unseen { what: format!("store {name}"), why: e.chain() }),
        }
    }
    Ok((all.into_values().collect(), unreadable))
}

async fn shown(session: &Session, wiring: &Wiring, scenario: Option<ScenarioKind>) -> Result<Exit> {
    let (mut records, unreadable) = known(session, wiring).await?;
    records.retain(|r| scenario.is_none_or(|s| r.scenario == s));
    session.out.result(|| drills_json(&records, &unreadable), |paint| drills_text(&records, &unreadable, paint));
    Ok(if unreadable.is_empty() { Exit::Ok } else { Exit::Partial })
}

async fn found(session: &Session, wiring: &Wiring, which: &WhichDrill) -> Result<DrillRecord> {
    let (mut records, unreadable) = known(session, wiring).await?;
    let found = match which {
        WhichDrill::Latest => records.pop(),
        WhichDrill::Id(id) => records.into_iter().find(|r| r.id == *id),
    };
    let Some(record) = found else {
        let what = match which {
            WhichDrill::Latest => "no store has a record of a drill".to_owned(),
            WhichDrill::Id(id) => format!("no store has a record of drill {id}"),
        };
        let e = Error::new(ErrorKind::NotFound, what);
        return Err(match unreadable.first() {
            Some(u) => e.with_source(format!("{}: {}", u.what, u.why)),
            None => e.with_help("see what is there: veza-dr drill list; make one: veza-dr drill run"),
        });
    };
    Ok(record)
}

async fn clean(session: &Session, wiring: &Wiring, force: bool) -> Result<Exit> {
    let stores = opened(session, wiring).await?;
    let lock = lock(&wiring.drill_state()?)?;
    let all = reaped(session, wiring, &lock, &stores, force).await?;
    session.out.result(
        || reaped_json(&all),
        |paint| match all.as_slice() {
            [] => "nothing is left of any drill".to_owned(),
            all => all.iter().map(|r| reaped_text(r, paint)).collect(),
        },
    );
    let whole = |r: &Reaped| r.problem.is_none() && r.cleanup.state == CleanUpState::Cleaned;
    Ok(if all.iter().all(whole) { Exit::Ok } else { Exit::CleanupIncomplete })
}
