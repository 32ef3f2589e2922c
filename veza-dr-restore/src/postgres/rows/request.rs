//! What is asked for, what was found, what was done.

use std::{path::PathBuf, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use veza_dr_core::{BackupId, Error, ErrorKind, Result};

/// What happens to a row that the live database already has under the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// The live row stays.
    #[default]
    Skip,
    /// The live row becomes what the backup has.
    Update,
    /// Nothing at all is changed.
    Fail,
}

impl FromStr for OnConflict {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "skip" => Ok(Self::Skip),
            "update" => Ok(Self::Update),
            "fail" => Ok(Self::Fail),
            other => Err(Error::new(ErrorKind::Config, format!("`{other}` is no conflict policy"))
                .with_help("use skip, update or fail")),
        }
    }
}

/// Which rows are to be brought back.
///
/// ```
/// use veza_dr_restore::postgres::{OnConflict, RowsRequest};
/// let request = RowsRequest::new("messages", "room_id = 'b0…' AND created_at >= '2024-01-01'")
///     .with_parents(true)
///     .on_conflict(OnConflict::Skip);
/// assert_eq!(request.table, "messages");
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RowsRequest {
    /// The table, with or without its schema.
    pub table: String,
    /// An SQL condition on its columns.
    pub condition: String,
    /// Also every row that refers to one of them, and so on.
    pub with_children: bool,
    /// Also every row that they refer to, and so on.
    pub with_parents: bool,
    /// What happens to rows that are there.
    pub on_conflict: OnConflict,
}

impl RowsRequest {
    /// Rows of `table` for which `condition` holds, and no others; rows that are there stay.
    #[must_use]
    pub fn new(table: impl Into<String>, condition: impl Into<String>) -> Self {
        Self {
            table: table.into(),
            condition: condition.into(),
            with_children: false,
            with_parents: false,
            on_conflict: OnConflict::Skip,
        }
    }

    /// Also the rows that refer to them.
    #[must_use]
    pub fn with_children(mut self, yes: bool) -> Self {
        self.with_children = yes;
        self
    }

    /// Also the rows that they refer to.
    #[must_use]
    pub fn with_parents(mut self, yes: bool) -> Self {
        self.with_parents = yes;
        self
    }

    /// What happens to rows that are there.
    #[must_use]
    pub fn on_conflict(mut self, policy: OnConflict) -> Self {
        self.on_conflict = policy;
        self
    }
}

/// The rows found in one table of the backup, held against the live one.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct FoundRows {
    /// The table, quoted.
    pub table: String,
    /// Why they are among the rows: asked for, child of, parent of.
    pub why: String,
    /// Their columns.
    pub columns: Vec<String>,
    /// How many.
    pub rows: u64,
    /// Of those, how many the live table lacks.
    pub missing: u64,
    /// How many are there with other contents.
    pub different: u64,
    /// How many are there just so.
    pub identical: u64,
    /// The first of them as text, to look at.
    pub sample: Vec<Vec<Option<String>>>,
    /// The live table's primary key; empty when it has none.
    pub key: Vec<String>,
    /// The key column's equality is the server's own, and so its index can be used.
    #[serde(skip)]
    pub(crate) key_native: Vec<bool>,
    #[serde(skip)]
    pub(crate) file: PathBuf,
}

/// The rows that a request finds, before anything is written. Holds them in a private temporary folder.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct RowsPlan {
    /// The backup they come from.
    pub backup: BackupId,
    /// What was asked for.
    pub request: RowsRequest,
    /// What was found, referenced tables before those that refer to them.
    pub tables: Vec<FoundRows>,
    /// Worth knowing.
    pub warnings: Vec<String>,
    /// Why it cannot be applied as things stand.
    pub blockers: Vec<String>,
    #[serde(skip)]
    pub(crate) encoding: String,
    #[serde(skip)]
    pub(crate) dir: Arc<TempDir>,
}

impl RowsPlan {
    /// How many rows were found in all.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|t| t.rows).sum()
    }
}

/// What was done, by table.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct RowsReport {
    /// Table, rows inserted, rows updated, rows left as they were.
    pub tables: Vec<RowsDone>,
}

/// What was done in one table.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct RowsDone {
    /// The table, quoted.
    pub table: String,
    /// Rows that were not there.
    pub inserted: u64,
    /// Rows that were there and are now what the backup has.
    pub updated: u64,
    /// Rows that were there and stay as they were.
    pub kept: u64,
}
