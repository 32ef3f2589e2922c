//! A restore's mark on the backup it reads, which retention heeds.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use veza_dr_core::{BackupId, BackupStore, ComponentName, Cx, Error, ErrorKind, Manifest, ObjectKey, Result};

use super::delete::tombstone_key;
use crate::{
    Repository,
    repository::manifest_key,
    store::{Lease, LeaseGuard},
};

/// How long a restore that fell silent is believed to be alive.
const TTL: Duration = Duration::from_secs(120);
/// What retention is given to end what it has begun with this backup.
const PATIENCE: Duration = Duration::from_secs(3);

/// Keeps retention from deleting a backup, and what that backup has objects in, until it is released or dropped.
#[derive(Debug)]
pub struct RestoreHold {
    store: Arc<dyn BackupStore>,
    key: ObjectKey,
    guard: LeaseGuard,
}

/// Marks a backup as being read: a lease of its own in the store that it is read from, `restore-<component>-<id>-…`.
/// Any number of restores may read one backup.
///
/// # Errors
/// `NotFound` when retention took the backup away; `Denied`, `Unsupported` or `Unavailable` where the store takes no
/// lease: the backup can be restored all the same, unprotected. Take those as a warning.
pub async fn hold_for_restore(cx: &Cx, repository: &Repository, manifest: &Manifest) -> Result<RestoreHold> {
    let (component, id) = (&manifest.component, &manifest.id);
    let store = repository.store().clone();
    let name = format!("{}{id}-{:08x}", prefix(component), rand::random::<u32>());
    let key: ObjectKey = format!("locks/{name}.json").parse()?;
    let guard = Lease::acquire(cx, store.clone(), &name, TTL).await?;
    let hold = RestoreHold { store: store.clone(), key, guard };
    // Retention first announces what it deletes, then looks for marks; we the other way round. One of us sees the other.
    if store.head(cx, &tombstone_key(component, id)?).await?.is_some() {
        cx.run("wait for retention", async {
            tokio::time::sleep(PATIENCE).await;
            Ok(())
        })
        .await?;
    }
    if store.head(cx, &manifest_key(component, id)?).await?.is_some() {
        return Ok(hold);
    }
    let gone = Error::new(ErrorKind::NotFound, format!("backup {id} of {component} was deleted by retention just now"));
    if let Err(e) = hold.release(cx).await {
        tracing::debug!(error = %e.chain(), "the mark of a restore runs out by itself");
    }
    Err(gone.with_help("choose another one: veza-dr list"))
}

impl RestoreHold {
    /// Ends the mark at once.
    ///
    /// # Errors
    /// Those of the store; the mark then runs out by itself.
    pub async fn release(self, cx: &Cx) -> Result<()> {
        self.guard.release(cx).await?;
        self.store.delete(cx, &self.key).await
    }
}

fn prefix(component: &ComponentName) -> String {
    format!("restore-{component}-")
}

/// The backups of `component` that restores are reading. Marks that ran out are tidied away.
pub(super) async fn held_backups(
    cx: &Cx,
    store: &Arc<dyn BackupStore>,
    component: &ComponentName,
) -> Result<BTreeSet<BackupId>> {
    let mut held = BTreeSet::new();
    let prefix = prefix(component);
    for object in store.list(cx, "locks").await? {
        let name = object.key.file_name();
        let Some(id) = name.strip_prefix(&prefix).and_then(|rest| rest.get(..23)?.parse::<BackupId>().ok()) else {
            continue;
        };
        if Lease::is_live(cx, store.as_ref(), &object.key).await? {
            held.insert(id);
        } else if let Err(e) = store.delete(cx, &object.key).await {
            tracing::debug!(key = %object.key, error = %e.chain(), "a mark that ran out stays behind");
        }
    }
    Ok(held)
}
