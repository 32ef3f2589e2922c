//! Reads the RDB format: what a Redis server sends to its replicas and writes to `dump.rdb`.
//!
//! Two ways through a file. [`Summary`] (and [`Scanner`], for a stream) counts and digests what is in it, and proves
//! that it is whole. [`Reader`] gives out its parts one by one, values as they are: what `RESTORE` takes.
//!
//! The digest is over the content that clients see, not over bytes: servers keep the same hash as a listpack or a
//! table, the same number as text or binary, and a copy need not have chosen the same.
//!
//! Versions 1 to 12 of the format are known, without what modules mean by their data. Format facts: `rdb.h`, `rdb.c`,
//! `listpack.c`, `ziplist.c` and `t_stream.c` of Redis, and <https://rdb.fnordig.de/file_format.html>.

mod crc;
mod hasher;
mod input;
mod lzf;
mod packed;
mod payload;
mod reader;
mod scanner;
mod skip;
mod stream_digest;
mod strings;
mod summary;
#[cfg(test)]
mod tests;
mod types;
mod value_digest;
mod writer;

pub use crc::Crc64;
pub use payload::{dump_value, functions_payload, restore_payload};
pub use reader::{Item, Key, RawValue, Reader};
pub use scanner::Scanner;
pub use summary::{DIGEST, DbSummary, FUNCTIONS, Summary};
pub use types::{Class, Dialect, Header, ValueType};
pub use writer::Writer;
