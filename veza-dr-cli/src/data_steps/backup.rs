//! Backs a component up, in its own place or at a site; the last time before a planned move, and proves that it was.

use async_trait::async_trait;
use serde_json::{Value, json};
use veza_dr_backup::{BackupReport, back_up};
use veza_dr_core::{ComponentName, Cx, Error, ErrorKind, Result, Verdict};
use veza_dr_failover::{
    actions::Work,
    runbook::{Done, Effects, StepContext},
};

use super::Place;
use crate::wiring::Access;

/// A new backup.
#[derive(Debug)]
pub(crate) struct BackupStep {
    pub(crate) place: Place,
    /// Whoever writes must have stopped: afterwards the data must still be what was backed up.
    pub(crate) is_final: bool,
}

/// The backup of a component that a step before proved to be the last.
pub(super) fn final_of(step: &StepContext, component: &ComponentName) -> Option<String> {
    let of = |e: &Value| {
        let it = &e["final_backup"];
        (it["component"] == component.as_str()).then(|| it["backup"].as_str().map(str::to_owned))?
    };
    step.evidence.values().find_map(of)
}

impl BackupStep {
    /// One store is enough where a site serves instead of another: a store may be down with that.
    fn stored(&self, report: &BackupReport, closed: &[(String, Error)]) -> Result<String> {
        let have = report.stores_that_have_it();
        let mut lacking: Vec<String> = closed.iter().map(|(store, e)| format!("{store}: {}", e.chain())).collect();
        lacking.extend(report.ensure_complete().err().map(|e| e.chain()));
        let mut text = format!("{} is backed up: {} in {}", self.place.named(), report.id, have.join(", "));
        if lacking.is_empty() {
            return Ok(text);
        }
        text.push_str(&format!("; not everywhere: {}", lacking.join("; ")));
        if self.place.site.is_none() || have.is_empty() {
            report.ensure_complete()?;
            return Err(Error::new(ErrorKind::Partial, text).with_help("veza-dr check"));
        }
        Ok(text)
    }
}

#[async_trait]
impl Work for BackupStep {
    fn commands(&self) -> Vec<String> {
        let mut all = vec![match &self.place.site {
            Some(site) => format!("veza-dr backup {} (the one of {site})", self.place.component),
            None => format!("veza-dr backup {}", self.place.component),
        }];
        if self.is_final {
            all.push(format!("# then {} must still be what was backed up", self.place.named()));
        }
        all
    }

    fn effects(&self) -> Effects {
        Effects::Idempotent
    }

    async fn run(&self, cx: &Cx, _: &StepContext, _: &Value) -> Result<Done> {
        let Place { wiring, component, site } = &self.place;
        let opened = wiring.open(cx, Some(component), None, Access::Write).await?;
        let target = wiring.backup_target_at(cx, component, site.as_deref()).await?;
        let report = back_up(cx, target.as_ref(), &opened.repositories, &wiring.options(component)).await?;
        let text = self.stored(&report, &opened.failed)?;
        let Some(manifest) = report.manifest().filter(|_| self.is_final) else {
            return Ok(Done::new(text, json!({ "backup": report.id.to_string() })));
        };
        let live = wiring.restore_target_at(cx, component, self.place.site()).await?;
        let found = live.verify(cx, manifest).await?;
        if found.verdict() != Verdict::Equal {
            let what: Vec<String> = found.findings.iter().take(5).map(|f| format!("{}: {}", f.what, f.why)).collect();
            let text =
                format!("{} is no longer what was backed up just now: something writes to it", self.place.named());
            // Another backup may be the last.
            return Err(Error::new(ErrorKind::Unavailable, text)
                .with_source(what.join("; "))
                .with_help("stop whoever writes, then resume"));
        }
        let evidence = json!({
            "component": component.as_str(), "site": site, "backup": report.id.to_string(), "rows": found.rows,
        });
        Ok(Done::new(format!("{text}; nothing was written since"), json!({ "final_backup": evidence })))
    }
}
