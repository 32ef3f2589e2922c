//! The negative control: a damaged copy of every component must not pass.

use std::path::Path;

use veza_dr_core::{Cx, Error, ErrorKind, Result, Verdict};

use super::{
    damage::Damage,
    model::{ControlPart, ControlRecord, ControlVerdict},
    run::DrillPart,
    stage::{Staged, stage},
};

/// Restores every part from its damaged copy, in folders below `folder`.
pub(super) async fn control(cx: &Cx, parts: &[DrillPart], folder: &Path) -> Result<ControlRecord> {
    let mut found = Vec::new();
    for part in parts {
        let Some((damage, data)) = &part.damaged else {
            found.push(ControlPart {
                component: part.component.clone(),
                damage: "none".to_owned(),
                verdict: ControlVerdict::Unclear,
                how: "the backup has no object that could be damaged".to_owned(),
            });
            continue;
        };
        let mut staged = stage(cx, part, &folder.join(format!("control-{}", part.component)), data).await?;
        let (verdict, how) = judge(&staged, *damage);
        found.push(ControlPart { component: part.component.clone(), damage: damage.as_str().to_owned(), verdict, how });
        if let Some(raised) = staged.raised.take() {
            raised.destroy().await?;
        }
    }
    let verdict = worst(&found);
    Ok(ControlRecord { verdict, parts: found })
}

fn judge(staged: &Staged, damage: Damage) -> (ControlVerdict, String) {
    let error = staged.record.error.clone().unwrap_or_default();
    match (staged.failed, staged.record.verdict) {
        (Some(ErrorKind::Corrupt | ErrorKind::Mismatch), _) => (ControlVerdict::Caught, error),
        (Some(ErrorKind::Denied), _) if damage == Damage::WrongKey => (ControlVerdict::Caught, error),
        (Some(kind), _) => {
            let e = Error::new(kind, "it failed for another reason than the damage");
            (ControlVerdict::Unclear, format!("{e}: {error}"))
        }
        (None, Some(Verdict::Different)) => {
            let first = staged.record.findings.first().map(|f| format!("{}: {}", f.what, f.why));
            (ControlVerdict::Caught, first.unwrap_or_default())
        }
        (None, Some(Verdict::Equal)) => {
            (ControlVerdict::Missed, "the damaged copy was restored and found equal to its manifest".to_owned())
        }
        (None, _) => (ControlVerdict::Unclear, "the damaged copy was restored and could not be compared".to_owned()),
    }
}

fn worst(parts: &[ControlPart]) -> ControlVerdict {
    let any = |v: ControlVerdict| parts.iter().any(|p| p.verdict == v);
    if any(ControlVerdict::Missed) {
        ControlVerdict::Missed
    } else if any(ControlVerdict::Unclear) || parts.is_empty() {
        ControlVerdict::Unclear
    } else {
        ControlVerdict::Caught
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::StageRecord;

    #[test]
    fn only_a_failure_because_of_the_damage_counts() {
        let of = |failed, verdict| {
            let record = StageRecord { verdict, ..StageRecord::default() };
            judge(&Staged { raised: None, record, failed }, Damage::BitFlip).0
        };
        assert_eq!(of(Some(ErrorKind::Corrupt), None), ControlVerdict::Caught);
        assert_eq!(of(None, Some(Verdict::Different)), ControlVerdict::Caught);
        assert_eq!(of(Some(ErrorKind::Denied), None), ControlVerdict::Unclear);
        assert_eq!(of(Some(ErrorKind::Unavailable), None), ControlVerdict::Unclear);
        assert_eq!(of(Some(ErrorKind::Full), None), ControlVerdict::Unclear);
        assert_eq!(of(None, Some(Verdict::Unverified)), ControlVerdict::Unclear);
        assert_eq!(of(None, Some(Verdict::Equal)), ControlVerdict::Missed);
        assert_eq!(worst(&[]), ControlVerdict::Unclear);
    }
}
