//! Leases: the right to be the only one, held in a [`BackupStore`](crate::BackupStore) by its conditional writes.

mod capability;
mod holder;
mod record;
mod take;

pub use capability::{ProbedCaps, probe_conditional_put};
pub use holder::Holder;
pub use take::{Lease, LeaseGuard};
