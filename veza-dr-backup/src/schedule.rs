//! When a component is backed up: cron expressions in a time zone, with jitter, and the longest time between two runs.

mod cron;
mod fields;
mod gap;
mod timetable;
mod zone;

pub use cron::Schedule;
pub use gap::WorstGap;
pub use timetable::Timetable;
pub use zone::Zone;
