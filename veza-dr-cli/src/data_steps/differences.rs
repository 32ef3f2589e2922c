//! What two databases differ by, in a file that holds every row, and in the journal.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Value, json};
use veza_dr_core::{ComponentName, Cx, Error, ErrorKind, Result};
use veza_dr_failover::{
    actions::Catalogue,
    divergence::{DivergenceReport, Limits, RowDifference, compare_with},
    reach::PostgresAccess,
    runbook::Engine,
};

use crate::wiring_site_data::Books;

impl Books {
    /// What knows of other runs.
    pub(super) fn engine(&self) -> Engine {
        Engine::new(self.state_dir.clone(), self.store.clone(), Arc::new(Catalogue::new()), self.who.clone())
    }

    /// Where a run writes every row that differs.
    pub(super) fn differences(&self, run: &str, component: &ComponentName) -> PathBuf {
        self.state_dir.join(format!("failover/{run}.{component}.divergence.jsonl"))
    }
}

/// Writes every difference as it is found, durably, in place of what an earlier try wrote. The file is whole, or not
/// there under its name.
pub(super) async fn written(
    cx: &Cx,
    file: &Path,
    old: &PostgresAccess,
    new: &PostgresAccess,
) -> Result<DivergenceReport> {
    let beside = file.with_extension("jsonl.new");
    let report = write(cx, &beside, old, new).await;
    if report.is_err() {
        // It may be what fills the disk.
        let _ = std::fs::remove_file(&beside);
    }
    let report = report?;
    let named = std::fs::rename(&beside, file).and_then(|()| match file.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    });
    named.map_err(|e| cannot(file, e))?;
    Ok(report)
}

async fn write(cx: &Cx, file: &Path, old: &PostgresAccess, new: &PostgresAccess) -> Result<DivergenceReport> {
    let cannot = |e| cannot(file, e);
    let mut to = BufWriter::new(File::create(file).map_err(cannot)?);
    let mut each = |row: &RowDifference| {
        let json = serde_json::to_string(row)
            .map_err(|e| Error::new(ErrorKind::Unexpected, "a difference cannot be written").with_source(e))?;
        writeln!(to, "{json}").map_err(cannot)
    };
    let report = compare_with(cx, old, new, Limits::default(), &mut each).await?;
    to.flush().map_err(cannot)?;
    to.get_ref().sync_all().map_err(cannot)?;
    Ok(report)
}

fn cannot(file: &Path, e: std::io::Error) -> Error {
    let kind = if e.kind() == std::io::ErrorKind::StorageFull { ErrorKind::Full } else { ErrorKind::Unavailable };
    Error::new(kind, format!("{} cannot be written", file.display())).with_source(e)
}

/// The numbers of each table that differs.
pub(super) fn tables(report: &DivergenceReport) -> Vec<Value> {
    let unequal = report.tables.iter().filter(|t| !t.is_equal());
    unequal
        .map(|t| json!({ "table": t.table, "only_old": t.only_a, "only_new": t.only_b, "differing": t.differing }))
        .collect()
}
