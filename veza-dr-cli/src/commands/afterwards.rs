//! `veza-dr rollback` and `release`: what becomes of what the last restore replaced.

use serde_json::json;
use veza_dr_core::{Error, ErrorKind, Report, Result};

use super::Session;
use crate::{
    Exit,
    args::Afterwards,
    render::{error_json, steps_json, steps_text},
};

/// Asks nothing: it is undone by running it again.
pub(crate) async fn rollback(session: &Session, args: &Afterwards) -> Result<Exit> {
    let wiring = session.wiring()?;
    let target = wiring.restore_target_at(&session.cx, &args.component, args.site.as_deref()).await?;
    let report = target.rollback(&session.cx).await?;
    let site = args.site.as_ref().map(|site| format!(" --site {site}")).unwrap_or_default();
    let next = format!("veza-dr release {}{site}", args.component);
    Ok(finish(session, args, &report, &next))
}

/// Asks whoever is there, as it cannot be undone. A script's call is plain enough without.
pub(crate) async fn release(session: &Session, args: &Afterwards) -> Result<Exit> {
    let wiring = session.wiring()?;
    let target = wiring.restore_target_at(&session.cx, &args.component, args.site.as_deref()).await?;
    let question = format!("Let go of what the last restore of {} replaced? This cannot be undone.", args.component);
    if !args.yes && session.out.can_ask() && !session.out.confirm(&session.cx, &question).await? {
        let e = Error::new(ErrorKind::Config, "not confirmed: nothing was done").with_help("add --yes to go ahead");
        session.out.json_only(|| error_json(&e, Exit::NotConfirmed));
        return Ok(Exit::NotConfirmed);
    }
    let report = target.release(&session.cx).await?;
    Ok(finish(session, args, &report, "veza-dr backup"))
}

fn finish(session: &Session, args: &Afterwards, report: &Report, next: &str) -> Exit {
    let ok = report.is_ok();
    session.out.result(
        || json!({ "component": args.component, "ok": ok, "steps": steps_json(report) }),
        |paint| format!("{}next: {next}", steps_text(report, paint)),
    );
    if ok { Exit::Ok } else { Exit::Partial }
}
