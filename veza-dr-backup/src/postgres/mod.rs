//! The PostgreSQL engine: one consistent snapshot, copied out in parallel, with everything that has semantics left to
//! `pg_dump`.
//!
//! What is handled, refused and not covered is listed, trap by trap, in `docs/postgres.md`.

mod catalog;
mod check;
mod chunks;
mod config;
mod connection;
mod copy_out;
mod coverage;
mod detail;
mod digest;
mod dump;
mod errors;
mod look;
mod recipe;
mod snapshot;
mod target;
mod tls;
mod tools;
pub mod wal;

pub use catalog::{extensions, foreign_keys, matviews, object_counts, quote_ident};
pub use config::PostgresConfig;
pub use connection::{Connection, Endpoint, SESSION_SETTINGS};
pub use copy_out::{algorithm, copy_sql, digest_rows};
pub use coverage::{TocEntry, parse_toc};
pub use detail::{
    ChunkRecord, CopyFormat, DatabaseRecord, ForeignKeyRecord, IndexRecord, MatviewRecord, PostgresDetail, TableRecord,
};
pub use digest::{BINARY_DIGEST, RowDigest, TEXT_DIGEST};
pub use errors::{pg_error, sql_state};
pub use look::{DatabaseLook, look};
pub use target::{PostgresTarget, large_objects};
pub use tools::{ClientTools, Tool, ToolOutput, tool_options};
