//! What every command has at hand.

use std::time::{Duration, SystemTime};

use veza_dr_backup::{Repository, RestoreHold, hold_for_restore};
use veza_dr_core::{Cx, Error, ErrorKind, Manifest, Result};

use crate::{
    Environment, Exit,
    args::{Consent, Global},
    config::{find, load},
    render::Output,
    wiring::Wiring,
};

/// One run of one command.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) cx: Cx,
    pub(crate) out: Output,
    pub(crate) env: Environment,
    pub(crate) global: Global,
}

/// Whether a plan is carried out.
#[derive(Debug)]
pub(crate) enum Go {
    Ahead,
    /// Only the plan was wanted.
    PlanOnly,
    /// Nobody agreed: what to say about it.
    No(Error),
}

impl Session {
    /// Reads the configuration.
    pub(crate) fn wiring(&self) -> Result<Wiring> {
        let file = find(self.global.config.as_deref())?;
        Ok(Wiring { loaded: load(&file)?, env: self.env.clone() })
    }

    /// The store that `--store` names.
    pub(crate) fn store(&self) -> Option<&str> {
        self.global.store.as_deref()
    }

    /// Asks whether to go ahead with what was shown.
    pub(crate) async fn consent(&self, consent: &Consent, question: &str) -> Result<Go> {
        if consent.plan {
            return Ok(Go::PlanOnly);
        }
        if consent.yes || self.out.confirm(&self.cx, question).await? {
            return Ok(Go::Ahead);
        }
        Ok(Go::No(Error::new(ErrorKind::Config, "not confirmed: nothing was done").with_help("add --yes to go ahead")))
    }
}

impl Session {
    /// Keeps retention from deleting a backup while it is read. Where the store takes no mark, that is said and the
    /// work goes on: a restore from a store that is only readable must be possible.
    ///
    /// # Errors
    /// `NotFound` when the backup was deleted meanwhile; `Cancelled`.
    pub(crate) async fn hold(&self, repository: &Repository, manifest: &Manifest) -> Result<Option<RestoreHold>> {
        match hold_for_restore(&self.cx, repository, manifest).await {
            Ok(hold) => Ok(Some(hold)),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Cancelled) => Err(e),
            Err(e) => {
                self.out.remark("retention cannot be kept from deleting this backup meanwhile");
                self.out.warn(&e);
                Ok(None)
            }
        }
    }

    /// Ends such a mark.
    pub(crate) async fn let_go(&self, hold: Option<RestoreHold>) {
        let Some(hold) = hold else { return };
        // Also after the command was cancelled.
        let cx = Cx::background().with_deadline(SystemTime::now() + Duration::from_secs(10));
        if let Err(e) = hold.release(&cx).await {
            tracing::debug!(error = %e.chain(), "the mark on the backup runs out by itself");
        }
    }
}

/// What programs are told when nobody agreed to what was shown.
pub(crate) fn not_confirmed(e: &Error, plan: serde_json::Value) -> serde_json::Value {
    let mut document = crate::render::error_json(e, Exit::NotConfirmed);
    document["plan"] = plan;
    document["applied"] = false.into();
    document
}

/// The refusal to apply a plan that something stands in the way of.
pub(crate) fn blocked(what: &str, blockers: &[String]) -> Result<()> {
    if blockers.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Conflict, format!("{what} cannot go ahead")).with_source(blockers.join("; ")))
}

/// How a command ends that only showed a plan.
pub(crate) fn plan_exit(blockers: &[String]) -> Exit {
    if blockers.is_empty() { Exit::Ok } else { Exit::Conflict }
}
