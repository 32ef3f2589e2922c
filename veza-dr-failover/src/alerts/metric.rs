//! What conditions can speak of.

/// What a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricUnit {
    /// Time.
    Seconds,
    /// Rows, keys or files.
    Records,
    /// Bytes.
    Bytes,
    /// Parts of a hundred.
    Percent,
    /// Whatever is counted one by one.
    Count,
}

impl std::fmt::Display for MetricUnit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Seconds => "seconds",
            Self::Records => "records",
            Self::Bytes => "bytes",
            Self::Percent => "percent",
            Self::Count => "a count",
        })
    }
}

/// What a metric is measured of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// Of each recovery and drill.
    Recovery,
    /// Of the service, all the time; within a recovery, of its time.
    Service,
}

/// One metric.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricInfo {
    /// Its name.
    pub name: std::borrow::Cow<'static, str>,
    /// What it counts.
    pub unit: MetricUnit,
    /// What it is measured of.
    pub scope: Scope,
    /// What it means.
    pub about: &'static str,
}

impl MetricInfo {
    /// One that a configuration declares; nothing measures it yet, so that what is said of it is missing.
    #[must_use]
    pub fn declared(name: impl Into<String>, unit: MetricUnit) -> Self {
        let about = "declared by the configuration";
        Self { name: name.into().into(), unit, scope: Scope::Recovery, about }
    }
}

const fn metric(name: &'static str, unit: MetricUnit, scope: Scope, about: &'static str) -> MetricInfo {
    MetricInfo { name: std::borrow::Cow::Borrowed(name), unit, scope, about }
}

/// The metrics that are measured.
pub static BUILT_IN: [MetricInfo; 9] = [
    metric("recovery_time", MetricUnit::Seconds, Scope::Recovery, "from the outage until users are served (T6-T0)"),
    metric(
        "recovery_time_from_decision",
        MetricUnit::Seconds,
        Scope::Recovery,
        "from the decision until users are served (T6-T3)",
    ),
    metric(
        "recovery_time_from_start",
        MetricUnit::Seconds,
        Scope::Recovery,
        "from the first step until users are served (T6-T4)",
    ),
    metric("rto_share", MetricUnit::Percent, Scope::Recovery, "recovery_time of a hundred parts of the RTO"),
    metric("data_loss", MetricUnit::Records, Scope::Recovery, "records lost"),
    metric("data_loss_time", MetricUnit::Seconds, Scope::Recovery, "the time that the loss covers"),
    metric("service_availability", MetricUnit::Percent, Scope::Service, "good probes of a hundred"),
    metric("outage_time", MetricUnit::Seconds, Scope::Service, "how long users were not served"),
    metric("longest_outage", MetricUnit::Seconds, Scope::Service, "the longest time in a row of that"),
];
