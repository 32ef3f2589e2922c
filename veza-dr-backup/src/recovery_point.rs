//! Several components backed up as one recovery point: begun together, published with the skew between them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use futures::future::join_all;
use tokio::sync::watch;
use veza_dr_core::{
    BackupId, BackupTarget, Clock, ComponentName, Cx, Error, ErrorKind, Manifest, Result, SystemClock,
    manifest::{RecoveryMember, RecoveryPoint},
};

use crate::{BackupOptions, BackupReport, Repository, back_up};

/// For so long a component that was read waits for one that is still being read: a backup that is not published
/// protects nobody.
const PATIENCE: Duration = Duration::from_secs(3600);

/// One component of a recovery point.
#[derive(Debug, Clone)]
pub struct RecoveryJob {
    /// What is read.
    pub target: Arc<dyn BackupTarget>,
    /// Where it goes.
    pub repositories: Vec<Repository>,
    /// How.
    pub options: BackupOptions,
}

/// Backs several components up at the same time. No manifest is published before all of them were read, or an hour has
/// passed since its own data were; each then names the others and the time between the earliest and the latest instant
/// shown. One that fails, or is not done by then, is named without a backup; the others are published all the same, as
/// their data is good.
///
/// A job alone is an ordinary [`back_up`]: no recovery point is recorded for it.
///
/// Returns each job's own result, in order: see [`back_up`] for its errors. Cancelling `cx` ends all of them with
/// nothing published, but for those whose manifest was already stored.
pub async fn back_up_together(cx: &Cx, jobs: Vec<RecoveryJob>) -> Vec<Result<BackupReport>> {
    let names: Vec<ComponentName> = jobs.iter().map(|j| j.target.info().component.clone()).collect();
    let clock = jobs.first().map_or_else(|| Arc::new(SystemClock) as Arc<dyn Clock>, |j| j.options.clock());
    let group = (names.len() > 1).then(|| Group::new(names, clock.as_ref()));
    let runs = jobs.into_iter().enumerate().map(|(at, job)| {
        let seat = group.clone().map(|group| RecoverySeat { group, at });
        async move {
            let options = BackupOptions { recovery_seat: seat.clone(), ..job.options };
            let result = back_up(cx, job.target.as_ref(), &job.repositories, &options).await;
            // Whatever became of it, the others must not wait for it.
            if let Some(seat) = seat {
                seat.leave();
            }
            result
        }
    });
    join_all(runs).await
}

#[derive(Debug)]
struct Group {
    id: BackupId,
    names: Vec<ComponentName>,
    seats: Mutex<Vec<Part>>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Clone)]
enum Part {
    Reading,
    Read(BackupId, DateTime<Utc>),
    Gone,
}

impl Group {
    fn new(names: Vec<ComponentName>, clock: &dyn Clock) -> Arc<Self> {
        let seats = Mutex::new(vec![Part::Reading; names.len()]);
        Arc::new(Self { id: BackupId::new(clock), names, seats, changed: watch::Sender::new(()) })
    }

    fn put(&self, at: usize, part: Part, only_when_reading: bool) {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if !only_when_reading || matches!(seats[at], Part::Reading) {
            seats[at] = part;
        }
        drop(seats);
        self.changed.send_replace(());
    }

    /// The point, once all are there; `as_it_is` without those that are not.
    fn point(&self, as_it_is: bool) -> Option<RecoveryPoint> {
        let seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if !as_it_is && seats.iter().any(|s| matches!(s, Part::Reading)) {
            return None;
        }
        let members: Vec<RecoveryMember> = self
            .names
            .iter()
            .zip(seats.iter())
            .map(|(component, part)| match part {
                Part::Read(id, at) => {
                    RecoveryMember { component: component.clone(), backup: Some(id.clone()), at: Some(*at) }
                }
                _ => RecoveryMember { component: component.clone(), backup: None, at: None },
            })
            .collect();
        let instants = || members.iter().filter_map(|m| m.at);
        let skew = instants().max().zip(instants().min()).map_or(0, |(last, first)| (last - first).num_milliseconds());
        Some(RecoveryPoint { id: self.id.clone(), members, skew_ms: u64::try_from(skew).unwrap_or(0) })
    }
}

