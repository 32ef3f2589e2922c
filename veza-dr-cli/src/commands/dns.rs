//! `veza-dr dns`: look, switch, take back, confirm.

use std::time::Duration;

use serde_json::json;
use veza_dr_core::{Effect, Result};
use veza_dr_failover::dns::{Agreement, NoJournal, Switch, SwitchReport, Waited, ZoneView};

use super::{
    Session,
    session::{Go, not_confirmed},
};
use crate::{
    Exit,
    args::{Dns, DnsCommand, DnsSwitch},
    render::{dns_plan_text, dns_report_text, dns_view_text, error_json},
};

/// How often a switch that waits for its confirmation looks for it.
const LOOK: Duration = Duration::from_secs(1);

pub(crate) async fn dns(session: &Session, args: &Dns) -> Result<Exit> {
    let switch = session.wiring()?.dns_switch(&session.cx).await?;
    match &args.command {
        DnsCommand::Show => show(session, &switch).await,
        DnsCommand::Switch(args) => change(session, &switch, args).await,
        DnsCommand::Rollback { force } => {
            let report = switch.rollback(&session.cx, *force).await?;
            Ok(finish(session, &report, "taken back"))
        }
        DnsCommand::Confirm => confirmed(session, &switch),
    }
}

/// The last switch stays.
pub(super) async fn confirm(session: &Session) -> Result<Exit> {
    let switch = session.wiring()?.dns_switch(&session.cx).await?;
    confirmed(session, &switch)
}

fn confirmed(session: &Session, switch: &Switch) -> Result<Exit> {
    let saved = switch.confirm()?;
    session.out.result(
        || json!({ "confirmed": saved }),
        |_| format!("The switch stays: {}.\nnext: veza-dr dns show", saved.goal),
    );
    Ok(Exit::Ok)
}

async fn show(session: &Session, switch: &Switch) -> Result<Exit> {
    let view = switch.show(&session.cx).await?;
    session.out.result(|| json!(view), |paint| dns_view_text(&view, paint));
    Ok(view_exit(&view))
}

fn view_exit(view: &ZoneView) -> Exit {
    let answers = || view.records.iter().filter_map(|r| r.answers.as_ref());
    let stale = |a: Agreement| matches!(a, Agreement::Before | Agreement::Other);
    let unread = view.records.iter().any(|r| r.problem.is_some());
    let lost = answers().any(|a| a.problem.is_some() || a.servers.iter().any(|s| s.agreement == Agreement::NoAnswer));
    if view.overdue {
        Exit::NeedsHuman
    } else if answers().any(|a| a.servers.iter().any(|s| stale(s.agreement))) {
        Exit::Mismatch
    } else if unread || lost {
        Exit::Unverified
    } else {
        // A resolver that still has the old answer is as it must be until that runs out.
        Exit::Ok
    }
}

async fn change(session: &Session, switch: &Switch, args: &DnsSwitch) -> Result<Exit> {
    let (cx, out) = (&session.cx, &session.out);
    let plan = switch.plan(cx, args.goal()).await?;
    let document = || json!({ "plan": plan, "sha": plan.sha(), "changes": !plan.is_empty() });
    if args.consent.plan {
        out.result(|| json!({ "plan": document(), "applied": false }), |paint| dns_plan_text(&plan, paint));
        return Ok(Exit::Ok);
    }
    out.show(|paint| dns_plan_text(&plan, paint));
    if !plan.is_empty()
        && let Go::No(e) = session.consent(&args.consent, "Go ahead?").await?
    {
        out.json_only(|| not_confirmed(&e, document()));
        return Ok(Exit::NotConfirmed);
    }
    let report = switch.apply(cx, &plan, &NoJournal, args.confirm_within).await?;
    let (Some(id), Some(by)) = (&report.id, report.confirm_by) else {
        return Ok(finish(session, &report, "done"));
    };
    out.show(|paint| dns_report_text(&report, paint));
    out.remark(&format!("Waiting until {by} for veza-dr dns confirm; then it is taken back."));
    match switch.wait_confirmed(cx, id, LOOK).await? {
        Waited::Confirmed => Ok(finish(session, &report, "confirmed")),
        Waited::TakenBack => {
            out.result(
                || json!({ "outcome": "taken_back", "report": report }),
                |_| "Somebody took it back.".to_owned(),
            );
            Ok(Exit::Conflict)
        }
        Waited::Reverted(back) => {
            finish(session, &back, "not confirmed in time: taken back");
            Ok(Exit::NotConfirmed)
        }
        _ => Ok(Exit::Unexpected),
    }
}

/// Prints the report, and ends by whether every name server follows.
fn finish(session: &Session, report: &SwitchReport, outcome: &str) -> Exit {
    let proof = report.ensure_everywhere();
    let exit = proof.as_ref().map_or_else(Exit::from, |()| Exit::Ok);
    session.out.result(
        || {
            let mut value = json!({ "outcome": outcome, "applied": report.changed, "report": report });
            if let Err(e) = &proof {
                value["error"] = error_json(e, exit)["error"].clone();
            }
            value
        },
        |paint| format!("{}\n{outcome}", dns_report_text(report, paint)),
    );
    if let Err(e) = proof {
        // That the change took place is what the report says already.
        session.out.warn(&e.with_effect(Effect::None));
    }
    exit
}
