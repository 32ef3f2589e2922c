//! Two sites, their networks, DNS, a store and a configuration.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use veza_dr_core::Cx;
use veza_dr_failover::site::{ComposeProject, ComposeSite, Job, SiteControl};
use veza_dr_tests::{
    compose_site::{ComposeScene, Ports, images},
    docker::Dockerd,
    knot::{CachingResolver, Knot},
    route53_proxy::Route53Proxy,
    route53_server::Route53Server,
    s3_server::S3Server,
    sshd::Sshd,
    tcp_proxy::TcpProxy,
};

use crate::{
    WAIT,
    config::config,
    observer::{Observer, Site, write_by_http},
    program::Dr,
};

pub(crate) const API: &str = "api.example.test";
pub(crate) const PRIMARY: &str = "127.0.0.2";
pub(crate) const STANDBY: &str = "127.0.0.3";
/// Where backups and journals go, away from both sites.
pub(crate) const BUCKET: &str = "backups";
const PSQL: &str = "/usr/lib/postgresql/15/bin/psql";

pub(crate) struct World {
    pub(crate) observer: Observer,
    /// Between the operator and the primary's machine.
    pub(crate) network: TcpProxy,
    primary: ComposeScene,
    standby: ComposeScene,
    docker: Dockerd,
    _sshd: Sshd,
    knot: Knot,
    resolver: CachingResolver,
    _route53: (Route53Server, Route53Proxy),
    _s3: S3Server,
    firewall_task: tokio::task::JoinHandle<()>,
    dir: TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.firewall_task.abort();
    }
}

impl World {
    /// The primary serves; the standby was never started.
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let docker = Dockerd::start().unwrap();
        images(&docker).unwrap();
        let sshd = Sshd::start("").unwrap();
        let network = TcpProxy::start(&format!("127.0.0.1:{}", sshd.port())).await.unwrap();
        let ports = Ports::free().unwrap();
        let primary = ComposeScene::at("primary", PRIMARY, ports, "veza").unwrap();
        let standby = ComposeScene::at("standby", STANDBY, ports, "veza").unwrap();
        // What users and the observer pass through on their way to the primary.
        let firewall = Arc::new(TcpProxy::start(&format!("{PRIMARY}:{}", ports.api)).await.unwrap());
        let at_firewall: SocketAddr = firewall.address().parse().unwrap();
        let firewall_task = tokio::spawn(watch(dir.path().to_owned(), firewall));

        let server = Route53Server::start().await.unwrap();
        let zone = server.create_zone("example.test", "failover-sites").await.unwrap();
        server.upsert(&zone, &format!("{API}."), "A", 2, &[PRIMARY]).await.unwrap();
        let knot = Knot::start().await.unwrap();
        let resolver = CachingResolver::start(&knot).await.unwrap();
        let proxy = Route53Proxy::start(server.address(), &zone, vec![knot.control()]).await.unwrap();
        proxy.copy().await.unwrap();

        let s3 = S3Server::start().await.unwrap();
        s3.create_bucket(BUCKET).await.unwrap();
        let (sites, dns) = ((&primary, &standby), (&zone[..], &proxy, &knot, &resolver));
        let text = config(dir.path(), &docker, &sshd, network.port(), sites, dns, &s3);
        std::fs::write(dir.path().join("veza-dr.yml"), text).unwrap();
        let settings = dir.path().join("settings");
        let there = standby.folder("root").join(settings.strip_prefix("/").unwrap());
        for (folder, content) in [(&settings, "of the primary"), (&there, "of the standby")] {
            std::fs::create_dir_all(folder.join("secrets")).unwrap();
            std::fs::write(folder.join("app.yml"), content).unwrap();
        }
        std::fs::write(settings.join("secrets/key"), "only the primary has it").unwrap();
        std::fs::set_permissions(settings.join("secrets/key"), std::fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(settings.join("secrets/key"), Some(1234), Some(4321)).unwrap();
        std::os::unix::fs::symlink("secrets/key", settings.join("key")).unwrap();
        let observer = Observer::start(at_firewall, format!("{STANDBY}:{}", ports.api).parse().unwrap(), write_by_http);
        let world = Self {
            observer,
            network,
            primary,
            standby,
            docker,
            _sshd: sshd,
            knot,
            resolver,
            _route53: (server, proxy),
            _s3: s3,
            firewall_task,
            dir,
        };
        world.start(Site::Primary).await;
        world.psql(Site::Primary, "postgres", "CREATE DATABASE veza");
        world
    }

    pub(crate) fn dr(&self) -> Dr {
        Dr(self.dir.path().join("veza-dr.yml"))
    }

