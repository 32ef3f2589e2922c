//! The record of the last attempt at a backup, `<component>/last-attempt.json`: in every store that answers, with what
//! became of the attempt in each. A store that failed is told of by the others.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use veza_dr_core::{BackupId, ComponentName, Condition, Cx, Error, ErrorKind, ObjectKey, Result, status::Attempt};

use crate::{BackupReport, Repository, StoreResult, source::read_all};

const FORMAT: u32 = 1;
const LIMIT: usize = 1 << 20;
/// A store that does not take the record within this time goes without.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of one attempt, store by store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AttemptRecord {
    /// The version of this form.
    pub format: u32,
    /// When it ended.
    pub at: DateTime<Utc>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The backup, where one was made in any store.
    pub backup: Option<BackupId>,
    /// Each store that it was to go to: why it lacks the backup, `null` where it has it.
    pub stores: BTreeMap<String, Option<String>>,
}

impl AttemptRecord {
    /// The record of a run that ended at `at` and made a backup in some store at least.
    #[must_use]
    pub fn of(at: DateTime<Utc>, report: &BackupReport) -> Self {
        let outcome = |s: &StoreResult| (s.store.clone(), s.result.as_ref().err().map(Error::chain));
        let stores = report.stores.iter().map(outcome).collect();
        Self { format: FORMAT, at, took_ms: millis(report.took), backup: Some(report.id.clone()), stores }
    }

    /// The record of a run that ended at `at` and failed for all of these stores alike.
    #[must_use]
    pub fn failed<'a>(at: DateTime<Utc>, took: Duration, stores: impl IntoIterator<Item = &'a str>, why: &str) -> Self {
        let stores = stores.into_iter().map(|s| (s.to_owned(), Some(why.to_owned()))).collect();
        Self { format: FORMAT, at, took_ms: millis(took), backup: None, stores }
    }

    /// With stores that could not even be opened.
    #[must_use]
    pub fn and_lost(mut self, stores: impl IntoIterator<Item = (String, String)>) -> Self {
        self.stores.extend(stores.into_iter().map(|(store, why)| (store, Some(why))));
        self
    }

    pub(super) fn in_store(&self, store: &str) -> Option<Attempt> {
        let error = self.stores.get(store)?.clone();
        Some(Attempt { at: self.at, took: Some(Duration::from_millis(self.took_ms)), error })
    }
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

fn key(component: &ComponentName) -> Result<ObjectKey> {
    Ok(format!("{component}/last-attempt.json").parse()?)
}

/// Keeps the record in every repository, in place of the one before. Made under a context of its own, so that the end of
/// a cancelled backup is on record too. Returns the stores that did not take it, and why: the backup is as good as it
/// was.
pub async fn record_attempt(
    repositories: &[Repository],
    component: &ComponentName,
    record: &AttemptRecord,
) -> Vec<(String, Error)> {
    let cx = Cx::background().with_deadline(SystemTime::now() + PATIENCE);
    let cx = &cx;
    let each = repositories.iter().map(|repository| async move {
        let put = async {
            let json = serde_json::to_vec_pretty(record)
                .map_err(|e| Error::new(ErrorKind::Unexpected, "the attempt as JSON").with_source(e))?;
            repository.store().put(cx, &key(component)?, json.into(), Condition::Always).await
        };
        put.await.err().map(|e| (repository.name().to_owned(), e))
    });
    futures::future::join_all(each).await.into_iter().flatten().collect()
}

/// The record that a store has; `None` when no attempt was ever made, or by a version that kept none.
pub(super) async fn read_attempt(
    cx: &Cx,
    repository: &Repository,
    component: &ComponentName,
) -> Result<Option<AttemptRecord>> {
    let key = key(component)?;
    let mut reader = match repository.store().get(cx, &key, 0).await {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let json = read_all(reader.as_mut(), LIMIT, key.as_str()).await?;
    // Advisory: one that a newer version wrote, or that rotted, is as good as none.
    let record: Option<AttemptRecord> = serde_json::from_slice(&json).ok();
    Ok(record.filter(|r| r.format == FORMAT))
}
