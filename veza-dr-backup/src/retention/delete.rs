//! Deletes one backup so that it is whole or gone at every moment.
//!
//! First `deleting.json` is written into its folder, a copy of the manifest: from then on it can be told which objects
//! were the backup's. Then the manifest goes, and with it the backup: it is in no catalogue any more. Then the objects
//! that the manifest names, the recipe and the proofs; at the very end `deleting.json`. What else lies in the folder is
//! not ours: it stays, and so does `deleting.json`, to tell what the folder is.

use bytes::Bytes;
use futures::{StreamExt, stream};
use veza_dr_core::{
    BackupId, BackupStore, ComponentName, Condition, Cx, Error, ErrorKind, Manifest, ObjectKey, Result,
};

use super::{hold::held_backups, prune::Refused};
use crate::{
    Repository,
    repository::{TOMBSTONE, backup_key, manifest_key, parse_proof_name},
    source::read_all,
};

const TOMBSTONE_LIMIT: usize = 1 << 30;
const PARALLEL_DELETES: usize = 16;

pub(super) fn tombstone_key(component: &ComponentName, id: &BackupId) -> Result<ObjectKey> {
    Ok(backup_key(component, id)?.join(TOMBSTONE)?)
}

/// What became of a deletion.
#[derive(Debug, Default)]
pub(super) struct Deletion {
    /// The backup is gone.
    pub(super) gone: bool,
    /// A restore began to read it at the last moment: it stays.
    pub(super) held: bool,
    pub(super) freed: u64,
    pub(super) refused: Vec<Refused>,
    /// What lies in its folder and is not its own.
    pub(super) foreign: Vec<String>,
}

/// Deletes a backup. The lease on its component must be held.
pub(super) async fn delete_backup(
    cx: &Cx,
    repository: &Repository,
    component: &ComponentName,
    id: &BackupId,
) -> Result<Deletion> {
    let store = repository.store();
    let manifest = manifest_key(component, id)?;
    let tombstone = tombstone_key(component, id)?;
    let mut reader = store.get(cx, &manifest, 0).await?;
    let json = read_all(reader.as_mut(), TOMBSTONE_LIMIT, manifest.as_str()).await?;
    let read = Manifest::from_json(&json, manifest.as_str())?;
    let mut deletion = Deletion::default();
    match store.put(cx, &tombstone, Bytes::from(json), Condition::Always).await {
        Err(e) if e.kind() == ErrorKind::Denied => {
            deletion.refused.push(Refused::new(&tombstone, &e));
            return Ok(deletion);
        }
        done => done.map(drop)?,
    }
    if held_backups(cx, store, component).await?.contains(id) {
        deletion.held = true;
        store.delete(cx, &tombstone).await?;
        return Ok(deletion);
    }
    if let Err(e) = store.delete(cx, &manifest).await {
        if e.kind() != ErrorKind::Denied {
            return Err(e);
        }
        // Whole as before; the mark says nothing as long as the manifest is there.
        deletion.refused.push(Refused::new(&manifest, &e));
        if let Err(e) = store.delete(cx, &tombstone).await {
            tracing::debug!(key = %tombstone, error = %e.chain(), "a mark stays behind");
        }
        return Ok(deletion);
    }
    deletion.gone = true;
    finish(cx, repository, &read, deletion).await
}

/// Goes on with a deletion that was cut off after the manifest went.
pub(super) async fn resume(
    cx: &Cx,
    repository: &Repository,
    component: &ComponentName,
    id: &BackupId,
) -> Result<Deletion> {
    let key = tombstone_key(component, id)?;
    let mut reader = repository.store().get(cx, &key, 0).await?;
    let json = read_all(reader.as_mut(), TOMBSTONE_LIMIT, key.as_str()).await?;
    let manifest = Manifest::from_json(&json, key.as_str())?;
    if manifest.id != *id || manifest.component != *component {
        return Err(Error::new(ErrorKind::Corrupt, format!("{key} is about another backup, {}", manifest.id)));
    }
    finish(cx, repository, &manifest, Deletion { gone: true, ..Default::default() }).await
}

async fn finish(cx: &Cx, repository: &Repository, manifest: &Manifest, mut deletion: Deletion) -> Result<Deletion> {
    let store = repository.store();
    let base = backup_key(&manifest.component, &manifest.id)?;
    let (mut own, mut side) = (Vec::new(), Vec::new());
    for object in store.list(cx, base.as_str()).await? {
        let name = object.key.as_str()[base.as_str().len()..].trim_start_matches('/');
        let is_proof = name.strip_prefix("verified/").is_some_and(|proof| parse_proof_name(proof).is_some());
        if manifest.objects.iter().any(|o| o.stored_in.is_none() && o.name == name) {
            own.push(object);
        } else if name == "RECOVER.md" || is_proof {
            side.push(object);
        } else if name != TOMBSTONE {
            deletion.foreign.push(object.key.to_string());
        }
    }
    let deletes = own.into_iter().chain(side).map(|object| {
        let (cx, store) = (cx.clone(), store.clone());
        async move {
            let result = store.delete(&cx, &object.key).await;
            (object, result)
        }
    });
    let mut done = stream::iter(deletes).buffer_unordered(PARALLEL_DELETES);
    while let Some((object, result)) = done.next().await {
        match result {
            Ok(()) => deletion.freed += object.bytes,
            Err(e) if e.kind() == ErrorKind::Denied => deletion.refused.push(Refused::new(&object.key, &e)),
            Err(e) => return Err(e),
        }
    }
    deletion.refused.sort_by(|a, b| a.key.cmp(&b.key));
    if deletion.refused.is_empty() && deletion.foreign.is_empty() {
        store.delete(cx, &tombstone_key(&manifest.component, &manifest.id)?).await?;
    }
    Ok(deletion)
}

/// The backups whose deletion was begun and not ended.
pub(super) async fn half_deleted(cx: &Cx, store: &dyn BackupStore, component: &ComponentName) -> Result<Vec<BackupId>> {
    let mut found = std::collections::BTreeMap::<BackupId, (bool, bool)>::new();
    for object in store.list(cx, component.as_str()).await? {
        let mut parts = object.key.as_str().splitn(3, '/').skip(1);
        let Some(Ok(id)) = parts.next().map(str::parse::<BackupId>) else { continue };
        match parts.next() {
            Some("manifest.json") => found.entry(id).or_default().0 = true,
            Some(TOMBSTONE) => found.entry(id).or_default().1 = true,
            _ => {}
        }
    }
    Ok(found.into_iter().filter(|(_, (whole, marked))| *marked && !whole).map(|(id, _)| id).collect())
}
