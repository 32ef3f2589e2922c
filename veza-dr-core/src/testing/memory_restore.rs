//! Restores a [`MemoryDatabase`]: beside, compared, swapped, kept until released.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::memory_database::{CONTENT, ENGINE, Keys, MemoryDatabase, digest, from_json};
use crate::{
    ArtifactSource, Cx, Error, ErrorKind, Manifest, Outcome, Report, RestoreCaps, RestorePlan, RestoreReport,
    RestoreRequest, RestoreTarget, Result, TargetInfo, Verification,
};

/// Restores into a [`MemoryDatabase`].
#[derive(Debug, Clone)]
pub struct MemoryRestoreTarget {
    info: TargetInfo,
    database: MemoryDatabase,
}

impl MemoryRestoreTarget {
    /// A target over `database`.
    ///
    /// # Errors
    /// `Config` when `component` is not a component name.
    pub fn new(component: &str, database: MemoryDatabase) -> Result<Self> {
        let info = TargetInfo { component: component.parse()?, engine: ENGINE.into(), location: "memory:".into() };
        Ok(Self { info, database })
    }
}

/// Compares `keys` with what the manifest says they must be.
fn compare(keys: &Keys, manifest: &Manifest) -> Verification {
    let mut verification = Verification::default();
    let Some(expected) = manifest.contents.iter().find(|c| c.name == CONTENT) else {
        verification.unverified(CONTENT, "the manifest does not say what they must be");
        return verification;
    };
    let rows = keys.len() as u64;
    if rows != expected.rows {
        verification.differs(CONTENT, format!("{} keys expected, {rows} are there", expected.rows));
    } else if expected.digest.as_ref().is_some_and(|d| *d != digest(keys)) {
        verification.differs(CONTENT, "their digest is not the manifest's");
    } else if expected.digest.is_none() {
        verification.unverified(CONTENT, "the manifest has no digest of them");
    } else {
        verification.pass(rows);
    }
    verification
}

async fn load(cx: &Cx, from: &Manifest, data: &dyn ArtifactSource) -> Result<Keys> {
    let mut keys = Keys::new();
    for object in &from.objects {
        let mut reader = data.open(cx, object).await?;
        let mut json = Vec::new();
        while let Some(piece) = reader.next().await? {
            cx.check("restore memory database")?;
            json.extend_from_slice(&piece);
        }
        keys.extend(from_json(&json, &object.name)?);
    }
    Ok(keys)
}

#[async_trait]
impl RestoreTarget for MemoryRestoreTarget {
    fn info(&self) -> &TargetInfo {
        &self.info
    }

    fn capabilities(&self) -> RestoreCaps {
        RestoreCaps::new(true, true, true)
    }

    async fn plan(&self, cx: &Cx, request: &RestoreRequest, from: &Manifest) -> Result<RestorePlan> {
        cx.check("plan restore")?;
        let mut plan = RestorePlan::new(from.id.clone(), request.clone(), self.database.digest());
        if from.engine != ENGINE {
            plan.blockers.push(format!("the backup was made by engine {}, this is {ENGINE}", from.engine));
        }
        if let Some(to) = &request.to {
            plan.blockers.push(format!("a memory database cannot be restored to {to}"));
        }
        plan.step(format!("read {} objects beside the live keys", from.objects.len()), false);
        plan.step("compare with the manifest", false);
        if !request.scratch {
            plan.step("swap with the live keys, which are kept", true);
        }
        Ok(plan)
    }

    async fn apply(
        &self,
        cx: &Cx,
        plan: RestorePlan,
        from: &Manifest,
        data: Arc<dyn ArtifactSource>,
    ) -> Result<RestoreReport> {
        cx.check("restore memory database")?;
        if let Some(first) = plan.blockers.first() {
            return Err(Error::new(ErrorKind::Config, format!("restore is blocked: {first}")));
        }
        if plan.backup != from.id || from.engine != ENGINE {
            return Err(Error::new(ErrorKind::Config, format!("the plan is not one for backup {}", from.id)));
        }
        let drifted = || {
            Error::new(ErrorKind::Conflict, "the database changed since the plan was made")
                .with_help("make the plan again")
        };
        if self.database.digest() != plan.fingerprint {
            return Err(drifted());
        }
        let mut restored = load(cx, from, data.as_ref()).await?;
        let verification = compare(&restored, from);
        if verification.verdict() != crate::Verdict::Equal {
            let why = verification.findings.first().map(|f| f.why.clone()).unwrap_or_default();
            return Err(Error::new(ErrorKind::Mismatch, format!("restored keys differ from the backup: {why}")));
        }
        let mut report = Report::default();
        report.push("restore beside", Outcome::Ok, format!("{} keys", restored.len()), Duration::ZERO);
        if plan.request.scratch {
            report.push("remove", Outcome::Ok, "the scratch copy is gone", Duration::ZERO);
            return Ok(RestoreReport::new(from.id.clone(), report, verification, "scratch".into()));
        }
        cx.check("swap restored keys")?;
        let mut held = self.database.lock();
        if digest(&held.live) != plan.fingerprint {
            return Err(drifted());
        }
        if !plan.request.only.is_empty() {
            let mut merged = held.live.clone();
            for name in &plan.request.only {
                let Some(value) = restored.remove(name) else {
                    return Err(Error::new(ErrorKind::NotFound, format!("key {name} is not in backup {}", from.id)));
                };
                merged.insert(name.clone(), value);
            }
            restored = merged;
        }
        held.kept = Some(std::mem::replace(&mut held.live, restored));
        report.push("swap", Outcome::Ok, "the old keys are kept", Duration::ZERO);
        let mut done = RestoreReport::new(from.id.clone(), report, verification, "memory:".into());
        done.replaced = Some("memory:kept".into());
        Ok(done)
    }

    async fn verify(&self, cx: &Cx, against: &Manifest) -> Result<Verification> {
        cx.check("verify memory database")?;
        Ok(compare(&self.database.lock().live, against))
    }

    async fn rollback(&self, cx: &Cx) -> Result<Report> {
        cx.check("roll back memory database")?;
        let mut held = self.database.lock();
        let Some(kept) = held.kept.take() else { return Err(nothing_kept()) };
        held.kept = Some(std::mem::replace(&mut held.live, kept));
        let mut report = Report::default();
        report.push("swap back", Outcome::Ok, "the restored keys are kept", Duration::ZERO);
        Ok(report)
    }

    async fn release(&self, cx: &Cx) -> Result<Report> {
        cx.check("release memory database")?;
        let Some(kept) = self.database.lock().kept.take() else { return Err(nothing_kept()) };
        let mut report = Report::default();
        report.push("release", Outcome::Ok, format!("{} keys let go", kept.len()), Duration::ZERO);
        Ok(report)
    }
}

fn nothing_kept() -> Error {
    Error::new(ErrorKind::NotFound, "nothing that a restore replaced is kept").with_help("restore first")
}
