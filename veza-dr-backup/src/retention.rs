//! Which backups are kept and which go: decided by rules that never give up the last good one, and carried out so that
//! a crash at any byte leaves a backup whole or gone.

mod decide;
mod delete;
mod hold;
mod policy;
mod prune;
mod reason;
mod simulate;

pub use decide::{Candidate, Decision, decide};
pub use hold::{RestoreHold, hold_for_restore};
pub use policy::RetentionPolicy;
pub use prune::{PruneReport, Refused, plan_prune, prune};
pub use reason::{DeleteReason, KeepReason, Verdict};
pub use simulate::{SimulatedDay, simulate};
