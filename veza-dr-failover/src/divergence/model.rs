//! What a comparison found.

use std::io::Write;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use veza_dr_core::{Error, ErrorKind, Result};

/// How much of what was found is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many differences of each kind a table's report keeps as samples. All are counted.
    pub samples: usize,
    /// A row whose JSON is longer than so many bytes is told by its key alone.
    pub row_bytes: u32,
}

impl Default for Limits {
    /// 20 samples of each kind, rows of up to 16 KiB.
    fn default() -> Self {
        Self { samples: 20, row_bytes: 16 * 1024 }
    }
}

/// How a row differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DifferenceKind {
    /// Only the first database has it.
    OnlyA,
    /// Only the second database has it.
    OnlyB,
    /// Both have the key, with other values.
    Differing,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RowDifference {
    /// The table, as SQL names it.
    pub table: String,
    /// How the row differs.
    pub kind: DifferenceKind,
    /// The values of its primary key, in the order of the key; absent for a table without one.
    pub key: Option<Value>,
    /// How many times: more than 1 only for equal rows of a table without a key.
    pub times: u64,
    /// The row of the first database; absent where it has none, or it is too large.
    pub a: Option<Value>,
    /// The row of the second database; absent where it has none, or it is too large.
    pub b: Option<Value>,
}

/// What one table's comparison found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TableDivergence {
    /// The table, as SQL names it.
    pub table: String,
    /// Whether rows were matched by a primary key; without one, rows that are equal in all columns match.
    pub keyed: bool,
    /// Rows of the first database.
    pub rows_a: u64,
    /// Rows of the second database.
    pub rows_b: u64,
    /// Rows that only the first has.
    pub only_a: u64,
    /// Rows that only the second has.
    pub only_b: u64,
    /// Keys that both have with other values.
    pub differing: u64,
    /// Some of the differences.
    pub samples: Vec<RowDifference>,
}

impl TableDivergence {
    /// Whether both hold the same rows.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.only_a + self.only_b + self.differing == 0
    }
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DivergenceReport {
    /// Every table that both have, and those that only one has.
    pub tables: Vec<TableDivergence>,
    /// How the tables themselves differ, a sentence each. Columns that only one side has were not compared.
    pub schema: Vec<String>,
}

impl DivergenceReport {
    /// Rows that only the first database has.
    #[must_use]
    pub fn only_a(&self) -> u64 {
        self.tables.iter().map(|t| t.only_a).sum()
    }

    /// Rows that only the second database has.
    #[must_use]
    pub fn only_b(&self) -> u64 {
        self.tables.iter().map(|t| t.only_b).sum()
    }

    /// Keys that both have with other values.
    #[must_use]
    pub fn differing(&self) -> u64 {
        self.tables.iter().map(|t| t.differing).sum()
    }

    /// Whether both hold the same rows in the same tables.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.schema.is_empty() && self.tables.iter().all(TableDivergence::is_equal)
    }

    /// Writes a JSON document a line: for each table its counts, then its samples.
    ///
    /// # Errors
    /// `Unexpected` when it cannot be written; what was written before stays.
    pub fn write_json_lines(&self, to: &mut dyn Write) -> Result<()> {
        let mut line = |value: serde_json::Result<String>| {
            let text = value.map_err(std::io::Error::other)?;
            writeln!(to, "{text}")
        };
        let mut write = || {
            for text in &self.schema {
                line(serde_json::to_string(&serde_json::json!({ "schema": text })))?;
            }
            for table in &self.tables {
                let mut counts = table.clone();
                counts.samples.clear();
                line(serde_json::to_string(&counts))?;
                for sample in &table.samples {
                    line(serde_json::to_string(sample))?;
                }
            }
            Ok(())
        };
        write().map_err(|e: std::io::Error| {
            Error::new(ErrorKind::Unexpected, "the divergence cannot be written").with_source(e)
        })
    }
}
