//! Copies of a host's sealed reports in a store: they outlive the host, and show that none was taken off the end.

use std::{collections::BTreeMap, sync::Arc};

use veza_dr_core::{BackupStore, Condition, Cx, Error, ErrorKind, ObjectKey, Result};

use super::{ReportFolder, chain::ChainProblem};

const FOLDER: &str = "failover/reports";
/// A report is text; a larger object is none.
const LARGEST: u64 = 64 << 20;

/// The copies of one host's reports: `failover/reports/HOST/000001-ID.json`, byte for byte, never replaced.
///
/// ```
/// # async fn f() -> veza_dr_core::Result<()> {
/// use std::sync::Arc;
/// use veza_dr_core::{Cx, testing::MemoryStore};
/// use veza_dr_failover::report::{RecoveryReport, ReportArchive, ReportFolder, ReportKind};
/// # let dir = tempfile::tempdir().unwrap();
/// let folder = ReportFolder::new(dir.path().join("reports"));
/// folder.append(RecoveryReport::new("drill-1", ReportKind::IsolatedDrill, chrono::Utc::now()))?;
/// let archive = ReportArchive::new(Arc::new(MemoryStore::new("offsite")), "host-1");
/// assert_eq!(archive.keep(&Cx::background(), &folder).await?, 1);
/// assert!(archive.compare(&Cx::background(), &folder).await?.is_empty());
/// # Ok(()) }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(f()).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct ReportArchive {
    store: Arc<dyn BackupStore>,
    host: String,
}

impl ReportArchive {
    /// The copies that this store holds of the reports of `host`. Characters that a key cannot hold become `_`.
    #[must_use]
    pub fn new(store: Arc<dyn BackupStore>, host: &str) -> Self {
        let good = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
        Self { store, host: host.chars().map(good).collect() }
    }

    /// Copies the reports that are not there yet, the oldest first; gives how many it copied. Cancelled, what was copied
    /// stays.
    ///
    /// # Errors
    /// Those of the folder and of the store: the rest is copied the next time.
    pub async fn keep(&self, cx: &Cx, folder: &ReportFolder) -> Result<usize> {
        let there = self.names(cx).await?;
        let mut copied = 0;
        for name in folder.names()? {
            if there.contains_key(&name) {
                continue;
            }
            let body = folder.bytes(&name)?;
            match self.store.put(cx, &self.key(&name)?, body.into(), Condition::Absent).await {
                Ok(_) => copied += 1,
                // Copied by somebody else meanwhile.
                Err(e) if e.kind() == ErrorKind::Conflict => {}
                Err(e) => return Err(e),
            }
        }
        Ok(copied)
    }

    /// What of the copies the folder does not hold as it is, byte for byte. A report that has no copy yet is nothing
    /// wrong: [`ReportArchive::keep`] makes it.
    ///
    /// # Errors
    /// Those of the folder and of the store.
    pub async fn compare(&self, cx: &Cx, folder: &ReportFolder) -> Result<Vec<ChainProblem>> {
        let mut problems = Vec::new();
        let here = folder.names()?;
        for (at, name) in (1u64..).zip(self.names(cx).await?.into_keys()) {
            let id = name.strip_suffix(".json").and_then(|n| n.split_once('-')).map_or("", |(_, id)| id).to_owned();
            let store = &self.store.info().name;
            if !here.contains(&name) {
                let text = format!("store {store} has a copy of it, and it is not here: it was taken away");
                problems.push(ChainProblem { at, id, text });
            } else if folder.bytes(&name)? != self.read(cx, &name).await? {
                problems.push(ChainProblem { at, id, text: format!("the copy in store {store} is another one") });
            }
        }
        Ok(problems)
    }

