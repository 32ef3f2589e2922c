//! Drills, from the configuration to what carries them out.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use chrono::{DateTime, Utc};
use veza_dr_backup::{Level, Repository, RestoreHold, Selector, hold_for_restore};
use veza_dr_core::{
    BackupStore, ComponentName, Cx, Error, ErrorKind, Manifest, Result, Scenario, ScenarioKind, Verification,
};
use veza_dr_failover::drill::{
    self, ColdSource, Damage, DamagedStore, Drill, DrillKind, DrillLock, DrillPart, DrillRecord,
};

#[cfg(feature = "docker")]
use crate::wiring_drill_plan::WholeBackup;
use crate::{
    args::Wanted,
    choose::{Chosen, choose},
    wiring::{Access, Wiring},
};

/// Every so many drills damaged copies are tried, where the file says nothing.
const CONTROL_EVERY: u32 = 4;

/// What is asked of a drill.
#[derive(Debug, Clone, Default)]
pub(crate) struct DrillAsk {
    pub(crate) scenario: Option<ScenarioKind>,
    pub(crate) at: Option<DateTime<Utc>>,
    pub(crate) control: bool,
    pub(crate) cold: bool,
    /// The site whose project is copied.
    pub(crate) compose: Option<String>,
    pub(crate) by: String,
    pub(crate) store: Option<String>,
}

/// The stores of drill records.
#[derive(Debug)]
pub(crate) struct DrillStores {
    pub(crate) stores: Vec<Arc<dyn BackupStore>>,
    pub(crate) failed: Vec<Error>,
}

/// A drill that is about to begin, and what must be let go of afterwards.
#[derive(Debug)]
pub(crate) struct ReadyDrill {
    pub(crate) drill: Drill,
    pub(crate) holds: Vec<RestoreHold>,
    /// Where each component comes from, in the order of the drill.
    backups: Vec<(Repository, Manifest)>,
    /// What could not be done for it, and does not stand in its way.
    pub(crate) remarks: Vec<Error>,
}

impl ReadyDrill {
    /// Runs it, and lets its backups go afterwards.
    pub(crate) async fn run(self, cx: &Cx, lock: &DrillLock, stores: &[Arc<dyn BackupStore>]) -> Result<DrillRecord> {
        let done = self.drill.run(cx, lock, stores).await;
        let last = Cx::background().with_deadline(SystemTime::now() + Duration::from_secs(10));
        if let Ok(record) = &done {
            keep_proofs(&last, record, &self.backups).await;
        }
        for hold in self.holds {
            if let Err(e) = hold.release(&last).await {
                tracing::debug!(error = %e.chain(), "the mark on a backup runs out by itself");
            }
        }
        done
    }
}

/// What was restored and compared is proven as by `verify --level restore`: the proof lies beside the backup.
async fn keep_proofs(cx: &Cx, record: &DrillRecord, backups: &[(Repository, Manifest)]) {
    for (part, (repository, manifest)) in record.parts.iter().zip(backups) {
        // What the disaster left was restored beforehand, and only there.
        let stage = if part.standing { &part.baseline } else { &part.recovery };
        let Some(stage) = stage.as_ref().filter(|s| s.error.is_none() && s.verdict.is_some()) else { continue };
        let mut found = Verification::default();
        (found.equal, found.rows) = (stage.equal, stage.rows);
        found.findings.clone_from(&stage.findings);
        found.took = Duration::from_millis(stage.took_ms);
        if let Err(e) = repository.record_proof(cx, manifest, Level::Restore, &found).await {
            tracing::warn!(error = %e.chain(), "the proof of the drill is not beside its backup");
        }
    }
}

impl Wiring {
    /// The stores that keep the records of drills, and what those say that cannot be opened.
    pub(crate) async fn drill_stores(&self, cx: &Cx, only: Option<&str>) -> Result<DrillStores> {
        let opened = self.open(cx, None, only, Access::Read).await?;
        let stores: Vec<_> = opened.repositories.iter().map(|r| r.store().clone()).collect();
        let mut failed: Vec<Error> = opened.failed.into_iter().map(|(_, e)| e).collect();
        match (stores.is_empty(), failed.is_empty()) {
            (true, false) => Err(failed.remove(0)),
            _ => Ok(DrillStores { stores, failed }),
        }
    }

