//! Rows from a backup back into the live database: one user, one conversation since a date, with what hangs on them.

mod apply;
mod compare;
mod find;
mod request;
mod scratch;

pub use request::{FoundRows, OnConflict, RowsDone, RowsPlan, RowsReport, RowsRequest};
