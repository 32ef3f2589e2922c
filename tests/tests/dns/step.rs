//! The switch as a step of a runbook: confirmed, taken back, and killed while it waits.

use std::{path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use serde_json::{Value, json};
use veza_dr_core::{Cx, Result, testing::MemoryStore};
use veza_dr_failover::{
    actions::{ActionWork, Catalogue, Leading, Names, Work},
    dns::{FlagState, FlagStep, FlagSwitch, Goal, Side, SiteRecord, Switch, SwitchPhase, SwitchSettings, SwitchStep},
    runbook::{Bound, Engine, Plan, Rule, RunOptions, RunReport, RunStatus, StepStatus},
};

use crate::world::{API, PRIMARY, STANDBY, World, listed, route53};

const ENV: &str = "VEZA_DR_TESTS_DNS_STEP";

/// What leads names, without the sites that they lead to.
#[derive(Debug)]
struct Led {
    switch: Switch,
    flag: Option<FlagSwitch>,
}

impl Names for Led {
    fn lead(&self, _: &str, how: &Leading) -> Result<Arc<dyn Work>> {
        let goal = how.percent.map_or(Goal::To(Side::Standby), |percent| Goal::Shift { to: Side::Standby, percent });
        if let Some(flag) = &self.flag {
            return Ok(Arc::new(ActionWork(FlagStep::new(flag.clone(), Side::Standby))));
        }
        let step = SwitchStep::new(self.switch.clone(), goal).with_confirm_within(how.confirm_within);
        Ok(Arc::new(ActionWork(step)))
    }

    fn ttl(&self, lower_to: Option<u32>) -> Result<Arc<dyn Work>> {
        let goal = lower_to.map_or(Goal::RestoreTtl, Goal::LowerTtl);
        Ok(Arc::new(ActionWork(SwitchStep::new(self.switch.clone(), goal))))
    }
}

/// A site that only has a name.
mod site {
    use std::time::Duration;

    use async_trait::async_trait;
    use veza_dr_core::{Cx, Error, ErrorKind, Result};
    use veza_dr_failover::site::{Job, JobResult, ServiceState, SiteControl};

    #[derive(Debug)]
    pub(super) struct Named(pub(super) &'static str);

    fn none<T>() -> Result<T> {
        Err(Error::new(ErrorKind::Unsupported, "this site has only a name"))
    }

    #[async_trait]
    impl SiteControl for Named {
        fn name(&self) -> &str {
            self.0
        }
        fn address(&self) -> Option<&str> {
            None
        }
        async fn order(&self, _: &Cx) -> Result<Vec<(String, Vec<String>)>> {
            none()
        }
        async fn services(&self, _: &Cx) -> Result<Vec<ServiceState>> {
            none()
        }
        async fn up(&self, _: &Cx, _: &Job, _: &[String]) -> Result<JobResult> {
            none()
        }
        async fn down(&self, _: &Cx, _: &Job, _: Duration) -> Result<JobResult> {
            none()
        }
        async fn stop(&self, _: &Cx, _: &[String], _: Duration) -> Result<()> {
            none()
        }
        async fn start(&self, _: &Cx, _: &[String]) -> Result<()> {
            none()
        }
        async fn wait_healthy(&self, _: &Cx, _: &[String], _: Duration) -> Result<Vec<ServiceState>> {
            none()
        }
        async fn logs(&self, _: &Cx, _: &str, _: usize) -> Result<String> {
            none()
        }
        async fn run(&self, _: &Cx, _: &Job, _: &str) -> Result<JobResult> {
            none()
        }
        async fn fence(&self, _: &Cx, _: u64, _: &str) -> Result<()> {
            none()
        }
        async fn fenced(&self, _: &Cx) -> Result<Option<u64>> {
            none()
        }
        async fn unfence(&self, _: &Cx, _: u64) -> Result<()> {
            none()
        }
    }
}

struct Desk {
    engine: Engine,
    catalogue: Arc<Catalogue>,
}

impl Desk {
    fn new(folder: PathBuf, led: Led) -> Self {
        let standby = Arc::new(site::Named("standby"));
        let catalogue = Catalogue::new().with_site(veza_dr_failover::site::SiteRole::Standby, standby);
        let catalogue = Arc::new(catalogue.with_names(Arc::new(led)));
        Self { engine: Engine::new(folder, Arc::new(MemoryStore::new("copies")), catalogue.clone(), "ann"), catalogue }
    }

    fn bound(&self, steps: &str) -> Result<Bound> {
        Bound::new(Plan::from_yaml(&format!("name: x\nsteps:\n{steps}"), "plan.yml")?, self.catalogue.as_ref())
    }

    async fn run(&self, steps: &str) -> RunReport {
        self.engine.start(&Cx::background(), &self.bound(steps).unwrap(), decided()).await.unwrap()
    }

    async fn resume(&self, run: &str, options: RunOptions) -> RunReport {
        self.engine.resume(&Cx::background(), run, options).await.unwrap()
    }
}

/// There is no site to validate here.
fn decided() -> RunOptions {
    RunOptions::default().with_override(Rule::ValidatedBeforeDns, "a test of names alone")
}

fn step(confirm_within: &str) -> String {
    format!("  - {{ id: lead, do: dns, with: {{ to: standby, confirm_within: {confirm_within} }}, marks: T6 }}\n")
}

async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1200 {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} never came about");
}

/// Waits until the switch is made and awaits its confirmation.
async fn awaiting(switch: &Switch) {
    let in_sync = |s: veza_dr_failover::dns::SavedSwitch| s.phase == SwitchPhase::InSync && s.awaits_confirmation();
    until("the switch", || switch.last().unwrap().filter(|s| in_sync(s.clone()))).await;
}

/// As an operator would, who is told that the switch is not through yet.
async fn confirm(switch: &Switch) {
    until("the confirmation", || switch.confirm().ok()).await;
}

async fn desk(world: &World) -> (Desk, Switch) {
    let switch = world.switch().await;
    (Desk::new(world.state_dir().to_owned(), Led { switch: switch.clone(), flag: None }), switch)
}

#[tokio::test]
async fn a_step_waits_for_its_confirmation_and_users_count_as_served_before_it() {
    let world = World::new().await;
    let (desk, switch) = desk(&world).await;
    let confirm = async {
        awaiting(&switch).await;
        assert_eq!(world.knot.answers(API, "A").unwrap(), [STANDBY]);
        tokio::time::sleep(Duration::from_millis(700)).await;
        confirm(&switch).await;
    };
    let steps = step("2m").replace("T6 }", "T6, timeout: 10m }");
    let (report, ()) = tokio::join!(desk.run(&steps), confirm);
    assert_eq!(report.status, RunStatus::Completed, "{report:?}");
    assert!(report.steps[0].text.ends_with("every name server follows, and it stays"), "{report:?}");
    let waited = report.steps[0].ended.unwrap() - report.points["T6"].unwrap();
    assert!(waited.num_milliseconds() >= 600, "{waited}");
    assert_eq!(switch.last().unwrap().unwrap().phase, SwitchPhase::Confirmed);
    assert_eq!(world.held().await, [listed(2, STANDBY)]);
}

#[tokio::test]
async fn a_step_that_nobody_confirms_is_taken_back_and_fails() {
    let world = World::new().await;
    let (desk, switch) = desk(&world).await;
    let report = desk.run(&step("6s")).await;
    assert_eq!((report.status, report.steps[0].status), (RunStatus::Failed, StepStatus::Failed), "{report:?}");
    assert!(report.why.unwrap().contains("nobody confirmed the switch of names in time: it was taken back"));
    assert_eq!(world.held().await, [listed(2, PRIMARY)]);
    assert_eq!(world.knot.answers(API, "A").unwrap(), [PRIMARY]);
    // Whoever resumes it wants it again.
    let confirm = async {
        awaiting(&switch).await;
        confirm(&switch).await;
    };
    let (again, ()) = tokio::join!(desk.resume(&report.run, decided()), confirm);
    assert_eq!(again.status, RunStatus::Completed, "{again:?}");
    assert_eq!(world.held().await, [listed(2, STANDBY)]);
    let back = desk.engine.rollback(&Cx::background(), &report.run, RunOptions::default()).await.unwrap();
    assert_eq!(back.status, RunStatus::RolledBack);
    assert_eq!(world.held().await, [listed(2, PRIMARY)]);
}

#[tokio::test]
async fn a_time_that_is_too_short_for_the_confirmation_is_refused_with_the_one_to_give() {
    let world = World::new().await;
    let (desk, _) = desk(&world).await;
    let e = desk.bound(&step("10m")).unwrap_err();
    assert_eq!(e.to_string(), "plan.yml:3: step lead: its time is shorter than what it waits for");
    assert_eq!(e.help(), Some("give it: timeout: 720s"));
}

/// A run in a process of its own, killed once the switch is made and waits.
async fn killed_while_it_waits(world: &World, switch: &Switch, confirm_within: &str) -> String {
    let order = json!({
        "folder": world.state_dir(), "endpoint": world.proxy.endpoint(), "zone": world.zone,
        "knot": world.knot.address(), "second": world.second.address(), "resolver": world.resolver.address(),
        "step": step(confirm_within),
    });
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "step::victim_process", "--nocapture"])
        .env(ENV, order.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    awaiting(switch).await;
    child.kill().await.unwrap();
    assert_eq!(world.held().await, [listed(2, STANDBY)]);
    let (desk, _) = desk(world).await;
    desk.engine.unfinished().unwrap().unwrap()
}

