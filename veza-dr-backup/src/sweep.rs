//! Deletes what a run left that will never be published.

use chrono::{DateTime, TimeDelta, Utc};
use veza_dr_core::{BackupId, ComponentName, Cx, Error, Manifest, ObjectKey, Result};

use crate::repository::{BackupState, CatalogEntry, Repository, backup_key, manifest_key};

/// Deletes the objects of a run that will not be published; the manifest, should there be one, stays out of reach.
pub(crate) async fn discard(cx: &Cx, repository: &Repository, base: &ObjectKey) -> Result<()> {
    let store = repository.store();
    let manifest = base.join("manifest.json")?;
    if store.head(cx, &manifest).await?.is_some() {
        // The commit was acknowledged to nobody but took place: a published backup is never deleted here.
        return Ok(());
    }
    for object in store.list(cx, base.as_str()).await? {
        store.delete(cx, &object.key).await?;
    }
    Ok(())
}

/// What a store keeps of writes that began earlier than this is nobody's any more: no single object takes so long.
const ABANDONED: TimeDelta = TimeDelta::days(7);

/// Frees what the store itself keeps of writes that never ended: parts of uploads, temporary files.
pub(crate) async fn sweep_abandoned_writes(cx: &Cx, repository: &Repository, now: DateTime<Utc>) {
    match repository.store().sweep(cx, now - ABANDONED).await {
        Ok(0) => {}
        Ok(freed) => tracing::info!(store = repository.name(), freed, "abandoned writes were freed"),
        // Some S3 servers cannot list uploads; it costs room, not backups.
        Err(e) => tracing::debug!(store = repository.name(), error = %e.chain(), "abandoned writes cannot be freed"),
    }
}

/// Deletes what runs of the past left without a manifest. The lease on the component is held: no other run is alive.
pub(crate) async fn sweep_dead_runs(cx: &Cx, repository: &Repository, component: &ComponentName) -> Vec<BackupId> {
    let mut swept = Vec::new();
    let entries = match repository.list(cx, component).await {
        Ok(entries) => entries,
        Err(e) => {
            tracing::warn!(error = %e.chain(), "unfinished runs could not be looked for");
            return swept;
        }
    };
    let lent: Vec<&BackupId> = entries.iter().filter_map(CatalogEntry::manifest).flat_map(Manifest::lenders).collect();
    for entry in entries.iter().filter(|e| matches!(e.state, BackupState::Unfinished)) {
        if lent.contains(&&entry.id) {
            tracing::warn!(id = %entry.id, "not swept: it has no manifest any more, but later backups need its objects");
            continue;
        }
        let done = async {
            // Looked at again by key: a listing may lag behind on a store that is only nearly consistent.
            if repository.store().head(cx, &manifest_key(component, &entry.id)?).await?.is_some() {
                return Ok(false);
            }
            discard(cx, repository, &backup_key(component, &entry.id)?).await?;
            Ok::<_, Error>(true)
        };
        match done.await {
            Ok(true) => swept.push(entry.id.clone()),
            Ok(false) => {}
            Err(e) => tracing::warn!(id = %entry.id, error = %e.chain(), "an unfinished run could not be swept"),
        }
    }
    swept
}
