//! Files and folders of a site as a thing that can be brought back.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use veza_dr_core::{
    ArtifactSource, BackupId, Clock, ComponentName, Cx, Effect, Error, ErrorKind, Manifest, OperationId, Outcome,
    Report, RestoreCaps, RestorePlan, RestoreReport, RestoreRequest, RestoreTarget, Result, SystemClock, TargetInfo,
    Verdict, Verification,
};

use super::{
    exchange::{carry_out, exchange, removal, remove, to_be_live},
    hold::Hold,
    journal::{Exchanged, Journal, Way, generation},
    look::{Looked, look},
    place::{Place, TreeRoot},
    scripts::{Desk, LONG},
    stage::{self, Scratch},
};
use crate::{
    shell::quoted,
    site::{ComposeProject, machine::Machine, ssh},
};

/// Which trees a backup holds.
pub type RootsOf = fn(&Manifest) -> Result<Vec<TreeRoot>>;

/// The trees of a files component on the machine of a site, here or behind SSH.
///
/// A backup is restored into a folder of this machine and proven there, sent as a tar stream into a folder beside each
/// live tree, compared there line by line with what was sent, and swapped in by renames that are on record before they
/// are made. What was there is kept until it is released. Nothing of ours runs on the machine: a POSIX shell, GNU tar and
/// find, coreutils and `flock` do.
///
/// ```no_run
/// # async fn f(here: std::sync::Arc<dyn veza_dr_core::RestoreTarget>,
/// #   roots: veza_dr_failover::site::RootsOf) -> veza_dr_core::Result<()> {
/// use veza_dr_core::{Cx, RestoreTarget};
/// use veza_dr_failover::site::{ComposeProject, SiteFiles, Ssh};
/// let mut standby = ComposeProject::new("standby", "/opt/veza/disaster-recovery.yml", "veza");
/// standby.ssh = Some(Ssh::new("backup-server"));
/// let files = SiteFiles::new(&standby, "files".parse()?, here, roots, "/var/lib/veza-dr/sites")?;
/// // What the last restore replaced is live again.
/// files.rollback(&Cx::background()).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct SiteFiles {
    info: TargetInfo,
    here: Arc<dyn RestoreTarget>,
    roots: RootsOf,
    desk: Desk,
    below: Option<String>,
    scratch: PathBuf,
}

impl SiteFiles {
    /// The files of a component on the site's machine, each tree at its own path. `here` restores the component into a
    /// folder of this machine, one below `scratch`. Nothing is connected yet.
    ///
    /// # Errors
    /// `Config` when the files that SSH needs cannot be read.
    pub fn new(
        project: &ComposeProject,
        component: ComponentName,
        here: Arc<dyn RestoreTarget>,
        roots: RootsOf,
        scratch: impl Into<PathBuf>,
    ) -> Result<Self> {
        let machine = match &project.ssh {
            None => Machine::Here,
            Some(to) => {
                ssh::check(to).map_err(|e| Error::new(e.kind(), format!("site {}", project.name)).with_source(e))?;
                Machine::There(to.clone())
            }
        };
        let location = format!("files of {} on {}", project.name, machine.name());
        let info = TargetInfo { component, engine: "files".to_owned(), location };
        let id = format!("{}.{}", project.project, info.component);
        let desk = Desk {
            machine,
            site: project.name.clone(),
            // Not a job: those are swept by their age, and none of them has a name that begins with a dot.
            folder: format!("{}/.files/{id}", project.jobs_dir),
            me: OperationId::random().to_string(),
        };
        let scratch = scratch.into().join(format!("{}.{}", project.name, info.component));
        Ok(Self { info, here, roots, desk, below: None, scratch })
    }

    /// Puts the trees below this folder of the site's machine, which must be there.
    #[must_use]
    pub fn below(mut self, folder: impl Into<String>) -> Self {
        self.below = Some(folder.into());
        self
    }

