//! The text that is scraped, in the form that the scraper asks for.

use prometheus_client::{encoding::text, registry::Registry};
use veza_dr_core::{Error, ErrorKind, Result};

/// A form of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The Prometheus text format 0.0.4.
    Prometheus,
}

impl Format {
    /// What a request's `Accept` header asks for: OpenMetrics only where it is named and not refused.
    ///
    /// ```
    /// use veza_dr_failover::metrics::Format;
    /// let asked = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2";
    /// assert_eq!(Format::negotiate(Some(asked)), Format::OpenMetrics);
    /// assert_eq!(Format::negotiate(Some("*/*")), Format::Prometheus);
    /// ```
    #[must_use]
    pub fn negotiate(accept: Option<&str>) -> Self {
        let weight = |name: &str| {
            let found = accept?.split(',').map(str::trim).find(|item| item.split(';').next() == Some(name))?;
            let q = found.split(';').find_map(|p| p.trim().strip_prefix("q="));
            Some(q.and_then(|q| q.parse::<f32>().ok()).unwrap_or(1.0))
        };
        match (weight("application/openmetrics-text"), weight("text/plain")) {
            (Some(open), plain) if open > 0.0 && open >= plain.unwrap_or(0.0) => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    /// The `Content-Type` of the text.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// All that a registry holds.
///
/// # Errors
/// `Unexpected` when a collector fails.
pub fn encode(registry: &Registry, format: Format) -> Result<String> {
    let mut open = String::new();
    text::encode(&mut open, registry)
        .map_err(|e| Error::new(ErrorKind::Unexpected, "the metrics cannot be written").with_source(e))?;
    Ok(match format {
        Format::OpenMetrics => open,
        Format::Prometheus => to_prometheus(&open),
    })
}

/// The older format names a counter's family as its samples, with `_total`, and knows neither units nor an end mark.
fn to_prometheus(open: &str) -> String {
    let counters: Vec<&str> =
        open.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut out = String::with_capacity(open.len());
    for line in open.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let head = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
        match head.and_then(|rest| rest.split_once(' ')) {
            Some((name, rest)) if counters.contains(&name) => {
                out.push_str(&line[..7]);
                out.push_str(&format!("{name}_total {rest}"));
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_names_counters_by_their_samples() {
        let open = "# HELP a_runs How often.\n# TYPE a_runs counter\na_runs_total{x=\"y\"} 3\n# HELP a_s S.\n\
                    # TYPE a_s gauge\n# UNIT a_s seconds\na_s 1\n# EOF\n";
        let expected = "# HELP a_runs_total How often.\n# TYPE a_runs_total counter\na_runs_total{x=\"y\"} 3\n\
                        # HELP a_s S.\n# TYPE a_s gauge\na_s 1\n";
        assert_eq!(to_prometheus(open), expected);
    }

    #[test]
    fn what_is_refused_is_not_sent() {
        for (accept, format) in [
            (None, Format::Prometheus),
            (Some("text/plain"), Format::Prometheus),
            (Some("application/openmetrics-text"), Format::OpenMetrics),
            (Some("application/openmetrics-text;q=0"), Format::Prometheus),
            (Some("application/openmetrics-text;q=0.1, text/plain;q=0.9"), Format::Prometheus),
        ] {
            assert_eq!(Format::negotiate(accept), format, "{accept:?}");
        }
    }
}
