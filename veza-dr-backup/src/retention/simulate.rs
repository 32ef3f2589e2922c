//! What would be left, day by day, if no backup were made from now on.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use veza_dr_core::BackupId;

use super::{Candidate, Decision, RetentionPolicy, decide};

/// One day of a future without backups, after retention was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SimulatedDay {
    /// The day's time; the first is now.
    pub at: DateTime<Utc>,
    /// What is left.
    pub left: Vec<BackupId>,
    /// What went on this day.
    pub deleted: Vec<BackupId>,
}

/// Applies the policy once a day for `days` days, beginning with today, while no backup is added.
#[must_use]
pub fn simulate(
    candidates: &[Candidate],
    policy: &RetentionPolicy,
    now: DateTime<Utc>,
    days: u32,
) -> Vec<SimulatedDay> {
    let mut there = candidates.to_vec();
    there.sort_by(|a, b| a.id.cmp(&b.id));
    (0..=days)
        .map(|day| {
            let at = now + TimeDelta::days(day.into());
            let going = decide(&there, policy, at).into_iter().filter(Decision::deletes).map(|d| d.id);
            let deleted: Vec<BackupId> = going.collect();
            there.retain(|c| !deleted.contains(&c.id));
            SimulatedDay { at, left: there.iter().map(|c| c.id.clone()).collect(), deleted }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_stay_for_ever() {
        let there: Vec<Candidate> =
            (1..=9).map(|d| Candidate::new(format!("2026110{d}T000000Z-000000").parse().unwrap())).collect();
        let now = "2026-11-09T12:00:00Z".parse().unwrap();
        let days = simulate(&there, &RetentionPolicy::days(3), now, 400);
        assert_eq!(days.len(), 401);
        assert_eq!(days[0].deleted.len(), 4);
        assert_eq!(days[1].deleted.len(), 1);
        assert_eq!(days[400].left.len(), 4);
        assert_eq!(days[400].left.last(), Some(&there[8].id));
    }
}
