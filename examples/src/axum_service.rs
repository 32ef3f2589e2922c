//! A service on axum that keeps its own PostgreSQL database protected from inside its process: backups by schedule, its
//! writes paused while the data is read, metrics beside its own, a page that says whether the schedule is being met.
//!
//! `src/bin/axum_service.rs` starts it; `tests/axum_service.rs` holds it to what it says.

mod gate;
mod protection;
mod shop;

pub use gate::WriteGate;
pub use protection::Protection;
pub use shop::{Settings, Shop};
