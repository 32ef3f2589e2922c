//! Retention behind a new backup.

use veza_dr_core::{Action, Error, ErrorKind, Event, Phase, status::Attempt};

use super::{component::ScheduledComponent, run::RunContext};
use crate::{KeepReason, PruneReport, Repository, RetentionVerdict as Verdict, prune};

/// Applies retention in each of these stores.
pub(super) async fn retain(ctx: &RunContext, component: &ScheduledComponent, repositories: &[Repository]) {
    let (Some(policy), name) = (&component.retention, &component.name) else { return };
    let (mut tried, mut wrong) = (false, Vec::new());
    for repository in repositories {
        let store = repository.name();
        let (trouble, help, gone) = match prune(&ctx.cx, repository, name, policy, &ctx.clock).await {
            Ok(report) => (trouble(&report), None, report.deleted.len()),
            // Another daemon is at it, or the scheduler ends: the next backup's turn.
            Err(e) if matches!(e.kind(), ErrorKind::Conflict | ErrorKind::Cancelled) => continue,
            Err(e) => (Some(format!("old backups could not be deleted: {}", e.chain())), help_of(&e), 0),
        };
        tried = true;
        let ended = ctx.shared.prune_ended(name, store, trouble.is_some());
        let (phase, text) = match trouble {
            Some(why) => {
                wrong.push(format!("{store}: {why}"));
                (Phase::Failed, if gone > 0 { format!("{gone} old backups deleted; {why}") } else { why })
            }
            None if gone > 0 => (Phase::Succeeded, format!("{gone} old backups deleted")),
            // Nothing was to be done; but that it can be done again is news.
            None if ended => (Phase::Succeeded, "old backups are deleted again as configured".to_owned()),
            None => continue,
        };
        let mut event = Event::new(ctx.clock.now(), Action::Prune, phase, text).about(name.clone());
        event.store = Some(store.to_owned());
        event.help = help.or_else(|| {
            (phase == Phase::Failed).then(|| format!("see what stays and why: veza-dr prune {name} --plan"))
        });
        ctx.teller.tell(event);
    }
    if tried {
        let error = (!wrong.is_empty()).then(|| wrong.join("; "));
        let attempt = Attempt { at: ctx.clock.now(), took: None, error };
        ctx.shared.change(name, |state| state.last_prune = Some(attempt));
    }
}

fn help_of(e: &Error) -> Option<String> {
    e.help().map(str::to_owned)
}

/// Why not all went that should go; somebody has to do something about each of these.
fn trouble(report: &PruneReport) -> Option<String> {
    let stays_as = |why: &KeepReason| {
        let stays = |d: &&crate::Decision| matches!(&d.verdict, Verdict::Keep(reasons) if reasons.contains(why));
        let first = report.decisions.iter().find(stays)?;
        Some((report.decisions.iter().filter(stays).count(), &first.id))
    };
    let mut found = Vec::new();
    if let Some(refused) = report.refused.first() {
        let count = report.refused.len();
        found.push(format!("the store refused to delete {count} objects: {}: {}", refused.key, refused.why));
    }
    if let Some((count, id)) = stays_as(&KeepReason::Unreadable) {
        found.push(format!("{count} manifests cannot be read, and nothing older goes: {id}"));
    }
    if let Some((count, _)) = stays_as(&KeepReason::Shrunk) {
        found.push(format!("{count} old backups stay: {}", KeepReason::Shrunk));
    }
    (!found.is_empty()).then(|| found.join("; "))
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        sync::{Arc, Mutex},
    };

    use async_trait::async_trait;
    use bytes::Bytes;
    use tokio::sync::mpsc;
    use veza_dr_core::{
        BackupStore, Clock, Condition, Cx, EventSink, Result, SystemClock,
        testing::{MemoryBackupTarget, MemoryDatabase, MemoryStore},
    };

    use super::*;
    use crate::{
        BackupOptions, Encryption, PrepareBackup, Prepared, RetentionPolicy, back_up,
        scheduler::{state::Shared, telling::Telling},
    };

    #[derive(Debug)]
    struct Nothing;

    #[async_trait]
    impl PrepareBackup for Nothing {
        async fn prepare(&self, _: &Cx) -> Result<Prepared> {
            Err(Error::new(ErrorKind::Unsupported, "only retention is tested"))
        }
    }

    #[derive(Debug, Default)]
    struct Kept(Mutex<Vec<(Phase, String)>>);

    #[async_trait]
    impl EventSink for Kept {
        async fn tell(&self, _: &Cx, event: &Event) -> Result<()> {
            self.0.lock().unwrap().push((event.phase, event.text.clone()));
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_retention_holds_is_told_and_so_is_its_end() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = Arc::new(MemoryStore::new("memory"));
        let repository = Repository::new(store.clone(), Encryption::default());
        let (cx, mut ids) = (Cx::background(), BTreeSet::new());
        for _ in 0..4 {
            let target = MemoryBackupTarget::new("cache", MemoryDatabase::with_keys(20)).unwrap();
            let report = back_up(&cx, &target, std::slice::from_ref(&repository), &BackupOptions::default()).await;
            ids.insert(report.unwrap().id);
        }
        let key = format!("cache/{}/manifest.json", ids.last().unwrap()).parse().unwrap();
        let whole = store.bytes(&key).unwrap();
        store.put(&cx, &key, Bytes::from_static(b"{"), Condition::Always).await.unwrap();

        let kept = Arc::new(Kept::default());
        let (teller, telling) = Telling::start(vec![kept.clone()]);
        let shared = Arc::new(Shared::new(mpsc::unbounded_channel().0));
        let name: veza_dr_core::ComponentName = "cache".parse().unwrap();
        shared.add(name.clone(), None);
        let ctx = RunContext { cx: cx.clone(), clock, teller, shared: shared.clone() };
        let policy = RetentionPolicy::default().with_keep_last(3).with_min_keep(3);
        let component = ScheduledComponent::new(name.clone(), Arc::new(Nothing), None).with_retention(policy);
        let error = || {
            let mut found = None;
            shared.change(&name, |s| found = s.last_prune.clone().and_then(|p| p.error));
            found
        };
        retain(&ctx, &component, std::slice::from_ref(&repository)).await;
        assert!(error().is_some_and(|e| e.contains("1 manifests cannot be read")), "{:?}", error());
        // Readable again, and within the rule by then: nothing is deleted, and that all is well is told once.
        store.put(&cx, &key, whole, Condition::Always).await.unwrap();
        store.delete(&cx, &format!("cache/{}/manifest.json", ids.first().unwrap()).parse().unwrap()).await.unwrap();
        for _ in 0..2 {
            retain(&ctx, &component, std::slice::from_ref(&repository)).await;
            assert_eq!(error(), None);
        }
        drop(ctx);
        telling.end().await;
        let told = kept.0.lock().unwrap().clone();
        let phases: Vec<Phase> = told.iter().map(|t| t.0).collect();
        assert_eq!(phases, [Phase::Failed, Phase::Succeeded], "{told:#?}");
    }
}
