//! Proves that the backup that is meant is whole; the restore that follows takes this very one.

use async_trait::async_trait;
use serde_json::{Value, json};
use veza_dr_backup::verify_objects;
use veza_dr_core::{BackupId, ComponentName, Cx, Error, ErrorKind, Result, Verdict};
use veza_dr_failover::{
    actions::Work,
    runbook::{Done, Effects, StepContext},
};

use super::Place;
use crate::{args::Wanted, choose::candidates, wiring::Access};
use veza_dr_backup::Selector;

/// The newest backup, or the one of the time that the run was told.
#[derive(Debug)]
pub(crate) struct VerifyStep(pub(crate) Place);

/// What a step found whole, in its evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verified {
    pub(super) backup: BackupId,
    pub(super) store: String,
}

impl Verified {
    /// The newest one of a component among what the steps before found.
    pub(super) fn among(step: &StepContext, component: &ComponentName) -> Option<Self> {
        let ours = |e: &&Value| e["whole"]["component"] == component.as_str();
        let all = step.evidence.values().filter(ours).filter_map(|e| {
            let backup: BackupId = e["whole"]["backup"].as_str()?.parse().ok()?;
            Some(Self { backup, store: e["whole"]["store"].as_str()?.to_owned() })
        });
        all.max_by(|a, b| a.backup.cmp(&b.backup))
    }
}

pub(super) fn wanted(step: &StepContext) -> Wanted {
    step.at.map_or(Wanted::Backup(Selector::Latest), Wanted::At)
}

#[async_trait]
impl Work for VerifyStep {
    fn commands(&self) -> Vec<String> {
        vec![format!("veza-dr verify {}", self.0.component)]
    }

    fn effects(&self) -> Effects {
        Effects::Pure
    }

    async fn run(&self, cx: &Cx, step: &StepContext, _: &Value) -> Result<Done> {
        let component = &self.0.component;
        let opened = self.0.wiring.open(cx, Some(component), None, Access::Read).await?;
        // In a disaster a store may have gone down with the site: the others must do, and it is said.
        let found = candidates(cx, opened, component, &wanted(step)).await?;
        let Some(newest) = found.backups.first().map(|c| c.manifest.id.clone()) else {
            return Err(found.nothing(component, &wanted(step)));
        };
        let mut last = None;
        for chosen in found.backups.iter().filter(|c| c.manifest.id == newest) {
            let (store, manifest) = (chosen.repository.name(), &chosen.manifest);
            match verify_objects(cx, &chosen.repository, manifest).await.map(|v| v.verdict()) {
                Ok(Verdict::Equal) => {
                    let shows = manifest.consistency.at;
                    let unread: Vec<String> =
                        found.failed.iter().map(|(store, e)| format!("{store}: {}", e.chain())).collect();
                    let mut text = format!(
                        "backup {newest} of {component} in store {store} is whole and shows {}",
                        shows.format("%Y-%m-%d %H:%M:%SZ")
                    );
                    if !unread.is_empty() {
                        text.push_str(&format!("; may have a newer one, not readable: {}", unread.join("; ")));
                    }
                    let whole = json!({
                        "component": component.as_str(), "backup": newest.to_string(), "store": store, "shows": shows,
                    });
                    return Ok(Done::new(text, json!({ "whole": whole, "unreadable": unread })));
                }
                Ok(_) => {
                    let text = format!("backup {newest} of {component} in store {store} is not whole");
                    last = Some(Error::new(ErrorKind::Mismatch, text).with_help(format!(
                        "see veza-dr verify {component}, veza-dr list {component}; an older one is taken with --at TIME"
                    )));
                }
                Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
                Err(e) => last = Some(e),
            }
        }
        Err(last.unwrap_or_else(|| found.nothing(component, &wanted(step))))
    }
}
