//! Plan, apply, verify.

use std::{fmt::Debug, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::Utc;
use futures::future::try_join_all;
use tokio::time::sleep;
use veza_dr_core::{ChangeId, ChangeSet, Cx, DnsProvider, Effect, Error, ErrorKind, RecordKey, RecordSet, Result};

use super::{
    DnsServer, Goal, RecordReport, SavedSwitch, Side, SiteRecord, SwitchPhase, SwitchPlan, SwitchReport,
    SwitchedRecord,
    answers::Expected,
    in_sync::in_sync,
    plan::{ForeignRecord, digest, same},
    saved::{Folder, Lock},
    ttl::Remembered,
    verify::{asked, verified},
    wording::shown,
};

/// How often a change whose answer was lost is looked into.
const SETTLING: u32 = 5;

/// What is switched, who is asked, and how long is waited.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SwitchSettings {
    /// The records.
    pub records: Vec<SiteRecord>,
    /// Resolvers that are sampled, and that find the servers of the zone; 1.1.1.1, 8.8.8.8 and 9.9.9.9.
    pub resolvers: Vec<DnsServer>,
    /// The servers of the zone; those that it is delegated to when empty.
    pub name_servers: Vec<DnsServer>,
    /// Where this host keeps what was there before.
    pub state_dir: PathBuf,
    /// How long the provider may take to bring a change to all its servers; 5 min.
    pub in_sync_within: Duration,
    /// The first pause between two questions about that; 2 s, growing to 5 s.
    pub poll: Duration,
    /// How long the servers of the zone may answer otherwise after that; 60 s.
    pub verify_within: Duration,
}

impl SwitchSettings {
    /// These records, all else by default.
    #[must_use]
    pub fn new(records: Vec<SiteRecord>, state_dir: impl Into<PathBuf>) -> Self {
        let known = |ip: [u8; 4]| DnsServer::from((ip, 53));
        Self {
            records,
            resolvers: vec![known([1, 1, 1, 1]), known([8, 8, 8, 8]), known([9, 9, 9, 9])],
            name_servers: Vec::new(),
            state_dir: state_dir.into(),
            in_sync_within: Duration::from_secs(300),
            poll: Duration::from_secs(2),
            verify_within: Duration::from_secs(60),
        }
    }
}

/// Is given what was there before, to keep it where it survives this host too; the change waits for it.
#[async_trait]
pub trait SwitchJournal: Debug + Send + Sync {
    /// Keeps it, durably.
    ///
    /// # Errors
    /// When it could not be kept: nothing is changed then.
    async fn before_change(&self, cx: &Cx, saved: &SavedSwitch) -> Result<()>;
}

/// Keeps it in this host's files alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoJournal;

#[async_trait]
impl SwitchJournal for NoJournal {
    async fn before_change(&self, _: &Cx, _: &SavedSwitch) -> Result<()> {
        Ok(())
    }
}

/// The record set before a change, and after it.
type Pair = (Option<RecordSet>, Option<RecordSet>);

/// Switches records between the sites, and back.
///
/// ```no_run
/// # async fn example(provider: std::sync::Arc<dyn veza_dr_core::DnsProvider>) -> veza_dr_core::Result<()> {
/// use veza_dr_core::{Cx, RecordKey, RecordType};
/// use veza_dr_failover::dns::{Goal, NoJournal, Side, SiteRecord, Switch, SwitchSettings};
///
/// let key = RecordKey { zone: "Z123456789".into(), name: "api.veza.com.".into(), kind: RecordType::A, set_id: None };
/// let api = SiteRecord::new("api", key, 60, vec!["192.0.2.10".into()], vec!["192.0.2.20".into()]);
/// let switch = Switch::new(provider, SwitchSettings::new(vec![api], "/var/lib/veza-dr"));
/// let cx = Cx::background();
/// let plan = switch.plan(&cx, Goal::To(Side::Standby)).await?;
/// println!("{} changes, {}", plan.changes().changes.len(), plan.sha());
/// switch.apply(&cx, &plan, &NoJournal, None).await?.ensure_everywhere()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Switch {
    pub(super) provider: Arc<dyn DnsProvider>,
    pub(super) settings: SwitchSettings,
    pub(super) folder: Folder,
}

impl Switch {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(provider: Arc<dyn DnsProvider>, settings: SwitchSettings) -> Self {
        let folder = Folder::of(&settings.state_dir);
        Self { provider, settings, folder }
    }

