//! The daemon's core: keeps backups coming by their timetables, and old ones going by their retention.
//!
//! No component is backed up twice at once; components that are due at the same instant are backed up together, as one
//! recovery point. What is due is read from the stores, not remembered: a daemon that was down, or one of several,
//! finds out from the catalogue whether a run was missed or made by another. Nothing is kept on this machine.

mod component;
mod daemon;
mod lane;
mod outcome;
mod retain;
mod run;
#[cfg(test)]
mod set_back;
mod state;
mod telling;

pub use component::{PrepareBackup, Prepared, RunRetries, ScheduledComponent};
pub use daemon::{Scheduler, Stop};
pub use state::{ComponentState, SchedulerHandle, StoreAttempt};
