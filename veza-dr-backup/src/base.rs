//! Finds the earlier backup that a new one may build on.

use std::{collections::BTreeSet, sync::Arc};

use futures::future::try_join_all;
use veza_dr_core::{BackupId, BaseBackup, ComponentName, Cx, Error, ErrorKind, Manifest, Result};

use crate::{
    repository::{Repository, Selector, refutation},
    sink::Lane,
};

/// How far back is looked for a backup that all stores have.
const CANDIDATES: usize = 8;

/// The newest backup that is complete, with every object listed in full, in each of `places`; tells each lane. `None`
/// when there is no such backup, when a verification found it, one newer than it or one that it is built on different,
/// and when it was encrypted for others than the new one: that one then stands alone.
pub(crate) async fn choose_base(
    cx: &Cx,
    component: &ComponentName,
    places: &[(&Repository, &Lane)],
) -> Result<Option<BaseBackup>> {
    let Some((first, _)) = places.first() else { return Ok(None) };
    let ids: Vec<BackupId> = match first.store().list_groups(cx, component.as_str()).await {
        Ok(names) => names.iter().filter_map(|name| name.parse().ok()).collect(),
        Err(e) => return unusable(cx, &e),
    };
    let mut ids = ids;
    ids.sort();
    for id in ids.iter().rev().take(CANDIDATES) {
        // Whatever was wrong with it may be wrong with what it was built on, or with what was built on it.
        if refuted(cx, component, places, [id]).await? {
            return Ok(None);
        }
        let whole = places.iter().map(|(repository, _)| whole(cx, repository, component, id));
        match try_join_all(whole).await {
            Ok(manifests) => {
                let lenders: BTreeSet<&BackupId> = manifests.iter().flat_map(Manifest::lenders).collect();
                if refuted(cx, component, places, lenders).await? || !same_readers(places, &manifests) {
                    return Ok(None);
                }
                let data = Arc::new(first.open(&manifests[0]));
                let base = BaseBackup { manifest: manifests[0].clone(), data };
                for ((_, lane), manifest) in places.iter().zip(manifests) {
                    lane.build_on(manifest);
                }
                return Ok(Some(base));
            }
            // An unfinished run, or one that this store missed.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => {
                cx.check("look for a base")?;
                tracing::warn!(%id, error = %e.chain(), "not built upon: it is not whole in every store");
            }
        }
    }
    Ok(None)
}

async fn whole(cx: &Cx, repository: &Repository, component: &ComponentName, id: &BackupId) -> Result<Manifest> {
    let manifest = repository.manifest(cx, component, &Selector::Id(id.clone())).await?;
    repository.check_listed(cx, &manifest).await?;
    Ok(manifest)
}

/// Whether a verification found one of these different in one of the stores. What cannot be told counts as that.
async fn refuted(
    cx: &Cx,
    component: &ComponentName,
    places: &[(&Repository, &Lane)],
    ids: impl IntoIterator<Item = &BackupId>,
) -> Result<bool> {
    for id in ids {
        for (repository, _) in places {
            match repository.proofs(cx, component, id).await {
                Ok(proofs) if refutation(&proofs).is_none() => {}
                Ok(_) => {
                    let store = repository.name();
                    tracing::warn!(%id, store, "a verification found it different: this backup stands alone");
                    return Ok(true);
                }
                Err(e) => return unusable(cx, &e).map(|_| true),
            }
        }
    }
    Ok(false)
}

/// Whether what each store has can be read by exactly those that the new backup is for. Objects that are used again keep
/// the encryption that they were stored with: none, or one for a key that is lost or that somebody else has, too.
fn same_readers(places: &[(&Repository, &Lane)], manifests: &[Manifest]) -> bool {
    places.iter().zip(manifests).all(|((repository, _), manifest)| {
        let now = repository.encryption().readers();
        let same = match &manifest.encrypted_for {
            Some(then) => *then == now,
            // Written before this was recorded.
            None => {
                !repository.encryption().is_on()
                    && !manifest.objects.iter().any(|o| o.codec.contains(&veza_dr_core::manifest::Codec::Age))
            }
        };
        if !same {
            let (id, store) = (&manifest.id, repository.name());
            tracing::info!(%id, store, "it is encrypted for others, or it cannot be told: this backup stands alone");
        }
        same
    })
}

fn unusable(cx: &Cx, e: &Error) -> Result<Option<BaseBackup>> {
    cx.check("look for a base")?;
    tracing::warn!(error = %e.chain(), "earlier backups cannot be listed; this one stands alone");
    Ok(None)
}
