//! Restores a component from the backup that was verified: in its own place, or into a site.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use serde_json::{Value, json};
use veza_dr_backup::{RestoreHold, Selector, hold_for_restore};
use veza_dr_core::{Cx, Effect, Error, ErrorKind, RestoreRequest, Result, Verdict};
use veza_dr_failover::{
    actions::Work,
    runbook::{Done, Effects, Restored, StepContext},
};

use super::{
    Place,
    backup::final_of,
    verify::{Verified, wanted},
};
use crate::{
    choose::{Chosen, candidates},
    wiring::Access,
};

/// Beside what is there, proven, then swapped in; what was there is kept.
#[derive(Debug)]
pub(crate) struct RestoreStep(pub(crate) Place);

impl RestoreStep {
    async fn chosen(&self, cx: &Cx, step: &StepContext) -> Result<Chosen> {
        let Place { wiring, component, .. } = &self.0;
        let chosen = match Verified::among(step, component) {
            Some(Verified { backup, store }) => {
                let repository = wiring.repository(cx, &store, Access::Read).await?;
                let manifest = repository.manifest(cx, component, &Selector::Id(backup)).await?;
                Chosen { repository, manifest }
            }
            // Only with the rule of the verified copy overridden.
            None => {
                let opened = wiring.open(cx, Some(component), None, Access::Read).await?;
                let mut found = candidates(cx, opened, component, &wanted(step)).await?;
                if found.backups.is_empty() {
                    return Err(found.nothing(component, &wanted(step)));
                }
                found.backups.swap_remove(0)
            }
        };
        let shows = chosen.manifest.consistency.at;
        if let Some(at) = step.at.filter(|at| shows > *at) {
            let text = format!(
                "backup {} of {component} was verified, and shows {}: later than the time that was named, {}",
                chosen.manifest.id,
                shows.to_rfc3339(),
                at.to_rfc3339()
            );
            return Err(Error::new(ErrorKind::Conflict, text)
                .with_help("the time was named after the verification: give this run up, and begin one with --at"));
        }
        Ok(chosen)
    }

    fn done(&self, chosen: &Chosen, step: &StepContext, replaced: Option<String>, found: bool) -> Done {
        let (component, manifest, store) = (&self.0.component, &chosen.manifest, chosen.repository.name());
        let named = self.0.named();
        let already = if found { " already, as was found out" } else { "" };
        let mut text = format!("{named} is backup {} of store {store}{already}", manifest.id);
        if let Some(replaced) = &replaced {
            text.push_str(&format!("; what was there is kept: {replaced}"));
        }
        let mut evidence = json!({
            "backup": manifest.id.to_string(), "store": store, "shows": manifest.consistency.at,
            "replaced": replaced,
        });
        if let Some(site) = &self.0.site {
            let restored = Restored::new(component.as_str(), site, manifest.id.to_string(), manifest.consistency.at)
                .replacing(replaced)
                .of_engine(manifest.engine.clone())
                .from_final(final_of(step, component).as_deref() == Some(&manifest.id.to_string()));
            evidence["restored"] = json!(restored);
        }
        Done::new(text, evidence)
    }
}

#[async_trait]
impl Work for RestoreStep {
    fn commands(&self) -> Vec<String> {
        let component = &self.0.component;
        vec![match &self.0.site {
            Some(site) => format!("veza-dr restore {component} --site {site} (the backup that was verified)"),
            None => format!("veza-dr restore {component} (in place, the backup that was verified)"),
        }]
    }

    fn effects(&self) -> Effects {
        match self.0.site {
            // Nobody uses the data of a site that is being restored: what is there already is recognised.
            Some(_) => Effects::Idempotent,
            // A second swap would keep the first restored copy instead of what was there before.
            None => Effects::AtMostOnce,
        }
    }

    async fn prepare(&self, cx: &Cx, _: &StepContext) -> Result<Value> {
        #[cfg(feature = "files")]
        if let Some(files) = self.files()? {
            return Ok(json!({ "last_exchange": files.last_exchange(cx).await? }));
        }
        let _ = cx;
        Ok(Value::Null)
    }

    /// Of files: they are as they were before, and whatever was written since is kept beside them. A database of a site
    /// stays as it is: with the site it is stopped.
    fn can_undo(&self) -> bool {
        self.is_files()
    }

