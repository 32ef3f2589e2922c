//! What every target asks of a plan before it applies it.

use veza_dr_core::{Error, ErrorKind, Manifest, RestorePlan, Result};

/// Refuses when something is in the way.
pub(crate) fn refuse(blockers: &[String]) -> Result<()> {
    if blockers.is_empty() {
        return Ok(());
    }
    let text = format!("the restore cannot begin: {}", blockers.join("; "));
    Err(Error::new(ErrorKind::Conflict, text).with_help("see them all: veza-dr restore … --plan"))
}

/// Refuses a plan with something in its way, and one that was made for another backup.
pub(crate) fn ready(plan: &RestorePlan, from: &Manifest) -> Result<()> {
    refuse(&plan.blockers)?;
    if plan.backup == from.id {
        return Ok(());
    }
    let text = format!("the plan is for backup {}, the manifest is {}", plan.backup, from.id);
    Err(Error::new(ErrorKind::Config, text))
}

/// Refuses when the target is not as it was when the plan was made.
pub(crate) fn unchanged(plan: &RestorePlan, now: &str) -> Result<()> {
    if plan.fingerprint == now {
        return Ok(());
    }
    let text = format!("the target changed since the plan: it was {}, it is {now}", plan.fingerprint);
    Err(Error::new(ErrorKind::Conflict, text).with_help("make a new plan"))
}
