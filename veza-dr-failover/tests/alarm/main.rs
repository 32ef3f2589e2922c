//! The desk of alarms: a year of seeded faults by a simulated clock against a model that shares no code with it; crashes at
//! every byte of its book; two processes at one book; channels that fail.

#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, reason = "in a test a failure is what it is for")]

mod crash;
mod delivery;
mod scene;
mod year;
