//! `veza-dr show`: one backup's manifest and proofs.

use veza_dr_backup::Selector;
use veza_dr_core::{ComponentName, Error, ErrorKind, Result};

use super::Session;
use crate::{
    Exit,
    args::{Show, Wanted},
    choose::{Chosen, choose},
    render::{manifest_json, manifest_text},
    wiring::{Access, Opened, Wiring},
};

pub(crate) async fn show(session: &Session, args: &Show) -> Result<Exit> {
    let wiring = session.wiring()?;
    let chosen = find(session, &wiring, args).await?;
    let Chosen { repository, manifest } = &chosen;
    let entries = repository.list(&session.cx, &manifest.component).await?;
    let proofs = entries.into_iter().find(|e| e.id == manifest.id).map(|e| e.proofs).unwrap_or_default();
    let store = repository.name();
    session
        .out
        .result(|| manifest_json(store, manifest, &proofs), |paint| manifest_text(store, manifest, &proofs, paint));
    Ok(Exit::Ok)
}

/// An id is unique, so that it need not be said whose it is; `latest` is the newest of all components.
async fn find(session: &Session, wiring: &Wiring, args: &Show) -> Result<Chosen> {
    let wanted = Wanted::Backup(args.backup.clone());
    let mut best: Option<Chosen> = None;
    let mut failure = None;
    for component in components(session, wiring, args).await? {
        let opened = wiring.open(&session.cx, None, session.store(), Access::Read).await?;
        match choose(&session.cx, opened, &component, &wanted).await {
            Ok(found) if best.as_ref().is_none_or(|b| b.manifest.id < found.manifest.id) => best = Some(found),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::NotFound && args.component.is_none() => {}
            Err(e) => failure = failure.or(Some(e)),
        }
    }
    match (best, failure) {
        (Some(best), failure) if failure.is_none() || matches!(args.backup, Selector::Id(_)) => Ok(best),
        (_, Some(e)) => Err(e),
        _ => {
            let text = match &args.backup {
                Selector::Id(id) => format!("no store holds a complete backup {id}"),
                Selector::Latest => "no store holds a complete backup".to_owned(),
            };
            Err(Error::new(ErrorKind::NotFound, text).with_help("see what is there: veza-dr list"))
        }
    }
}

async fn components(session: &Session, wiring: &Wiring, args: &Show) -> Result<Vec<ComponentName>> {
    if let Some(component) = &args.component {
        return Ok(vec![component.clone()]);
    }
    let Opened { repositories, mut failed } = wiring.open(&session.cx, None, session.store(), Access::Read).await?;
    let mut all = Vec::new();
    for repository in &repositories {
        match repository.components(&session.cx).await {
            Ok(found) => all.extend(found),
            Err(e) => failed.push((repository.name().to_owned(), e)),
        }
    }
    all.sort();
    all.dedup();
    match failed.into_iter().next() {
        Some((_, e)) if all.is_empty() => Err(e),
        _ => Ok(all),
    }
}
