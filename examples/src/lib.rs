//! Runnable user journeys; see `src/bin`.

pub mod rehearsal;
pub mod third_party;
