//! Whether a schedule can keep the promise of how much recent data may be lost, told before the first backup.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use veza_dr_core::Rpo;

use crate::{Schedule, Timetable, WorstGap};

/// How long a backup is taken to last while none was made.
const ASSUMED: Duration = Duration::from_secs(600);
/// Schedules to propose, the calmest first.
const PROPOSALS: [&str; 12] = [
    "0 0 * * *",
    "0 */12 * * *",
    "0 */8 * * *",
    "0 */6 * * *",
    "0 */4 * * *",
    "0 */3 * * *",
    "0 */2 * * *",
    "0 * * * *",
    "*/30 * * * *",
    "*/15 * * * *",
    "*/10 * * * *",
    "*/5 * * * *",
];

/// How a schedule compares with a recovery point objective.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RpoFinding {
    /// Whether no more can be lost than the objective allows.
    pub met: bool,
    /// The most that can be lost: a disaster right before the end of the backup after the longest gap.
    pub worst_loss: Duration,
    /// The longest time between two runs within a year.
    pub gap: Duration,
    /// The run before that gap.
    pub gap_from: DateTime<Utc>,
    /// How much later a run may begin.
    pub jitter: Duration,
    /// How long a backup lasts until the last byte is stored: 95 of 100 past ones were no slower.
    pub lasts: Duration,
    /// No backup was made yet: `lasts` is an assumption.
    pub assumed: bool,
    /// A schedule that would do, where any would.
    pub proposal: Option<&'static str>,
    /// All of it in one line.
    pub text: String,
}

/// Compares the worst that a timetable can lead to within a year of `now` with an objective. `past` are the durations
/// of earlier backups. `None` when the schedule has no two runs.
///
/// ```
/// use std::time::Duration;
/// use veza_dr_backup::{Timetable, check_rpo};
/// use veza_dr_core::Rpo;
/// let six_hourly = Timetable::new("0 */6 * * *".parse().unwrap());
/// let now = "2026-11-23T00:00:00Z".parse().unwrap();
/// let found = check_rpo(&six_hourly, &[Duration::from_secs(60)], Rpo(Duration::from_secs(3600)), now).unwrap();
/// assert!(!found.met);
/// assert_eq!(found.proposal, Some("*/30 * * * *"));
/// ```
#[must_use]
pub fn check_rpo(table: &Timetable, past: &[Duration], rpo: Rpo, now: DateTime<Utc>) -> Option<RpoFinding> {
    let WorstGap { gap, from, .. } = table.schedule.worst_gap(now)?;
    let lasts = percentile_95(past).unwrap_or(ASSUMED);
    let worst_loss = gap.saturating_add(table.jitter).saturating_add(lasts);
    let met = worst_loss <= rpo.0 && !rpo.0.is_zero();
    let proposal = if met { None } else { propose(table, lasts, rpo, now) };
    let mut finding = RpoFinding {
        met,
        worst_loss,
        gap,
        gap_from: from,
        jitter: table.jitter,
        lasts,
        assumed: past.is_empty(),
        proposal,
        text: String::new(),
    };
    finding.text = finding.told(table, rpo);
    Some(finding)
}

/// The smallest duration that 95 of 100 do not exceed.
fn percentile_95(past: &[Duration]) -> Option<Duration> {
    let mut sorted = past.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * 95).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

fn propose(table: &Timetable, lasts: Duration, rpo: Rpo, now: DateTime<Utc>) -> Option<&'static str> {
    PROPOSALS.into_iter().find(|text| {
        let gap = Schedule::parse(text, table.schedule.zone()).ok().and_then(|s| s.worst_gap(now));
        // A backup must be over before the next one begins.
        gap.is_some_and(|w| w.gap + table.jitter + lasts <= rpo.0 && lasts < w.gap)
    })
}

impl RpoFinding {
    fn told(&self, table: &Timetable, rpo: Rpo) -> String {
        if rpo.0.is_zero() {
            return "an RPO of 0 cannot be met by periodic backups: what is written after the last one is lost with its \
                    server; it takes a synchronous replica, with backups for what a replica repeats faithfully"
                .to_owned();
        }
        let jitter = if self.jitter.is_zero() { String::new() } else { format!(" + jitter {}", words(self.jitter)) };
        let lasts = if self.assumed { "assumed, as none was made yet" } else { "95 of 100 take no longer" };
        let sum = format!(
            "up to {} can be lost: longest gap {} (after {}){jitter} + a backup of {} ({lasts})",
            words(self.worst_loss),
            words(self.gap),
            self.gap_from.format("%Y-%m-%d %H:%MZ"),
            words(self.lasts),
        );
        if self.met {
            return format!("RPO {} is met: {sum}", words(rpo.0));
        }
        let instead = match self.proposal {
            Some(text) => format!("this schedule would do: \"{text}\""),
            None => "no periodic schedule would do, as a backup takes too long: archive the write-ahead log".to_owned(),
        };
        format!("RPO {} is not met by \"{}\": {sum}; {instead}", words(rpo.0), table.schedule.as_str())
    }
}

/// `6 h`, `1 h 30 min`, `45 s`.
fn words(d: Duration) -> String {
    let s = d.as_secs();
    let parts = [(s / 86400, "d"), (s % 86400 / 3600, "h"), (s % 3600 / 60, "min"), (s % 60, "s")];
    let told: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).take(2).map(|(n, unit)| format!("{n} {unit}")).collect();
    if told.is_empty() { "0 s".to_owned() } else { told.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Zone;

    fn check(cron: &str, past: &[u64], rpo: u64) -> RpoFinding {
        let table = Timetable::new(Schedule::parse(cron, Zone::UTC).unwrap());
        let past: Vec<Duration> = past.iter().map(|s| Duration::from_secs(*s)).collect();
        check_rpo(&table, &past, Rpo(Duration::from_secs(rpo)), "2026-01-01T00:00:00Z".parse().unwrap()).unwrap()
    }

    #[test]
    fn the_sum_decides_and_a_schedule_that_would_do_is_named() {
        assert!(check("0 */2 * * *", &[600], 2 * 3600 + 600).met);
        let missed = check("0 */2 * * *", &[601], 2 * 3600 + 600);
        assert_eq!((missed.met, missed.proposal), (false, Some("0 * * * *")));
        let guide = check("0 */6 * * *", &[], 3600);
        assert_eq!(
            guide.text,
            "RPO 1 h is not met by \"0 */6 * * *\": up to 6 h 10 min can be lost: longest gap 6 h (after 2026-01-01 06:00Z) \
             + a backup of 10 min (assumed, as none was made yet); this schedule would do: \"*/30 * * * *\""
        );
        // A proposal keeps the promise itself.
        assert!(check("*/30 * * * *", &[], 3600).met);
    }

    #[test]
    fn what_no_schedule_can_meet_is_said() {
        let zero = check("* * * * *", &[1], 0);
        assert!(!zero.met && zero.proposal.is_none() && zero.text.contains("synchronous replica"), "{}", zero.text);
        let slow = check("0 * * * *", &[4000], 3600);
        assert!(slow.proposal.is_none() && slow.text.contains("write-ahead log"), "{}", slow.text);
    }

    #[test]
    fn one_slow_backup_of_twenty_does_not_count_and_two_do() {
        let mut past = vec![10; 19];
        past.push(5000);
        assert_eq!(check("0 * * * *", &past, 3600).lasts.as_secs(), 10);
        past[0] = 5000;
        assert_eq!(check("0 * * * *", &past, 3600).lasts.as_secs(), 5000);
    }
}
