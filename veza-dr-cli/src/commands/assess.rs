//! `veza-dr assess`: how everything is, what that looks like, and what to do.

use veza_dr_core::{Error, ErrorKind, Result};
use veza_dr_failover::assess::Condition;

use super::Session;
use crate::{
    Exit,
    args::Assess,
    render::{assess_json, assess_text},
};

pub(crate) async fn assess(session: &Session, args: &Assess) -> Result<Exit> {
    let wiring = session.wiring()?;
    let plan = wiring.assess(&session.cx, args, session.store()).await?;
    let found = plan.run(&session.cx).await;
    if session.cx.is_cancelled() {
        return Err(Error::new(ErrorKind::Cancelled, "the assessment was stopped: nothing it says can be used"));
    }
    session.out.result(|| assess_json(&found), |paint| assess_text(&found, paint));
    Ok(match found.condition {
        Condition::Healthy => Exit::Ok,
        Condition::Degraded | Condition::Down => Exit::Degraded,
        _ => Exit::Unknown,
    })
}
