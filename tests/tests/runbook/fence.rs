//! Each rung of the fence ladder, and the lease that a site keeps for as long as it may serve.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use chrono::Utc;
use serde_json::Value;
use veza_dr_core::testing::{Fault, Faulty, MemoryStore};
use veza_dr_core::{BackupStore, Cx, ErrorKind, Event, EventSink, Result};
use veza_dr_failover::{
    actions::Catalogue,
    runbook::{
        Attestation, Bound, Engine, FencedBy, Plan, Record, RunOptions, RunReport, RunStatus, StepOutcome, StepStatus,
        read_journal,
    },
    site::{DutySettings, FenceNotice, SiteDuty, SiteRole, Watchdog},
};

use crate::fake_site::FakeSite;

struct Ladder {
    place: tempfile::TempDir,
    primary: Arc<FakeSite>,
    standby: Arc<FakeSite>,
    store: Arc<Faulty<MemoryStore>>,
    engine: Engine,
    catalogue: Arc<Catalogue>,
}

impl Ladder {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let (primary, standby) = (Arc::new(FakeSite::new("primary")), Arc::new(FakeSite::new("standby")));
        standby.now().running = false;
        let store = Arc::new(Faulty::new(MemoryStore::new("leases")));
        let catalogue = Catalogue::new()
            .with_site(SiteRole::Primary, primary.clone())
            .with_site(SiteRole::Standby, standby.clone())
            .with_site_lease("primary", "site-primary")
            .with_store(store.clone());
        let catalogue = Arc::new(catalogue);
        let engine = Engine::new(place.path(), store.clone(), catalogue.clone(), "ann");
        Self { place, primary, standby, store, engine, catalogue }
    }

    fn bound(&self, with: &str) -> Bound {
        let yaml = format!(
            "name: x\nsteps:\n  - {{ id: fence, do: fence, with: {{ site: primary, grace: 1s{with} }} }}\n  - {{ id: up, do: \
             up, with: {{ site: standby }}, needs: [fence] }}\n"
        );
        Bound::new(Plan::from_yaml(&yaml, "plan.yml").unwrap(), self.catalogue.as_ref()).unwrap()
    }

    async fn run(&self, with: &str) -> RunReport {
        self.engine.start(&Cx::background(), &self.bound(with), RunOptions::default()).await.unwrap()
    }

    /// By what the site was fenced, and what else was tried.
    fn proof(&self, run: &str) -> (FencedBy, Vec<String>) {
        let entries = read_journal(&self.engine.path(run)).unwrap();
        let done = entries.into_iter().find_map(|e| match e.record {
            Record::Outcome { step, outcome: StepOutcome::Ok { done, .. }, .. } if step == "fence" => Some(done),
            _ => None,
        });
        let done = done.unwrap();
        let tried = done.evidence["rungs_that_failed"].as_array().unwrap().iter();
        (done.fence.unwrap().how, tried.map(|t| t.as_str().unwrap().to_owned()).collect())
    }

    async fn notice(&self) -> Option<FenceNotice> {
        FenceNotice::read(&Cx::background(), self.store.as_ref(), "primary").await.unwrap()
    }

    fn duty(&self, ear: &Arc<Ear>, ttl: u64, watchdog: Option<Watchdog>) -> SiteDuty {
        let mut settings = DutySettings::new("site-primary", self.place.path().join("duty"));
        settings.ttl = Duration::from_millis(ttl);
        settings.watchdog = watchdog;
        SiteDuty::new(self.primary.clone(), self.store.clone(), ear.clone(), settings)
    }
}

#[derive(Debug, Default)]
struct Ear(Mutex<Vec<String>>);

#[async_trait]
impl EventSink for Ear {
    async fn tell(&self, _: &Cx, event: &Event) -> Result<()> {
        self.0.lock().unwrap().push(event.text.clone());
        Ok(())
    }
}

impl Ear {
    fn heard(&self, what: &str) -> bool {
        self.0.lock().unwrap().iter().any(|text| text.contains(what))
    }
}

