//! The archive of write-ahead log: what `archive_command` gives is kept in every store of a component, and what
//! `restore_command` asks for is given back. With a base backup (`pg_basebackup`) it brings a server back to any instant.
//!
//! ```no_run
//! # async fn f(repository: veza_dr_backup::Repository) -> veza_dr_core::Result<()> {
//! use std::path::Path;
//! use veza_dr_backup::postgres::wal::WalArchive;
//! use veza_dr_core::Cx;
//! let archive = WalArchive::new("database".parse()?, vec![repository]);
//! let name = "000000010000000000000003".parse()?;
//! archive.push(&Cx::background(), Path::new("pg_wal/000000010000000000000003"), &name).await?;
//! # Ok(()) }
//! ```

mod archive;
mod decode;
mod header;
mod name;

pub use archive::{WalArchive, WalFetched, WalOutcome, WalPushed};
pub use name::WalName;
