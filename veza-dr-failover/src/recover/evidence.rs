//! What was seen before anything was touched: a restart destroys the reason for it.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use veza_dr_core::{Cx, Error, ErrorKind, Result};

use super::plan::RecoverPlan;
use crate::site::SiteControl;

/// So many lines of each log are kept.
const LINES: usize = 500;

/// The folder of one recovery.
#[derive(Debug)]
pub(super) struct Evidence {
    folder: PathBuf,
}

impl Evidence {
    /// Makes the folder, and puts the states and the logs of what is concerned into it.
    pub(super) async fn keep(
        cx: &Cx,
        site: &dyn SiteControl,
        plan: &RecoverPlan,
        base: &Path,
        now: DateTime<Utc>,
    ) -> Result<Self> {
        let folder = base.join(format!("{}-{}", now.format("%Y%m%dT%H%M%S%.3fZ"), plan.service));
        std::fs::create_dir_all(&folder).map_err(|e| failed(&folder, e))?;
        let evidence = Self { folder };
        evidence.write("before.json", &json(&plan.before)?)?;
        let concerned = plan.restart.iter().map(|r| &r.service).chain(&plan.watched);
        for service in concerned {
            let log = match site.logs(cx, service, LINES).await {
                Ok(log) => log,
                Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
                // What cannot be kept must not keep the service down.
                Err(e) => format!("(no log: {})\n", e.chain()),
            };
            evidence.write(&format!("{service}.log"), log.as_bytes())?;
        }
        Ok(evidence)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.folder.join(name);
        let write = || {
            let mut file = File::create(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(|e| failed(&path, e))
    }
}

pub(super) fn json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value)
        .map_err(|e| Error::new(ErrorKind::Unexpected, "the record of a recovery cannot be made").with_source(e))
}

fn failed(path: &Path, e: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{} cannot be written", path.display()))
        .with_source(e)
        .with_help("set state_dir to a folder of this machine that can be written to")
}
