//! Which backup of which store is meant.

use chrono::{DateTime, Utc};
use veza_dr_backup::{BackupState, CatalogEntry, Repository, Selector};
use veza_dr_core::{ComponentName, Cx, Error, ErrorKind, Manifest, Result};

use crate::{args::Wanted, wiring::Opened};

/// A backup and the store it is read from.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) repository: Repository,
    pub(crate) manifest: Manifest,
}

/// Finds the backup that is wanted among several stores. The newest one counts, wherever it is; of equals, the one in
/// the store that comes first.
///
/// # Errors
/// `NotFound` when no store has it. When a store cannot be read and might have a newer one, its error: an older backup
/// is never taken in silence.
pub(crate) async fn choose(cx: &Cx, opened: Opened, component: &ComponentName, wanted: &Wanted) -> Result<Chosen> {
    let exact = matches!(wanted, Wanted::Backup(Selector::Id(_)));
    let mut best: Option<Chosen> = None;
    let Opened { repositories, failed } = opened;
    let mut failure = failed.into_iter().next();
    for repository in &repositories {
        let found = match wanted {
            Wanted::Backup(selector) => repository.manifest(cx, component, selector).await,
            Wanted::At(at) => at_or_before(cx, repository, component, *at).await,
        };
        match found {
            Ok(manifest) if best.as_ref().is_none_or(|b| b.manifest.consistency.at < manifest.consistency.at) => {
                best = Some(Chosen { repository: repository.clone(), manifest });
                if exact {
                    break;
                }
            }
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => failure = failure.or(Some((repository.name().to_owned(), e))),
        }
    }
    match (best, failure) {
        (Some(best), None) => Ok(best),
        // An id means the same backup everywhere: another store's trouble does not matter.
        (Some(best), Some(_)) if exact => Ok(best),
        (None, Some((_, e))) => Err(e),
        (Some(best), Some((store, e))) => {
            let readable = best.repository.name();
            let text = format!("store {store} cannot be read and may hold a newer backup of {component}");
            Err(Error::new(e.kind(), text)
                .with_source(e)
                .with_help(format!("to use only what {readable} holds: --store {readable}")))
        }
        (None, None) => {
            let stores: Vec<&str> = repositories.iter().map(Repository::name).collect();
            let text = match wanted {
                Wanted::Backup(Selector::Latest) => {
                    format!("no complete backup of {component} in {}", stores.join(", "))
                }
                Wanted::Backup(Selector::Id(id)) => {
                    format!("no complete backup {id} of {component} in {}", stores.join(", "))
                }
                Wanted::At(at) => {
                    format!(
                        "no backup of {component} shows {} or an earlier time in {}",
                        at.to_rfc3339(),
                        stores.join(", ")
                    )
                }
            };
            Err(Error::new(ErrorKind::NotFound, text).with_help("see what is there: veza-dr list"))
        }
    }
}

async fn at_or_before(
    cx: &Cx,
    repository: &Repository,
    component: &ComponentName,
    at: DateTime<Utc>,
) -> Result<Manifest> {
    let shows = |entry: &CatalogEntry| match &entry.state {
        BackupState::Complete(manifest) => Some(manifest.consistency.at),
        // One that cannot be read counts as a candidate, to be refused by name rather than passed over.
        BackupState::Broken(_) => Some(entry.id.started_at()),
        _ => None,
    };
    let entries = repository.list(cx, component).await?;
    let newest = entries.into_iter().filter(|e| shows(e).is_some_and(|t| t <= at)).max_by_key(|e| shows(e));
    match newest.map(|e| (e.id, e.state)) {
        Some((_, BackupState::Complete(manifest))) => Ok(*manifest),
        Some((id, BackupState::Broken(why))) => {
            let text = format!("backup {id} is the one that shows that time, and its manifest cannot be read");
            Err(Error::new(ErrorKind::Corrupt, text).with_source(why).with_help("name another one: --backup ID"))
        }
        _ => Err(Error::new(ErrorKind::NotFound, "no such backup")),
    }
}
