//! What recovery must achieve: scenarios with their recovery time (RTO) and recovery point (RPO) objectives.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{ComponentName, Error, ErrorKind, Result};

/// Recovery time objective: how long the service may be away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rto(pub Duration);

/// Recovery point objective: how much recent data may be lost, as time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rpo(pub Duration);

/// The disasters that are planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ScenarioKind {
    /// The database is lost.
    Database,
    /// Backend services are down.
    Backend,
    /// The whole site is down.
    Infrastructure,
    /// Data was tampered with.
    Security,
}

impl fmt::Display for ScenarioKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Database => "database",
            Self::Backend => "backend",
            Self::Infrastructure => "infrastructure",
            Self::Security => "security",
        })
    }
}

/// One disaster with its objectives and the components its recovery needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Scenario {
    /// Which disaster.
    pub kind: ScenarioKind,
    /// How long recovery may take.
    pub rto: Rto,
    /// How old the recovered data may be.
    pub rpo: Rpo,
    /// What must be restorable for it.
    pub needs: Vec<ComponentName>,
}

impl Scenario {
    /// The four scenarios of the Veza operations guide with its objectives, each needing `needs`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use veza_dr_core::{Rpo, Scenario};
    /// let four = Scenario::guide(&["database".parse().unwrap()]);
    /// assert_eq!(four[0].rpo, Rpo(Duration::from_secs(3600)));
    /// ```
    #[must_use]
    pub fn guide(needs: &[ComponentName]) -> Vec<Self> {
        let hours = |h: u64| Duration::from_secs(h * 3600);
        [
            (ScenarioKind::Database, 4, 1),
            (ScenarioKind::Backend, 2, 0),
            (ScenarioKind::Infrastructure, 6, 4),
            (ScenarioKind::Security, 8, 24),
        ]
        .into_iter()
        .map(|(kind, rto, rpo)| Self { kind, rto: Rto(hours(rto)), rpo: Rpo(hours(rpo)), needs: needs.to_vec() })
        .collect()
    }
}

/// Reads `90s`, `15m`, `4h`, `2d`, `500ms`, or a sum such as `1h30m`.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(veza_dr_core::parse_duration("1h30m").unwrap(), Duration::from_secs(5400));
/// assert!(veza_dr_core::parse_duration("soon").is_err());
/// ```
///
/// # Errors
/// [`ErrorKind::Config`] naming the text when it is not a duration.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let bad = || {
        Error::new(ErrorKind::Config, format!("`{text}` is not a duration"))
            .with_help("write it as 30s, 15m, 4h, 2d or a sum such as 1h30m")
    };
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
        let tail = &rest[digits..];
        let unit_len = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let part = match &tail[..unit_len] {
            "ms" => Some(Duration::from_millis(number)),
            "s" => Some(Duration::from_secs(number)),
            "m" => number.checked_mul(60).map(Duration::from_secs),
            "h" => number.checked_mul(3600).map(Duration::from_secs),
            "d" => number.checked_mul(86400).map(Duration::from_secs),
            _ => None,
        };
        total = part.and_then(|p| total.checked_add(p)).ok_or_else(bad)?;
        rest = &tail[unit_len..];
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn durations_never_panic(s in ".*") {
            let _ = parse_duration(&s);
        }

        #[test]
        fn seconds_come_back(n in 0u64..1_000_000_000) {
            prop_assert_eq!(parse_duration(&format!("{n}s")).unwrap(), Duration::from_secs(n));
        }
    }
}
