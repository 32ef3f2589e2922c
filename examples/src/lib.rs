//! Runnable user journeys; see `src/bin`.

pub mod rehearsal;
