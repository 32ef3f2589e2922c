//! The decision: a pure function of what is there, the rules, and the time.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike, NaiveDateTime, TimeDelta, Timelike, Utc};
use serde::Serialize;
use veza_dr_core::{BackupId, Verdict as Proof};

use super::{DeleteReason, KeepReason, RetentionPolicy, Verdict};
use crate::{BackupState, CatalogEntry, Level};

/// How many earlier backups the newest one's size is compared with.
const COMPARED: usize = 7;
/// Below this size, halves mean nothing.
const TOO_SMALL: u64 = 64 * 1024;

/// One backup, as far as retention cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its identity, which tells when it began.
    pub id: BackupId,
    /// Its manifest can be read.
    pub readable: bool,
    /// The levels to which it was found equal.
    pub proven: BTreeSet<Level>,
    /// A verification found it different, and no later one of the same or a higher level equal.
    pub refuted: bool,
    /// Plain bytes.
    pub bytes: u64,
    /// The other backups in which some of its objects lie.
    pub uses: BTreeSet<BackupId>,
    /// A restore is reading it.
    pub held: bool,
}

impl Candidate {
    /// A readable one with nothing special about it.
    #[must_use]
    pub fn new(id: BackupId) -> Self {
        let (proven, uses) = (BTreeSet::new(), BTreeSet::new());
        Self { id, readable: true, proven, refuted: false, bytes: 0, uses, held: false }
    }

    /// From the catalogue; `None` for an unfinished run, which is none of retention's.
    #[must_use]
    pub fn of(entry: &CatalogEntry, held: &BTreeSet<BackupId>) -> Option<Self> {
        let mut candidate = Self::new(entry.id.clone());
        candidate.held = held.contains(&entry.id);
        candidate.proven = entry.proofs.iter().filter(|p| p.verdict == Proof::Equal).map(|p| p.level).collect();
        candidate.refuted = entry.refuted().is_some();
        if candidate.refuted {
            candidate.proven.clear();
        }
        match &entry.state {
            BackupState::Complete(manifest) => {
                candidate.bytes = manifest.bytes();
                candidate.uses = manifest.objects.iter().filter_map(|o| o.stored_in.clone()).collect();
                candidate.uses.remove(&entry.id);
            }
            BackupState::Broken(_) => candidate.readable = false,
            BackupState::Unfinished => return None,
        }
        Some(candidate)
    }

    fn at(&self) -> DateTime<Utc> {
        self.id.started_at()
    }

    /// Good enough to count on.
    fn sound(&self) -> bool {
        self.readable && !self.refuted
    }
}

/// What becomes of one backup, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The backup.
    pub id: BackupId,
    /// What becomes of it.
    pub verdict: Verdict,
}

impl Decision {
    /// Whether it goes.
    #[must_use]
    pub fn deletes(&self) -> bool {
        matches!(self.verdict, Verdict::Delete(_))
    }
}

/// Decides over all backups that one store has of one component; oldest first in the answer.
///
/// Whatever the policy says, these stay: the newest complete backup, the newest that was not refuted, the newest that
/// was proven to each level, what a restore is reading, what cannot be read, and everything that one of those that stay
/// has objects in.
///
/// ```
/// use veza_dr_backup::{Candidate, RetentionPolicy, decide};
/// let backup = |id: &str| Candidate::new(id.parse().unwrap());
/// let there = [backup("20261101T000000Z-000000"), backup("20261120T000000Z-000000")];
/// // Long after backups stopped: the newest stays, and what is old next to it goes.
/// let decisions = decide(&there, &RetentionPolicy::days(7), "2027-06-01T00:00:00Z".parse().unwrap());
/// assert_eq!(decisions.iter().map(|d| d.deletes()).collect::<Vec<_>>(), [true, false]);
/// ```
#[must_use]
pub fn decide(candidates: &[Candidate], policy: &RetentionPolicy, now: DateTime<Utc>) -> Vec<Decision> {
    let mut all: Vec<&Candidate> = candidates.iter().collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all.dedup_by(|a, b| a.id == b.id);
    let mut keep = Keep { all: &all, now, reasons: BTreeMap::new() };
    keep.by_rule(policy, anchor(&all, now));
    keep.always(policy);
    keep.by_use();
    let going = keep.going(policy);
    let anchor = anchor(&all, now);
    let decision = |c: &&Candidate| {
        let verdict = if going.contains(&c.id) {
            Verdict::Delete(DeleteReason::NoRuleKeepsIt { hours_older_than_newest: (anchor - c.at()).num_hours() })
        } else {
            Verdict::Keep(keep.reasons.get(&c.id).cloned().unwrap_or_default())
        };
        Decision { id: c.id.clone(), verdict }
    };
    all.iter().map(decision).collect()
}

