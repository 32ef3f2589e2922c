//! Verdicts, scenarios and commands, from probes that say what a test wants; and how long it all takes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use chrono::Utc;
use veza_dr_core::{Cx, Error, ErrorKind, Health, Observation, Result, ScenarioKind, ServiceProbe};
use veza_dr_failover::{
    assess::{Assess, Assessment, Condition, ServiceKind, ServiceUnit, SiteUnit, TtlAdvice},
    probe::{RedisProbe, TcpProbe},
    site::SiteRole,
};

use crate::servers::{anywhere, listen, mute};

#[derive(Debug, Clone, Copy)]
enum Says {
    Well,
    Badly,
    Down,
    Silent,
    CannotTell,
    NotHere,
}

#[derive(Debug)]
struct Fixed {
    says: Says,
    after: Duration,
}

#[async_trait]
impl ServiceProbe for Fixed {
    fn name(&self) -> &str {
        "fixed"
    }

    async fn observe(&self, _: &Cx) -> Result<Observation> {
        tokio::time::sleep(self.after).await;
        let seen = |health| Observation::new(health, "as told", Utc::now(), self.after);
        match self.says {
            Says::Well => Ok(seen(Health::Healthy)),
            Says::Badly => Ok(seen(Health::Degraded)),
            Says::Down => Ok(seen(Health::Down)),
            Says::Silent => Ok(seen(Health::Down).with_reached(false)),
            Says::CannotTell => Err(Error::new(ErrorKind::Denied, "the socket refuses us")),
            Says::NotHere => Err(Error::new(ErrorKind::NotFound, "no such service")),
        }
    }
}

fn fixed(says: Says) -> Arc<dyn ServiceProbe> {
    Arc::new(Fixed { says, after: Duration::ZERO })
}

/// The guide's five services, with what is said of each: by its container, and by itself.
fn site(name: &str, role: SiteRole, said: [(Says, Says); 5]) -> SiteUnit {
    let services = [
        ("veza-backend-api", Some("api"), ServiceKind::Backend),
        ("veza-chat-server", Some("chat"), ServiceKind::Backend),
        ("veza-stream-server", Some("stream"), ServiceKind::Backend),
        ("postgres", Some("db"), ServiceKind::Database),
        ("redis", None, ServiceKind::Cache),
    ];
    services.into_iter().zip(said).fold(
        SiteUnit::new(name, role),
        |site, ((service, alias, kind), (container, own))| {
            let mut unit = ServiceUnit::new(service, kind).with_probe(fixed(container)).with_probe(fixed(own));
            if let Some(alias) = alias {
                unit = unit.with_alias(alias);
            }
            site.with_service(unit)
        },
    )
}

fn primary(said: [(Says, Says); 5]) -> Assess {
    Assess::new().with_site(site("primary", SiteRole::Primary, said))
}

async fn run(plan: Assess) -> Assessment {
    plan.run(&Cx::background()).await
}

fn scenario(found: &Assessment) -> Option<ScenarioKind> {
    found.suggestion.as_ref().map(|s| s.scenario)
}

const WELL: (Says, Says) = (Says::Well, Says::Well);
const DOWN: (Says, Says) = (Says::Down, Says::Down);
/// Its container runs, and it does not do its work.
const SICK: (Says, Says) = (Says::Well, Says::Down);

#[tokio::test]
async fn all_is_well_only_when_all_is_known_to_be() {
    let found = run(primary([WELL; 5])).await;
    assert_eq!((found.condition, scenario(&found), found.next.len()), (Condition::Healthy, None, 0), "{found:?}");
    // Nothing looked at is not well.
    assert_eq!(run(Assess::new()).await.condition, Condition::Unknown);
    let without =
        SiteUnit::new("primary", SiteRole::Primary).with_service(ServiceUnit::new("api", ServiceKind::Backend));
    assert_eq!(run(Assess::new().with_site(without)).await.condition, Condition::Unknown);
}