    /// Where what the restore of this backup replaced is kept, if that is the last exchange that was made and the backup
    /// is live.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn kept_for(&self, cx: &Cx, backup: &BackupId) -> Result<Option<String>> {
        let looked = look(cx, &self.desk, None, &[]).await?;
        let last = looked.journals.last().filter(|j| j.way == Way::In && j.done && j.backup == *backup);
        Ok(last.and_then(|j| self.kept(j)))
    }

    /// The last exchange that is on record; what comes later is told from it.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn last_exchange(&self, cx: &Cx) -> Result<Option<String>> {
        Ok(look(cx, &self.desk, None, &[]).await?.journals.pop().map(|j| j.generation))
    }

    /// Puts back what was live after the exchange `last` was made, or before there was any: every later restore is taken
    /// back. Repeating it changes nothing.
    ///
    /// # Errors
    /// As [`RestoreTarget::rollback`], but not when there is nothing to put back.
    pub async fn back_to(&self, cx: &Cx, last: Option<&str>) -> Result<Report> {
        let _hold = Hold::take(cx, &self.desk).await?;
        let mut report = Report::default();
        let mut journals = self.repaired(cx, &mut report).await?;
        while let Some(journal) = journals.pop().filter(|j| last.is_none_or(|last| j.generation.as_str() > last)) {
            if journal.way == Way::In {
                self.turn(cx, journal, &mut report).await?;
            }
        }
        Ok(report)
    }

    fn places(&self, roots: &[TreeRoot]) -> Result<Vec<Place>> {
        roots.iter().map(|root| Place::of(root, self.below.as_deref())).collect()
    }

    fn roots(&self, from: &Manifest) -> Result<Vec<TreeRoot>> {
        let roots = (self.roots)(from)?;
        if roots.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, format!("backup {} holds no files", from.id)));
        }
        Ok(roots)
    }

    fn kept(&self, journal: &Journal) -> Option<String> {
        let kept = journal.trees.iter().filter(|t| t.had).map(|t| t.place.old(&journal.generation));
        let kept: Vec<String> = kept.collect();
        (!kept.is_empty()).then(|| format!("{} on {}", kept.join(", "), self.desk.machine.name()))
    }

    /// Finishes what a crash left half made; the exchanges on record.
    async fn repaired(&self, cx: &Cx, report: &mut Report) -> Result<Vec<Journal>> {
        let looked = look(cx, &self.desk, None, &[]).await?;
        for going in &looked.going {
            remove(cx, &self.desk, going, &[]).await?;
        }
        let mut journals = looked.journals;
        for journal in journals.iter_mut().filter(|j| !j.done) {
            let started = Instant::now();
            *journal = carry_out(cx, &self.desk, journal, false).await?;
            let text = format!("the exchange of backup {}, begun {}", journal.backup, journal.since);
            report.push("finish", Outcome::Ok, text, started.elapsed());
        }
        Ok(journals)
    }

    /// Makes the other one of an exchange live.
    async fn turn(&self, cx: &Cx, journal: Journal, report: &mut Report) -> Result<()> {
        let started = Instant::now();
        let turned = carry_out(cx, &self.desk, &journal.reversed(), false).await?;
        let text = match turned.way {
            Way::Back => {
                format!("what the restore of {} replaced is live", turned.since.format("%Y-%m-%d %H:%M:%S UTC"))
            }
            Way::In => format!("backup {} is live again", turned.backup),
        };
        report.push("exchange back", Outcome::Ok, text, started.elapsed());
        let kept: Vec<String> = turned.trees.iter().map(|t| t.place.work(&turned.generation)).collect();
        report.push("keep", Outcome::Ok, format!("what it replaced is kept in {}", kept.join(", ")), Duration::ZERO);
        Ok(())
    }

    /// Everything up to the exchange: nothing live is touched.
    async fn prepare(
        &self,
        cx: &Cx,
        journal: &Journal,
        looked: &Looked,
        (roots, places): (&[TreeRoot], &[Place]),
        (from, data): (&Manifest, Arc<dyn ArtifactSource>),
        report: &mut Report,
    ) -> Result<Verification> {
        let desk = &self.desk;
        let scratch = Scratch::make(&self.scratch, &desk.me)?;
        let verification = stage::restore_here(cx, self.here.as_ref(), &scratch, from, data, report).await?;
        let parcels = stage::pack(cx, &scratch, roots, places, journal.owners).await?;
        let bytes = roots.iter().map(|r| r.bytes).sum();
        stage::send_and_prove(cx, desk, journal, &parcels, bytes, report).await?;
        drop(scratch);
        let durable = "sync || failed 'make what was sent durable'\nsay done";
        desk.run(cx, "make what was sent durable", durable, LONG).await?;
        // Sending takes its time.
        let now = look(cx, desk, self.below.as_deref(), places).await?;
        if now.fingerprint() != looked.fingerprint() {
            let text = desk.what("what was to be replaced has changed meanwhile");
            return Err(Error::new(ErrorKind::Conflict, text)
                .with_help("something else works there: stop it, then run it again"));
        }
        Ok(verification)
    }

    /// What an earlier restore of the same backup came to whose exchange was finished just now.
    async fn finished(
        &self,
        cx: &Cx,
        journal: &Journal,
        from: &Manifest,
        report: &Report,
    ) -> Result<Option<RestoreReport>> {
        if report.steps.is_empty() || journal.way != Way::In || journal.backup != from.id {
            return Ok(None);
        }
        let found = self.verify(cx, from).await?;
        if found.verdict() != Verdict::Equal {
            return Ok(None);
        }
        Ok(Some(self.told(journal, report.clone(), found)))
    }

    fn told(&self, journal: &Journal, report: Report, verification: Verification) -> RestoreReport {
        let live: Vec<&str> = journal.trees.iter().map(|t| t.place.live.as_str()).collect();
        let location = format!("{} on {}", live.join(", "), self.desk.machine.name());
        let mut done = RestoreReport::new(journal.backup.clone(), report, verification, location);
        done.replaced = self.kept(journal);
        let component = &self.info.component;
        done.next.push(format!("veza-dr rollback {component}   # back to what it replaced"));
        done.next.push(format!("veza-dr release {component}    # when all is well: remove what it replaced"));
        done
    }

    /// Removes what was made beside the live trees by a restore that failed before its exchange.
    async fn discard(&self, journal: &Journal) {
        let work = journal.trees.iter().map(|t| (t.place.work(&journal.generation), t.place.aside()));
        let record = quoted(&Journal::file(&journal.generation));
        let generation = quoted(&journal.generation);
        let script = format!(
            "alone\n[ -e \"$s\"/{record} ] && {{ say done; exit 0; }}\n{}rm -f -- \"$s\"/{generation}.*\nsay done\n",
            removal(work)
        );
        if let Err(e) = self.desk.run(&Cx::background(), "remove what was sent", &script, LONG).await {
            tracing::warn!(error = %e.chain(), "what was sent stays beside the live files; the next restore removes it");
        }
    }
}

