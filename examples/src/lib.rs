//! Runnable user journeys; see `src/bin`.

pub mod axum_service;
pub mod rehearsal;
pub mod third_party;