#[tokio::test]
#[ignore = "the child process of the other tests"]
async fn victim_process() {
    let Ok(order) = std::env::var(ENV) else { return };
    let order: Value = serde_json::from_str(&order).unwrap();
    let text = |key: &str| order[key].as_str().unwrap().to_owned();
    let key = veza_dr_core::RecordKey {
        zone: text("zone"),
        name: API.into(),
        kind: veza_dr_core::RecordType::A,
        set_id: None,
    };
    let record = SiteRecord::new("api", key, 2, vec![PRIMARY.into()], vec![STANDBY.into()]);
    let mut settings = SwitchSettings::new(vec![record], text("folder"));
    settings.resolvers = vec![text("resolver").parse().unwrap()];
    settings.name_servers = vec![text("knot").parse().unwrap(), text("second").parse().unwrap()];
    settings.poll = Duration::from_millis(50);
    let switch = Switch::new(Arc::new(route53(&text("endpoint")).await), settings);
    Desk::new(text("folder").into(), Led { switch, flag: None }).run(&text("step")).await;
}

#[tokio::test]
async fn killed_while_it_waits_it_goes_on_waiting_once_it_is_taken_up() {
    let world = World::new().await;
    let (desk, switch) = desk(&world).await;
    let run = killed_while_it_waits(&world, &switch, "3m").await;
    let changes = world.proxy.changes().len();
    let confirm = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        confirm(&switch).await;
    };
    let (report, ()) = tokio::join!(desk.resume(&run, decided()), confirm);
    assert_eq!(report.status, RunStatus::Completed, "{report:?}");
    assert_eq!(world.held().await, [listed(2, STANDBY)]);
    assert_eq!(world.proxy.changes().len(), changes, "switched once");
}