async fn until(what: &str, mut there: impl FnMut() -> bool) {
    let began = Instant::now();
    while !there() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what} never came about");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_site_that_answers_is_stopped_marked_and_seen_to_be_stopped() {
    let ladder = Ladder::new();
    let report = ladder.run("").await;
    assert_eq!(report.status, RunStatus::Completed, "{report:?}");
    assert_eq!(ladder.proof(&report.run), (FencedBy::ConfirmedStop, Vec::new()));
    let (primary, standby) = (ladder.primary.now().clone(), ladder.standby.now().clone());
    assert_eq!((primary.running, primary.mark, standby.running), (false, Some(report.epoch), true));
    let notice = ladder.notice().await.unwrap();
    assert_eq!((notice.run.as_str(), notice.epoch), (report.run.as_str(), report.epoch));
}

#[tokio::test]
async fn a_site_that_does_not_answer_is_closed_off_by_the_hook_and_opened_by_its_undo() {
    let ladder = Ladder::new();
    ladder.primary.now().reachable = false;
    let closed = ladder.place.path().join("closed");
    let at = closed.display();
    let hooks = format!(", hook: 'echo $VEZA_DR_RUN > {at}', hook_undo: 'rm {at}'");
    let report = ladder.run(&hooks).await;
    assert_eq!(report.status, RunStatus::Completed, "{report:?}");
    let (how, tried) = ladder.proof(&report.run);
    assert_eq!(how, FencedBy::Hook { command: format!("echo $VEZA_DR_RUN > {at}") });
    assert_eq!(tried, ["stop: primary cannot be reached"]);
    assert!(closed.exists() && ladder.notice().await.is_some());

    // Alone it is undone: opened by the hook, the mark and the notice lifted.
    let ladder = Ladder::new();
    ladder.primary.now().reachable = false;
    let closed = ladder.place.path().join("closed");
    let at = closed.display();
    let yaml = format!(
        "name: x\nsteps: [{{ id: fence, do: fence, with: {{ site: primary, grace: 1s, hook: 'touch {at}', hook_undo: 'rm {at}' }} }}]"
    );
    let bound = Bound::new(Plan::from_yaml(&yaml, "plan.yml").unwrap(), ladder.catalogue.as_ref()).unwrap();
    let done = ladder.engine.start(&Cx::background(), &bound, RunOptions::default()).await.unwrap();
    assert!(done.status == RunStatus::Completed && closed.exists());
    ladder.primary.now().reachable = true;
    let back = ladder.engine.rollback(&Cx::background(), &done.run, RunOptions::default()).await.unwrap();
    assert_eq!((back.status, back.steps[0].status), (RunStatus::RolledBack, StepStatus::Undone), "{back:?}");
    assert!(!closed.exists() && ladder.notice().await.is_none() && ladder.primary.now().mark.is_none());
}

