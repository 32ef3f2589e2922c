//! Records of Amazon Route 53, changed by compare-and-set.
//!
//! Route 53 has no version numbers, but a batch is carried out whole or not at all and `DELETE` must name what is there
//! exactly: deleting the old set and creating the new one in one batch changes nothing when somebody else was quicker.
//! `UPSERT`, which overwrites whatever it meets, is never sent, and a failed batch is never cut up.

mod client;
mod config;
mod convert;
mod errors;
mod provider;

pub use config::Route53Config;
pub use provider::Route53;
