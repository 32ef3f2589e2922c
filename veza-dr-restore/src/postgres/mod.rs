//! Restores PostgreSQL: into a new database beside the live one, proven row for row, then swapped in by rename.

mod archive;
mod fill;
mod kept;
mod leftovers;
mod load;
mod plan;
mod post_data;
mod preflight;
mod proof;

mod rows;
mod schedule;
mod sequences;
mod server;
mod staging;
mod statistics;
mod structure;
mod swap;
mod tables;
mod target;
#[cfg(feature = "testing")]
pub(crate) mod test_scratch;

pub use rows::{FoundRows, OnConflict, RowsDone, RowsPlan, RowsReport, RowsRequest};
pub use structure::verify_structure;
pub use target::PostgresRestore;
