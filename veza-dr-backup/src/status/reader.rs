//! Asks every store, and remembers what cannot change.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt, TryStreamExt};
use veza_dr_core::{
    BackupId, Clock, ComponentName, Cx, Error, ErrorKind, Manifest, Result,
    status::{Attempt, BackupSummary, ComponentStatus, ProofSummary, Status, StoreStatus},
};

use super::{
    attempt::{AttemptRecord, read_attempt},
    query::ComponentQuery,
    verdict::{judge, on_schedule},
};
use crate::{
    Level, Repository,
    repository::{Listed, Proof, refutation},
    store::Lease,
};

const PARALLEL_READS: usize = 16;
/// A store that does not answer within this time is unknown: the others must not wait for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a manifest says that never changes.
#[derive(Debug, Clone)]
enum Known {
    Whole(BackupSummary),
    Broken(String),
}

type Cache = HashMap<(String, ComponentName), BTreeMap<BackupId, Known>>;

/// Reads the status of components. Keeps what manifests said, which are written once, so that looking again costs one
/// listing for each component and store.
#[derive(Debug, Default)]
pub struct StatusReader {
    cache: Mutex<Cache>,
}

/// What one store was found to hold.
struct Found {
    status: StoreStatus,
    record: Option<AttemptRecord>,
    broken: Option<String>,
    running: bool,
}

impl StatusReader {
    /// Remembers nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at every store of every component. A store that does not answer is unknown, and never an error.
    ///
    /// # Errors
    /// `Cancelled` alone.
    pub async fn read(&self, cx: &Cx, clock: &dyn Clock, queries: &[ComponentQuery]) -> Result<Status> {
        let components = futures::future::join_all(queries.iter().map(|q| self.component(cx, clock, q))).await;
        cx.check("status")?;
        Ok(Status { at: clock.now(), components })
    }

    async fn component(&self, cx: &Cx, clock: &dyn Clock, query: &ComponentQuery) -> ComponentStatus {
        let found = query.repositories.iter().map(|repository| async move {
            let looked = async {
                tokio::time::timeout(PATIENCE, self.store(cx, repository, &query.component)).await.unwrap_or_else(
                    |_| {
                        let text = format!("no answer within {} s", PATIENCE.as_secs());
                        Err(Error::new(ErrorKind::Unavailable, text))
                    },
                )
            };
            looked.await.unwrap_or_else(|e| unknown(repository.name(), &e))
        });
        let mut found = futures::future::join_all(found).await;
        found.extend(query.unopened.iter().map(|(store, e)| unknown(store, e)));
        // In the order of their names, wherever they came from.
        found.sort_by(|a, b| a.status.store.cmp(&b.status.store));
        let records: Vec<&AttemptRecord> = found.iter().filter_map(|f| f.record.as_ref()).collect();
        let attempts: Vec<Option<Attempt>> = found
            .iter()
            .map(|f| records.iter().filter_map(|r| r.in_store(&f.status.store)).max_by_key(|a| a.at))
            .collect();
        let now = clock.now();
        let running = query.running || found.iter().any(|f| f.running);
        let mut broken = Vec::new();
        let mut stores = Vec::new();
        for (mut one, attempt) in found.into_iter().zip(attempts) {
            one.status.last_attempt = attempt;
            one.status.on_schedule = on_schedule(query, &one.status, now);
            broken.extend(one.broken.map(|why| format!("{}: {why}", one.status.store)));
            stores.push(one.status);
        }
        let (protection, mut reasons) = judge(query, &stores, now);
        reasons.extend(broken);
        let known: Option<Vec<bool>> = stores.iter().map(|s| s.on_schedule).collect();
        ComponentStatus {
            component: query.component.clone(),
            engine: query.engine.clone(),
            protection,
            reasons,
            rpo: query.rpo,
            on_schedule: match known {
                Some(all) if !all.is_empty() => Some(all.iter().all(|met| *met)),
                // One that is late decides, whatever the unknown ones would say.
                _ => stores.iter().any(|s| s.on_schedule == Some(false)).then_some(false),
            },
            expected_interval: query.expected_interval,
            next_run: query.next_run,
            running,
            stores,
        }
    }

