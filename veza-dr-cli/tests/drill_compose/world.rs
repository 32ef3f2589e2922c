//! A platform in Compose that serves, its standby, two backups, and the configuration of both sites. They run on another
//! machine: its engine makes the copies, nothing of them can be reached from here but through SSH, and neither sees the
//! other's files. For comparison the same can be called on that machine itself.

use std::{
    path::{Path, PathBuf},
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
    far_machine::{ADDRESSES, FarMachine},
    sshd::Sshd,
};

const PRODUCTION: &str = ADDRESSES[0];
const STANDBY: &str = ADDRESSES[1];
const WAIT: Duration = Duration::from_secs(120);

pub(crate) struct World {
    dir: TempDir,
    pub(crate) docker: Dockerd,
    pub(crate) sshd: Sshd,
    pub(crate) scene: ComposeScene,
    standby: ComposeScene,
    /// A folder that the other machine alone has: the files of both sites, and what drills keep there.
    own: TempDir,
    // Servers that run on it go before it.
    pub(crate) far: FarMachine,
    /// After the first backup, and before anything that came later.
    pub(crate) sound: DateTime<Utc>,
}

impl World {
    /// Production serves, with rows and keys: 3000 and 2 in a first backup, 3007 and 3 in a second, 3009 and 4 now. The
    /// standby was never started.
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // What a drill may mount: nothing below /tmp.
        let own = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let far = FarMachine::start(&[dir.path(), own.path()]).unwrap();
        let docker = Dockerd::start_far(&far).unwrap();
        let sshd = Sshd::start_far(&far, PRODUCTION).unwrap();
        images(&docker).unwrap();
        let ports = Ports::free().unwrap();
        let scene = ComposeScene::at("production", PRODUCTION, ports, "veza").unwrap();
        let standby = ComposeScene::at("standby", STANDBY, ports, "veza").unwrap();
        let mut world = Self { dir, docker, sshd, scene, standby, own, far, sound: Utc::now() };
        std::fs::create_dir(world.path("scratch")).unwrap();
        std::fs::create_dir(world.path("books")).unwrap();
        world.lay_out();
        world.config("");
        world.config_there(&world.scene.file(), "");
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

    /// The other machine's own files.
    fn lay_out(&self) {
        let conf = self.own("conf");
        self.far.run("mkdir", &[&conf]).unwrap();
        // What only that machine has is mounted by a service.
        let text = std::fs::read_to_string(self.scene.file()).unwrap();
        let text =
            text.replace("  veza-stream-server:\n", &format!("  veza-stream-server:\n    volumes: ['{conf}:/conf']\n"));
        let mounted = self.scene.folder("mounted.yml");
        std::fs::write(&mounted, text).unwrap();
        for (from, name) in [(mounted, "production.yml"), (self.standby.file(), "standby.yml")] {
            self.far.run("cp", &[&from.display().to_string(), &self.own(name)]).unwrap();
        }
        assert_eq!(std::fs::read_dir(self.own.path()).unwrap().count(), 0, "nothing of it is seen from here");
        assert_eq!(self.far.run("ls", &[&self.dir.path().display().to_string()]).unwrap(), "", "nor ours from there");
    }

    /// A path that only the other machine has.
    pub(crate) fn own(&self, name: &str) -> String {
        self.own.path().join(name).display().to_string()
    }

    /// What a drill leaves among the jobs of the other machine.
    pub(crate) fn drill_folders(&self) -> Vec<String> {
        let jobs = self.far.run("find", &[&self.own(""), "-name", "veza-dr-drill-*"]).unwrap();
        jobs.lines().map(str::to_owned).collect()
    }

    /// The configuration of the machine that drills from afar, with more of it at its end.
    pub(crate) fn config(&self, more: &str) {
        let ssh = format!(
            "    ssh: {{ host: {PRODUCTION}, port: {}, user: root, key_file: {}, known_hosts_file: {} }}\n",
            self.sshd.port(),
            self.sshd.key().display(),
            self.sshd.known_hosts().display(),
        );
        let site = |name: &str| (self.own(&format!("{name}.yml")), self.own(&format!("{name}-state")), ssh.clone());
        self.configured("veza-dr.yml", &[site("production"), site("standby")], more);
    }

    /// The same as it is on the sites' own machine, with this file for production.
    pub(crate) fn config_there(&self, production: &Path, more: &str) {
        let site = |scene: &ComposeScene, file: &Path| {
            (file.display().to_string(), scene.folder("state").display().to_string(), String::new())
        };
        let sites = [site(&self.scene, production), site(&self.standby, &self.standby.file())];
        self.configured("there.yml", &sites, more);
    }

    /// Of both sites the file, the folder for state, and how their machine is reached.
    fn configured(&self, name: &str, sites: &[(String, String, String); 2], more: &str) {
        let Self { docker, scene, standby, .. } = self;
        let (ports, at) = (scene.ports, self.dir.path().display());
        let site = |scene: &ComposeScene, (file, state, ssh): &(String, String, String)| {
            format!(
                "    address: {}\n    compose: {{ file: {file}, project: {}, docker_host: '{}' }}\n    \
                 jobs_dir: {state}/jobs\n    fence: {{ dir: {state}/fence }}\n{ssh}",
                scene.address,
                scene.project,
                docker.host(),
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
            site(scene, &sites[0]),
            site(standby, &sites[1]),
            ports.api,
            ports.chat,
            ports.stream,
            ports.api,
        );
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_veza-dr"));
        command.args(["--json", "--config"]).arg(self.path("veza-dr.yml")).args(args).stdin(Stdio::null());
        command
    }

    /// As it is called on the sites' own machine.
    pub(crate) fn command_there(&self, args: &[&str]) -> Command {
        let mut command = self.far.in_its_network(env!("CARGO_BIN_EXE_veza-dr"));
        command.args(["--json", "--config"]).arg(self.path("there.yml")).args(args);
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
        assert_eq!(self.drill_folders(), [""; 0]);
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