/// What ages are counted from: the newest sound backup that is not from the future.
fn anchor(all: &[&Candidate], now: DateTime<Utc>) -> DateTime<Utc> {
    all.iter().rev().filter(|c| c.sound()).map(|c| c.at()).find(|at| *at <= now).unwrap_or(now)
}

struct Keep<'a> {
    all: &'a [&'a Candidate],
    now: DateTime<Utc>,
    reasons: BTreeMap<BackupId, Vec<KeepReason>>,
}

impl Keep<'_> {
    fn say(&mut self, id: &BackupId, reason: KeepReason) {
        let reasons = self.reasons.entry(id.clone()).or_default();
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }

    fn by_rule(&mut self, policy: &RetentionPolicy, anchor: DateTime<Utc>) {
        let all = self.all;
        if policy.keeps_everything() {
            all.iter().for_each(|c| self.say(&c.id, KeepReason::NoRule));
        }
        if let Some(days) = policy.days {
            for c in all.iter().filter(|c| anchor - c.at() <= TimeDelta::days(days.into())) {
                self.say(&c.id, KeepReason::Days(days));
            }
        }
        let now = self.now;
        // One from the future takes the place of none that is real.
        let sound = || all.iter().rev().filter(move |c| c.sound() && c.at() <= now);
        for c in sound().take(policy.keep_last as usize) {
            self.say(&c.id, KeepReason::Last(policy.keep_last));
        }
        type Period = fn(NaiveDateTime) -> (i32, u32, u32);
        let periods: [(u32, KeepReason, Period); 5] = [
            (policy.hourly, KeepReason::Hourly, |t| (t.year(), t.ordinal(), t.hour())),
            (policy.daily, KeepReason::Daily, |t| (t.year(), t.ordinal(), 0)),
            (policy.weekly, KeepReason::Weekly, |t| (t.iso_week().year(), t.iso_week().week(), 0)),
            (policy.monthly, KeepReason::Monthly, |t| (t.year(), t.month(), 0)),
            (policy.yearly, KeepReason::Yearly, |t| (t.year(), 0, 0)),
        ];
        for (count, reason, period) in periods {
            let mut seen = BTreeSet::new();
            for c in sound() {
                if seen.len() >= count as usize {
                    break;
                }
                if seen.insert(period(policy.zone.wall(c.at()))) {
                    self.say(&c.id, reason.clone());
                }
            }
        }
    }

    fn always(&mut self, policy: &RetentionPolicy) {
        let all = self.all;
        let now = self.now;
        let sound = || all.iter().rev().filter(move |c| c.sound() && c.at() <= now);
        all.iter().filter(|c| c.at() > now).for_each(|c| self.say(&c.id, KeepReason::Future));
        let newest = all.iter().rev().find(|c| c.readable);
        for c in newest.into_iter().chain(sound().next()) {
            self.say(&c.id, KeepReason::Newest);
        }
        for level in [Level::Objects, Level::Structure, Level::Restore] {
            if let Some(c) = all.iter().rev().find(|c| c.proven.contains(&level)) {
                self.say(&c.id, KeepReason::NewestProven(level));
            }
        }
        for c in sound().take(policy.min_keep as usize) {
            self.say(&c.id, KeepReason::Few(policy.min_keep));
        }
        all.iter().filter(|c| c.held).for_each(|c| self.say(&c.id, KeepReason::Restoring));
        if let Some(last) = all.iter().rev().find(|c| !c.readable) {
            for c in all.iter().filter(|c| c.id < last.id) {
                self.say(&c.id, KeepReason::MayBeUsedBy(last.id.clone()));
            }
            all.iter().filter(|c| !c.readable).for_each(|c| self.say(&c.id, KeepReason::Unreadable));
        }
        if self.shrunk() {
            let going: Vec<BackupId> = self.unkept().map(|c| c.id.clone()).collect();
            going.iter().for_each(|id| self.say(id, KeepReason::Shrunk));
        }
    }

    fn unkept(&self) -> impl Iterator<Item = &Candidate> {
        self.all.iter().copied().filter(|c| !self.reasons.contains_key(&c.id))
    }

    fn shrunk(&self) -> bool {
        let mut sizes = self.all.iter().rev().filter(|c| c.sound() && c.at() <= self.now).map(|c| c.bytes);
        let Some(newest) = sizes.next() else { return false };
        let mut before: Vec<u64> = sizes.take(COMPARED).collect();
        before.sort_unstable();
        before.get(before.len() / 2).is_some_and(|median| *median >= TOO_SMALL && newest < median / 2)
    }

    /// What stays brings along what it has objects in.
    fn by_use(&mut self) {
        let by_id: BTreeMap<&BackupId, &Candidate> = self.all.iter().map(|c| (&c.id, *c)).collect();
        let mut todo: Vec<BackupId> = self.reasons.keys().cloned().collect();
        while let Some(user) = todo.pop() {
            for used in by_id.get(&user).into_iter().flat_map(|c| &c.uses) {
                if by_id.contains_key(used) {
                    if !self.reasons.contains_key(used) {
                        todo.push(used.clone());
                    }
                    self.say(used, KeepReason::UsedBy(user.clone()));
                }
            }
        }
    }

    /// What goes now: the oldest first, no more than the share, and nothing that another one which is not going uses.
    fn going(&mut self, policy: &RetentionPolicy) -> BTreeSet<BackupId> {
        let unkept: Vec<&Candidate> = self.unkept().collect();
        let most = (self.all.len() * usize::from(policy.max_delete_percent) / 100).max(1);
        let mut going: BTreeSet<BackupId> = BTreeSet::new();
        loop {
            let is_used = |id: &BackupId| unkept.iter().any(|c| !going.contains(&c.id) && c.uses.contains(id));
            let next = unkept.iter().find(|c| !going.contains(&c.id) && !is_used(&c.id)).map(|c| c.id.clone());
            match next {
                Some(id) if going.len() < most => going.insert(id),
                _ => break,
            };
        }
        let left: Vec<BackupId> = unkept.iter().map(|c| c.id.clone()).filter(|id| !going.contains(id)).collect();
        left.iter().for_each(|id| self.say(id, KeepReason::Share(policy.max_delete_percent)));
        going
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn id(hours: u32) -> BackupId {
        let at = DateTime::from_timestamp(1_800_000_000 + i64::from(hours) * 3600, 0).unwrap();
        format!("{}-000000", at.format("%Y%m%dT%H%M%SZ")).parse().unwrap()
    }

    fn hours(count: u32) -> Vec<Candidate> {
        (0..count).map(|h| Candidate::new(id(h))).collect()
    }

    fn after(hours: u32) -> DateTime<Utc> {
        id(hours).started_at()
    }

    fn left(there: &[Candidate], policy: &RetentionPolicy, now: DateTime<Utc>) -> Vec<Candidate> {
        let going: BTreeSet<BackupId> =
            decide(there, policy, now).into_iter().filter(Decision::deletes).map(|d| d.id).collect();
        there.iter().filter(|c| !going.contains(&c.id)).cloned().collect()
    }

    #[test]
    fn days_are_counted_from_the_newest_backup_however_late_it_is() {
        let policy = RetentionPolicy::days(1).with_max_delete_percent(100);
        for now in [100, 10_000] {
            let kept = left(&hours(100), &policy, after(now));
            assert_eq!(kept.len(), 25);
            assert_eq!(kept[0].id, id(75));
        }
    }

    #[test]
    fn each_period_keeps_its_newest() {
        let policy = RetentionPolicy::default().with_daily(3).with_keep_last(2).with_zone(crate::Zone::UTC);
        let kept = left(&hours(100), &policy.with_max_delete_percent(100), after(100));
        // 1_800_000_000 is 08:00 of a day: the days end at hours 15, 39, 63, 87.
        assert_eq!(kept.into_iter().map(|c| c.id).collect::<Vec<_>>(), [id(63), id(87), id(98), id(99)]);
    }

    #[test]
    fn at_most_the_share_goes_at_once_and_the_rest_later() {
        let policy = RetentionPolicy::default().with_keep_last(1).with_max_delete_percent(30);
        let mut there = hours(10);
        let mut sizes = Vec::new();
        for _ in 0..9 {
            there = left(&there, &policy, after(20));
            sizes.push(there.len());
        }
        assert_eq!(sizes, [7, 5, 4, 3, 2, 1, 1, 1, 1]);
    }

    #[test]
    fn backups_from_the_future_take_the_place_of_none() {
        let policy = RetentionPolicy::default().with_keep_last(3).with_max_delete_percent(100);
        let kept = left(&hours(10), &policy, after(5));
        let kept: Vec<BackupId> = kept.into_iter().map(|c| c.id).collect();
        assert_eq!(kept, [3, 4, 5, 6, 7, 8, 9].map(id), "the newest three of what is real, and all that is not yet");
    }

    #[test]
    fn a_sudden_loss_of_size_holds_everything() {
        let policy = RetentionPolicy::default().with_keep_last(1).with_max_delete_percent(100);
        let mut there = hours(10);
        there.iter_mut().for_each(|c| c.bytes = 1 << 30);
        assert_eq!(left(&there, &policy, after(20)).len(), 1);
        there[9].bytes = 1 << 28;
        assert_eq!(left(&there, &policy, after(20)).len(), 10);
    }

    fn any_backups() -> impl Strategy<Value = Vec<Candidate>> {
        let one = (0u32..2000, 0u8..20, 0usize..8, 0u8..20, 0u64..4);
        vec(one, 1..40).prop_map(|list| {
            let mut hours: Vec<_> = list;
            hours.sort_unstable();
            hours.dedup_by_key(|h| h.0);
            let ids: Vec<BackupId> = hours.iter().map(|h| id(h.0)).collect();
            hours
                .iter()
                .enumerate()
                .map(|(at, (_, state, back, proven, size))| {
                    let mut c = Candidate::new(ids[at].clone());
                    c.readable = *state != 0;
                    c.refuted = *state == 1;
                    c.held = *state == 2;
                    c.bytes = size << 20;
                    if *back > 0 && *back <= at {
                        c.uses.insert(ids[at - back].clone());
                    }
                    if c.readable && !c.refuted && *proven < 3 {
                        c.proven.insert([Level::Objects, Level::Structure, Level::Restore][usize::from(*proven)]);
                    }
                    c
                })
                .collect()
        })
    }

    fn any_policy() -> impl Strategy<Value = RetentionPolicy> {
        (prop::option::of(1u32..60), 0u32..5, 0u32..5, 0u32..5, 0u32..3, 1u8..=100).prop_map(
            |(days, last, hourly, daily, monthly, percent)| {
                RetentionPolicy::default()
                    .with_days(days)
                    .with_keep_last(last)
                    .with_hourly(hourly)
                    .with_daily(daily)
                    .with_monthly(monthly)
                    .with_max_delete_percent(percent)
            },
        )
    }

    proptest! {
        #[test]
        fn what_must_never_go_never_goes(there in any_backups(), policy in any_policy(), now in 0u32..9000) {
            let mut there = there;
            for _ in 0..6 {
                let before = there.len();
                let newest = there.iter().rev().find(|c| c.readable).map(|c| c.id.clone());
                let good = there.iter().rev().find(|c| c.readable && !c.refuted).map(|c| c.id.clone());
                let proven = [Level::Objects, Level::Structure, Level::Restore]
                    .map(|l| there.iter().rev().find(|c| c.proven.contains(&l)).map(|c| c.id.clone()));
                let sacred: Vec<BackupId> = proven.into_iter().chain([newest, good]).flatten().collect();
                let stays: Vec<BackupId> =
                    there.iter().filter(|c| c.held || !c.readable).map(|c| c.id.clone()).chain(sacred).collect();
                let kept = left(&there, &policy, after(now));
                let ids: BTreeSet<&BackupId> = kept.iter().map(|c| &c.id).collect();
                prop_assert!(stays.iter().all(|id| ids.contains(id)));
                // Nothing that stays misses what it had objects in.
                let was: BTreeSet<&BackupId> = there.iter().map(|c| &c.id).collect();
                prop_assert!(kept.iter().flat_map(|c| &c.uses).all(|u| ids.contains(u) || !was.contains(u)));
                let most = (before * usize::from(policy.max_delete_percent) / 100).max(1);
                prop_assert!(before - kept.len() <= most);
                there = kept;
            }
        }

        #[test]
        fn deciding_again_changes_nothing_once_the_share_is_no_bar(there in any_backups(), policy in any_policy(), now in 0u32..9000) {
            let policy = policy.with_max_delete_percent(100);
            // The comparison of sizes looks at what is left, so it is kept out of this.
            let mut there = there;
            there.iter_mut().for_each(|c| c.bytes = 0);
            let once = left(&there, &policy, after(now));
            prop_assert_eq!(left(&once, &policy, after(now)), once.clone());
            // Nor does time alone, as ages are counted from the newest.
            if there.iter().all(|c| c.id < id(now)) {
                prop_assert_eq!(left(&once, &policy, after(now + 50_000)), once);
            }
        }
    }
}
