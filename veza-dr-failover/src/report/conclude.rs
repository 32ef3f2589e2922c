//! From what was found to a verdict.

use super::{Outcome, RecoveryReport};

/// Failed when anything failed, else unknown when anything is; passed only when something passed.
pub(super) fn worst(outcomes: impl Iterator<Item = Outcome>) -> Outcome {
    let mut all = Outcome::NotDone;
    for one in outcomes {
        all = match (all, one) {
            (Outcome::Failed, _) | (_, Outcome::Failed) => Outcome::Failed,
            (Outcome::Unknown, _) | (_, Outcome::Unknown) => Outcome::Unknown,
            (Outcome::Passed, _) | (_, Outcome::Passed) => Outcome::Passed,
            _ => Outcome::NotDone,
        };
    }
    if all == Outcome::NotDone { Outcome::Unknown } else { all }
}

impl RecoveryReport {
    /// Draws the verdict from the criteria, what was compared, validation, and the clean-up, and names what keeps it from
    /// being a pass. Failed: one of them failed. Unknown: one could not be told, or there was no criterion. A criterion
    /// that was left out keeps it from being a pass, too: the exercise did not show what it set out to show.
    pub fn conclude(&mut self) {
        let mut reasons = Vec::new();
        let mut outcomes = Vec::new();
        for criterion in &self.criteria.list {
            let outcome = match criterion.outcome {
                Outcome::NotDone => Outcome::Unknown,
                told => told,
            };
            outcomes.push(outcome);
            if outcome != Outcome::Passed {
                let found = criterion.measured.as_deref().unwrap_or("unknown");
                reasons.push(format!("{}: {} (demanded: {})", criterion.id, found, criterion.target));
            }
        }
        if self.criteria.list.is_empty() {
            outcomes.push(Outcome::Unknown);
            reasons.push("no criterion was fixed".to_owned());
        }
        for line in &self.consistency.compared {
            outcomes.push(line.outcome);
            if matches!(line.outcome, Outcome::Failed | Outcome::Unknown) {
                let why = line.text.as_deref().unwrap_or("it differs or could not be compared");
                reasons.push(format!("{} {}: {why}", line.component, line.what));
            }
        }
        for check in &self.validation {
            outcomes.push(check.outcome);
            if matches!(check.outcome, Outcome::Failed | Outcome::Unknown) {
                reasons.push(format!(
                    "check {}: {}",
                    check.name,
                    check.reason.as_deref().unwrap_or("no reason is known")
                ));
            }
        }
        if let Some(clean_up) = &self.clean_up {
            outcomes.push(clean_up.outcome());
            for item in clean_up.removed.iter().chain(&clean_up.production).filter(|i| i.outcome != Outcome::Passed) {
                reasons.push(format!("{}: {}", item.what, item.proof));
            }
            if clean_up.removed.is_empty() && clean_up.production.is_empty() {
                reasons.push("nothing proves that it was cleaned up".to_owned());
            }
        }
        (self.outcome, self.reasons) = (worst(outcomes.into_iter()), reasons);
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;
    use crate::report::{CheckLine, CleanUp, CleanUpItem, Comparison, Criterion, ReportKind};

    fn report() -> RecoveryReport {
        let mut report = RecoveryReport::new("a", ReportKind::IsolatedDrill, Utc::now());
        report.criteria.list.push(Criterion::new("rto", "in time", "4 h").met("1 h"));
        report
    }

    fn verdict(mut report: RecoveryReport) -> (Outcome, usize) {
        report.conclude();
        (report.outcome, report.reasons.len())
    }

    #[test]
    fn only_what_was_shown_passes() {
        assert_eq!(verdict(report()), (Outcome::Passed, 0));
        let mut none = report();
        none.criteria.list.clear();
        assert_eq!(verdict(none), (Outcome::Unknown, 1));
        let mut left_out = report();
        left_out.criteria.list[0].outcome = Outcome::NotDone;
        assert_eq!(verdict(left_out), (Outcome::Unknown, 1));
        let mut different = report();
        different.consistency.compared.push(Comparison::new("database", "public.t", Outcome::Failed));
        different.validation.push(CheckLine::new("login", Outcome::Unknown));
        assert_eq!(verdict(different), (Outcome::Failed, 2));
        let mut leaked = report();
        leaked.clean_up = Some(CleanUp::default());
        assert_eq!(verdict(leaked.clone()), (Outcome::Unknown, 1), "no proof is no proof");
        let item = CleanUpItem::new("network", Outcome::Passed, "0 left");
        leaked.clean_up = Some(CleanUp { removed: vec![item], ..CleanUp::default() });
        assert_eq!(verdict(leaked), (Outcome::Passed, 0));
    }
}
