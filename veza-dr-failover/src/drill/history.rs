//! What a drill adds to the history of recoveries: its measures, as those of a recovery.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};

use super::model::{DrillOutcome, DrillRecord, PartRecord};
use crate::{
    measure::{ClockPoints, DataLoss, LossPart, RecoveryKind, RecoveryRecord},
    runbook::RunStatus,
};

impl From<&DrillRecord> for RecoveryRecord {
    /// A drill rehearses the data alone, so its plan has a name of its own: it is no sample of how long the plans of
    /// recoveries take.
    fn from(drill: &DrillRecord) -> Self {
        let point = |name: &'static str| (name, drill.clock.iter().find(|c| c.point == name).map(|c| c.at));
        let points: BTreeMap<&'static str, Option<DateTime<Utc>>> =
            ["T0", "T1", "T2", "T3", "T4", "T5", "T6"].into_iter().map(point).collect();
        let t0 = points["T0"];
        Self {
            format: 1,
            id: drill.id.to_string(),
            run: drill.id.to_string(),
            revision: 1,
            kind: RecoveryKind::Drill,
            scenario: Some(drill.scenario.to_string()),
            plan: format!("drill:{}:{}", drill.kind, drill.scenario),
            plan_sha: drill.plan_sha256.clone(),
            host: drill.host.clone(),
            who: drill.by.clone(),
            tool_version: drill.tool.version.clone(),
            status: match drill.outcome {
                DrillOutcome::Passed | DrillOutcome::TargetMissed => RunStatus::Completed,
                DrillOutcome::Interrupted => RunStatus::Abandoned,
                _ => RunStatus::Failed,
            },
            began: drill.started_at,
            ended: drill.ended_at,
            rto_seconds: Some(Duration::from_millis(drill.objectives.rto_ms).as_secs_f64()),
            rpo_seconds: Some(Duration::from_millis(drill.objectives.rpo_ms).as_secs_f64()),
            points: ClockPoints::of(&points),
            data_loss: DataLoss::of(drill.parts.iter().map(|part| loss(part, t0)).collect()),
            availability: None,
            steps: Vec::new(),
            overrides: Vec::new(),
        }
    }
}

/// What the disaster of a drill would have cost a component.
fn loss(part: &PartRecord, t0: Option<DateTime<Utc>>) -> LossPart {
    let mut told = LossPart::new(part.component.to_string(), part.loss.basis.clone());
    if let Some(records) = part.loss.records {
        told = told.with_records(records);
    }
    match (part.rpa_ms, t0) {
        (Some(_), Some(t0)) => told.with_times(part.shows, t0),
        _ => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::{ClockPoint, judge::tests::good};

    #[test]
    fn a_drill_is_measured_as_a_recovery_is_and_what_it_does_not_know_stays_unknown() {
        let mut drill = good();
        drill.outcome = DrillOutcome::Passed;
        for (seconds, point) in ["T0", "T1", "T2", "T3", "T4", "T5", "T6"].into_iter().enumerate() {
            let at = drill.started_at + Duration::from_secs(seconds as u64);
            drill.clock.push(ClockPoint { point: point.to_owned(), at });
        }
        drill.parts[0].loss.records = Some(7);
        let record = RecoveryRecord::from(&drill);
        assert_eq!((record.kind, record.status), (RecoveryKind::Drill, RunStatus::Completed));
        assert_eq!((record.id.as_str(), record.scenario.as_deref()), (drill.id.as_str(), Some("database")));
        assert_eq!(record.plan, "drill:processes:database");
        let at = |name: &str| drill.clock.iter().find(|c| c.point == name).map(|c| c.at);
        assert_eq!((record.points.t0, record.points.t6, record.points.t7), (at("T0"), at("T6"), None));
        assert_eq!(record.recovery_time(), Some(6.0));
        assert_eq!(record.data_loss.records(), Some(7));
        assert!(record.data_loss.span().is_some(), "{record:?}");

        let mut failed = drill.clone();
        failed.outcome = DrillOutcome::ProductionChanged;
        failed.clock.clear();
        for part in &mut failed.parts {
            (part.loss.records, part.rpa_ms) = (None, None);
        }
        let record = RecoveryRecord::from(&failed);
        assert_eq!(record.status, RunStatus::Failed);
        assert_eq!((record.recovery_time(), record.data_loss.records(), record.data_loss.span()), (None, None, None));
        failed.outcome = DrillOutcome::Interrupted;
        assert_eq!(RecoveryRecord::from(&failed).status, RunStatus::Abandoned);
    }
}