    async fn store(&self, cx: &Cx, repository: &Repository, component: &ComponentName) -> Result<Found> {
        let listed = cx.run("status", repository.listed(cx, component)).await?;
        let known = self.manifests(cx, repository, component, &listed).await?;
        let record = read_attempt(cx, repository, component).await?;
        let running = match Lease::holder(cx, repository.store().as_ref(), component.as_str()).await {
            Ok(holder) => holder.is_some(),
            // A lease that rotted stops the next backup, which says so; what the store holds is known all the same.
            Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => false,
            Err(e) => return Err(e),
        };
        let mut status = empty(repository.name());
        let mut broken = None;
        for id in listed.iter().filter(|l| l.complete).map(|l| &l.id) {
            match known.get(id) {
                Some(Known::Whole(summary)) => {
                    status.backups += 1;
                    status.stored_bytes += summary.stored_bytes;
                    if status.last_success.as_ref().is_none_or(|last| last.shows <= summary.shows) {
                        status.last_success = Some(summary.clone());
                        broken = None;
                    }
                }
                // Only one that is newer than all that can be read matters today.
                Some(Known::Broken(why)) => broken = Some(format!("backup {id}: {why}")),
                // Deleted between the listing and the look.
                None => {}
            }
        }
        let proofs = || listed.iter().flat_map(|l| l.proofs.iter().map(move |p| (&l.id, p)));
        status.last_proof = proofs().max_by_key(|(_, p)| p.at).map(|(id, p)| summary(id, p));
        let restored = proofs().filter(|(id, p)| {
            let refuted = listed.iter().find(|l| l.id == **id).is_some_and(|l| refutation(&l.proofs).is_some());
            p.level == Level::Restore && p.verdict == veza_dr_core::Verdict::Equal && !refuted
        });
        status.last_proven_restore = restored.max_by_key(|(_, p)| p.at).map(|(id, p)| summary(id, p));
        Ok(Found { status, record, broken, running })
    }

    /// What the manifests say, each read once in the life of this reader.
    async fn manifests(
        &self,
        cx: &Cx,
        repository: &Repository,
        component: &ComponentName,
        listed: &[Listed],
    ) -> Result<BTreeMap<BackupId, Known>> {
        let place = (repository.store().info().location.clone(), component.clone());
        let mut known =
            self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(&place).cloned().unwrap_or_default();
        let complete = || listed.iter().filter(|l| l.complete).map(|l| &l.id);
        known.retain(|id, _| complete().any(|c| c == id));
        // Owned: futures that borrow items of an iterator cannot be shown to be `Send`.
        let missing: Vec<BackupId> = complete().filter(|id| !known.contains_key(id)).cloned().collect();
        let read = futures::stream::iter(missing.into_iter().map(|id| async move {
            match repository.read_manifest(cx, component, &id).await {
                Ok(manifest) => Ok(Some((id, Known::Whole(summarised(&manifest))))),
                Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => {
                    Ok(Some((id, Known::Broken(e.chain()))))
                }
                Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
                Err(e) => Err(e),
            }
        }));
        let read: Vec<Option<(BackupId, Known)>> = read.buffer_unordered(PARALLEL_READS).try_collect().await?;
        known.extend(read.into_iter().flatten());
        // A manifest that could not be read may have been mended by a copy: looked at again next time.
        let lasting = known.iter().filter(|(_, k)| matches!(k, Known::Whole(_))).map(|(i, k)| (i.clone(), k.clone()));
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).insert(place, lasting.collect());
        Ok(known)
    }
}

fn summarised(m: &Manifest) -> BackupSummary {
    BackupSummary {
        id: m.id.clone(),
        shows: m.consistency.at,
        finished_at: m.finished_at,
        took: (m.finished_at - m.started_at).to_std().unwrap_or_default(),
        bytes: m.bytes(),
        // What lies in an earlier backup's folder is that one's.
        stored_bytes: m.objects.iter().filter(|o| o.stored_in.is_none()).map(|o| o.stored_bytes).sum(),
    }
}

fn summary(id: &BackupId, proof: &Proof) -> ProofSummary {
    ProofSummary { backup: id.clone(), level: proof.level.to_string(), verdict: proof.verdict, at: proof.at }
}

fn empty(store: &str) -> StoreStatus {
    StoreStatus {
        store: store.to_owned(),
        unknown: None,
        on_schedule: None,
        last_success: None,
        last_attempt: None,
        last_proof: None,
        last_proven_restore: None,
        backups: 0,
        stored_bytes: 0,
    }
}

fn unknown(store: &str, e: &Error) -> Found {
    let status = StoreStatus { unknown: Some(e.chain()), ..empty(store) };
    Found { status, record: None, broken: None, running: false }
}