    async fn names(&self, cx: &Cx) -> Result<BTreeMap<String, u64>> {
        let found = self.store.list(cx, &format!("{FOLDER}/{}", self.host)).await?;
        Ok(found
            .into_iter()
            .map(|o| (o.key.file_name().to_owned(), o.bytes))
            .filter(|(n, _)| n.ends_with(".json"))
            .collect())
    }

    async fn read(&self, cx: &Cx, name: &str) -> Result<Vec<u8>> {
        let key = self.key(name)?;
        let mut reader = self.store.get(cx, &key, 0).await?;
        let mut body = Vec::new();
        while let Some(part) = reader.next().await? {
            body.extend_from_slice(&part);
            if body.len() as u64 > LARGEST {
                return Err(Error::new(ErrorKind::Corrupt, format!("{key} is too large for a report")));
            }
        }
        Ok(body)
    }

    fn key(&self, name: &str) -> Result<ObjectKey> {
        Ok(format!("{FOLDER}/{}/{name}", self.host).parse()?)
    }
}

#[cfg(test)]
mod tests {
    use veza_dr_core::testing::{Fault, Faulty, MemoryStore};

    use super::*;
    use crate::report::{Addition, RecoveryReport, ReportKind};

    fn folder(reports: usize) -> (tempfile::TempDir, ReportFolder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = ReportFolder::new(dir.path().join("reports"));
        for at in 0..reports {
            folder.append(RecoveryReport::new(format!("r{at}"), ReportKind::Recovery, chrono::Utc::now())).unwrap();
        }
        (dir, folder)
    }

    #[tokio::test]
    async fn an_end_that_was_taken_off_is_found_which_no_chain_can_show() {
        let (_dir, folder) = folder(3);
        let (cx, store) = (Cx::background(), Arc::new(MemoryStore::new("offsite")));
        let archive = ReportArchive::new(store.clone(), "host.1/x");
        assert_eq!((archive.keep(&cx, &folder).await.unwrap(), archive.keep(&cx, &folder).await.unwrap()), (3, 0));
        let key: ObjectKey = "failover/reports/host_1_x/000003-r2.json".parse().unwrap();
        let last = folder.path().join("000003-r2.json");
        let bytes = std::fs::read(&last).unwrap();
        assert_eq!(store.bytes(&key).unwrap(), bytes);
        folder.amend("r0", Addition::Lesson("more room".into())).unwrap();
        assert_eq!(archive.compare(&cx, &folder).await.unwrap(), [], "one without a copy yet is nothing wrong");
        std::fs::remove_file(folder.path().join("000004-r0-rev2.json")).unwrap();
        std::fs::remove_file(&last).unwrap();
        assert!(folder.verify().unwrap().is_whole());
        let found = archive.compare(&cx, &folder).await.unwrap();
        assert_eq!((found.len(), found[0].id.as_str()), (1, "r2"));
        assert!(found[0].text.contains("store offsite has a copy of it"), "{found:?}");
        // A chain that goes on from there is whole, and still is not the one that was copied.
        folder.append(RecoveryReport::new("r2", ReportKind::TableTop, chrono::Utc::now())).unwrap();
        assert!(folder.verify().unwrap().is_whole());
        let found = archive.compare(&cx, &folder).await.unwrap();
        assert!(found.len() == 1 && found[0].text.contains("is another one"), "{found:?}");
        assert_eq!(store.bytes(&key).unwrap(), bytes, "a copy is never replaced");
        assert_eq!(archive.keep(&cx, &folder).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_a_store_could_not_take_is_copied_the_next_time() {
        let (_dir, folder) = folder(3);
        let cx = Cx::background();
        let store = Faulty::new(MemoryStore::new("flaky")).on("put", 2, Fault::Fail(ErrorKind::Unavailable));
        let archive = ReportArchive::new(Arc::new(store), "host");
        assert_eq!(archive.keep(&cx, &folder).await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(archive.keep(&cx, &folder).await.unwrap(), 2);
        assert_eq!(archive.compare(&cx, &folder).await.unwrap(), []);
    }
}
