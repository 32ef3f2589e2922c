//! What every [`crate::BackupStore`] must do. Each case gets a store of its own, empty.

mod cancellation;
mod conditions;
mod listing;
mod macros;
mod objects;
mod streams;

pub use cancellation::*;
pub use conditions::*;
pub use listing::*;
pub use objects::*;
pub use streams::*;