    /// The scenario that is meant: by its name, or the one that needs most.
    fn drill_scenario(&self, wanted: Option<ScenarioKind>) -> Result<Scenario> {
        let scenarios = self.scenarios();
        let names: Vec<String> = scenarios.iter().map(|s| s.kind.to_string()).collect();
        let found = match wanted {
            Some(kind) => scenarios.into_iter().find(|s| s.kind == kind),
            // Of equals the first: the order of the guide.
            None => scenarios.into_iter().rev().max_by_key(|s| s.needs.len()),
        };
        found.ok_or_else(|| {
            let text = match wanted {
                Some(kind) => format!("{} has no scenario {kind}", self.loaded.file.display()),
                None => format!("{} has no scenario", self.loaded.file.display()),
            };
            Error::new(ErrorKind::Config, text).with_help(format!("its scenarios are {}", names.join(", ")))
        })
    }

    /// Chooses the backups and puts a drill together. Nothing is made yet but marks on the backups, which keep
    /// retention from deleting them meanwhile.
    pub(crate) async fn drill(
        self: &Arc<Self>,
        cx: &Cx,
        ask: &DrillAsk,
        stores: &[Arc<dyn BackupStore>],
    ) -> Result<ReadyDrill> {
        let scenario = self.drill_scenario(ask.scenario)?;
        let settings = &self.loaded.config.drills;
        let scratch = match &settings.scratch_dir {
            Some(dir) => self.loaded.resolve(&self.text("drills.scratch_dir", dir)?),
            None => std::env::temp_dir(),
        };
        let mut remarks = Vec::new();
        let number = match drill::number(cx, stores, scenario.kind).await {
            Ok(number) => Some(number),
            Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
            Err(e) => {
                remarks.push(e);
                None
            }
        };
        let every = u64::from(settings.negative_control_every.unwrap_or(CONTROL_EVERY));
        // A cold start has no code of ours to be led astray.
        let due = !ask.cold && every > 0 && number.is_some_and(|n| n.is_multiple_of(every));
        let mut ready =
            Drill::new(scenario, self.state_dir()?, scratch.canonicalize().unwrap_or_else(|_| scratch.clone()));
        (ready.number, ready.control, ready.wanted) = (number, ask.control || due, ask.at);
        ready.by.clone_from(&ask.by);
        if ask.cold {
            ready.kind = DrillKind::ColdStart;
        }
        #[cfg(not(feature = "docker"))]
        if ask.compose.is_some() {
            let text = "this build has no container engine: it cannot make a copy of a Compose project";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        #[cfg(feature = "docker")]
        self.drill_in_copy(cx, &mut ready, ask).await?;
        #[cfg(feature = "docker")]
        let components = self.drill_components(&ready, ask.compose.as_deref())?;
        #[cfg(not(feature = "docker"))]
        let components = ready.scenario.needs.clone();
        let (mut holds, mut backups) = (Vec::new(), Vec::new());
        for (n, component) in components.iter().enumerate() {
            let chosen = match self.backup_for_drill(cx, &ready, ask, component).await? {
                Ok(chosen) => chosen,
                Err(why) => {
                    ready.exclusions.push(why);
                    continue;
                }
            };
            match hold_for_restore(cx, &chosen.repository, &chosen.manifest).await {
                Ok(hold) => holds.push(hold),
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Cancelled) => return Err(e),
                Err(e) => remarks.push(e),
            }
            let round = number.unwrap_or(0) / every.max(1);
            let part = self.part(&chosen, ask, &ready, ready.control.then_some((round, n)))?;
            ready.parts.push(part);
            backups.push((chosen.repository, chosen.manifest));
        }
        for component in self.components().iter().filter(|c| !components.contains(c)) {
            ready.exclusions.push(format!("component {component}: the scenario does not need it"));
        }
        if ask.compose.is_none() {
            ready.exclusions.push("services, DNS and the steps of plans: private servers only".to_owned());
        } else if ready.course.is_none() {
            ready.exclusions.push("DNS, fencing and the steps of plans: none was followed".to_owned());
        }
        #[cfg(feature = "docker")]
        if let Some(site) = &ask.compose {
            self.drill_checks(&mut ready, site);
        }
        ready.witnesses = self.witnesses(cx, &mut remarks).await?;
        Ok(ReadyDrill { drill: ready, holds, backups, remarks })
    }

