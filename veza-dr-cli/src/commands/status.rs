//! `veza-dr status`: how well each component is protected, told from the stores; how long each scenario's recovery will
//! take; what is wrong now, and who takes care of it.

use veza_dr_backup::status::StatusReader;
use veza_dr_core::{Clock, Error, ErrorKind, Result, SystemClock};

use super::{Session, drill::rehearsed, status_readiness::readiness};
use crate::{
    Exit,
    args::Status,
    render::{
        acknowledged_text, readiness_json, readiness_text, rehearsed_json, rehearsed_text, status_json, status_text,
    },
};

pub(crate) async fn status(session: &Session, args: &Status) -> Result<Exit> {
    let wiring = session.wiring()?;
    if let Some(id) = &args.acknowledge {
        let user = || session.env.get("USER").unwrap_or_else(|| "operator".to_owned());
        let by = args.by.clone().unwrap_or_else(user);
        let done = wiring.desk(&session.cx, Vec::new()).await?.desk.acknowledge(id, &by)?;
        session.out.result(|| serde_json::json!(done), |paint| acknowledged_text(&done, paint));
        return Ok(Exit::Ok);
    }
    let components = match &args.component {
        Some(component) => vec![component.clone()],
        None => wiring.components(),
    };
    if components.is_empty() {
        return Err(Error::new(ErrorKind::Config, format!("{} names no source", wiring.loaded.file.display()))
            .with_help("add one under `sources`"));
    }
    let mut queries = Vec::new();
    for component in &components {
        queries.push(wiring.status_query(&session.cx, component, session.store(), SystemClock.now()).await?);
    }
    let status = StatusReader::new().read(&session.cx, &SystemClock, &queries).await?;
    let exit = Exit::of_protection(status.protection());
    let ready = match &args.component {
        None => Some((readiness(session, &wiring).await, rehearsed(session, &wiring).await)),
        Some(_) => None,
    };
    let json = || {
        let mut all = status_json(&status);
        if let Some((ready, drills)) = &ready {
            readiness_json(ready, &mut all);
            all["drills"] = rehearsed_json(drills);
        }
        all
    };
    session.out.result(json, |paint| match &ready {
        Some((ready, drills)) => format!(
            "{}\n{}{}",
            status_text(&status, paint),
            readiness_text(ready, status.at, paint),
            rehearsed_text(drills, paint)
        ),
        None => status_text(&status, paint),
    });
    Ok(exit)
}
