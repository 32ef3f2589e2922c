//! Divergence: what one database has that another does not, row by row.
//!
//! After an unplanned failover the old primary may hold rows that the new one never got. Before it is seeded anew these
//! rows are told, exactly counted, so that somebody decides about them instead of nobody noticing.
//!
//! Both databases are read in one snapshot each. The rows of a table are put into ranges by a digest of their primary
//! key, a digest is taken of each range where the rows are, and only ranges whose digests differ are fetched and merged
//! as two ordered streams. So neither the order of text on two servers nor the size of a table matters, and what is
//! equal stays where it is.
//!
//! ```no_run
//! use veza_dr_core::Cx;
//! use veza_dr_failover::{divergence::{Limits, compare}, reach::PostgresAccess};
//! # async fn f() -> veza_dr_core::Result<()> {
//! let old = PostgresAccess::parse("postgres://veza_user@192.0.2.10/veza_db")?;
//! let new = PostgresAccess::parse("postgres://veza_user@192.0.2.20/veza_db")?;
//! let report = compare(&Cx::background(), &old, &new, Limits::default()).await?;
//! println!("{} rows only on the old primary", report.only_a());
//! # Ok(()) }
//! ```

mod compare;
mod merge;
mod model;
mod tables;

pub use compare::{compare, compare_with};
pub use model::{DifferenceKind, DivergenceReport, Limits, RowDifference, TableDivergence};