    pub(crate) fn state(&self, name: &str) -> PathBuf {
        self.dir.path().join("state").join(name)
    }

    pub(crate) fn backup(&self) {
        self.dr().ok(&["backup"]);
    }

    fn scene(&self, site: Site) -> &ComposeScene {
        if site == Site::Primary { &self.primary } else { &self.standby }
    }

    /// The site as somebody at its machine has it.
    fn machine(&self, site: Site) -> ComposeSite {
        let scene = self.scene(site);
        let name = if site == Site::Primary { "primary" } else { "standby" };
        let mut project = ComposeProject::new(name, scene.file().display().to_string(), scene.project.clone());
        project.docker_host = Some(self.docker.host());
        project.jobs_dir = scene.folder("jobs").display().to_string();
        project.fence_dir = scene.folder("fence").display().to_string();
        ComposeSite::new(project).unwrap()
    }

    /// Somebody at its machine starts it.
    pub(crate) async fn start(&self, site: Site) {
        let (machine, cx) = (self.machine(site), Cx::background());
        let job = Job(format!("by-hand-{}", veza_dr_core::OperationId::random()));
        let up = machine.up(&cx, &job, &[]).await.unwrap();
        assert_eq!(up.code, 0, "{}", up.output);
        machine.wait_healthy(&cx, &[], WAIT).await.unwrap();
    }

    /// Somebody at its machine stops it.
    pub(crate) async fn stop(&self, site: Site) {
        self.machine(site).stop(&Cx::background(), &[], Duration::from_secs(2)).await.unwrap();
    }

    /// Which services run.
    pub(crate) async fn up(&self, site: Site) -> Vec<String> {
        let states = self.machine(site).services(&Cx::background()).await.unwrap();
        states.into_iter().filter(|s| s.state == "running").map(|s| s.service).collect()
    }

    /// The containers of a service, running or not.
    pub(crate) fn containers(&self, site: Site, service: &str) -> Vec<String> {
        let project = format!("label=com.docker.compose.project={}", self.scene(site).project);
        let service = format!("label=com.docker.compose.service={service}");
        let told = self.docker.run(&["ps", "-aq", "--filter", &project, "--filter", &service]).unwrap();
        told.lines().map(str::to_owned).collect()
    }

    /// `kill -9` for a service.
    pub(crate) fn kill(&self, site: Site, service: &str) {
        for container in self.containers(site, service) {
            // So that the engine does not start it again.
            self.docker.run(&["update", "--restart=no", &container]).unwrap();
            self.docker.run(&["kill", &container]).unwrap();
        }
    }

