//! Partial recovery: one service of a site is brought back, with what it needs before it and what was hurt after it.

mod budget;
mod evidence;
mod plan;
mod run;

pub use budget::{Budget, Spent};
pub use plan::{RecoverPlan, Restarted, plan};
pub use run::{RecoverOptions, RecoverOutcome, RecoverReport, recover};
