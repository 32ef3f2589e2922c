//! What the store says of a site that a run closed off: the site's own daemon learns of it when it returns.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use veza_dr_core::{BackupStore, Condition, Cx, Error, ErrorKind, ObjectKey, Result};

/// A site must not serve, because a run fenced it. Kept as `failover/fenced/SITE.json`, beside the run's lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FenceNotice {
    /// The format of this document: 1.
    pub format: u32,
    /// The site.
    pub site: String,
    /// The run.
    pub run: String,
    /// The run's number: a newer run's notice is not taken away by an older run.
    pub epoch: u64,
    /// When.
    pub at: DateTime<Utc>,
}

impl FenceNotice {
    /// A notice.
    #[must_use]
    pub fn new(site: impl Into<String>, run: impl Into<String>, epoch: u64, at: DateTime<Utc>) -> Self {
        Self { format: 1, site: site.into(), run: run.into(), epoch, at }
    }

    fn key(site: &str) -> Result<ObjectKey> {
        Ok(format!("failover/fenced/{site}.json").parse()?)
    }

    /// The notice about a site, if there is one.
    ///
    /// # Errors
    /// Those of the store; `Corrupt` when it cannot be read, which never means that there is none.
    pub async fn read(cx: &Cx, store: &dyn BackupStore, site: &str) -> Result<Option<Self>> {
        let key = Self::key(site)?;
        let mut reader = match store.get(cx, &key, 0).await {
            Ok(reader) => reader,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut body = Vec::new();
        while let Some(piece) = reader.next().await? {
            body.extend_from_slice(&piece);
        }
        serde_json::from_slice(&body).map(Some).map_err(|e| {
            Error::new(ErrorKind::Corrupt, format!("{key} in store {} cannot be read", store.info().name))
                .with_source(e)
                .with_help("the site counts as fenced; look who wrote it, then delete it by hand")
        })
    }

    /// Puts the notice up.
    ///
    /// # Errors
    /// `Conflict` when a newer run's is there; those of the store.
    pub async fn put(&self, cx: &Cx, store: &dyn BackupStore) -> Result<()> {
        Self::refuse_newer(cx, store, &self.site, self.epoch).await?;
        let body = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::new(ErrorKind::Unexpected, "a notice cannot be written").with_source(e))?;
        store.put(cx, &Self::key(&self.site)?, body.into(), Condition::Always).await.map(drop)
    }

    /// Takes the notice down; one that is not there is down.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn lift(cx: &Cx, store: &dyn BackupStore, site: &str, epoch: u64) -> Result<()> {
        if Self::refuse_newer(cx, store, site, epoch).await? {
            store.delete(cx, &Self::key(site)?).await?;
        }
        Ok(())
    }

    /// Whether there is one.
    async fn refuse_newer(cx: &Cx, store: &dyn BackupStore, site: &str, epoch: u64) -> Result<bool> {
        match Self::read(cx, store, site).await? {
            Some(there) if there.epoch > epoch => {
                let text = format!("site {site} is fenced by run {}, which is newer", there.run);
                Err(Error::new(ErrorKind::Conflict, text).with_help("see: veza-dr failover status"))
            }
            there => Ok(there.is_some()),
        }
    }
}