#[tokio::test]
async fn a_socket_that_refuses_us_makes_its_service_unknown_and_never_healthy_or_down() {
    let found = run(primary([(Says::CannotTell, Says::Well), WELL, WELL, WELL, WELL])).await;
    assert_eq!((found.condition, found.sites[0].services[0].condition), (Condition::Unknown, Condition::Unknown));
    assert_eq!(scenario(&found), None);
    assert!(
        found.reasons[0].contains("veza-backend-api on primary") && found.reasons[0].contains("refuses us"),
        "{found:?}"
    );
    // What is known to be down is down, whatever else is not known.
    let found = run(primary([(Says::CannotTell, Says::Down), WELL, WELL, WELL, WELL])).await;
    assert_eq!((found.condition, scenario(&found)), (Condition::Down, Some(ScenarioKind::Backend)));
}

#[tokio::test]
async fn ttls_are_lowered_when_trouble_shows_and_put_back_when_it_is_over() {
    let lower = Some(TtlAdvice::Lower(60));
    let sick = run(primary([SICK, WELL, WELL, WELL, WELL]).with_ttl_advice(lower)).await;
    assert_eq!(sick.next[0], "veza-dr dns switch --lower-ttl 60");
    assert!(run(primary([WELL; 5]).with_ttl_advice(lower)).await.next.is_empty());
    let well = run(primary([WELL; 5]).with_ttl_advice(Some(TtlAdvice::Restore))).await;
    assert_eq!(well.next, ["veza-dr dns switch --restore-ttl"]);
    let sick = run(primary([SICK, WELL, WELL, WELL, WELL]).with_ttl_advice(Some(TtlAdvice::Restore))).await;
    assert!(!sick.next.iter().any(|next| next.contains("ttl")), "{sick:?}");
}

#[tokio::test]
async fn each_of_the_four_scenarios_is_named_with_its_commands() {
    let backend = run(primary([DOWN, (Says::Well, Says::Badly), WELL, WELL, WELL])).await;
    assert_eq!(scenario(&backend), Some(ScenarioKind::Backend));
    assert_eq!(
        backend.next,
        ["veza-dr recover api", "veza-dr recover chat", "veza-dr failover plan --scenario backend"]
    );
    let all_backends = run(primary([DOWN, DOWN, DOWN, WELL, WELL])).await;
    assert_eq!(scenario(&all_backends), Some(ScenarioKind::Backend));

    let database = run(primary([WELL, WELL, WELL, DOWN, WELL])).await;
    assert_eq!(scenario(&database), Some(ScenarioKind::Database));
    assert_eq!(database.next, ["veza-dr recover db", "veza-dr failover plan --scenario database"]);
    // Services that run and fail for want of their database do not make it the loss of the site.
    let dragged = run(primary([SICK, SICK, SICK, DOWN, WELL])).await;
    assert_eq!(scenario(&dragged), Some(ScenarioKind::Database), "{dragged:?}");

    let everything = run(primary([DOWN, DOWN, DOWN, DOWN, WELL])).await;
    assert_eq!(scenario(&everything), Some(ScenarioKind::Infrastructure));
    assert_eq!(everything.next, ["veza-dr failover plan --scenario infrastructure"]);

    let suspected = run(primary([WELL; 5]).suspecting_compromise(true)).await;
    assert_eq!((suspected.condition, scenario(&suspected)), (Condition::Healthy, Some(ScenarioKind::Security)));
    assert_eq!(suspected.next, ["veza-dr failover plan --scenario security"]);

    let cache = run(primary([WELL, WELL, WELL, WELL, DOWN])).await;
    assert_eq!((cache.condition, scenario(&cache)), (Condition::Down, None));
    assert_eq!(cache.next, ["veza-dr recover redis"]);
}

#[tokio::test]
async fn a_site_of_which_nothing_answers_is_unknown_unless_another_way_shows_it_alive() {
    let gone = (Says::CannotTell, Says::Silent);
    let found = run(primary([gone; 5])).await;
    assert_eq!((found.condition, found.sites[0].reachable), (Condition::Unknown, Some(false)), "{found:?}");
    assert!(found.sites[0].services.iter().all(|s| s.condition == Condition::Unknown));
    assert_eq!(scenario(&found), Some(ScenarioKind::Infrastructure));
    // The container engine, asked by another way, shows the machine alive: then silence is the service's own.
    let found = run(primary([(Says::Down, Says::Silent), WELL, WELL, WELL, WELL])).await;
    assert_eq!(found.sites[0].services[0].condition, Condition::Down);
    // Whoever sees nothing at all says nothing about others.
    let blind = run(primary([gone; 5]).with_network(vec![fixed(Says::Silent)])).await;
    assert_eq!((blind.condition, scenario(&blind)), (Condition::Unknown, None));
    assert!(blind.reasons[0].contains("this machine sees nothing of the network"), "{blind:?}");
    assert!(blind.next.iter().any(|n| n.contains("another machine")), "{blind:?}");
}

