//! What came of a load.

use std::{collections::BTreeMap, fmt, time::Duration};

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use veza_dr_core::{Error, ErrorKind, Result};

use super::{load::percent, suite::seconds};

/// What came of a load. Latencies are those of all requests that were sent; one without an answer counts with the time
/// after which it was given up.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LoadFigures {
    /// Requests sent, without the warm-up.
    pub sent: u64,
    /// Requests answered with a status below 400.
    pub answered: u64,
    /// Failures by their kind.
    pub errors: BTreeMap<String, u64>,
    /// Requests that were due but never sent: all connections were busy until the end.
    pub not_sent: u64,
    /// From the first to the last of them.
    pub took: Duration,
    /// Half of the latencies are at most this.
    pub p50: Option<Duration>,
    /// 95 of 100.
    pub p95: Option<Duration>,
    /// 99 of 100.
    pub p99: Option<Duration>,
    /// The longest.
    pub max: Option<Duration>,
    /// 99 of 100, counted from when a request was really sent: smaller than `p99` where requests had to wait for a
    /// connection.
    pub p99_uncorrected: Option<Duration>,
    /// How many connections were open at once at most.
    pub connections: u32,
    /// Why it was ended early.
    pub stopped: Option<String>,
}

impl LoadFigures {
    /// The share of requests that failed, from 0 to 1.
    #[must_use]
    pub fn error_share(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { (self.sent - self.answered) as f64 / self.sent as f64 }
    }

    /// Answers a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let took = self.took.as_secs_f64();
        if took > 0.0 { self.answered as f64 / took } else { 0.0 }
    }

    pub(super) fn evidence(&self) -> Value {
        let of = |d: Option<Duration>| d.map(|d| d.as_secs_f64());
        json!({
            "sent": self.sent, "answered": self.answered, "errors": self.errors, "not_sent": self.not_sent,
            "took_seconds": self.took.as_secs_f64(), "answers_per_second": self.rate(),
            "p50_seconds": of(self.p50), "p95_seconds": of(self.p95), "p99_seconds": of(self.p99),
            "max_seconds": of(self.max), "p99_uncorrected_seconds": of(self.p99_uncorrected),
            "connections": self.connections, "stopped": self.stopped,
        })
    }
}

impl fmt::Display for LoadFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sent, {:.1}/s answered, errors {}", self.sent, self.rate(), percent(self.error_share()))?;
        for (name, value) in [("p50", self.p50), ("p95", self.p95), ("p99", self.p99), ("max", self.max)] {
            if let Some(value) = value {
                write!(f, ", {name} {}", seconds(value))?;
            }
        }
        if self.not_sent > 0 {
            write!(f, ", {} not sent", self.not_sent)?;
        }
        Ok(())
    }
}

/// Latencies from a microsecond to an hour, to three digits.
pub(super) fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3)
        .map_err(|e| Error::new(ErrorKind::Unexpected, "latencies cannot be recorded").with_source(e))
}

/// The latency that `percentile` of 100 do not exceed; `None` when there is none.
pub(super) fn at(histogram: &Histogram<u64>, percentile: f64) -> Option<Duration> {
    let known = !histogram.is_empty();
    known.then(|| Duration::from_micros(histogram.value_at_percentile(percentile)))
}

/// Counts a latency; what is beyond the bounds counts as the bound.
pub(super) fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    histogram.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1));
}
