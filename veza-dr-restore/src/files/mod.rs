//! Restores files: beside the live tree, proven entry by entry against the index, then swapped in by renames.

mod apply;
mod aside;
mod exchanges;
mod feed;
mod index;
mod journal;
mod kept;
mod members;
mod place;
mod plan;
mod proof;
mod selection;
mod stage;
mod structure;
mod surroundings;
mod swap;
mod target;

pub use structure::verify_structure;
pub use target::FilesRestore;
