//! What a server says about itself before it is read, as far as the user may ask.

use veza_dr_core::{Cx, ErrorKind, Result};

use super::{
    Endpoint, Info, ReadMode,
    cluster::{self, Master},
};

/// The answers.
#[derive(Debug)]
pub(super) struct Probe {
    /// `None` when the user may not ask.
    pub(super) info: Option<Info>,
    /// The save points: empty when there are none, `None` when the user may not ask.
    pub(super) save: Option<String>,
    /// How many seconds it waits for more replicas before it sends a diskless copy; `None` when the user may not ask.
    pub(super) sync_delay: Option<u64>,
    /// The masters, when the server is part of a cluster.
    pub(super) cluster: Option<Vec<Master>>,
    /// Whether it is part of a cluster could not be found out.
    pub(super) cluster_unknown: bool,
}

impl Probe {
    pub(super) async fn ask(cx: &Cx, at: &Endpoint) -> Result<Self> {
        let control = at.control(cx).await?;
        let info = allowed(control.info(cx).await)?;
        let save = allowed(control.config(cx, "save").await)?.flatten();
        let sync_delay = allowed(control.config(cx, "repl-diskless-sync-delay").await)?.flatten();
        let sync_delay = sync_delay.and_then(|seconds| seconds.parse().ok());
        let clustered = info.as_ref().map(|i| i.get("cluster_enabled") == "1");
        let (mut masters, mut cluster_unknown) = (None, false);
        if clustered != Some(false) {
            match cluster::masters(cx, &control, at).await {
                Ok(found) => masters = found,
                // An unknown answer is no "no": a cluster of which one part was backed up would look complete.
                Err(e) if e.kind() == ErrorKind::Denied && clustered.is_none() => cluster_unknown = true,
                Err(e) => return Err(e),
            }
        }
        Ok(Self { info, save, sync_delay, cluster: masters, cluster_unknown })
    }

    /// By way of the server's disk only where it writes the same file all the time, and could when it last tried: else
    /// a failing write of ours would make it refuse writes.
    pub(super) fn prefers_disk(&self) -> bool {
        let saves = self.save.as_deref().is_some_and(|s| !s.trim().is_empty());
        saves && self.info.as_ref().is_some_and(|i| i.get("rdb_last_bgsave_status") == "ok")
    }

    /// How to read, unless replication turns out to be forbidden.
    pub(super) fn choose(&self, wish: ReadMode) -> ReadMode {
        match wish {
            ReadMode::Auto if self.prefers_disk() => ReadMode::Disk,
            ReadMode::Auto => ReadMode::Diskless,
            other => other,
        }
    }

    /// One fact of `INFO`; empty when unknown.
    pub(super) fn fact(&self, name: &str) -> String {
        self.info.as_ref().map(|i| i.get(name).to_owned()).unwrap_or_default()
    }

    /// About how many bytes an RDB may have at most; 0 when unknown.
    pub(super) fn expected_bytes(&self) -> u64 {
        self.info.as_ref().map_or(0, |i| i.number("used_memory_dataset"))
    }
}

/// What may not be asked is not known; every other failure is one.
pub(super) fn allowed<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(e) if matches!(e.kind(), ErrorKind::Denied | ErrorKind::Unsupported) => Ok(None),
        Err(e) => Err(e),
    }
}
