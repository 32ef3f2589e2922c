//! What a drill does between its lease and its removal: the private site, the disaster, the recovery.

use std::{path::Path, time::Instant};

use chrono::{DateTime, Utc};
use veza_dr_core::{Cx, Error, ErrorKind, Outcome, Result};

use super::{
    clock::millis,
    cold,
    control::control,
    course::Lost,
    ledger::Ledger,
    model::{ControlVerdict, DrillKind, PartRecord, StageRecord},
    place::{Place, Raised},
    platform,
    run::{Drill, DrillPart, Found, GOOD_ANSWERS},
    stage::{Staged, stage},
};

impl Drill {
    pub(super) async fn rehearse(&self, cx: &Cx, ledger: &mut Ledger, found: &mut Found, folder: &Path) -> Result<()> {
        if self.control {
            ledger.phase("control")?;
            let since = Instant::now();
            let control = control(cx, &self.parts, folder).await?;
            let (outcome, detail) = match control.verdict {
                ControlVerdict::Caught => (Outcome::Ok, "every damaged copy was refused"),
                ControlVerdict::Missed => (Outcome::Failed, "a damaged copy passed"),
                ControlVerdict::Unclear => {
                    (Outcome::Failed, "it says nothing: a damaged copy failed for another reason")
                }
            };
            self.tell(found.chronicle.note("negative control", outcome, detail, since));
            found.control = Some(control);
        }
        if self.kind == DrillKind::ColdStart {
            // The site is gone, and with it everything but the store and the key.
            let t0 = found.chronicle.point("T0");
            self.age(found, t0);
            for point in ["T1", "T2", "T3"] {
                found.chronicle.point(point);
            }
        } else if !self.baseline(cx, ledger, found, folder).await? {
            return Ok(());
        }
        ledger.phase("recovery")?;
        let recovered = match &self.course {
            Some(course) => Some(self.follow(cx, found, folder, course).await?),
            None => self.restore_all(cx, found, folder).await?,
        };
        let Some(sites) = recovered else { return Ok(()) };
        let late = self.serve_platform(cx, found, "after").await?;
        if let (Some(plan), true) =
            (&mut found.plan, self.course.as_ref().is_some_and(|c| !matches!(c.lost, Lost::Data(_))))
        {
            plan.beyond.extend(late.iter().map(|s| format!("service {s} was started by the drill, by no step")));
        }
        if found.validation.is_empty() {
            self.validate_at_the_end(cx, found).await?;
        }
        let since = Instant::now();
        for site in &sites {
            if !platform::answers(cx, self.platform.as_deref(), &site.place, GOOD_ANSWERS).await? {
                let text = format!("{} does not answer after its recovery", site.place.location());
                return Err(Error::new(ErrorKind::Unavailable, text));
            }
        }
        found.chronicle.point("T6");
        let detail = format!("{} places answered {GOOD_ANSWERS} times in a row", sites.len());
        self.tell(found.chronicle.note("served again", Outcome::Ok, detail, since));
        self.look_at_standing(cx, found, folder).await?;
        for site in sites {
            site.destroy().await?;
        }
        Ok(())
    }

    /// Makes what production is, whole and proven, and has the disaster. False when it was not whole: there is nothing
    /// to lose then.
    async fn baseline(&self, cx: &Cx, ledger: &mut Ledger, found: &mut Found, folder: &Path) -> Result<bool> {
        ledger.phase("baseline")?;
        let since = Instant::now();
        let mut sites = Vec::new();
        self.raise_platform(cx, found, folder, "before").await?;
        let all: Vec<usize> = (0..self.parts.len()).collect();
        for (n, staged) in self.stages(cx, folder, "before", &all).await? {
            found.parts[n].baseline = Some(staged.record);
            sites.extend(staged.raised.map(|raised| (n, raised)));
        }
        let whole = found.parts.iter().all(|p| p.baseline.as_ref().is_some_and(StageRecord::is_equal));
        let outcome = if whole { Outcome::Ok } else { Outcome::Failed };
        let detail = told(&found.parts, |p| p.baseline.as_ref());
        self.tell(found.chronicle.note("private site", outcome, detail, since));
        if whole {
            self.serve_platform(cx, found, "before").await?;
            self.disaster(cx, ledger, found, sites).await?;
        }
        Ok(whole)
    }

    /// Everything at once, as without a plan. `None` when it is not whole.
    async fn restore_all(&self, cx: &Cx, found: &mut Found, folder: &Path) -> Result<Option<Vec<Raised>>> {
        found.chronicle.point("T4");
        let since = Instant::now();
        self.raise_platform(cx, found, folder, "after").await?;
        let all: Vec<usize> = (0..self.parts.len()).collect();
        let sites = self.recover(cx, found, folder, &all).await?;
        let whole = found.parts.iter().all(|p| p.recovery.as_ref().is_some_and(StageRecord::is_equal));
        let outcome = if whole { Outcome::Ok } else { Outcome::Failed };
        self.tell(found.chronicle.note("recovery", outcome, told(&found.parts, |p| p.recovery.as_ref()), since));
        if !whole {
            return Ok(None);
        }
        found.chronicle.point("T5");
        Ok(Some(sites))
    }

