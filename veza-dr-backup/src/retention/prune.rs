//! Applies retention to one component in one store.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use veza_dr_core::{BackupId, Clock, ComponentName, Cx, Error, ErrorKind, ObjectKey, Result};

use super::{
    Candidate, Decision, KeepReason, RetentionPolicy, Verdict, decide,
    delete::{Deletion, delete_backup, half_deleted, resume},
    hold::held_backups,
};
use crate::{Repository, store::Lease};

const LEASE: Duration = Duration::from_secs(60);
/// Clocks further apart than this give ages that cannot be trusted.
const SKEW: TimeDelta = TimeDelta::hours(1);

/// Something that the store would not delete: it is locked, or the credentials may not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The object.
    pub key: String,
    /// What the store said.
    pub why: String,
}

impl Refused {
    pub(super) fn new(key: &ObjectKey, e: &Error) -> Self {
        Self { key: key.to_string(), why: e.chain() }
    }
}

/// What retention decided, and did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PruneReport {
    /// The component.
    pub component: ComponentName,
    /// The store.
    pub store: String,
    /// Over every backup, oldest first.
    pub decisions: Vec<Decision>,
    /// What is gone: those decided on, and those whose deletion was begun earlier.
    pub deleted: Vec<BackupId>,
    /// Stored bytes that went.
    pub freed_bytes: u64,
    /// What the store would not delete.
    pub refused: Vec<Refused>,
    /// What lies in the folders of deleted backups and is not theirs: it was left.
    pub foreign: Vec<String>,
    /// What is there, for [`super::simulate`].
    #[serde(skip)]
    pub candidates: Vec<Candidate>,
}

impl PruneReport {
    fn new(component: &ComponentName, repository: &Repository) -> Self {
        Self {
            component: component.clone(),
            store: repository.name().to_owned(),
            decisions: Vec::new(),
            deleted: Vec::new(),
            freed_bytes: 0,
            refused: Vec::new(),
            foreign: Vec::new(),
            candidates: Vec::new(),
        }
    }

    fn add(&mut self, id: &BackupId, deletion: Deletion) {
        if deletion.gone {
            self.deleted.push(id.clone());
        }
        if deletion.held
            && let Some(decision) = self.decisions.iter_mut().find(|d| d.id == *id)
        {
            decision.verdict = Verdict::Keep(vec![KeepReason::Restoring]);
        }
        self.freed_bytes += deletion.freed;
        self.refused.extend(deletion.refused);
        self.foreign.extend(deletion.foreign);
    }
}

/// What [`prune`] would do. Deletes nothing.
///
/// # Errors
/// Those of the store.
pub async fn plan_prune(
    cx: &Cx,
    repository: &Repository,
    component: &ComponentName,
    policy: &RetentionPolicy,
    now: DateTime<Utc>,
) -> Result<PruneReport> {
    policy.validate()?;
    let held = held_backups(cx, repository.store(), component).await?;
    let entries = repository.list(cx, component).await?;
    let mut report = PruneReport::new(component, repository);
    report.candidates = entries.iter().filter_map(|entry| Candidate::of(entry, &held)).collect();
    report.decisions = decide(&report.candidates, policy, now);
    Ok(report)
}

/// Deletes what the policy lets go of, as [`decide`] says, holding the lease on the component meanwhile; first ends
/// deletions that were cut off earlier. Only objects that a manifest names are deleted, with the recipe and the proofs.
///
/// A store that refuses to delete something is no error: it is named in the report.
///
/// # Errors
/// `Conflict` while a backup or another prune holds the component. `Unverified` when the store's clock and this
/// machine's are more than an hour apart: nothing is deleted then. Those of the store; what was deleted stays deleted.
///
/// # Cancellation
/// Stops between two deletions or within one; the next prune goes on with it.
pub async fn prune(
    cx: &Cx,
    repository: &Repository,
    component: &ComponentName,
    policy: &RetentionPolicy,
    clock: &Arc<dyn Clock>,
) -> Result<PruneReport> {
    policy.validate()?;
    let guard = Lease::acquire(cx, repository.store().clone(), component.as_str(), LEASE).await?;
    let work = guard.cx().clone();
    let done = async {
        check_clocks(&work, repository, component, clock.now()).await?;
        let mut report = PruneReport::new(component, repository);
        for id in half_deleted(&work, repository.store().as_ref(), component).await? {
            guard.check()?;
            report.add(&id, resume(&work, repository, component, &id).await?);
        }
        let plan = plan_prune(&work, repository, component, policy, clock.now()).await?;
        (report.candidates, report.decisions) = (plan.candidates, plan.decisions);
        let going: Vec<BackupId> = report.decisions.iter().filter(|d| d.deletes()).map(|d| d.id.clone()).collect();
        // The newest first: what has objects in another one goes before that.
        let mut lending = BTreeSet::new();
        for id in going.iter().rev() {
            guard.check()?;
            let uses = report.candidates.iter().find(|c| c.id == *id).map(|c| c.uses.clone()).unwrap_or_default();
            if lending.contains(id) {
                lending.extend(uses);
                continue;
            }
            let deletion = delete_backup(&work, repository, component, id).await?;
            let (gone, held) = (deletion.gone, deletion.held);
            report.add(id, deletion);
            if !gone {
                // The store kept it: what it has objects in must stay, too, for as long as it does.
                lending.extend(uses);
            }
            if held {
                // What it uses must stay, too; the next prune decides anew.
                break;
            }
        }
        report.deleted.sort();
        Ok(report)
    };
    let done = done.await;
    let tidy = Cx::background().with_deadline(std::time::SystemTime::now() + Duration::from_secs(20));
    if let Err(e) = guard.release(&tidy).await {
        tracing::warn!(store = repository.name(), error = %e.chain(), "the lease runs out by itself");
    }
    done
}

/// The lease was written just now: the store's time of it must be ours. A directory's clock is this machine's own.
async fn check_clocks(cx: &Cx, repository: &Repository, component: &ComponentName, now: DateTime<Utc>) -> Result<()> {
    let store = repository.store();
    if store.info().kind == "directory" {
        return Ok(());
    }
    let key: ObjectKey = format!("locks/{component}.json").parse()?;
    let Some(lease) = store.head(cx, &key).await? else { return Ok(()) };
    let skew = lease.modified - now;
    if skew.abs() <= SKEW {
        return Ok(());
    }
    let text = format!(
        "retention of {component} in store {}: its clock is {} s off this machine's, so no age can be trusted",
        repository.name(),
        skew.num_seconds()
    );
    Err(Error::new(ErrorKind::Unverified, text).with_help("set this machine's clock; nothing was deleted"))
}
