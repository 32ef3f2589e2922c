//! `veza-dr list`: what the stores hold.

use veza_dr_backup::{CatalogEntry, Repository};
use veza_dr_core::{ComponentName, Cx, Result};

use super::Session;
use crate::{
    Exit,
    args::List,
    render::{entry_json, list_text},
    wiring::Access,
};

pub(crate) async fn list(session: &Session, args: &List) -> Result<Exit> {
    let wiring = session.wiring()?;
    // All stores: a component may have older backups in one that it no longer goes to.
    let opened = wiring.open(&session.cx, None, session.store(), Access::Read).await?;
    let mut failed = opened.failed;
    let mut entries = Vec::new();
    let mut readable = false;
    for repository in &opened.repositories {
        match of_store(&session.cx, repository, args.component.as_ref()).await {
            Ok(found) => {
                readable = true;
                entries.extend(found);
            }
            Err(e) => failed.push((repository.name().to_owned(), e)),
        }
    }
    if !readable {
        if let Some((_, e)) = failed.into_iter().next() {
            return Err(e);
        }
        return Ok(Exit::Ok);
    }
    entries.sort_by(|a, b| (&a.component, &a.id, &a.store).cmp(&(&b.component, &b.id, &b.store)));
    session.out.result(|| entries.iter().map(entry_json).collect(), |paint| list_text(&entries, paint));
    for (store, e) in &failed {
        session.out.remark(&format!("the list lacks store {store}"));
        session.out.warn(e);
    }
    Ok(if failed.is_empty() { Exit::Ok } else { Exit::Partial })
}

async fn of_store(cx: &Cx, repository: &Repository, component: Option<&ComponentName>) -> Result<Vec<CatalogEntry>> {
    let components = match component {
        Some(component) => vec![component.clone()],
        None => repository.components(cx).await?,
    };
    let mut entries = Vec::new();
    for component in &components {
        entries.extend(repository.list(cx, component).await?);
    }
    Ok(entries)
}
