//! The way back: in one word, or by itself when nobody confirms.

use std::{path::Path, time::Duration};

use chrono::{DateTime, Utc};
use tokio::time::sleep;
use veza_dr_core::{ChangeSet, Cx, Effect, Error, ErrorKind, Result};

use super::{
    SavedSwitch, Switch, SwitchPhase, SwitchReport, SwitchedRecord, plan::same, saved::Folder, ttl::Remembered,
    wording::shown,
};

/// How a switch that awaited confirmation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waited {
    /// Somebody confirmed it: it stays.
    Confirmed,
    /// Somebody took it back.
    TakenBack,
    /// Nobody confirmed it: it was taken back now.
    Reverted(Box<SwitchReport>),
}

/// The switch of the host that keeps its files in `state_dir`, if it was to be taken back before `now` and was not.
/// Asks nobody but the disk.
///
/// ```
/// let none = veza_dr_failover::dns::overdue_switch("/nonexistent".as_ref(), chrono::Utc::now())?;
/// assert!(none.is_none());
/// # Ok::<(), veza_dr_core::Error>(())
/// ```
///
/// # Errors
/// When the file cannot be read.
pub fn overdue_switch(state_dir: &Path, now: DateTime<Utc>) -> Result<Option<SavedSwitch>> {
    Ok(Folder::of(state_dir).load()?.filter(|saved| saved.is_overdue(now)))
}

/// Whether the host that keeps its files in `state_dir` lowered TTLs that are still to be put back. Asks nobody but the
/// disk.
///
/// # Errors
/// When the file cannot be read.
pub fn has_lowered_ttls(state_dir: &Path) -> Result<bool> {
    Ok(!Remembered::load(&Folder::of(state_dir))?.is_empty())
}

