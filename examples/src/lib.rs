//! Runnable user journeys; see `src/bin`.
