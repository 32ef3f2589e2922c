//! Suites that hold an implementation to what its trait promises: one public function per case, and a macro that emits
//! one named test per case.
//!
//! ```
//! // In a test file of the crate that implements the store:
//! # mod example {
//! use std::sync::Arc;
//! use veza_dr_core::{BackupStore, testing::MemoryStore};
//!
//! async fn fresh() -> (Arc<dyn BackupStore>, ()) {
//!     (Arc::new(MemoryStore::new("contract")), ())
//! }
//!
//! veza_dr_core::store_contract!(fresh());
//! # }
//! ```
//!
//! The cases panic when the contract is broken: that is how a test says so.
#![expect(clippy::unwrap_used, reason = "a case is a test: it must panic where the contract is broken")]

pub mod backup;
pub mod dns;
pub mod probe;
pub mod restore;
pub mod store;
mod tools;
