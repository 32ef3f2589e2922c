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
            let stores: Vec<String> = repositories.iter().map(|r| r.name().to_owned()).collect();
            Err(nothing(component, wanted, &stores))
        }
    }
}

/// What several stores have of what is wanted.
#[derive(Debug)]
pub(crate) struct Candidates {
    /// One of each store that has it, the newest first.
    pub(crate) backups: Vec<Chosen>,
    /// Stores that could not be read.
    pub(crate) failed: Vec<(String, Error)>,
    names: Vec<String>,
}

impl Candidates {
    /// Why there is none: the first store that could not be read, or that none has it.
    pub(crate) fn nothing(self, component: &ComponentName, wanted: &Wanted) -> Error {
        let first = self.failed.into_iter().next();
        first.map_or_else(|| nothing(component, wanted, &self.names), |(_, e)| e)
    }
}

/// What each store has of what is wanted, and which could not be read: for when some have to be enough.
///
/// # Errors
/// `Cancelled` only.
pub(crate) async fn candidates(
    cx: &Cx,
    opened: Opened,
    component: &ComponentName,
    wanted: &Wanted,
) -> Result<Candidates> {
    let Opened { repositories, mut failed } = opened;
    let names = repositories.iter().map(|r| r.name().to_owned()).collect();
    let mut backups = Vec::new();
    for repository in repositories {
        let found = match wanted {
            Wanted::Backup(selector) => repository.manifest(cx, component, selector).await,
            Wanted::At(at) => at_or_before(cx, &repository, component, *at).await,
        };
        match found {
            Ok(manifest) => backups.push(Chosen { repository, manifest }),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
            Err(e) => failed.push((repository.name().to_owned(), e)),
        }
    }
    backups.sort_by_key(|c| std::cmp::Reverse(c.manifest.consistency.at));
    Ok(Candidates { backups, failed, names })
}

fn nothing(component: &ComponentName, wanted: &Wanted, stores: &[String]) -> Error {
    let stores = stores.join(", ");
    let text = match wanted {
        Wanted::Backup(Selector::Latest) => format!("no complete backup of {component} in {stores}"),
        Wanted::Backup(Selector::Id(id)) => format!("no complete backup {id} of {component} in {stores}"),
        Wanted::At(at) => {
            format!("no backup of {component} shows {} or an earlier time in {stores}", at.to_rfc3339())
        }
    };
    Error::new(ErrorKind::NotFound, text).with_help("see what is there: veza-dr list")
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
