//! What recoveries and drills achieved: the clock points, how long it took, what was lost, how available the service was.
//!
//! A [`RecoveryRecord`] is what is kept of one recovery or drill, as one immutable object of the store
//! ([`RecoveryHistory`]); a listing is the catalogue. [`Forecast`] tells from it how long the next one will take. What is
//! not known is `None`, never zero.
//!
//! ```
//! use chrono::{DateTime, TimeDelta};
//! use veza_dr_failover::measure::{ClockPoints, DataLoss};
//! let t0 = DateTime::UNIX_EPOCH;
//! let points = ClockPoints { t0: Some(t0), t6: Some(t0 + TimeDelta::hours(3)), ..ClockPoints::default() };
//! assert_eq!(points.recovery_time().unwrap().as_secs(), 3 * 3600);
//! assert_eq!(DataLoss::default().records(), None, "unknown is not zero");
//! ```

mod availability;
mod bucket;
mod data_loss;
mod forecast;
mod history;
mod log;
mod loss_of_run;
mod outage;
mod points;
mod prober;
mod record;
mod recorder;

pub use availability::Availability;
pub use data_loss::{DataLoss, LossPart};
pub use forecast::{Forecast, Span, eta, forecast, predictions_of};
pub use history::{Catalogue, Published, RecoveryHistory};
pub use log::{AvailabilityLog, ProbingLock};
pub use outage::Outage;
pub use points::ClockPoints;
pub use prober::{Prober, Vantage};
pub use record::{RecoveryKind, RecoveryRecord, StepTime};
pub use recorder::{ClockPointsOf, Objectives, Recorder, Run};

#[cfg(test)]
pub(crate) use record::tests::record as record_for_tests;

/// A length of time in seconds, for JSON and metrics.
pub(crate) fn seconds(from: chrono::DateTime<chrono::Utc>, to: chrono::DateTime<chrono::Utc>) -> f64 {
    (to - from).as_seconds_f64()
}