#[tokio::test]
async fn two_different_people_declare_it_and_one_of_them_twice_does_not() {
    let ladder = Ladder::new();
    ladder.primary.now().reachable = false;
    let first = ladder.run(", hook: 'echo no route; exit 7'").await;
    assert_eq!(first.status, RunStatus::NeedsHuman);
    let why = first.why.unwrap();
    assert!(why.contains("hook: it ended with 7: no route") && why.contains("has no lease site-primary"), "{why}");
    assert!(why.contains("two different people must declare it"), "{why}");
    let cx = Cx::background();
    let says = |by: &str| RunOptions::default().with_attestation(Attestation::new(by, "I pulled the plug", Utc::now()));
    for by in ["ann", " Ann "] {
        let one = ladder.engine.resume(&cx, &first.run, says(by)).await.unwrap();
        assert_eq!(one.status, RunStatus::NeedsHuman, "{one:?}");
        assert!(one.why.unwrap().contains("a second person must declare it"));
        assert!(!ladder.standby.now().running);
    }
    // Not what was declared long ago.
    let old = Attestation::new("bob", "it is off", Utc::now() - chrono::TimeDelta::hours(2));
    let stale = ladder.engine.resume(&cx, &first.run, RunOptions::default().with_attestation(old)).await.unwrap();
    assert_eq!(stale.status, RunStatus::NeedsHuman);
    let done = ladder.engine.resume(&cx, &first.run, says("bob")).await.unwrap();
    assert_eq!(done.status, RunStatus::Completed, "{done:?}");
    assert_eq!(ladder.proof(&first.run).0, FencedBy::Attestation { by: vec!["ann".to_owned(), "bob".to_owned()] });
    assert!(ladder.standby.now().running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lease_is_waited_out_and_the_site_that_returns_stays_closed() {
    let ladder = Ladder::new();
    let ear = Arc::new(Ear::default());
    let duty = ladder.duty(&ear, 1500, None);
    let daemon = Cx::background();
    let running = tokio::spawn({
        let daemon = daemon.clone();
        async move { duty.run(&daemon).await }
    });
    until("the lease", || ear.heard("holds its lease")).await;
    // Cut off from us, and not from the store: the lease is renewed, so nothing is proven.
    ladder.primary.now().reachable = false;
    let bound = ladder.bound(", attestation: false");
    let (cx, options) = (Cx::background(), RunOptions::default());
    let run = ladder.engine.start(&cx, &bound, options);
    let gone = async {
        tokio::time::sleep(Duration::from_millis(3500)).await;
        assert!(!ladder.standby.now().running, "while the lease is renewed nobody else serves");
        // The machine of the primary loses its power.
        daemon.cancel();
        Instant::now()
    };
    let (report, since) = tokio::join!(run, gone);
    let report = report.unwrap();
    assert_eq!(report.status, RunStatus::Completed, "{report:?}");
    assert!(since.elapsed() >= Duration::from_millis(1500), "it was waited out: {:?}", since.elapsed());
    assert_eq!(ladder.proof(&report.run).0, FencedBy::LeaseExpired { lease: "site-primary".to_owned() });
    running.await.unwrap().unwrap();

    // It comes back with all its services, and its daemon.
    *ladder.primary.now() = crate::fake_site::Now { reachable: true, running: true, mark: None };
    let (again, daemon) = (ladder.duty(&ear, 1500, None), Cx::background());
    let running = tokio::spawn({
        let daemon = daemon.clone();
        async move { again.run(&daemon).await }
    });
    until("the site is closed", || !ladder.primary.now().running && ear.heard("fenced it")).await;
    assert_eq!(ladder.primary.now().mark, Some(report.epoch));
    // The way back lets it serve.
    let yaml = "name: back\nsteps:
  - { id: fence-standby, do: fence, with: { site: standby, grace: 1s } }
  - { id: unfence, do: unfence, with: { site: primary }, needs: [fence-standby] }
  - { id: up, do: up, with: { site: primary }, needs: [unfence] }
";
    let told = ear.0.lock().unwrap().len();
    let back = Bound::new(Plan::from_yaml(yaml, "back.yml").unwrap(), ladder.catalogue.as_ref()).unwrap();
    let back = ladder.engine.start(&cx, &back, RunOptions::default()).await.unwrap();
    assert_eq!(back.status, RunStatus::Completed, "{back:?}");
    until("the lease again", || ear.0.lock().unwrap()[told..].iter().any(|t| t.contains("holds its lease"))).await;
    assert!(ladder.primary.now().running && ladder.notice().await.is_none());
    daemon.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_site_that_cannot_renew_closes_itself_in_time_and_opens_when_nobody_took_over() {
    let ladder = Ladder::new();
    let ear = Arc::new(Ear::default());
    let (duty, daemon) = (ladder.duty(&ear, 4000, None), Cx::background());
    let running = tokio::spawn({
        let daemon = daemon.clone();
        async move { duty.run(&daemon).await }
    });
    until("the lease", || ear.heard("holds its lease")).await;
    tokio::time::sleep(Duration::from_millis(5500)).await;
    assert!(ladder.primary.now().running, "renewed, it serves");
    for method in ["put", "get", "head"] {
        ladder.store.break_now(method, Fault::Fail(ErrorKind::Unavailable));
    }
    let cut = Instant::now();
    until("the site closes itself", || !ladder.primary.now().running).await;
    // Others take the lease for ended a third of its time after its end.
    assert!(cut.elapsed() < Duration::from_millis(5300), "{:?}", cut.elapsed());
    assert_eq!(ladder.primary.now().mark, Some(0));
    ladder.store.heal();
    until("the site opens again", || ladder.primary.now().running).await;
    assert_eq!(ladder.primary.now().mark, None);
    assert!(ear.heard("holds its lease again and was started"));

    // It closes itself again, and meanwhile somebody else holds its lease: it stays closed.
    for method in ["put", "get", "head"] {
        ladder.store.break_now(method, Fault::Fail(ErrorKind::Unavailable));
    }
    until("the site closes itself", || !ladder.primary.now().running).await;
    daemon.cancel();
    running.await.unwrap().unwrap();
    ladder.store.heal();
    let cx = Cx::background();
    let store: Arc<dyn BackupStore> = ladder.store.clone();
    let other = loop {
        match veza_dr_core::lease::Lease::acquire(&cx, store.clone(), "site-primary", Duration::from_secs(5)).await {
            Ok(lease) => break lease,
            Err(e) => assert_eq!(e.kind(), ErrorKind::Conflict),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    other.release(&cx).await.unwrap();
    let (duty, daemon) = (ladder.duty(&ear, 4000, None), Cx::background());
    let running = tokio::spawn({
        let daemon = daemon.clone();
        async move { duty.run(&daemon).await }
    });
    until("it is told", || ear.heard("somebody else held its lease since")).await;
    assert!(!ladder.primary.now().running && ladder.primary.now().mark == Some(0));
    daemon.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_watchdog_closes_the_site_when_the_daemon_is_gone_and_only_then() {
    let ladder = Ladder::new();
    let ear = Arc::new(Ear::default());
    let (stopped, mark) = (ladder.place.path().join("stopped"), ladder.place.path().join("marks/veza"));
    let watchdog = || Some(Watchdog::new(format!("touch {}", stopped.display()), mark.display().to_string()));
    let (duty, daemon) = (ladder.duty(&ear, 1500, watchdog()), Cx::background());
    let running = tokio::spawn({
        let daemon = daemon.clone();
        async move { duty.run(&daemon).await }
    });
    until("the lease", || ear.heard("holds its lease")).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!stopped.exists(), "while the lease is renewed");
    // As `kill -9`: nothing is given back, nobody is told.
    running.abort();
    let _ = running.await;
    until("the watchdog", || stopped.exists()).await;
    assert!(std::fs::read_to_string(&mark).unwrap().starts_with("0\nsince: "));
    // One that is no longer wanted ends without a deed.
    std::fs::remove_file(&stopped).unwrap();
    let (duty, daemon) = (ladder.duty(&ear, 1500, watchdog()), Cx::background());
    let read = |name: &str| std::fs::read_to_string(ladder.place.path().join("duty").join(name)).unwrap_or_default();
    let before = read("epoch");
    let running = tokio::spawn({
        let daemon = daemon.clone();
        async move { duty.run(&daemon).await }
    });
    until("the lease", || read("epoch") != before).await;
    until("the new watchdog", || read("beat.watch").starts_with(&format!("{}-", read("epoch")))).await;
    daemon.cancel();
    running.await.unwrap().unwrap();
    SiteDuty::end(&ladder.place.path().join("duty")).unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!stopped.exists(), "the site serves on, without a lease");
}

#[test]
fn the_ladder_of_a_plan_is_shown_with_the_lease_of_the_configuration() {
    let ladder = Ladder::new();
    let bound = ladder.bound(", hook: close-it");
    let shown = bound.action("fence", false).unwrap().commands();
    assert!(shown.contains(&"else here: close-it".to_owned()), "{shown:?}");
    assert!(shown.contains(&"else: wait until lease site-primary has ended".to_owned()), "{shown:?}");
    assert_eq!(Value::from(shown.len()), 5);
}
