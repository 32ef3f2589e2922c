//! The files engine: trees of files as tar segments that stock tools open, with an index that makes the next backup
//! read and store only what changed.
//!
//! It sees files one after the other, not at one instant: what changes while it is read is found out and named. The
//! form of its objects is specified in `docs/format.md`.

mod base_index;
pub mod beneath;
mod budget;
mod check;
mod collect;
mod config;
mod content;
mod detail;
mod digest;
mod entry;
mod index_line;
mod join;
mod meta;
mod path;
mod problems;
mod recipe;
mod roots;
mod segment;
mod tar_header;
mod target;
mod walk;

pub use config::FilesConfig;
pub use content::{ContentHash, described, hash_file};
pub use detail::{FilesDetail, KindCounts, RootRecord, SegmentRecord};
pub use digest::{TREE_DIGEST, TreeDigest};
pub use entry::{Entry, Kind, Time};
pub use index_line::IndexLine;
pub use meta::{Meta, Xattrs, xattrs_at, xattrs_of};
pub use path::{escape, member_path, path_order, stays_below, unescape};
pub use roots::{ASIDE, Patterns, Root, is_aside};
pub use tar_header::{SPARSE_MAJOR, SPARSE_NAME, SPARSE_SIZE, XATTR};
pub use target::FilesTarget;
pub use walk::{Found, Seen, Tree, Walk};