/// One component's place in a group.
#[derive(Debug, Clone)]
pub(crate) struct RecoverySeat {
    group: Arc<Group>,
    at: usize,
}

impl RecoverySeat {
    /// Says which instant was read, and waits until all others have been read or have failed, or have taken too long.
    pub(crate) async fn arrive(&self, cx: &Cx, manifest: &Manifest) -> Result<RecoveryPoint> {
        let mut changed = self.group.changed.subscribe();
        self.group.put(self.at, Part::Read(manifest.id.clone(), manifest.consistency.at), false);
        let all = async {
            loop {
                changed.mark_unchanged();
                if let Some(point) = self.group.point(false) {
                    return point;
                }
                // The sender lives as long as `self`.
                let _ = changed.changed().await;
            }
        };
        cx.run("wait for the other components", async {
            match tokio::time::timeout(PATIENCE, all).await {
                Ok(point) => Ok(point),
                Err(_) => self.group.point(true).ok_or_else(|| Error::new(ErrorKind::Unexpected, "no recovery point")),
            }
        })
        .await
    }

    fn leave(&self) {
        self.group.put(self.at, Part::Gone, true);
    }
}

#[cfg(test)]
mod tests {
    use veza_dr_core::testing::{MemoryBackupTarget, MemoryDatabase, MemoryStore, SimulatedClock};

    use super::*;
    use crate::{BackupHooks, Encryption, Selector};

    /// Takes its time before anything is read.
    #[derive(Debug)]
    struct Slow(Duration);

    #[async_trait::async_trait]
    impl BackupHooks for Slow {
        async fn before(&self, _: &Cx, _: &ComponentName, _: &BackupId) -> Result<()> {
            tokio::time::sleep(self.0).await;
            Ok(())
        }

        async fn after_read(&self, _: &Cx, _: &ComponentName, _: &BackupId) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_component_that_takes_for_ever_does_not_keep_the_others_from_being_published() {
        SimulatedClock::run(DateTime::UNIX_EPOCH, |clock| async move {
            let (cx, store) = (Cx::background(), Arc::new(MemoryStore::new("memory")));
            let repository = Repository::new(store, Encryption::default());
            let job = |name: &str, minutes: u64| RecoveryJob {
                target: Arc::new(
                    MemoryBackupTarget::new(name, MemoryDatabase::with_keys(3)).unwrap().with_clock(Arc::new(clock)),
                ),
                repositories: vec![repository.clone()],
                options: BackupOptions::default()
                    .with_clock(Arc::new(clock))
                    .with_hooks(Arc::new(Slow(Duration::from_secs(60 * minutes)))),
            };
            let together = back_up_together(&cx, vec![job("quick", 1), job("slow", 600)]);
            tokio::pin!(together);
            tokio::select! {
                _ = &mut together => panic!("the slow one ended early"),
                () = clock.pass(Duration::from_secs(62 * 60)) => {}
            }
            let manifest = repository.manifest(&cx, &"quick".parse().unwrap(), &Selector::Latest).await.unwrap();
            let members = manifest.recovery_point.unwrap().members;
            assert_eq!(members.iter().map(|m| m.backup.is_some()).collect::<Vec<_>>(), [true, false]);
            let done = together.await;
            assert!(done.iter().all(Result::is_ok), "{done:#?}");
            let manifest = repository.manifest(&cx, &"slow".parse().unwrap(), &Selector::Latest).await.unwrap();
            assert!(manifest.recovery_point.unwrap().members.iter().all(|m| m.backup.is_some()));
        });
    }
}
