//! The three traits that others implement, each by something that is none of this project's: a store of notes in a file, a
//! service that greets, DNS zones in a file. `tests/third_party.rs` runs the contract suites on them.

pub mod greeting_probe;
pub mod notes_backup;
pub mod zone_file;