#[tokio::test]
async fn killed_while_it_waits_it_is_taken_back_once_its_time_is_over() {
    let world = World::new().await;
    let (desk, switch) = desk(&world).await;
    let run = killed_while_it_waits(&world, &switch, "8s").await;
    until("the end of its time", || switch.last().unwrap().filter(|s| s.is_overdue(chrono::Utc::now()))).await;
    let report = desk.resume(&run, decided()).await;
    assert_eq!(report.status, RunStatus::Failed, "{report:?}");
    assert!(report.why.unwrap().contains("it was taken back"));
    assert_eq!(world.held().await, [listed(2, PRIMARY)]);
}

#[tokio::test]
async fn a_switch_that_the_daemon_took_back_is_not_made_again_without_a_word() {
    let world = World::new().await;
    let (desk, switch) = desk(&world).await;
    let run = killed_while_it_waits(&world, &switch, "8s").await;
    until("the end of its time", || switch.last().unwrap().filter(|s| s.is_overdue(chrono::Utc::now()))).await;
    switch.revert_if_overdue(&Cx::background()).await.unwrap().unwrap().ensure_everywhere().unwrap();
    let report = desk.resume(&run, decided()).await;
    assert_eq!(report.status, RunStatus::NeedsHuman, "{report:?}");
    let why = report.why.unwrap();
    assert!(why.contains("taken back, as nobody confirmed it") && why.contains("--took-place lead=yes"), "{why}");
    assert_eq!(world.held().await, [listed(2, PRIMARY)]);
    let confirm = async {
        awaiting(&switch).await;
        confirm(&switch).await;
    };
    let (again, ()) = tokio::join!(desk.resume(&run, decided().with_settled("lead", false)), confirm);
    assert_eq!(again.status, RunStatus::Completed, "{again:?}");
    assert_eq!(world.held().await, [listed(2, STANDBY)]);
}