#[tokio::test]
async fn a_standby_may_sleep_but_must_be_there() {
    let with = |said| primary([WELL; 5]).with_site(site("standby", SiteRole::Standby, said));
    let asleep = run(with([DOWN, DOWN, DOWN, (Says::NotHere, Says::Down), (Says::NotHere, Says::Down)])).await;
    assert_eq!((asleep.condition, scenario(&asleep)), (Condition::Healthy, None), "{asleep:?}");
    assert_eq!(asleep.sites[1].services[3].condition, Condition::Absent);
    let lost = run(with([(Says::CannotTell, Says::Silent); 5])).await;
    assert_eq!((lost.condition, scenario(&lost)), (Condition::Degraded, None));
    assert!(lost.reasons[0].contains("nothing could fail over to it"), "{lost:?}");
}

#[tokio::test]
async fn disks_and_backups_count_and_are_no_disaster() {
    let weak = run(primary([WELL; 5]).with_backups(vec![fixed(Says::Down)])).await;
    assert_eq!((weak.condition, scenario(&weak)), (Condition::Degraded, None));
    assert_eq!(weak.next, ["veza-dr status"]);
    let unknown = run(primary([WELL; 5]).with_disks(vec![fixed(Says::CannotTell)])).await;
    assert_eq!(unknown.condition, Condition::Unknown);
}

// On a clock that only moves when everything waits: one probe after another would take minutes on it.
#[tokio::test(start_paused = true)]
async fn fifty_services_take_as_long_as_the_slowest_of_them() {
    let mut site = SiteUnit::new("primary", SiteRole::Primary);
    for at in 0..50u64 {
        let unit = (0..3u64).fold(ServiceUnit::new(format!("s{at}"), ServiceKind::Backend), |unit, probe| {
            let after = Duration::from_millis(1000 + (at * 3 + probe) * 20);
            unit.with_probe(Arc::new(Fixed { says: Says::Well, after }))
        });
        site = site.with_service(unit);
    }
    let slowest = Duration::from_millis(1000 + 149 * 20);
    let found = run(Assess::new().with_site(site)).await;
    assert_eq!((found.condition, found.sites[0].services.len()), (Condition::Healthy, 50));
    assert!(found.took >= slowest && found.took < slowest + Duration::from_millis(500), "it took {:?}", found.took);
}

#[tokio::test]
async fn what_does_not_end_by_itself_is_ended_and_unknown() {
    let stuck = Fixed { says: Says::Well, after: Duration::from_secs(600) };
    let peer = mute(listen(anywhere()));
    let silent = RedisProbe::new("127.0.0.1", peer.at.port());
    let unit = ServiceUnit::new("redis", ServiceKind::Cache).with_probe(Arc::new(stuck)).with_probe(Arc::new(silent));
    let plan = Assess::new().with_site(SiteUnit::new("primary", SiteRole::Primary).with_service(unit));
    let began = Instant::now();
    let found = run(plan.with_deadline(Duration::from_millis(500))).await;
    assert!(began.elapsed() < Duration::from_secs(1), "it took {:?}", began.elapsed());
    let probes = &found.sites[0].services[0].probes;
    assert_eq!((probes[0].condition, probes[1].condition), (Condition::Unknown, Condition::Down), "{probes:?}");
    assert!(probes[1].detail.contains("can be reached and did not answer"), "{probes:?}");
}

#[tokio::test]
async fn a_cancelled_assessment_knows_nothing() {
    let cx = Cx::background();
    cx.cancel();
    let unit = ServiceUnit::new("api", ServiceKind::Backend).with_probe(Arc::new(TcpProbe::new("127.0.0.1", 1)));
    let plan = Assess::new().with_site(SiteUnit::new("primary", SiteRole::Primary).with_service(unit));
    assert_eq!(plan.run(&cx).await.condition, Condition::Unknown);
}
