//! The desk of alarms: a year of seeded faults by a simulated clock against a model that shares no code with it; crashes at
//! every byte of its book; two processes at one book; channels that fail.

#![cfg(feature = "testing")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "in a test a failure is what it is for, and figures are printed"
)]

mod crash;
#[cfg(feature = "http")]
mod dashboard;
mod delivery;
#[cfg(feature = "http")]
mod links;
#[cfg(feature = "http")]
#[path = "../markup/mod.rs"]
mod markup;
mod recorder;
mod scene;
mod year;
