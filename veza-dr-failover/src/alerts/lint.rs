//! Where alerts, levels of escalation and objectives contradict each other.

use std::time::Duration;

use super::{AlertRule, Comparison, Expression};
use crate::{escalation::EscalationPolicy, measure::Objectives};

/// What cannot all be right, a line each: alerts that fire although an objective is met, and levels that are called only
/// once it is missed.
///
/// ```
/// use std::time::Duration;
/// use veza_dr_failover::{alerts::{AlertRule, contradictions}, escalation::EscalationPolicy, measure::Objectives};
/// let hours = |h: u64| Duration::from_secs(h * 3600);
/// let backend = vec![("backend".to_owned(), Objectives::new(hours(2), hours(0)))];
/// let told = contradictions(&[], &EscalationPolicy::guide(), &backend, hours(720));
/// assert!(told[0].contains("level 2"), "{told:?}");
/// ```
#[must_use]
pub fn contradictions(
    rules: &[AlertRule],
    policy: &EscalationPolicy,
    objectives: &[(String, Objectives)],
    window: Duration,
) -> Vec<String> {
    let mut told = Vec::new();
    for rule in rules {
        let mut all = Vec::new();
        rule.condition.comparisons(&mut all);
        for (metric, comparison, with) in all {
            for (scenario, o) in objectives {
                let rto = o.rto.as_secs_f64();
                match (metric, comparison) {
                    ("recovery_time", Comparison::Above | Comparison::AtLeast) if with < rto => told.push(format!(
                        "alert {}: {} fires after {} s, a recovery from {scenario} may take {rto} s",
                        rule.name, rule.condition, with
                    )),
                    ("service_availability", Comparison::Below | Comparison::AtMost) if !window.is_zero() => {
                        let left = 100.0 - rto * 100.0 / window.as_secs_f64();
                        if left < with {
                            told.push(format!(
                                "alert {}: {} fires after an outage that the RTO of {scenario} allows: it leaves {left:.2} %",
                                rule.name, rule.condition
                            ));
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    for (number, level) in policy.levels.iter().enumerate().skip(1) {
        for (scenario, o) in objectives {
            let late = level.begins(Some(o.rto)).is_none_or(|at| at >= o.rto);
            // One that is called about the breach itself is meant to come with it.
            if late && !level.on_predicted_breach && level.rto_share.is_none() && number == 1 {
                told.push(format!(
                    "level 2, {}: is called once the RTO of {scenario} is missed already; add rto_share: 50",
                    level.name
                ));
            }
        }
    }
    told
}

impl Expression {
    fn comparisons<'a>(&'a self, found: &mut Vec<(&'a str, Comparison, f64)>) {
        match self {
            Self::Compare { metric, comparison, with } => found.push((metric, *comparison, with.value)),
            Self::And(a, b) | Self::Or(a, b) => {
                a.comparisons(found);
                b.comparisons(found);
            }
            // What does not hold is not what it fires by.
            Self::Not(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use veza_dr_core::Severity;

    use super::*;

    #[test]
    fn the_guides_alerts_contradict_its_objectives() {
        let hours = |h: u64| Duration::from_secs(h * 3600);
        let rule = |name, condition: &str| AlertRule::new(name, condition.parse().unwrap(), Severity::Critical);
        let rules = [rule("Late", "recovery_time > 3600"), rule("Away", "service_availability < 99.9")];
        let objectives = [("database".to_owned(), Objectives::new(hours(4), hours(1)))];
        let told = contradictions(&rules, &EscalationPolicy::guide(), &objectives, hours(720));
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[1].contains("99.44 %"), "{told:?}");
        let fine = [rule("Late", "recovery_time > 4h"), rule("Away", "service_availability < 99.4")];
        assert!(contradictions(&fine, &EscalationPolicy::guide(), &objectives, hours(720)).is_empty());
    }
}