    /// Only this service of a site that is stopped, to look at it.
    pub(crate) async fn only(&self, site: Site, service: &str) {
        for container in self.containers(site, service) {
            self.docker.run(&["start", &container]).unwrap();
        }
        let began = Instant::now();
        while !self
            .machine(site)
            .services(&Cx::background())
            .await
            .unwrap()
            .iter()
            .any(|s| s.service == service && s.health == veza_dr_core::Health::Healthy)
        {
            assert!(began.elapsed() < WAIT, "{service} does not come up");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What the start script of docs/sites.md does when the machine boots; whether it started anything.
    pub(crate) fn boot(&self, site: Site) -> bool {
        let scene = self.scene(site);
        let script = format!(
            "mark={}/{}\nif [ -e \"$mark\" ]; then exit 1; fi\nexec docker-compose -f {} -p {} up -d\n",
            scene.folder("fence").display(),
            scene.project,
            scene.file().display(),
            scene.project
        );
        Command::new("sh").args(["-c", &script]).env("DOCKER_HOST", self.docker.host()).status().unwrap().success()
    }

    /// Whether the operator's command that closes the firewall fails.
    pub(crate) fn break_hook(&self, broken: bool) {
        let mark = self.dir.path().join("hook-broken");
        if broken {
            std::fs::write(mark, "").unwrap();
        } else {
            std::fs::remove_file(mark).unwrap();
        }
    }

    /// Waits until so many more rows were acknowledged by a site.
    pub(crate) async fn writes(&self, site: Site, more: usize) {
        let before = self.observer.acknowledged(site).len();
        let began = Instant::now();
        while self.observer.acknowledged(site).len() < before + more {
            assert!(began.elapsed() < WAIT, "{site:?} takes no writes");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Every authoritative answer leads there, and so does a resolver once its copy has run out.
    pub(crate) async fn leads_to(&self, site: Site) {
        let address = if site == Site::Primary { PRIMARY } else { STANDBY };
        assert_eq!(self.knot.answers(API, "A").unwrap(), [address]);
        let began = Instant::now();
        while self.resolver.answers(API, "A").unwrap() != [address] {
            assert!(began.elapsed() < WAIT, "the resolver does not follow");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// How the one container of a service, which is stopped, is connected and started.
    pub(crate) fn connected(&self, site: Site, service: &str) -> Value {
        let mut seen = self.inspected(site, service);
        assert_eq!(seen["State"]["Running"], false, "{seen}");
        let mut networks = seen["NetworkSettings"]["Networks"].take();
        for network in networks.as_object_mut().unwrap().values_mut() {
            let mut names: Vec<String> = serde_json::from_value(network["Aliases"].take()).unwrap();
            names.sort();
            network["Aliases"] = names.into();
            // The engine notes it with a start.
            network.as_object_mut().unwrap().remove("NetworkID");
        }
        serde_json::json!([networks, seen["HostConfig"]["PortBindings"], seen["HostConfig"]["RestartPolicy"]])
    }

    /// All that the engine tells of the one container of a service.
    pub(crate) fn inspected(&self, site: Site, service: &str) -> Value {
        let containers = self.containers(site, service);
        assert_eq!(containers.len(), 1, "the very container that was there, and no other: {containers:?}");
        let told = self.docker.run(&["inspect", &containers[0]]).unwrap();
        serde_json::from_str::<Value>(&told).unwrap()[0].take()
    }

    /// The networks that services are apart in.
    pub(crate) fn apart(&self) -> String {
        self.docker.run(&["network", "ls", "--format", "{{.Name}}", "--filter", "label=veza-dr.apart"]).unwrap()
    }

    /// Whether the database takes connections where it is published.
    pub(crate) fn is_published(&self, site: Site) -> bool {
        let scene = self.scene(site);
        std::net::TcpStream::connect((scene.address.as_str(), scene.ports.postgres)).is_ok()
    }

    pub(crate) fn sql(&self, site: Site, sql: &str) -> String {
        self.psql(site, "veza", sql)
    }

    fn psql(&self, site: Site, database: &str, sql: &str) -> String {
        let scene = self.scene(site);
        let output = Command::new(PSQL)
            .args(["-h", &scene.address, "-p", &scene.ports.postgres.to_string(), "-U", "postgres", "-d", database])
            .args(["-At", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .output()
            .unwrap();
        assert!(output.status.success(), "psql {sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn ids(&self, site: Site, database: &str) -> BTreeSet<u64> {
        let told = self.psql(site, database, "SELECT id FROM events ORDER BY id");
        told.lines().map(|l| l.parse().unwrap()).collect()
    }

    /// The rows of a site, by `psql`.
    pub(crate) fn rows(&self, site: Site) -> BTreeSet<u64> {
        self.ids(site, "veza")
    }

    /// The folder with settings: the primary's own, or the standby's.
    pub(crate) fn settings(&self, site: Site) -> PathBuf {
        let own = self.dir.path().join("settings");
        match site {
            Site::Primary => own,
            Site::Standby => self.standby.folder("root").join(own.strip_prefix("/").unwrap()),
        }
    }

    /// Writes into a file of the settings.
    pub(crate) fn set(&self, site: Site, content: &str) {
        std::fs::write(self.settings(site).join("app.yml"), content).unwrap();
    }

    pub(crate) fn setting(&self, site: Site) -> String {
        std::fs::read_to_string(self.settings(site).join("app.yml")).unwrap()
    }

    /// The settings of the standby are those of the primary: contents by `diff`, the rest by `find`.
    pub(crate) fn same_settings(&self) {
        let (a, b) = (self.settings(Site::Primary), self.settings(Site::Standby));
        let diff = Command::new("diff").arg("-r").args([&a, &b]).output().unwrap();
        assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
        assert_eq!(listed(&a), listed(&b));
    }

    /// The database that the newest restore of a site set aside, and its rows.
    pub(crate) fn kept_rows(&self, site: Site) -> (String, BTreeSet<u64>) {
        let sql =
            "SELECT datname FROM pg_database WHERE datname LIKE 'veza\\_\\_vdr\\_old\\_%' ORDER BY 1 DESC LIMIT 1";
        let name = self.psql(site, "postgres", sql);
        assert!(!name.is_empty(), "nothing was kept");
        (name.clone(), self.ids(site, &name))
    }

    pub(crate) fn redis(&self, site: Site, command: &[&str]) -> String {
        let scene = self.scene(site);
        let output = Command::new("redis-cli")
            .args(["-h", &scene.address, "-p", &scene.ports.redis.to_string()])
            .args(command)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A document in the state folder.
    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.state(name)).unwrap()).unwrap()
    }

    /// The journal of the newest run.
    pub(crate) fn journal(&self) -> Vec<Value> {
        let Ok(entries) = std::fs::read_dir(self.state("failover")) else { return Vec::new() };
        let journals = entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "journal"));
        let Some(newest) = journals.max() else { return Vec::new() };
        let text = std::fs::read_to_string(newest).unwrap();
        // A line that is being written has no end yet.
        let whole = text.split_inclusive('\n').filter(|l| l.ends_with('\n'));
        whole.map(|l| serde_json::from_str::<Value>(l).unwrap()["record"].take()).collect()
    }

    /// Waits for a record.
    pub(crate) async fn journal_says(&self, wanted: impl Fn(&Value) -> bool) {
        let began = Instant::now();
        while !self.journal().iter().any(&wanted) {
            assert!(began.elapsed() < WAIT, "the journal does not say it: {:?}", self.journal());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Bad input, with both sites there: a clear error, and nothing changed.
    pub(crate) async fn refuses_what_it_should(&self) {
        // What cannot be read stays unknown.
        self.network.refuse().await;
        let told = self.dr().exits(3, &["failover", "count", "--yes", "--approve", "old-site-may-be-read"]);
        let why = crate::step(&told, "count-database")["text"].as_str().unwrap();
        assert!(why.contains("lost stays unknown: database of primary cannot be read"), "{told}");
        assert!(why.contains("--abandon"), "{told}");
        self.network.heal().await;
        self.dr().ok(&["failover", "resume", "--abandon", "--reason", "it cannot be reached"]);

        let before = (self.up(Site::Primary).await, self.up(Site::Standby).await, self.knot.answers(API, "A").unwrap());
        // The standby serves: its data is the newest there is, and no plan puts an older backup over it.
        let told = self.dr().exits(3, &["failover", "run", "--scenario", "infrastructure", "--yes"]);
        let why = told["why"].as_str().unwrap();
        assert!(why.contains("step restore-") && why.contains("if standby serves users"), "{told}");
        self.dr().ok(&["failover", "resume", "--abandon", "--reason", "it serves already"]);
        let after = (self.up(Site::Primary).await, self.up(Site::Standby).await, self.knot.answers(API, "A").unwrap());
        assert_eq!(before, after);

        let plans = self.dir.path().join("books");
        let write = |text: &str| {
            std::fs::create_dir_all(&plans).unwrap();
            std::fs::write(plans.join("bad.yml"), text).unwrap();
        };
        let refused = |code: i32, wanted: &[&str]| {
            let told = self.dr().exits(code, &["failover", "plan", "--scenario", "bad"]).to_string();
            for word in wanted {
                assert!(told.contains(word), "{word}: {told}");
            }
        };
        write("name: bad\nsteps:\n  - { id: r, do: restore, with: { component: database, site: standby } }\n");
        refused(23, &["one-writable-site", "verified-copy", "replaces the data of standby"]);
        write("name: bad\nsteps:\n  - { id: r, do: restore, with: { component: database, site: stanby } }\n");
        refused(2, &["bad.yml:3", "there is no site `stanby`"]);
        write("name: bad\nsteps:\n  - { id: r, do: restore, with: { component: files, site: primary } }\n");
        refused(2, &["bad.yml:3", "sites.primary.data.files"]);
        write("name: bad\nsteps:\n  - { id: r, do: verify_backup, with: { component: database, at: yesterday } }\n");
        refused(2, &["bad.yml:3", "yesterday", "asked"]);
        write("name: bad\nsteps:\n  - { id: r, do: up, with: { site: standby, part: all } }\n");
        refused(2, &["bad.yml:3", "`all`", "apps"]);
    }
}

/// A tree as `find` tells it: kinds, modes, owners, times, targets.
pub(crate) fn listed(folder: &Path) -> Vec<String> {
    let told = Command::new("find").arg(folder).args(["-printf", "%P %y %m %U:%G %T@ %l\n"]).output().unwrap();
    let mut lines: Vec<String> = String::from_utf8(told.stdout).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Carries out what the hook asks for: the answer says that it holds.
async fn watch(dir: PathBuf, firewall: Arc<TcpProxy>) {
    let (mut closed, wish, done) = (false, dir.join("close"), dir.join("closed"));
    loop {
        if wish.exists() != closed {
            closed = !closed;
            if closed {
                firewall.refuse().await;
                firewall.cut();
                std::fs::write(&done, "").unwrap();
            } else {
                firewall.heal().await;
                std::fs::remove_file(&done).unwrap();
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