fn not_here(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{what} on the machine of a site"))
        .with_help("restore the whole component there, or to a folder of this machine with --to and without --site")
}

#[async_trait]
impl RestoreTarget for SiteFiles {
    fn info(&self) -> &TargetInfo {
        &self.info
    }

    fn capabilities(&self) -> RestoreCaps {
        RestoreCaps::new(true, true, false)
    }

    async fn plan(&self, cx: &Cx, request: &RestoreRequest, from: &Manifest) -> Result<RestorePlan> {
        if request.scratch {
            return self.here.plan(cx, request, from).await;
        }
        if request.to.is_some() {
            return Err(not_here("no other folder is restored to"));
        }
        if !request.only.is_empty() {
            return Err(not_here("no single paths are restored"));
        }
        let (desk, below) = (&self.desk, self.below.as_deref());
        let roots = self.roots(from)?;
        let places = self.places(&roots)?;
        let looked = look(cx, desk, below, &places).await?;
        let before = self.here.plan(cx, &RestoreRequest::scratch(), from).await?;
        let mut plan = RestorePlan::new(from.id.clone(), request.clone(), looked.fingerprint());
        let at = desk.machine.name();
        for journal in looked.journals.iter().filter(|j| !j.done) {
            plan.step(format!("finish the interrupted exchange of backup {} on {at}", journal.backup), true);
        }
        let bytes: u64 = roots.iter().map(|r| r.bytes).sum();
        plan.step(format!("build {} entries, {bytes} bytes below {}", from.rows(), self.scratch.display()), false);
        plan.step("compare every entry with the index", false);
        plan.step(format!("send them to {at}, beside what is live there"), false);
        plan.step(format!("compare every entry on {at} with what was sent"), false);
        for (place, seen) in places.iter().zip(&looked.places) {
            let what = if seen.kind == "none" {
                format!("rename it to {} on {at}, where nothing is", place.live)
            } else {
                format!("swap {} on {at}; what was there is kept in {}", place.live, place.aside())
            };
            plan.step(what, true);
        }
        plan.warnings = before.warnings;
        if !looked.root && rustix::process::geteuid().is_root() {
            plan.warnings
                .push(format!("not root on {at}: files of other owners will belong to the user that veza-dr is there"));
        }
        plan.blockers = before.blockers;
        plan.blockers.extend(looked.blockers(desk, below, &places, &roots));
        Ok(plan)
    }

