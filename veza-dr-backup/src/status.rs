//! How well each component is protected, told from the stores alone: no record of this machine is needed, so that any
//! machine with the configuration tells the same.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use veza_dr_backup::{Encryption, Repository, status::{ComponentQuery, StatusReader}, store::DirectoryStore};
//! use veza_dr_core::{Cx, SystemClock, status::Protection};
//! let place = tempfile::tempdir()?;
//! let store = DirectoryStore::open("local", place.path())?;
//! let repository = Repository::new(std::sync::Arc::new(store), Encryption::default());
//! let query = ComponentQuery::new("database".parse()?, "postgres").in_repository(repository);
//! let status = StatusReader::new().read(&Cx::background(), &SystemClock, &[query]).await?;
//! assert_eq!(status.protection(), Protection::Broken);
//! assert_eq!(status.components[0].reasons, ["local: no complete backup"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

mod attempt;
mod query;
mod reader;
mod verdict;

pub use attempt::{AttemptRecord, record_attempt};
pub use query::ComponentQuery;
pub use reader::StatusReader;
