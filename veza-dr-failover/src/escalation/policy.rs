//! Levels of escalation.

use std::time::Duration;

use serde::Serialize;

use super::Contact;

/// One level: it begins when the first of its conditions is met.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Level {
    /// Who that is, for people.
    pub name: String,
    /// It begins this long after the outage did.
    pub after: Option<Duration>,
    /// It begins when so many of a hundred parts of the recovery time objective have passed.
    pub rto_share: Option<f64>,
    /// It begins when the recovery will probably miss its objective.
    pub on_predicted_breach: bool,
    /// Who is called.
    pub contacts: Vec<Contact>,
    /// What they may decide, told with the call: who may fail over, who may accept loss.
    pub authority: Option<String>,
}

impl Level {
    /// A level that begins so long after the outage.
    #[must_use]
    pub fn after(name: impl Into<String>, after: Duration) -> Self {
        Self {
            name: name.into(),
            after: Some(after),
            rto_share: None,
            on_predicted_breach: false,
            contacts: Vec::new(),
            authority: None,
        }
    }

    /// Calls these.
    #[must_use]
    pub fn calling(mut self, contacts: Vec<Contact>) -> Self {
        self.contacts = contacts;
        self
    }

    /// Begins, too, when so many of a hundred parts of the objective have passed.
    #[must_use]
    pub fn at_rto_share(mut self, percent: f64) -> Self {
        self.rto_share = Some(percent);
        self
    }

    /// Begins, too, when the recovery will probably miss its objective.
    #[must_use]
    pub fn on_predicted_breach(mut self) -> Self {
        self.on_predicted_breach = true;
        self
    }

    /// How long after the outage it begins; `None`: not by time.
    #[must_use]
    pub fn begins(&self, rto: Option<Duration>) -> Option<Duration> {
        let share = self.rto_share.zip(rto).map(|(percent, rto)| rto.mul_f64(percent.max(0.0) / 100.0));
        match (self.after, share) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

/// The levels, the first first, and how often somebody is called again.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct EscalationPolicy {
    /// The levels.
    pub levels: Vec<Level>,
    /// While nobody acknowledges, the level that was reached is called again this often.
    pub repeat: Duration,
    /// An acknowledgement holds for so long: then, while it still goes on, the level is called again and the climb goes
    /// on.
    pub acknowledged_for: Duration,
}

impl EscalationPolicy {
    /// These levels; called again every 30 minutes, an acknowledgement holds for an hour.
    #[must_use]
    pub fn new(levels: Vec<Level>) -> Self {
        Self { levels, repeat: Duration::from_secs(1800), acknowledged_for: Duration::from_secs(3600) }
    }

    /// The four levels of the operations guide, with nobody to call yet.
    #[must_use]
    pub fn guide() -> Self {
        let hours = |h: u64| Duration::from_secs(h * 3600);
        Self::new(vec![
            Level::after("Équipe DevOps", hours(0)),
            Level::after("Architecte + DBA", hours(2)),
            Level::after("CTO + Équipe Senior", hours(4)),
            Level::after("Direction + Support externe", hours(8)),
        ])
    }

    /// Calls again this often.
    #[must_use]
    pub fn with_repeat(mut self, repeat: Duration) -> Self {
        self.repeat = repeat;
        self
    }

    /// An acknowledgement holds for so long.
    #[must_use]
    pub fn with_acknowledged_for(mut self, time: Duration) -> Self {
        self.acknowledged_for = time;
        self
    }

    /// The highest level that has begun, counted from 0.
    #[must_use]
    pub fn level_at(&self, elapsed: Duration, rto: Option<Duration>, breach_predicted: bool) -> Option<usize> {
        let begun = |level: &Level| {
            level.begins(rto).is_some_and(|at| elapsed >= at) || (level.on_predicted_breach && breach_predicted)
        };
        self.levels.iter().rposition(begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guides_levels_begin_when_the_guide_says() {
        let guide = EscalationPolicy::guide();
        let level = |minutes: u64| guide.level_at(Duration::from_secs(minutes * 60), None, false);
        let told: Vec<_> = [0, 119, 120, 239, 240, 479, 480, 9999].map(|m| level(m).unwrap() + 1).into();
        assert_eq!(told, [1, 1, 2, 2, 3, 3, 4, 4]);
    }

    #[test]
    fn a_share_of_the_objective_or_a_prediction_comes_first_where_it_is_earlier() {
        let hours = |h: u64| Duration::from_secs(h * 3600);
        let policy = EscalationPolicy::new(vec![
            Level::after("one", hours(0)),
            Level::after("two", hours(2)).at_rto_share(50.0).on_predicted_breach(),
        ]);
        assert_eq!(policy.level_at(hours(1), Some(hours(2)), false), Some(1));
        assert_eq!(policy.level_at(hours(1), Some(hours(8)), false), Some(0));
        assert_eq!(policy.level_at(hours(2), Some(hours(8)), false), Some(1), "the time still counts");
        assert_eq!(policy.level_at(Duration::ZERO, Some(hours(8)), true), Some(1));
    }
}
