//! A zone with two name servers and a caching resolver, and the product set up to switch it.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::Mutex;
use veza_dr_core::{Cx, RecordKey, RecordType, RetryPolicy};
use veza_dr_failover::dns::{
    Goal, NoJournal, Route53, Route53Config, Side, SiteRecord, Switch, SwitchReport, SwitchSettings,
};
use veza_dr_tests::knot::{CachingResolver, Knot};
use veza_dr_tests::route53_proxy::Route53Proxy;
use veza_dr_tests::route53_server::{Listed, Route53Server};

pub(crate) const API: &str = "api.example.test.";
pub(crate) const PRIMARY: &str = "192.0.2.10";
pub(crate) const STANDBY: &str = "192.0.2.20";

/// The running endpoint; gone with the last test that uses it.
pub(crate) async fn server() -> Arc<Route53Server> {
    static RUNNING: Mutex<Weak<Route53Server>> = Mutex::const_new(Weak::new());
    let mut running = RUNNING.lock().await;
    if let Some(server) = running.upgrade() {
        return server;
    }
    let server = Arc::new(Route53Server::start().await.unwrap());
    *running = Arc::downgrade(&server);
    server
}

pub(crate) async fn new_zone(server: &Route53Server) -> String {
    use std::hash::{BuildHasher, RandomState};
    let reference = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
    server.create_zone("example.test", &reference).await.unwrap()
}

pub(crate) async fn route53(endpoint: &str) -> Route53 {
    let mut config = Route53Config::default();
    config.endpoint = Some(endpoint.to_owned());
    config.access_key_id = Some("key".to_owned().into());
    config.secret_access_key = Some("secret".to_owned().into());
    config.retry = RetryPolicy::default().with_attempts(5).with_first(Duration::from_millis(20));
    config.timeout = Duration::from_secs(5);
    Route53::connect(config).await.unwrap()
}

pub(crate) struct World {
    pub(crate) server: Arc<Route53Server>,
    pub(crate) zone: String,
    pub(crate) knot: Knot,
    pub(crate) second: Knot,
    pub(crate) resolver: CachingResolver,
    pub(crate) proxy: Route53Proxy,
    pub(crate) dir: TempDir,
}

impl World {
    /// `api` leads to the primary with a TTL of 2 s, everywhere.
    pub(crate) async fn new() -> Self {
        let world = Self::bare(true).await;
        world.server.upsert(&world.zone, API, "A", 2, &[PRIMARY]).await.unwrap();
        world.proxy.copy().await.unwrap();
        assert_eq!(world.knot.answers(API, "A").unwrap(), [PRIMARY]);
        world
    }

    /// An empty zone; the second name server follows the first only if it `follows`.
    pub(crate) async fn bare(follows: bool) -> Self {
        let server = server().await;
        let zone = new_zone(&server).await;
        let (knot, second) = (Knot::start().await.unwrap(), Knot::start().await.unwrap());
        let resolver = CachingResolver::start(&knot).await.unwrap();
        let mut controls = vec![knot.control()];
        if follows {
            controls.push(second.control());
        }
        let proxy = Route53Proxy::start(server.address(), &zone, controls).await.unwrap();
        Self { server, zone, knot, second, resolver, proxy, dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn state_dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn key(&self) -> RecordKey {
        RecordKey { zone: self.zone.clone(), name: API.into(), kind: RecordType::A, set_id: None }
    }

    pub(crate) fn record(&self) -> SiteRecord {
        SiteRecord::new("api", self.key(), 2, vec![PRIMARY.into()], vec![STANDBY.into()])
    }

    pub(crate) fn settings(&self, record: SiteRecord) -> SwitchSettings {
        let mut settings = SwitchSettings::new(vec![record], self.state_dir());
        settings.resolvers = vec![self.resolver.address().parse().unwrap()];
        settings.name_servers = vec![self.knot.address().parse().unwrap(), self.second.address().parse().unwrap()];
        settings.poll = Duration::from_millis(50);
        settings.in_sync_within = Duration::from_secs(20);
        settings.verify_within = Duration::from_secs(10);
        settings
    }

    pub(crate) async fn switch(&self) -> Switch {
        self.switch_of(self.settings(self.record())).await
    }

    pub(crate) async fn switch_of(&self, settings: SwitchSettings) -> Switch {
        Switch::new(Arc::new(route53(&self.proxy.endpoint()).await), settings)
    }

    /// What the endpoint holds.
    pub(crate) async fn held(&self) -> Vec<Listed> {
        self.server.records(&self.zone).await.unwrap()
    }
}

/// A plain record as the endpoint lists it.
pub(crate) fn listed(ttl: u32, value: &str) -> Listed {
    Listed { name: API.into(), kind: "A".into(), weighted: None, ttl, values: vec![value.to_owned()] }
}

/// Plans and carries out.
pub(crate) async fn carry_out(switch: &Switch, goal: Goal) -> veza_dr_core::Result<SwitchReport> {
    let cx = Cx::background();
    let plan = switch.plan(&cx, goal).await?;
    switch.apply(&cx, &plan, &NoJournal, None).await
}

pub(crate) const TO_STANDBY: Goal = Goal::To(Side::Standby);
