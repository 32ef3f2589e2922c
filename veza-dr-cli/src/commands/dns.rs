//! `veza-dr dns`: look, switch, take back, confirm.

use std::time::Duration;

use serde_json::json;
use veza_dr_core::{Effect, Error, ErrorKind, Result};
use veza_dr_failover::dns::{Agreement, NoJournal, Side, Switch, SwitchReport, Waited, ZoneView};

use super::{
    Session,
    session::{Go, not_confirmed},
};
use crate::{
    Exit,
    args::{Consent, Dns, DnsCommand, DnsSwitch},
    render::{dns_plan_text, dns_report_text, dns_view_text, error_json, flag_plan_text, flag_text},
    wiring::Wiring,
};

/// How often a switch that waits for its confirmation looks for it.
const LOOK: Duration = Duration::from_secs(1);

pub(crate) async fn dns(session: &Session, args: &Dns) -> Result<Exit> {
    let wiring = session.wiring()?;
    let has_records = wiring.loaded.config.dns.as_ref().is_none_or(|dns| dns.route53.is_some());
    let switch = async || wiring.dns_switch(&session.cx).await;
    match &args.command {
        DnsCommand::Show => show(session, &wiring, has_records).await,
        DnsCommand::Switch(args) => match args.by_flag(has_records) {
            Some(side) => by_flag(session, &wiring, side, &args.consent).await,
            None => change(session, &switch().await?, args).await,
        },
        DnsCommand::Rollback { force } => {
            let report = switch().await?.rollback(&session.cx, *force).await?;
            Ok(finish(session, &report, "taken back"))
        }
        DnsCommand::Confirm => confirmed(session, &switch().await?),
    }
}

/// Users led by the flag alone.
async fn by_flag(session: &Session, wiring: &Wiring, side: Side, consent: &Consent) -> Result<Exit> {
    let (cx, out) = (&session.cx, &session.out);
    let flag = wiring.flag_switch()?.ok_or_else(|| {
        let text = format!("{} names no health flag", wiring.loaded.file.display());
        Error::new(ErrorKind::Config, text).with_help("add dns.flag, and prepare the zone for it: docs/dns.md")
    })?;
    let state = flag.state(cx).await?;
    let document = || json!({ "flag": state, "to": side });
    let text = |paint| flag_plan_text(&state, side, paint);
    if consent.plan {
        out.result(|| json!({ "plan": document(), "applied": false }), text);
        return Ok(Exit::Ok);
    }
    out.show(text);
    if let Go::No(e) = session.consent(consent, "Go ahead?").await? {
        out.json_only(|| not_confirmed(&e, document()));
        return Ok(Exit::NotConfirmed);
    }
    let report = flag.lead(cx, side, 0, "by hand").await?;
    Ok(finish(session, &report, "done"))
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

/// What the provider holds, and how the flag stands, as far as there are such.
async fn show(session: &Session, wiring: &Wiring, has_records: bool) -> Result<Exit> {
    let cx = &session.cx;
    let view = match has_records {
        true => Some(wiring.dns_switch(cx).await?.show(cx).await?),
        false => None,
    };
    let flag = match wiring.flag_switch()? {
        Some(flag) => Some(flag.show(cx).await?),
        None => None,
    };
    let by_flag = flag.as_ref().map(|(_, report)| report.ensure_everywhere());
    session.out.result(
        || {
            let mut document = view.as_ref().map_or_else(|| json!({}), |view| json!(view));
            document["flag"] = json!(flag.as_ref().map(|(state, _)| state));
            if view.is_none() {
                document["answers"] = json!(flag.as_ref().map(|(_, report)| &report.records));
            }
            document
        },
        |paint| {
            let flag = flag.as_ref().map(|(state, report)| flag_text(state, report, view.is_none(), paint));
            [flag, view.as_ref().map(|view| dns_view_text(view, paint))].into_iter().flatten().collect()
        },
    );
    // Where records are changed too, they say what is right.
    Ok(match (&view, by_flag) {
        (Some(view), _) => view_exit(view),
        (None, Some(Err(e))) => Exit::from(&e),
        _ => Exit::Ok,
    })
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
    let plan = if args.force { plan.accepting_foreign() } else { plan };
    plan.ensure_known().map_err(|e| {
        let help = e.help().unwrap_or_default().to_owned();
        e.with_help(format!("{help}; or write over it: the same command with --force"))
    })?;
    let document = || json!({ "plan": plan, "sha": plan.sha(), "changes": !plan.is_empty() });
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