impl Switch {
    /// Whether TTLs that were lowered by this host are still to be put back.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn has_lowered_ttls(&self) -> Result<bool> {
        Ok(!Remembered::load(&self.folder)?.is_empty())
    }

    /// The last switch of this host, with what was there before.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn last(&self) -> Result<Option<SavedSwitch>> {
        self.folder.load()
    }

    /// Puts back what was there before the last switch, exactly, as one batch against what that switch had set. Where
    /// somebody else changed a record since, it is refused and both are shown; `force` overwrites what they set.
    ///
    /// # Errors
    /// `NotFound` when there is nothing to take back; `Conflict` as said, nothing is changed then; else as
    /// [`apply`](Self::apply).
    pub async fn rollback(&self, cx: &Cx, force: bool) -> Result<SwitchReport> {
        let _lock = self.lock()?;
        let Some(mut saved) = self.folder.load()? else {
            return Err(Error::new(ErrorKind::NotFound, "this host made no DNS switch: there is nothing to take back"));
        };
        if saved.phase == SwitchPhase::RolledBack {
            let text = format!("the switch of {} was taken back already", saved.begun_at);
            return Err(Error::new(ErrorKind::NotFound, text).with_help("look at the records: veza-dr dns show"));
        }
        let changes = self.way_back(cx, &saved, force).await?;
        let records: Vec<SwitchedRecord> = saved
            .records
            .iter()
            .map(|r| SwitchedRecord::new(&r.label, r.key.clone(), r.after.clone(), r.before.clone()))
            .collect();
        let phase = saved.phase;
        saved.phase = SwitchPhase::RollingBack;
        self.folder.save(&saved)?;
        let mut at = None;
        if changes.is_empty() {
            saved.phase = SwitchPhase::RolledBack;
            self.folder.save(&saved)?;
        } else {
            let change = match self.submit(cx, &changes).await {
                Ok(change) => change,
                Err(e) => {
                    if e.effect() == Effect::None {
                        saved.phase = phase;
                        self.folder.save(&saved)?;
                    }
                    return Err(e);
                }
            };
            at = Some(self.accepted(cx, &mut saved, change, SwitchPhase::RolledBack).await?);
        }
        Remembered::load(&self.folder)?.settle(&self.folder, saved.goal, &saved.records, true)?;
        let mut report = self.verify(cx, saved.goal, &records).await?;
        let ttl = records.iter().filter_map(|r| r.before.as_ref()).map(|r| r.ttl).max();
        report.caches_clear_at = at.zip(ttl).map(|(at, ttl)| at + chrono::Duration::seconds(i64::from(ttl)));
        report.change = saved.change.filter(|_| at.is_some());
        (report.id, report.in_sync_at) = (Some(saved.id), at);
        (report.rolled_back, report.changed) = (true, !changes.is_empty());
        Ok(report)
    }

    /// The batch that leads back; empty where all is as before already.
    async fn way_back(&self, cx: &Cx, saved: &SavedSwitch, force: bool) -> Result<ChangeSet> {
        let mut changes = Vec::new();
        let mut foreign = Vec::new();
        for record in &saved.records {
            let now = self.provider.read(cx, &record.key).await?;
            if same(now.as_ref(), record.before.as_ref()) {
                continue;
            }
            if !same(now.as_ref(), record.after.as_ref()) {
                foreign.push((record, now.clone()));
            }
            changes.push((now, record.before.clone()));
        }
        if foreign.is_empty() || force {
            return Ok(ChangeSet { changes });
        }
        let mut error =
            Error::new(ErrorKind::Conflict, "somebody else changed the records since the switch: nothing was done")
                .with_help("if their change may be lost, overwrite it: veza-dr dns rollback --force");
        for (record, now) in foreign {
            error = error
                .with_context("we_set", format!("{}: {}", record.key, shown(record.after.as_ref())))
                .with_context("there_now", format!("{}: {}", record.key, shown(now.as_ref())))
                .with_context("would_put_back", format!("{}: {}", record.key, shown(record.before.as_ref())));
        }
        Err(error)
    }

    /// Lets the last switch stay, whatever its timer says. It can still be [taken back](Self::rollback).
    ///
    /// # Errors
    /// `NotFound` when there is none; `Conflict` when it was taken back, or is being.
    pub fn confirm(&self) -> Result<SavedSwitch> {
        let _lock = self.lock()?;
        let Some(mut saved) = self.folder.load()? else {
            return Err(Error::new(ErrorKind::NotFound, "this host made no DNS switch: there is nothing to confirm"));
        };
        match saved.phase {
            SwitchPhase::RollingBack | SwitchPhase::RolledBack => {
                let text = format!("the switch of {} was taken back", saved.begun_at);
                Err(Error::new(ErrorKind::Conflict, text).with_help("switch again: veza-dr dns switch --to standby"))
            }
            SwitchPhase::Begun => {
                let text = format!("it is not known whether the switch of {} took place", saved.begun_at);
                Err(Error::new(ErrorKind::Conflict, text)
                    .with_help("look at the records (veza-dr dns show), then veza-dr dns rollback or switch again"))
            }
            _ => {
                saved.phase = SwitchPhase::Confirmed;
                self.folder.save(&saved)?;
                Ok(saved)
            }
        }
    }

    /// Takes the last switch back when its time ran out without a confirmation; `None` when there is no such. For
    /// whoever runs all the time: the process that made the switch may be gone.
    ///
    /// # Errors
    /// Those of [`rollback`](Self::rollback).
    pub async fn revert_if_overdue(&self, cx: &Cx) -> Result<Option<SwitchReport>> {
        match self.folder.load()? {
            Some(saved) if saved.is_overdue(Utc::now()) => self.rollback(cx, false).await.map(Some),
            _ => Ok(None),
        }
    }

    /// Waits until the switch `id` is confirmed or taken back by anybody, and takes it back when its time is up. Looks
    /// every `every`.
    ///
    /// # Errors
    /// `Cancelled` while it waits: the switch stands and is still not confirmed. `Conflict` when another switch came
    /// in between. Those of [`rollback`](Self::rollback).
    pub async fn wait_confirmed(&self, cx: &Cx, id: &str, every: Duration) -> Result<Waited> {
        loop {
            let saved = self.folder.load()?.filter(|s| s.id == id);
            let Some(saved) = saved else {
                return Err(Error::new(ErrorKind::Conflict, "another DNS switch was begun meanwhile")
                    .with_help("look at it: veza-dr dns show"));
            };
            if matches!(saved.phase, SwitchPhase::RolledBack | SwitchPhase::RollingBack) {
                return Ok(Waited::TakenBack);
            }
            if !saved.awaits_confirmation() {
                return Ok(Waited::Confirmed);
            }
            if saved.is_overdue(Utc::now()) {
                return self.rollback(cx, false).await.map(|report| Waited::Reverted(Box::new(report)));
            }
            let waited = cx.run("wait for a confirmation of the switch", async {
                sleep(every).await;
                Ok(())
            });
            waited.await.map_err(|e| {
                e.with_effect(Effect::Applied).with_help(
                    "the switch stands and is not confirmed: keep it with veza-dr dns confirm, or take it back with \
                     veza-dr dns rollback",
                )
            })?;
        }
    }
}