    /// Restores these components after the disaster.
    pub(super) async fn recover(
        &self,
        cx: &Cx,
        found: &mut Found,
        folder: &Path,
        which: &[usize],
    ) -> Result<Vec<Raised>> {
        let mut sites = Vec::new();
        for (n, staged) in self.stages(cx, folder, "after", which).await? {
            found.parts[n].recovery = Some(staged.record);
            sites.extend(staged.raised);
        }
        Ok(sites)
    }

    /// What the disaster left where it was is compared with its backup: it is shown, not believed, that nothing is lost.
    async fn look_at_standing(&self, cx: &Cx, found: &mut Found, folder: &Path) -> Result<()> {
        let Some(platform) = &self.platform else { return Ok(()) };
        for (n, part) in self.parts.iter().enumerate().filter(|(_, p)| p.standing) {
            let since = Instant::now();
            let place = folder.join(format!("stands-{}", part.component));
            let record = platform::compare(cx, platform, part, &place).await?.record;
            let told = &mut found.parts[n];
            let (outcome, detail) = if record.is_equal() {
                told.rpa_ms = Some(0);
                told.loss.records = Some(0);
                told.loss.basis = "the disaster left it where it was; compared afterwards, and equal".to_owned();
                (Outcome::Ok, format!("{} is where it was, and equal ({} records)", part.component, record.rows))
            } else {
                told.loss.basis = "unknown: services of the copy wrote to it, or the disaster changed it".to_owned();
                (Outcome::Warning, format!("{} is not as its backup shows", part.component))
            };
            told.recovery = Some(record);
            self.tell(found.chronicle.note("what the disaster left", outcome, detail, since));
        }
        Ok(())
    }

    /// How old the data of each component were at the disaster.
    fn age(&self, found: &mut Found, t0: DateTime<Utc>) {
        let reference = self.wanted.unwrap_or(t0);
        for (record, part) in found.parts.iter_mut().zip(&self.parts).filter(|(_, part)| !part.standing) {
            record.rpa_ms = (reference - part.manifest.consistency.at).to_std().ok().map(millis);
        }
    }

    async fn disaster(
        &self,
        cx: &Cx,
        ledger: &mut Ledger,
        found: &mut Found,
        sites: Vec<(usize, Raised)>,
    ) -> Result<()> {
        ledger.phase("disaster")?;
        let since = Instant::now();
        let mut places = Vec::new();
        for (n, site) in &sites {
            if !platform::answers(cx, self.platform.as_deref(), &site.place, 1).await? {
                let text = format!("{} does not answer before the disaster", site.place.location());
                return Err(Error::new(ErrorKind::Unavailable, text));
            }
            if !self.parts[*n].standing {
                places.push(site.place.location());
            }
        }
        let t0 = found.chronicle.point("T0");
        self.age(found, t0);
        if let Some(platform) = &self.platform {
            let lost = self.course.as_ref().map_or(&Lost::Site, |course| &course.lost);
            places.extend(platform.lose(cx, lost).await?);
        }
        for (n, site) in sites {
            let (standing, place) = (self.parts[n].standing, site.place.clone());
            site.destroy().await?;
            // Of a service the platform has looked it up: whatever is on the way may answer for an address that is gone.
            if !standing && !matches!(place, Place::Service { .. }) && place.answers().await {
                return Err(Error::new(ErrorKind::Unexpected, "what was destroyed still answers"));
            }
        }
        for point in ["T1", "T2", "T3"] {
            found.chronicle.point(point);
        }
        cx.check("recover")?;
        self.tell(found.chronicle.note("disaster", Outcome::Ok, format!("destroyed {}", places.join(", ")), since));
        Ok(())
    }

    /// Restores these components at the same time, as a recovery would.
    async fn stages(&self, cx: &Cx, folder: &Path, when: &str, which: &[usize]) -> Result<Vec<(usize, Staged)>> {
        let each = which.iter().filter_map(|n| Some((*n, self.parts.get(*n)?))).map(|(n, part)| {
            let place = folder.join(format!("{when}-{}", part.component));
            async move { Ok((n, self.stage_part(cx, part, &place).await?)) }
        });
        futures::future::join_all(each).await.into_iter().collect()
    }

    pub(super) async fn stage_part(&self, cx: &Cx, part: &DrillPart, place: &Path) -> Result<Staged> {
        match self.kind {
            DrillKind::ColdStart => cold::stage(cx, part, place).await,
            DrillKind::Compose => platform::stage(cx, self.platform.as_ref(), part, place).await,
            _ => stage(cx, part, place, &part.data).await,
        }
    }
}

fn told<'a>(parts: &'a [PartRecord], of: impl Fn(&'a PartRecord) -> Option<&'a StageRecord>) -> String {
    let one = |p: &'a PartRecord| match of(p) {
        Some(stage) if stage.is_equal() => format!("{} equal ({} records)", p.component, stage.rows),
        Some(StageRecord { error: Some(e), .. }) => format!("{}: {e}", p.component),
        Some(_) => format!("{} not proven equal", p.component),
        None => format!("{} not restored", p.component),
    };
    parts.iter().map(one).collect::<Vec<_>>().join(", ")
}
