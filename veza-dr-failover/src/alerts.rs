//! When to raise the alarm: conditions over what was measured, and how they come true, stay true and end.
//!
//! ```
//! use veza_dr_failover::alerts::{AlertRule, BUILT_IN, Expression};
//! let late: Expression = "recovery_time > 1h and not data_loss == 0".parse().unwrap();
//! late.check(&BUILT_IN).unwrap();
//! let wrong: Expression = "data_loss > 1h".parse().unwrap();
//! assert!(wrong.check(&BUILT_IN).unwrap_err().to_string().contains("records"));
//! # let _ = AlertRule::new("Late", late, veza_dr_core::Severity::Critical);
//! ```

mod check;
mod evaluate;
mod expression;
mod lint;
mod metric;
mod parse;
mod rule;
mod series;
mod subject;

pub use evaluate::{Reading, Verdict};
pub use expression::{Comparison, Expression, Quantity};
pub use lint::contradictions;
pub use metric::{BUILT_IN, MetricInfo, MetricUnit, Scope};
pub use rule::{AlertRule, OnMissing};
pub use series::{Change, SeriesState};
pub use subject::Subject;