#[tokio::test]
async fn ttls_are_lowered_and_put_back_by_steps() {
    let world = World::bare(true).await;
    world.server.upsert(&world.zone, API, "A", 300, &[PRIMARY]).await.unwrap();
    world.proxy.copy().await.unwrap();
    let (desk, _) = desk(&world).await;
    let restore = "  - { id: back, do: dns_ttl, with: { restore: true } }\n";
    let nothing = desk.run(restore).await;
    assert_eq!(nothing.status, RunStatus::Completed);
    assert_eq!(nothing.steps[0].text, "no TTL was lowered by this host");
    let lower = desk.run("  - { id: lower, do: dns_ttl, with: { lower: 60 } }\n").await;
    assert_eq!(lower.status, RunStatus::Completed, "{lower:?}");
    assert_eq!(world.held().await, [listed(60, PRIMARY)]);
    let led = desk.run("  - { id: lead, do: dns, with: { to: standby } }\n").await;
    assert_eq!(led.status, RunStatus::Completed, "{led:?}");
    assert_eq!(world.held().await, [listed(60, STANDBY)], "it stays low through the switch");
    assert_eq!(desk.run(restore).await.status, RunStatus::Completed);
    assert_eq!(world.held().await, [listed(300, STANDBY)]);
    for wrong in ["{ lower: 0 }", "{ lower: 60, restore: true }", "{ }"] {
        let e = desk.bound(&format!("  - {{ id: a, do: dns_ttl, with: {wrong} }}\n")).unwrap_err();
        assert!(e.to_string().contains("lowers to some seconds, or restores"), "{wrong}: {e}");
    }
}

#[tokio::test]
async fn the_flag_leads_users_over_while_no_provider_answers() {
    use veza_dr_failover::dns::{FlagPlace, HealthFlag};

    let world = World::new().await;
    let file = world.dir.path().join("flag/failover");
    let mut settings = world.settings(world.record());
    settings.verify_within = Duration::from_secs(1);
    // Nobody listens there.
    let dead = Switch::new(Arc::new(route53("http://127.0.0.1:9").await), settings.clone());
    let flag = FlagSwitch::new(HealthFlag::new(FlagPlace::Local(file.clone())), settings);
    let flag = flag.with_within(Duration::from_secs(30));
    let led = Led { switch: dead, flag: Some(flag.clone()) };
    let desk = Desk::new(world.state_dir().to_owned(), led);
    // What Route 53's health check and its name servers do with the flag.
    let (health, watched) = ((world.knot.control(), world.second.control()), file.clone());
    let checker = tokio::spawn(async move {
        let mut led = PRIMARY;
        loop {
            let side = if watched.exists() { STANDBY } else { PRIMARY };
            if side != led {
                let lines = format!("del {API} A\nadd {API} 7 A {side}\n");
                for control in [&health.0, &health.1] {
                    control.update(&lines).unwrap();
                }
                led = side;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let steps = "  - { id: lead, do: dns, with: { to: standby } }\n";
    let report = desk.run(steps).await;
    assert_eq!(report.status, RunStatus::Completed, "{report:?}");
    assert_eq!(report.steps[0].text, "the health flag is raised, and every name server follows");
    assert_eq!(world.knot.answers(API, "A").unwrap(), [STANDBY]);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(&format!("epoch {}", report.epoch)) && text.contains(&report.run), "{text}");
    let back = desk.engine.rollback(&Cx::background(), &report.run, RunOptions::default()).await.unwrap();
    assert_eq!(back.status, RunStatus::RolledBack, "{back:?}");
    assert_eq!(flag.state(&Cx::background()).await.unwrap(), FlagState::Lowered);
    assert_eq!(world.knot.answers(API, "A").unwrap(), [PRIMARY]);
    // The health check was deleted: nobody follows, and nobody calls that done.
    checker.abort();
    let _ = checker.await;
    let deaf = flag.with_within(Duration::from_millis(300));
    let told = deaf.lead(&Cx::background(), Side::Standby, 9, "a test").await.unwrap();
    let e = told.ensure_everywhere().unwrap_err();
    assert!(e.kind() == veza_dr_core::ErrorKind::Mismatch && e.to_string().contains(PRIMARY), "{e}");
}
