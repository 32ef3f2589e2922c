//! `veza-dr status`: how well each component is protected, told from the stores.

use veza_dr_backup::status::StatusReader;
use veza_dr_core::{Clock, Error, ErrorKind, Result, SystemClock};

use super::Session;
use crate::{
    Exit,
    args::Status,
    render::{status_json, status_text},
};

pub(crate) async fn status(session: &Session, args: &Status) -> Result<Exit> {
    let wiring = session.wiring()?;
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
    session.out.result(|| status_json(&status), |paint| status_text(&status, paint));
    Ok(exit)
}