    /// The backup that a drill takes of a component; within, why it goes without: nobody asked for it by name.
    async fn backup_for_drill(
        &self,
        cx: &Cx,
        drill: &Drill,
        ask: &DrillAsk,
        component: &ComponentName,
    ) -> Result<std::result::Result<Chosen, String>> {
        let course = drill.course.as_ref();
        // The time that a plan names itself counts, as in a failover.
        let at = course.and_then(|course| course.time_of(component.as_str())).or(ask.at);
        let wanted = at.map_or(Wanted::Backup(Selector::Latest), Wanted::At);
        let opened = self.open(cx, Some(component), ask.store.as_deref(), Access::Read).await?;
        let asked = drill.scenario.needs.contains(component)
            || course.is_some_and(|course| course.components().contains(component.as_str()));
        match choose(cx, opened, component, &wanted).await {
            Err(e) if e.kind() == ErrorKind::NotFound && !asked => {
                Ok(Err(format!("component {component}: its service is empty in the copy: {e}")))
            }
            chosen => chosen.map(Ok),
        }
    }

    fn part(
        self: &Arc<Self>,
        chosen: &Chosen,
        ask: &DrillAsk,
        drill: &Drill,
        control: Option<(u64, usize)>,
    ) -> Result<DrillPart> {
        let Chosen { repository, manifest } = chosen;
        let data = Arc::new(repository.open(manifest));
        let (spec, restore) = self.private_place(manifest)?;
        let mut part = DrillPart::new(manifest.clone(), repository.name(), data, spec, restore);
        if ask.cold {
            part = part.with_cold(self.cold_source(chosen)?);
        }
        if let Some(site) = ask.compose.as_ref().filter(|s| self.keeps(s, &manifest.component)) {
            let stands = drill.course.as_ref().is_some_and(|course| course.stands(manifest.component.as_str()));
            part = part.with_service(self.into_service(manifest, site)).left_standing(stands);
        }
        #[cfg(feature = "docker")]
        if drill.course.is_some() {
            let whole = WholeBackup { repository: repository.clone(), manifest: manifest.clone() };
            part = part.with_proof(Arc::new(whole));
        }
        let Some((round, n)) = control else { return Ok(part) };
        let encrypted = manifest.objects.iter().any(|o| o.codec.contains(&veza_dr_core::manifest::Codec::Age));
        let damage = Damage::in_turn(round, n, encrypted);
        let Some(store) = DamagedStore::new(repository.store().clone(), manifest, damage) else { return Ok(part) };
        let keys = match damage {
            Damage::WrongKey => repository.encryption().with_a_stranger_s_key(),
            _ => repository.encryption().clone(),
        };
        let damaged = Repository::new(Arc::new(store), keys).open(manifest);
        Ok(part.with_damaged(damage, Arc::new(damaged)))
    }

    /// Whether a service of this site keeps the component.
    fn keeps(&self, site: &str, component: &ComponentName) -> bool {
        self.loaded.config.sites.get(site).is_some_and(|s| s.data.contains_key(component.as_str()))
    }

    /// The store as it is, and the file with its key.
    fn cold_source(&self, chosen: &Chosen) -> Result<ColdSource> {
        let name = chosen.repository.name();
        let file = self.loaded.config.stores.get(name).and_then(|s| s.encryption.identity_file.as_ref());
        let at = format!("stores.{name}.encryption.identity_file");
        let key = file.map(|f| self.text(&at, f)).transpose()?.map(|f| self.loaded.resolve(&f));
        Ok(ColdSource::new(chosen.repository.store().clone(), key))
    }

    /// Where drills of this host keep their ledger.
    pub(crate) fn drill_state(&self) -> Result<PathBuf> {
        self.state_dir()
    }
}
