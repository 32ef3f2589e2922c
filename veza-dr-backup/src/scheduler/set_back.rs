//! A clock that shows a wrong year for a while: what was worked out by it must not hold once it is right again.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use veza_dr_core::{
    BackupTarget, Clock, Cx, Event, EventSink, Phase, Result,
    testing::{MemoryBackupTarget, MemoryDatabase, MemoryStore, SimulatedClock},
};

use crate::{
    Encryption, PrepareBackup, Prepared, Repository, Schedule, ScheduledComponent, Scheduler, Timetable, Zone,
};

/// A simulated clock that can be set.
#[derive(Debug)]
struct Settable {
    inner: SimulatedClock,
    ahead: Mutex<TimeDelta>,
}

impl Clock for Settable {
    fn now(&self) -> DateTime<Utc> {
        self.inner.now() + *self.ahead.lock().unwrap()
    }
}

#[derive(Debug)]
struct Fixed(Arc<dyn BackupTarget>, Repository);

#[async_trait]
impl PrepareBackup for Fixed {
    async fn prepare(&self, _: &Cx) -> Result<Prepared> {
        Ok(Prepared { target: self.0.clone(), repositories: vec![self.1.clone()], unavailable: Vec::new() })
    }
}

#[derive(Debug, Clone, Default)]
struct Heard(Arc<Mutex<Vec<DateTime<Utc>>>>);

#[async_trait]
impl EventSink for Heard {
    async fn tell(&self, _: &Cx, event: &Event) -> Result<()> {
        if event.phase == Phase::Succeeded {
            self.0.lock().unwrap().push(event.at);
        }
        Ok(())
    }
}

#[test]
fn a_clock_that_was_years_ahead_for_an_hour_costs_no_backup_afterwards() {
    let start = Utc.with_ymd_and_hms(2026, 11, 23, 10, 30, 0).unwrap();
    let heard = Heard::default();
    let sink = heard.clone();
    SimulatedClock::run(start, |inner| async move {
        let clock = Arc::new(Settable { inner, ahead: Mutex::new(TimeDelta::zero()) });
        let target = MemoryBackupTarget::new("cache", MemoryDatabase::with_keys(3)).unwrap().with_clock(clock.clone());
        let store = Arc::new(MemoryStore::with_clock("memory", clock.clone()));
        let source = Fixed(Arc::new(target), Repository::new(store, Encryption::default()));
        let table = Timetable::new(Schedule::parse("0 * * * *", Zone::UTC).unwrap());
        let component = ScheduledComponent::new("cache".parse().unwrap(), Arc::new(source), Some(table));
        let scheduler =
            Scheduler::new(vec![component]).unwrap().with_clock(clock.clone()).with_events(Arc::new(sink.clone()));
        let cx = Cx::background();
        let steps = async {
            inner.pass(Duration::from_secs(3600)).await;
            *clock.ahead.lock().unwrap() = TimeDelta::days(1000);
            inner.pass(Duration::from_secs(3600)).await;
            *clock.ahead.lock().unwrap() = TimeDelta::zero();
            inner.pass(Duration::from_secs(3 * 3600)).await;
            cx.cancel();
        };
        let (ended, ()) = tokio::join!(scheduler.run(&cx), steps);
        ended.unwrap();
    });
    let right = start + TimeDelta::hours(2)..start + TimeDelta::hours(6);
    let hours: Vec<DateTime<Utc>> = heard.0.lock().unwrap().iter().copied().filter(|at| right.contains(at)).collect();
    assert_eq!(hours.len(), 3, "backups at 13, 14 and 15 o'clock: {hours:?}, of {:?}", heard.0.lock().unwrap());
}
