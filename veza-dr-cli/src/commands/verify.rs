//! `veza-dr verify`: proves backups, in every store that holds them.

use veza_dr_backup::{Level, Repository, Selector, verify_objects};
use veza_dr_core::{BackupId, ComponentName, Error, ErrorKind, Manifest, Result, Verification};

use super::Session;
use crate::{
    Exit,
    args::Verify,
    render::{verify_json, verify_text},
    wiring::{Access, Wiring},
};

/// How one backup in one store fared.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) component: ComponentName,
    pub(crate) engine: &'static str,
    pub(crate) store: String,
    pub(crate) id: Option<BackupId>,
    pub(crate) level: Level,
    pub(crate) result: Result<Verification>,
}

impl Verified {
    pub(crate) fn exit(&self) -> Exit {
        match &self.result {
            Ok(found) => Exit::of_verdict(found.verdict()),
            Err(e) => e.into(),
        }
    }
}

pub(crate) async fn verify(session: &Session, args: &Verify) -> Result<Exit> {
    let wiring = session.wiring()?;
    let components = match &args.component {
        Some(component) => vec![component.clone()],
        None => wiring.components(),
    };
    let mut all = Vec::new();
    'all: for component in &components {
        for verified in of_component(session, &wiring, component, args).await? {
            let cancelled = verified.exit() == Exit::Cancelled;
            all.push(verified);
            if cancelled {
                break 'all;
            }
        }
    }
    if all.is_empty() {
        let text = "there is nothing to verify";
        return Err(Error::new(ErrorKind::NotFound, text).with_help("see what is there: veza-dr list"));
    }
    let exits: Vec<Exit> = all.iter().map(Verified::exit).collect();
    session.out.result(|| verify_json(&all), |paint| verify_text(&all, paint));
    // The worst is told: a difference must not hide behind "partial" because another backup is whole.
    let worst =
        [Exit::Cancelled, Exit::Mismatch, Exit::Corrupt, Exit::Unverified].into_iter().find(|e| exits.contains(e));
    Ok(worst.unwrap_or_else(|| Exit::of_many(&exits)))
}

async fn of_component(
    session: &Session,
    wiring: &Wiring,
    component: &ComponentName,
    args: &Verify,
) -> Result<Vec<Verified>> {
    let cx = &session.cx;
    let engine = wiring.source(component)?.engine();
    let entry = |store: String, id, result| {
        let (component, level) = (component.clone(), args.level());
        Verified { component, engine, store, id, level, result }
    };
    let opened = wiring.open(cx, Some(component), session.store(), Access::Read).await?;
    let mut all: Vec<Verified> = opened.failed.into_iter().map(|(store, e)| entry(store, None, Err(e))).collect();
    for repository in &opened.repositories {
        let store = repository.name().to_owned();
        match repository.manifest(cx, component, &args.backup).await {
            Ok(manifest) => {
                let result = one(session, wiring, repository, &manifest, args.level()).await;
                all.push(entry(store, Some(manifest.id), result));
            }
            Err(e) => all.push(entry(store, None, Err(e))),
        }
    }
    // A store that never had the named backup is no failure, as long as another one has it.
    if matches!(args.backup, Selector::Id(_)) && all.iter().any(|v| v.id.is_some()) {
        all.retain(|v| !v.result.as_ref().is_err_and(|e| v.id.is_none() && e.kind() == ErrorKind::NotFound));
    }
    Ok(all)
}

async fn one(
    session: &Session,
    wiring: &Wiring,
    repository: &Repository,
    manifest: &Manifest,
    level: Level,
) -> Result<Verification> {
    let cx = &session.cx;
    if level == Level::Objects {
        // Needs no source: a store can be proven on a machine that reaches nothing else.
        let found = verify_objects(cx, repository, manifest).await?;
        if let Err(e) = repository.record_proof(cx, manifest, level, &found).await {
            session.out.remark("the proof could not be kept beside the backup");
            session.out.warn(&e);
        }
        return Ok(found);
    }
    let target = wiring.restore_target(cx, &manifest.component).await?;
    let (found, _) = veza_dr_restore::verify(cx, repository, manifest, level, target.as_ref()).await?;
    Ok(found)
}
