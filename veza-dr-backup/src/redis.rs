//! The Redis engine: reads a server over the wire the way a replica does, and proves what it got while it passes by.
//!
//! Nothing is needed on the server's host, no file of its is touched. What is handled, refused and not covered is
//! listed in `docs/redis.md`.

mod check;
mod cluster;
mod config;
mod control;
mod detail;
mod endpoint;
mod errors;
mod look;
mod probe;
pub mod rdb;
mod recipe;
mod scan;
mod spool;
mod sync;
mod target;
mod transfer;
mod wire;

pub use config::{ReadMode, RedisConfig};
pub use control::{Control, Info, bytes_of, items, text};
pub use detail::{Consistency, PartRecord, RedisDetail, Way};
pub use endpoint::Endpoint;
pub use errors::server_error;
pub use fred::types::Value;
pub use look::{ServerLook, look};
pub use target::{RedisTarget, is_valkey};
pub use wire::Stream;
