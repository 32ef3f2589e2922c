//! A platform in Compose that serves, its standby, two backups, and the configuration of both sites.

use std::{
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use serde_json::Value;
use tempfile::TempDir;
use veza_dr_core::Cx;
use veza_dr_failover::site::{ComposeProject, ComposeSite, Job, SiteControl};
use veza_dr_tests::{
    compose_site::{ComposeScene, Ports, images},
    docker::Dockerd,
};

const PRODUCTION: &str = "127.0.0.4";
const STANDBY: &str = "127.0.0.5";
const WAIT: Duration = Duration::from_secs(120);

pub(crate) struct World {
    dir: TempDir,
    pub(crate) docker: Dockerd,
    pub(crate) scene: ComposeScene,
    standby: ComposeScene,
    /// After the first backup, and before anything that came later.
    pub(crate) sound: DateTime<Utc>,
}

impl World {
    /// Production serves, with rows and keys: 3000 and 2 in a first backup, 3007 and 3 in a second, 3009 and 4 now. The
    /// standby was never started.
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let docker = Dockerd::start_with_firewall().unwrap();
        images(&docker).unwrap();
        let ports = Ports::free().unwrap();
        let scene = ComposeScene::at("production", PRODUCTION, ports, "veza").unwrap();
        let standby = ComposeScene::at("standby", STANDBY, ports, "veza").unwrap();
        let mut world = Self { dir, docker, scene, standby, sound: Utc::now() };
        std::fs::create_dir(world.path("scratch")).unwrap();
        std::fs::create_dir(world.path("books")).unwrap();
        world.config(&world.scene.file().display().to_string(), "");
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
        world.ends(0, &["backup"]);
        world.sound = Utc::now();
        // What a backup of Redis shows is told to the second.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        world.psql("veza", "INSERT INTO orders SELECT g, 'late' FROM generate_series(3001, 3007) g");
        world.redis(&["SET", "session:3", "c"]);
        world.ends(0, &["backup"]);
        world.psql("veza", "INSERT INTO orders SELECT g, 'later' FROM generate_series(3008, 3009) g");
        world.redis(&["SET", "session:4", "d"]);
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The configuration, with this Compose file for production, and more of it at its end.
    pub(crate) fn config(&self, file: &str, more: &str) {
        let Self { docker, scene, standby, .. } = self;
        let (ports, at) = (scene.ports, self.dir.path().display());
        let site = |scene: &ComposeScene, file: &str| {
            format!(
                "    address: {}\n    compose: {{ file: {file}, project: {}, docker_host: '{}' }}\n    \
                 jobs_dir: {}\n    fence: {{ dir: {} }}\n",
                scene.address,
                scene.project,
                docker.host(),
                scene.folder("jobs").display(),
                scene.folder("fence").display(),
            )
        };
        let (pg, redis) = (ports.postgres, ports.redis);
        let drills = if more.contains("drills:") { "" } else { "drills: { scratch_dir: scratch }\n" };
        let text = format!(
            "state_dir: state\n{drills}serve: {{ listen: '127.0.0.1:0' }}\nfailover: {{ runbooks: books }}\n\
             sources:\n  database: {{ postgres: {{ url: 'postgres://postgres@{PRODUCTION}:{pg}/veza?sslmode=disable' }} }}\n  \
             redis: {{ redis: {{ url: 'redis://{PRODUCTION}:{redis}' }} }}\n\
             stores: {{ local: {{ directory: {{ path: store }} }} }}\n\
             scenarios:\n  database: {{ rto: 1h, rpo: 1h, needs: [database] }}\n  backend: {{ rto: 1h, rpo: 0s, needs: [] }}\n  \
             infrastructure: {{ rto: 1h, rpo: 1h, needs: [database, redis] }}\n  \
             security: {{ rto: 1h, rpo: 1h, needs: [database, redis] }}\n\
             sites:\n  production:\n    role: primary\n{}    \
             data: {{ database: {{ services: [postgres] }}, redis: {{ services: [redis] }} }}\n  \
             standby:\n    role: standby\n{}    data:\n      \
             database: {{ services: [postgres], postgres: {{ url: 'postgres://postgres@{STANDBY}:{pg}/veza?sslmode=disable' }} }}\n      \
             redis: {{ services: [redis], redis: {{ url: 'redis://{STANDBY}:{redis}' }} }}\n\
             dns:\n  flag: {{ file: {at}/flag }}\n  resolvers: ['127.0.0.1:9']\n  nameservers: ['127.0.0.1:9']\n  \
             records: {{ api: {{ name: api.example.test, type: A, primary: [{PRODUCTION}], standby: [{STANDBY}], ttl: 60 }} }}\n\
             notify: {{ people: {{ command: [sh, -c, 'touch {at}/told'] }} }}\n\
             validation:\n  - {{ name: api, http: {{ port: {}, path: /health, json: {{ status: ok }}, within: 10s }} }}\n  \
             - {{ name: chat, websocket: {{ port: {}, path: /chat, token: test, send: hello, within: 10s }} }}\n  \
             - {{ name: stream, stream: {{ port: {}, path: /stream, bytes: 20, first_byte_within: 10s, within: 20s }} }}\n  \
             - {{ name: db, postgres: {{ source: database, canary: true, counts_of_backup: database, within: 30s }} }}\n  \
             - {{ name: cache, redis: {{ source: redis, within: 10s }} }}\n  \
             - {{ name: load, load: {{ port: {}, path: /api/v1/users, requests: 20, concurrency: 4, p95: 10s, p99: 10s }} }}\n{more}",
            site(scene, file),
            site(standby, &standby.file().display().to_string()),
            ports.api,
            ports.chat,
            ports.stream,
            ports.api,
        );
        std::fs::write(self.path("veza-dr.yml"), text).unwrap();
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_veza-dr"));
        command.args(["--json", "--config"]).arg(self.path("veza-dr.yml")).args(args).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub(crate) fn ends(&self, code: i32, args: &[&str]) -> Value {
        let ran = self.run(args);
        let (said, errors) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert_eq!(ran.status.code(), Some(code), "{args:?}: {said}\n{errors}");
        serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"))
    }

    pub(crate) fn psql(&self, database: &str, sql: &str) -> String {
        let url = format!("postgres://postgres@{PRODUCTION}:{}/{database}", self.scene.ports.postgres);
        let ran = Command::new("/usr/lib/postgresql/15/bin/psql").args(["-XAtqc", sql, &url]).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    }

    pub(crate) fn redis(&self, args: &[&str]) -> String {
        let port = self.scene.ports.redis.to_string();
        let ran = Command::new("redis-cli").args(["-h", PRODUCTION, "-p", &port]).args(args).output().unwrap();
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    }

    /// What the engine has, by its own client.
    pub(crate) fn engine(&self) -> Vec<String> {
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

    /// Everything of production, by other tools than ours; also that nobody was told and no name led elsewhere.
    pub(crate) fn production(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let rows = self.psql("veza", "SELECT count(*), md5(string_agg(text, ',' ORDER BY id)) FROM orders");
        let databases = self.psql("postgres", "SELECT string_agg(datname, ',' ORDER BY 1) FROM pg_database");
        let keys = self.redis(&["MGET", "session:1", "session:2", "session:3", "session:4"]);
        let outside: Vec<bool> = ["told", "flag", "commanded"].iter().map(|f| self.path(f).exists()).collect();
        (rows, databases, keys, self.redis(&["DBSIZE"]), self.engine(), outside)
    }

    pub(crate) fn assert_nothing_left(&self) {
        let left: Vec<_> = std::fs::read_dir(self.path("scratch")).unwrap().map(|e| e.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
        let ledgers: Vec<_> = std::fs::read_dir(self.path("state/drills")).unwrap().flatten().collect();
        assert!(ledgers.iter().all(|e| e.file_name() == "lock"), "{ledgers:?}");
    }

    /// Waits until the drill's project has this many containers that run; their ids.
    pub(crate) fn running(&self, child: &mut Child, wanted: usize) -> Vec<String> {
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