    async fn apply(
        &self,
        cx: &Cx,
        plan: RestorePlan,
        from: &Manifest,
        data: Arc<dyn ArtifactSource>,
    ) -> Result<RestoreReport> {
        if plan.request.scratch {
            return self.here.apply(cx, plan, from, data).await;
        }
        if plan.backup != from.id {
            let text = format!("the plan is for backup {}, not for {}", plan.backup, from.id);
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        // What is new since a careful look is a blocker, too.
        let fresh = self.plan(cx, &plan.request, from).await?;
        if !fresh.blockers.is_empty() {
            return Err(
                Error::new(ErrorKind::Conflict, "the restore cannot go ahead").with_source(fresh.blockers.join("; "))
            );
        }
        if fresh.fingerprint != plan.fingerprint {
            let text = self.desk.what("its files are no longer what the plan saw");
            return Err(Error::new(ErrorKind::Conflict, text).with_help("make a new plan"));
        }
        let roots = self.roots(from)?;
        let places = self.places(&roots)?;
        let hold = Hold::take(cx, &self.desk).await?;
        let mut report = Report::default();
        let known = self.repaired(cx, &mut report).await?;
        if let Some(last) = known.last()
            && let Some(done) = self.finished(cx, last, from, &report).await?
        {
            return Ok(done);
        }
        for swept in stage::sweep(cx, &self.desk, &places, &known).await? {
            report.push("remove an unfinished restore", Outcome::Ok, swept, Duration::ZERO);
        }
        let looked = look(cx, &self.desk, self.below.as_deref(), &places).await?;
        let trees = places.iter().zip(&looked.places).zip(&roots).map(|((place, seen), root)| Exchanged {
            place: place.clone(),
            had: seen.kind != "none",
            rows: root.entries,
        });
        let journal = Journal {
            format: 1,
            component: self.info.component.clone(),
            backup: from.id.clone(),
            generation: generation(&from.id),
            since: SystemClock.now(),
            way: Way::In,
            done: false,
            owners: looked.root && rustix::process::geteuid().is_root(),
            trees: trees.collect(),
        };
        let prepared = self.prepare(cx, &journal, &looked, (&roots, &places), (from, data), &mut report);
        // Whatever of a connection was lost: until the exchange nothing live is touched.
        let prepared = prepared.await.map_err(|e| e.with_effect(Effect::None));
        let started = Instant::now();
        let exchanged = match prepared {
            Ok(verification) => exchange(cx, &self.desk, &journal).await.map(|journal| (journal, verification)),
            Err(e) => Err(e),
        };
        let (journal, verification) = match exchanged {
            Ok(exchanged) => exchanged,
            Err(e) => {
                self.discard(&journal).await;
                return Err(e);
            }
        };
        drop(hold);
        report.push("exchange", Outcome::Ok, format!("{} trees", places.len()), started.elapsed());
        Ok(self.told(&journal, report, verification))
    }

    async fn verify(&self, cx: &Cx, against: &Manifest) -> Result<Verification> {
        let started = Instant::now();
        let mut found = Verification::default();
        let journals = look(cx, &self.desk, None, &[]).await?.journals;
        match journals.last() {
            Some(journal) if !journal.done => {
                found.unverified(
                    "exchange",
                    "an interrupted one is to be finished first: run the restore or a rollback",
                );
            }
            Some(journal) if journal.way == Way::In && journal.backup == against.id => {
                for (number, tree) in journal.trees.iter().enumerate() {
                    let differs = stage::differences(cx, &self.desk, journal, number, &tree.place.parent).await?.lines;
                    if differs.is_empty() {
                        found.pass(tree.rows);
                    }
                    for line in differs {
                        found.differs(&tree.place.live, line);
                    }
                }
            }
            _ => {
                let text = format!(
                    "backup {} is not what was last restored there: what is live cannot be compared with it",
                    against.id
                );
                found.unverified(&self.info.location, text);
            }
        }
        found.took = started.elapsed();
        Ok(found)
    }

    async fn rollback(&self, cx: &Cx) -> Result<Report> {
        let hold = Hold::take(cx, &self.desk).await?;
        let mut report = Report::default();
        let last = self.repaired(cx, &mut report).await?.pop().ok_or_else(|| self.nothing())?;
        self.turn(cx, last, &mut report).await?;
        drop(hold);
        Ok(report)
    }

    async fn release(&self, cx: &Cx) -> Result<Report> {
        let hold = Hold::take(cx, &self.desk).await?;
        let looked = look(cx, &self.desk, None, &[]).await?;
        let (going, journals) = (looked.going, looked.journals);
        if let Some(journal) = journals.iter().find(|j| !j.done) {
            let text = format!("the exchange of backup {}, begun {}, was interrupted", journal.backup, journal.since);
            return Err(Error::new(ErrorKind::Conflict, self.desk.what(&text)).with_help(
                "run the restore again, or veza-dr rollback, first: both finish it; then look at what is live",
            ));
        }
        if journals.is_empty() && going.is_empty() {
            return Err(self.nothing());
        }
        let live = to_be_live(&journals);
        let mut report = Report::default();
        for journal in going.iter().chain(&journals) {
            let started = Instant::now();
            remove(cx, &self.desk, journal, &live).await?;
            let folders: Vec<String> = journal.trees.iter().map(|t| t.place.work(&journal.generation)).collect();
            report.push("remove", Outcome::Ok, folders.join(", "), started.elapsed());
        }
        drop(hold);
        Ok(report)
    }
}

impl SiteFiles {
    fn nothing(&self) -> Error {
        Error::new(
            ErrorKind::NotFound,
            format!("nothing that a restore replaced is kept of the {}", self.info.location),
        )
        .with_help("a restore keeps what it replaced until it is released")
    }
}