    #[cfg(feature = "files")]
    async fn undo(&self, cx: &Cx, step: &StepContext, before: &Value) -> Result<Done> {
        let files = self.files()?.filter(|_| before.is_object()).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, format!("step {} does not know what was there before", step.step))
        })?;
        let report = files.back_to(cx, &before["last_exchange"]).await?;
        let done: Vec<String> = report.steps.iter().map(|s| format!("{}: {}", s.name, s.detail)).collect();
        let text = match done.as_slice() {
            [] => format!("{} are as they were", self.0.named()),
            done => format!("{} are as they were before: {}", self.0.named(), done.join("; ")),
        };
        Ok(Done::new(text, Value::Null))
    }

    async fn run(&self, cx: &Cx, step: &StepContext, _: &Value) -> Result<Done> {
        let Place { wiring, component, site } = &self.0;
        let chosen = self.chosen(cx, step).await?;
        let manifest = &chosen.manifest;
        let target = wiring.restore_target_at(cx, component, site.as_deref()).await?;
        if step.attempt > 1 && site.is_some() {
            match target.verify(cx, manifest).await {
                Ok(found) if found.verdict() == Verdict::Equal => {
                    let kept = self.kept(cx, manifest).await?;
                    return Ok(self.done(&chosen, step, kept, true));
                }
                Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
                // Not there yet, or only in part; why a server does not answer is told by what follows.
                Ok(_) | Err(_) => {}
            }
        }
        let plan = target.plan(cx, &RestoreRequest::in_place(), manifest).await?;
        if !plan.blockers.is_empty() {
            let text = format!("the restore of {} cannot go ahead", self.0.named());
            return Err(Error::new(ErrorKind::Conflict, text).with_source(plan.blockers.join("; ")));
        }
        // Where the store takes no mark, the restore goes on unprotected from retention.
        let hold = match hold_for_restore(cx, &chosen.repository, manifest).await {
            Ok(hold) => Some(hold),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Cancelled) => return Err(e),
            Err(e) => {
                tracing::warn!(error = %e.chain(), "retention cannot be kept from deleting the backup meanwhile");
                None
            }
        };
        let applied = target.apply(cx, plan, manifest, Arc::new(chosen.repository.open(manifest))).await;
        let_go(hold).await;
        let report = applied?;
        if report.verification.verdict() != Verdict::Equal {
            let text = format!("{} is restored, but not proven equal to backup {}", self.0.named(), manifest.id);
            return Err(Error::new(ErrorKind::Unverified, text).with_effect(Effect::Applied));
        }
        Ok(self.done(&chosen, step, report.replaced, false))
    }
}

impl RestoreStep {
    /// What an earlier try of this restore replaced, where that can be found out.
    async fn kept(&self, cx: &Cx, manifest: &veza_dr_core::Manifest) -> Result<Option<String>> {
        #[cfg(feature = "postgres")]
        if manifest.engine == "postgres" {
            let target = self.0.wiring.postgres_restore(cx, &self.0.component, self.0.site()).await?;
            return target.kept_for(cx, &manifest.id).await;
        }
        #[cfg(feature = "files")]
        if let Some(files) = self.files()? {
            return files.kept_for(cx, &manifest.id).await;
        }
        let _ = (cx, manifest);
        Ok(None)
    }

    /// Whether they are files of a site.
    fn is_files(&self) -> bool {
        let Place { wiring, component, site } = &self.0;
        site.is_some() && wiring.is_files(component.as_str())
    }

    /// The files of the site, where they are files.
    #[cfg(feature = "files")]
    fn files(&self) -> Result<Option<crate::wiring_site_files::SiteTrees>> {
        let Place { wiring, component, site } = &self.0;
        match site {
            Some(site) if self.is_files() => wiring.site_files(component, site).map(Some),
            _ => Ok(None),
        }
    }
}

async fn let_go(hold: Option<RestoreHold>) {
    let Some(hold) = hold else { return };
    // Also after the step was cancelled.
    let cx = Cx::background().with_deadline(SystemTime::now() + Duration::from_secs(10));
    if let Err(e) = hold.release(&cx).await {
        tracing::debug!(error = %e.chain(), "the mark on the backup runs out by itself");
    }
}