    /// Reads what is there and says what would be changed. Changes nothing.
    ///
    /// # Errors
    /// Those of the provider: what cannot be read is never taken for absent. `Config`, `NotFound` or `Conflict` where
    /// the goal does not fit the records.
    pub async fn plan(&self, cx: &Cx, goal: Goal) -> Result<SwitchPlan> {
        if let Goal::Shift { percent: 101.., .. } = goal {
            return Err(Error::new(ErrorKind::Config, "a share is 0 to 100 %"));
        }
        let remembered = Remembered::load(&self.folder)?;
        if goal == Goal::RestoreTtl && remembered.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, "no TTL was lowered by this host: there is none to put back"));
        }
        let (mut records, mut warnings, mut foreign) = (Vec::new(), Vec::new(), Vec::new());
        for record in &self.settings.records {
            for (key, side) in record.keys() {
                let current = self.provider.read(cx, &key).await?;
                let kept = remembered.of(&key);
                let after = match goal {
                    Goal::To(to) => {
                        let unknown = |c: &&RecordSet| {
                            side.is_none()
                                && ![Side::Primary, Side::Standby].iter().any(|s| record.leads_to(*s, &c.values))
                        };
                        if let Some(strange) = current.as_ref().filter(unknown) {
                            let shown = shown(Some(strange));
                            warnings.push(format!("{key} leads to neither site now: {shown}"));
                            foreign.push(ForeignRecord {
                                label: record.label.clone(),
                                key: key.clone(),
                                primary: record.primary.clone(),
                                standby: record.standby.clone(),
                                there_now: shown,
                            });
                        }
                        record.wanted((&key, side), current.as_ref(), (to, 100), kept.is_some())?
                    }
                    Goal::Shift { to, percent } => {
                        record.wanted((&key, side), current.as_ref(), (to, percent), kept.is_some())?
                    }
                    Goal::LowerTtl(_) | Goal::RestoreTtl => other_ttl(goal, &key, current.as_ref(), kept)?,
                };
                records.push(SwitchedRecord::new(&record.label, key, current, Some(after)));
            }
        }
        Ok(SwitchPlan::new(goal, records, warnings).with_foreign(foreign))
    }

    /// Carries a plan out and proves it: what was there is saved, the change is made against exactly that, the provider's
    /// servers get it, every server of the zone is asked. With `confirm_within` the switch is taken back after that time
    /// unless it is [confirmed](Self::confirm); see [`Switch::wait_confirmed`]. A plan that is fulfilled already changes
    /// nothing and is verified. The report tells of servers that do not follow:
    /// [`ensure_everywhere`](SwitchReport::ensure_everywhere).
    ///
    /// # Errors
    /// `Conflict` when the records are not as the plan found them, one of them leads to neither site
    /// ([`SwitchPlan::accepting_foreign`]), or another switch is under way: nothing is changed then. `Unverified` with [`Effect::Applied`] when the provider does not bring the change to its servers in time.
    pub async fn apply(
        &self,
        cx: &Cx,
        plan: &SwitchPlan,
        journal: &dyn SwitchJournal,
        confirm_within: Option<Duration>,
    ) -> Result<SwitchReport> {
        plan.ensure_known()?;
        let lock = self.folder.lock()?;
        let previous = self.folder.load()?;
        if let Some(late) = previous.as_ref().filter(|s| s.is_overdue(Utc::now())) {
            let text = format!("the switch of {} was not confirmed in time and not taken back", late.begun_at);
            return Err(Error::new(ErrorKind::Conflict, text)
                .with_help("take it back (veza-dr dns rollback) or keep it (veza-dr dns confirm) first"));
        }
        self.check_unchanged(cx, plan).await?;
        if plan.is_empty() {
            let mut report = self.verify(cx, plan.goal, &plan.records).await?;
            report.changed = false;
            return Ok(report);
        }
        let confirm_by = confirm_within.map(|within| Utc::now() + within);
        let mut saved = SavedSwitch::new(plan, confirm_by);
        if let Some(previous) = &previous {
            saved = saved.continuing(previous);
        }
        self.folder.save(&saved)?;
        let submitted = async {
            journal.before_change(cx, &saved).await?;
            Remembered::load(&self.folder)?.keep(&self.folder, plan.goal, &saved.records)?;
            self.submit(cx, &plan.changes()).await
        };
        let change = match submitted.await {
            Ok(change) => change,
            Err(e) => {
                if e.effect() == Effect::None {
                    self.folder.put_back(previous.as_ref())?;
                }
                return Err(e);
            }
        };
        let at = self.accepted(cx, &mut saved, change, SwitchPhase::InSync).await?;
        Remembered::load(&self.folder)?.settle(&self.folder, plan.goal, &saved.records, false)?;
        drop(lock);
        let mut report = self.verify(cx, plan.goal, &plan.records).await?;
        report.id = Some(saved.id.clone());
        report.change.clone_from(&saved.change);
        report.in_sync_at = Some(at);
        report.caches_clear_at = plan.old_ttl().map(|ttl| at + chrono::Duration::seconds(i64::from(ttl)));
        report.confirm_by = confirm_by;
        Ok(report)
    }

    /// Notes that a change was accepted, waits for the provider's servers, and notes that.
    pub(super) async fn accepted(
        &self,
        cx: &Cx,
        saved: &mut SavedSwitch,
        change: ChangeId,
        then: SwitchPhase,
    ) -> Result<chrono::DateTime<Utc>> {
        if then == SwitchPhase::InSync {
            saved.phase = SwitchPhase::Submitted;
        }
        saved.change = Some(change.clone());
        self.folder.save(saved).map_err(|e| e.with_effect(Effect::Applied))?;
        let (poll, within) = (self.settings.poll, self.settings.in_sync_within);
        let at = in_sync(cx, &*self.provider, &change, poll, within).await?;
        saved.phase = then;
        saved.in_sync_at = Some(at);
        self.folder.save(saved).map_err(|e| e.with_effect(Effect::Applied))?;
        Ok(at)
    }

    /// Fails unless each record is as the plan found it.
    async fn check_unchanged(&self, cx: &Cx, plan: &SwitchPlan) -> Result<()> {
        let now = try_join_all(plan.records.iter().map(|r| self.provider.read(cx, &r.key))).await?;
        let together = || plan.records.iter().map(|r| &r.key).zip(now.iter().map(Option::as_ref));
        if digest(together()) == plan.digest {
            return Ok(());
        }
        let mut error =
            Error::new(ErrorKind::Conflict, "the records are not as the plan found them: nothing was changed")
                .with_help("look at what changed (veza-dr dns show), then plan again");
        for (record, now) in plan.records.iter().zip(&now).filter(|(r, now)| !same(r.before.as_ref(), now.as_ref())) {
            error = error
                .with_context("expected", format!("{}: {}", record.key, shown(record.before.as_ref())))
                .with_context("there_now", format!("{}: {}", record.key, shown(now.as_ref())));
        }
        Err(error)
    }

    /// Whether the records are as a plan wants them (`true`), as it found them (`false`), or neither.
    ///
    /// # Errors
    /// Those of the provider.
    pub async fn holds(&self, cx: &Cx, plan: &SwitchPlan) -> Result<Option<bool>> {
        let now = try_join_all(plan.records.iter().map(|r| self.provider.read(cx, &r.key))).await?;
        let is = |side: fn(&SwitchedRecord) -> Option<&RecordSet>| {
            plan.records.iter().zip(&now).all(|(record, now)| same(side(record), now.as_ref()))
        };
        let (after, before) = (is(|r| r.after.as_ref()), is(|r| r.before.as_ref()));
        Ok(if after { Some(true) } else { before.then_some(false) })
    }

    /// Submits a batch. Where the answer was lost, the records tell whether it was carried out; it is sent again only
    /// where it was not, and where it was, the same records are set once more, for a change that can be waited for.
    pub(super) async fn submit(&self, cx: &Cx, changes: &ChangeSet) -> Result<ChangeId> {
        let mut left = SETTLING;
        let mut next = changes.clone();
        loop {
            let lost = match self.provider.apply(cx, &next).await {
                Ok(change) => return Ok(change),
                Err(e) if e.effect() == Effect::Unknown && e.kind() != ErrorKind::Cancelled && left > 0 => e,
                Err(e) => return Err(e),
            };
            left -= 1;
            tracing::warn!(error = %lost.chain(), "no answer to a DNS change: looking whether it took place");
            sleep(self.settings.poll).await;
            let is = |side: fn(&Pair) -> &Option<RecordSet>, now: &[Option<RecordSet>]| {
                changes.changes.iter().map(side).zip(now).all(|(one, two)| same(one.as_ref(), two.as_ref()))
            };
            let keys = changes.changes.iter().filter_map(|(old, new)| old.as_ref().or(new.as_ref())).map(|r| &r.key);
            let Ok(now) = try_join_all(keys.map(|key| self.provider.read(cx, key))).await else { return Err(lost) };
            if is(|c| &c.0, &now) {
                next = changes.clone();
            } else if is(|c| &c.1, &now) {
                let again = changes.changes.iter().filter(|(_, new)| new.is_some());
                next = ChangeSet { changes: again.map(|(_, new)| (new.clone(), new.clone())).collect() };
                if next.is_empty() {
                    return Err(lost.with_effect(Effect::Applied));
                }
            } else {
                return Err(lost.with_help("the records are neither as before nor as wanted: veza-dr dns show"));
            }
        }
    }

    /// Asks every server of the zone, again and again until all agree or the time is up, then some resolvers once.
    /// Changes nothing.
    ///
    /// # Errors
    /// `Cancelled`. Servers that do not answer, or otherwise, are in the report.
    pub(super) async fn verify(&self, cx: &Cx, goal: Goal, records: &[SwitchedRecord]) -> Result<SwitchReport> {
        let reports = verified(cx, &self.settings, &Expected::of(records), self.settings.verify_within).await?;
        Ok(SwitchReport::of(goal, reports))
    }

    /// What the servers of the zone answer now.
    pub(super) async fn asked(&self, cx: &Cx, expected: &Expected) -> Result<RecordReport> {
        asked(cx, &self.settings, expected).await
    }

    pub(super) fn lock(&self) -> Result<Lock> {
        self.folder.lock()
    }
}

fn other_ttl(goal: Goal, key: &RecordKey, current: Option<&RecordSet>, kept: Option<u32>) -> Result<RecordSet> {
    let Some(current) = current else {
        return Err(Error::new(ErrorKind::NotFound, format!("record {key} is not there: it has no TTL")));
    };
    let mut after = current.clone();
    if current.alias.is_none() {
        match (goal, kept) {
            (Goal::LowerTtl(ttl), _) => after.ttl = after.ttl.min(ttl),
            (_, Some(kept)) => after.ttl = kept,
            _ => {}
        }
    }
    Ok(after)
}
