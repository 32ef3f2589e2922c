//! How long steps took in the past.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::Serialize;
use veza_dr_core::Result;

use super::{Engine, Record, StepOutcome, read_journal};

/// How long a step probably takes, from earlier runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Prediction {
    /// Half of the past runs took no longer.
    pub p50: Duration,
    /// 95 of 100 took no longer.
    pub p95: Duration,
    /// How many runs that is known from.
    pub samples: usize,
}

/// For each step that succeeded in an earlier run of a plan of this name: how long it took. A step that is not here was
/// never seen: how long it takes is unknown.
///
/// # Errors
/// When the journals cannot be listed; a damaged one is passed over.
pub fn predictions(engine: &Engine, plan: &str) -> Result<BTreeMap<String, Prediction>> {
    let runs = engine.runs()?;
    Ok(of_journals(runs.iter().map(|run| engine.path(run)), plan))
}

/// The same by these journals; one that cannot be read is passed over.
pub(crate) fn of_journals(journals: impl Iterator<Item = PathBuf>, plan: &str) -> BTreeMap<String, Prediction> {
    let mut seen: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    for path in journals {
        let Ok(entries) = read_journal(&path) else { continue };
        let same =
            entries.first().is_some_and(|e| matches!(&e.record, Record::Started { plan: p, .. } if p.name == plan));
        if !same {
            continue;
        }
        let mut began = BTreeMap::new();
        for entry in &entries {
            match &entry.record {
                Record::Intent { step, .. } => {
                    began.insert(step.as_str(), entry.at);
                }
                Record::Outcome { step, outcome: StepOutcome::Ok { recovered: false, .. }, .. } => {
                    let took = began.remove(step.as_str()).and_then(|at| (entry.at - at).to_std().ok());
                    seen.entry(step.clone()).or_default().extend(took);
                }
                _ => {}
            }
        }
    }
    seen.into_iter().filter_map(|(step, took)| Some((step, Prediction::of(took)?))).collect()
}

impl Prediction {
    /// From what was seen; `None` when nothing was.
    #[must_use]
    pub fn of(mut took: Vec<Duration>) -> Option<Self> {
        took.sort();
        let rank = |percent: usize| took.get((took.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(Self { p50: rank(50)?, p95: rank(95)?, samples: took.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_those_of_what_was_seen() {
        let took = (1..=20).map(Duration::from_secs).collect();
        let found = Prediction::of(took).unwrap();
        assert_eq!((found.p50.as_secs(), found.p95.as_secs(), found.samples), (10, 19, 20));
        assert_eq!(Prediction::of(Vec::new()), None);
        assert_eq!(Prediction::of(vec![Duration::from_secs(7)]).unwrap().p95.as_secs(), 7);
    }
}
