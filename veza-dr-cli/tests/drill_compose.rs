//! A drill in a copy of a whole Compose project, with a real container engine: services are started over the recovered
//! data, nothing leads out, and nothing is left, also after `kill -9`.

#![cfg(all(feature = "postgres", feature = "redis", feature = "docker"))]
#![expect(clippy::unwrap_used, reason = "helpers of tests; what is not there fails the test")]

use std::{
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use veza_dr_core::Cx;
use veza_dr_failover::site::{ComposeProject, ComposeSite, Job, SiteControl};
use veza_dr_tests::{
    compose_site::{ComposeScene, Ports, SERVICES, images},
    docker::Dockerd,
};

const ADDRESS: &str = "127.0.0.4";
const WAIT: Duration = Duration::from_secs(120);

struct World {
    dir: TempDir,
    docker: Dockerd,
    scene: ComposeScene,
}

impl World {
    /// Production serves, with rows and keys that a backup shows, and more rows since.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let docker = Dockerd::start().unwrap();
        images(&docker).unwrap();
        let scene = ComposeScene::at("production", ADDRESS, Ports::free().unwrap(), "veza").unwrap();
        let world = Self { dir, docker, scene };
        std::fs::create_dir(world.path("scratch")).unwrap();
        world.config(&world.scene.file().display().to_string());
        let mut project =
            ComposeProject::new("production", world.scene.file().display().to_string(), &world.scene.project);
        project.docker_host = Some(world.docker.host());
        project.jobs_dir = world.scene.folder("jobs").display().to_string();
        project.fence_dir = world.scene.folder("fence").display().to_string();
        let site = ComposeSite::new(project).unwrap();
        let up = site.up(&Cx::background(), &Job("first".to_owned()), &[]).await.unwrap();
        assert_eq!(up.code, 0, "{}", up.output);
        site.wait_healthy(&Cx::background(), &[], WAIT).await.unwrap();
        world.psql("postgres", "CREATE DATABASE veza");
        world.psql(
            "veza",
            "CREATE TABLE orders AS SELECT g AS id, md5(g::text) AS text FROM generate_series(1, 3000) g",
        );
        world.redis(&["MSET", "session:1", "a", "session:2", "b"]);
        assert_eq!(world.run(&["backup"]).status.code(), Some(0));
        world.psql("veza", "INSERT INTO orders SELECT g, 'late' FROM generate_series(3001, 3007) g");
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn config(&self, file: &str) {
        let Self { docker, scene, .. } = self;
        let ports = scene.ports;
        let text = format!(
            "state_dir: state\ndrills: {{ scratch_dir: scratch }}\n\
             sources:\n  database: {{ postgres: {{ url: 'postgres://postgres@{ADDRESS}:{}/veza?sslmode=disable' }} }}\n  \
             redis: {{ redis: {{ url: 'redis://{ADDRESS}:{}' }} }}\n\
             stores: {{ local: {{ directory: {{ path: store }} }} }}\n\
             scenarios: {{ infrastructure: {{ rto: 1h, rpo: 1h, needs: [database, redis] }} }}\n\
             sites:\n  production:\n    role: primary\n    address: {ADDRESS}\n    \
             compose: {{ file: {file}, project: {}, docker_host: '{}' }}\n    \
             jobs_dir: {}\n    fence: {{ dir: {} }}\n    \
             data: {{ database: {{ services: [postgres] }}, redis: {{ services: [redis] }} }}\n",
            ports.postgres,
            ports.redis,
            scene.project,
            docker.host(),
            scene.folder("jobs").display(),
            scene.folder("fence").display(),
        );
        std::fs::write(self.path("veza-dr.yml"), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_veza-dr"));
        command.args(["--json", "--config"]).arg(self.path("veza-dr.yml")).args(args).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn ends(&self, code: i32, args: &[&str]) -> Value {
        let ran = self.run(args);
        let (said, errors) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert_eq!(ran.status.code(), Some(code), "{args:?}: {said}\n{errors}");
        serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"))
    }

    fn psql(&self, database: &str, sql: &str) -> String {
        let url = format!("postgres://postgres@{ADDRESS}:{}/{database}", self.scene.ports.postgres);
        let ran = Command::new("/usr/lib/postgresql/15/bin/psql").args(["-XAtqc", sql, &url]).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    }

    fn redis(&self, args: &[&str]) -> String {
        let port = self.scene.ports.redis.to_string();
        let ran = Command::new("redis-cli").args(["-h", ADDRESS, "-p", &port]).args(args).output().unwrap();
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    }

    /// What the engine has, by its own client.
    fn engine(&self) -> Vec<String> {
        let mut all = Vec::new();
        for what in [
            &["ps", "-a", "--format", "{{.Names}} {{.ID}}"][..],
            &["network", "ls", "--format", "{{.Name}}"],
            &["volume", "ls", "--format", "{{.Name}}"],
        ] {
            all.extend(self.docker.run(what).unwrap().lines().map(str::to_owned));
        }
        all.sort();
        all
    }

    fn production(&self) -> (String, String, Vec<String>) {
        let rows = self.psql("veza", "SELECT count(*), md5(string_agg(text, ',' ORDER BY id)) FROM orders");
        let databases = self.psql("postgres", "SELECT string_agg(datname, ',' ORDER BY 1) FROM pg_database");
        (format!("{rows} {databases}"), self.redis(&["MGET", "session:1", "session:2"]), self.engine())
    }

    fn assert_nothing_left(&self) {
        let left: Vec<_> = std::fs::read_dir(self.path("scratch")).unwrap().map(|e| e.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
        let ledgers: Vec<_> = std::fs::read_dir(self.path("state/drills")).unwrap().flatten().collect();
        assert!(ledgers.iter().all(|e| e.file_name() == "lock"), "{ledgers:?}");
    }

    /// Waits until the drill's project has this many containers that run; their ids.
    fn running(&self, child: &mut Child, wanted: usize) -> Vec<String> {
        let until = Instant::now() + WAIT;
        loop {
            let told = self.docker.run(&["ps", "--filter", "name=veza-dr-drill-", "--format", "{{.ID}}"]).unwrap();
            let ids: Vec<String> = told.lines().map(str::to_owned).collect();
            if ids.len() == wanted {
                return ids;
            }
            assert!(child.try_wait().unwrap().is_none(), "it ended before {wanted} containers ran");
            assert!(Instant::now() < until, "{wanted} containers never ran");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_is_recovered_in_a_copy_without_a_way_out_and_nothing_of_it_is_left() {
    let world = World::new().await;
    let before = world.production();
    let drill = ["drill", "run", "--scenario", "infrastructure", "--compose", "production"];

    // The engine of these tests leaves the firewall alone: on a machine that forwards, its networks are open, and a drill
    // must not start anything in them.
    if std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim() != "0" {
        let record = world.ends(24, &drill);
        let said = record["findings"][0]["text"].as_str().unwrap();
        assert!(said.starts_with("it cannot be shown that nothing leads out of the network br-"), "{said}");
        let timeline = record["timeline"].as_array().unwrap();
        assert!(timeline.iter().all(|t| t["what"] != "containers" && t["what"] != "services"), "{record:#}");
        assert_eq!((world.production(), record["cleanup"]["state"].as_str()), (before, Some("cleaned")));
        world.assert_nothing_left();
        return;
    }
    let record = world.ends(0, &drill);
    assert_eq!((&record["outcome"], &record["kind"]), (&json!("passed"), &json!("compose")), "{record:#}");
    assert_eq!(record["production"]["verdict"], "unchanged");
    assert_eq!(record["cleanup"]["state"], "cleaned");
    let part =
        |name: &str| record["parts"].as_array().unwrap().iter().find(|p| p["component"] == name).unwrap().clone();
    for stage in ["baseline", "recovery"] {
        assert_eq!(part("database")[stage]["verdict"], "equal", "{record:#}");
        assert_eq!(part("database")[stage]["rows"], 3000);
        assert_eq!(part("redis")[stage]["rows"], 2);
    }
    // Seven rows came after the backup.
    assert_eq!(part("database")["loss"]["records"], 7);
    let timeline = record["timeline"].as_array().unwrap();
    let served: Vec<&str> =
        timeline.iter().filter(|t| t["what"] == "services").map(|t| t["detail"].as_str().unwrap()).collect();
    assert_eq!(served, ["5 services healthy, 5 ports answered 3 times in a row"; 2]);
    let removed = record["cleanup"]["removed"].as_array().unwrap();
    for kind in ["container ", "network ", "volume "] {
        assert!(removed.iter().any(|r| r.as_str().unwrap().starts_with(kind)), "{removed:?}");
    }
    assert_eq!(world.production(), before);
    world.assert_nothing_left();

    // Killed while all of its services run.
    let mut child = world.command(&drill).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let ids = world.running(&mut child, SERVICES.len());
    for id in &ids {
        let told = world.docker.run(&[
            "inspect",
            "-f",
            "{{json .HostConfig.PortBindings}} {{json .NetworkSettings.Networks}}",
            id,
        ]);
        let told = told.unwrap();
        let (ports, networks) = told.split_once(' ').unwrap();
        assert!(matches!(ports, "{}" | "null"), "{ports}");
        let networks: Value = serde_json::from_str(networks).unwrap();
        for name in networks.as_object().unwrap().keys() {
            assert_eq!(world.docker.run(&["network", "inspect", "-f", "{{.Internal}}", name]).unwrap(), "true");
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_ne!(world.engine(), before.2, "something is left for the next start");
    let cleaned = world.ends(0, &["drill", "clean"]);
    assert!(cleaned.to_string().contains("veza-dr-drill-"), "{cleaned}");
    assert_eq!(world.production(), before);
    world.assert_nothing_left();
    let list = world.ends(0, &["drill", "list"]);
    assert!(list.to_string().contains("interrupted"), "{list}");

    // What cannot be copied safely is refused before anything is made.
    let text = std::fs::read_to_string(world.scene.file()).unwrap().replace("'data:/data'", "'/etc:/data'");
    std::fs::write(world.path("bound.yml"), text).unwrap();
    world.config(&world.path("bound.yml").display().to_string());
    let refused = world.run(&drill);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("service postgres keeps a component and has the host's /etc"),
        "{said}"
    );
    assert_eq!(world.production(), before);
    world.assert_nothing_left();
}
