//! Machines with a site each, their way to the store, and the operator's way to them.

use std::{
    fs::File,
    io::Write,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use veza_dr_core::{Cx, OperationId};
use veza_dr_failover::site::{ComposeProject, ComposeSite, Job, SiteControl};
use veza_dr_tests::{
    compose_site::{ComposeScene, Ports, demo_image, redis_image},
    docker::Dockerd,
    s3_server::S3Server,
    sshd::Sshd,
    tcp_proxy::TcpProxy,
};

use crate::{LEASE, WAIT, program::Dr};

/// How many containers a site has.
pub(crate) const ALL: usize = 5;

/// What takes long to make.
pub(crate) struct Shared {
    docker: Dockerd,
    sshd: Sshd,
    s3: S3Server,
}

impl Shared {
    pub(crate) async fn new() -> Self {
        let docker = Dockerd::start().unwrap();
        demo_image(&docker).unwrap();
        redis_image(&docker).unwrap();
        Self { docker, sshd: Sshd::start("").unwrap(), s3: S3Server::start().await.unwrap() }
    }

    /// The store, as somebody sees it who reaches it there.
    fn store(&self, bucket: &str, address: &str) -> String {
        let (region, key, secret) = (self.s3.region(), self.s3.access_key(), self.s3.secret_key());
        format!(
            "stores:\n  offsite: {{ s3: {{ bucket: {bucket}, region: {region}, endpoint: 'http://{address}', \
             path_style: true, access_key_id: {key}, secret_access_key: {secret} }} }}\n"
        )
    }
}

/// A machine with a site.
pub(crate) struct Machine {
    pub(crate) scene: ComposeScene,
    /// Between its daemon and the store.
    pub(crate) store: TcpProxy,
    /// Between the operator and it.
    pub(crate) ssh: TcpProxy,
    name: &'static str,
    shared: std::sync::Arc<Shared>,
    dir: TempDir,
}

impl Machine {
    pub(crate) async fn new(shared: &std::sync::Arc<Shared>, name: &'static str, address: &str) -> Self {
        shared.s3.create_bucket(name).await.unwrap();
        // More of them than others would wait for, one after the other.
        Self::with(shared, name, ComposeScene::small(name, address, Ports::free().unwrap(), ALL - 2).unwrap()).await
    }

    pub(crate) async fn with(shared: &std::sync::Arc<Shared>, name: &'static str, scene: ComposeScene) -> Self {
        let store = TcpProxy::start(&shared.s3.address()).await.unwrap();
        let ssh = TcpProxy::start(&format!("127.0.0.1:{}", shared.sshd.port())).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        Self { scene, store, ssh, name, shared: shared.clone(), dir }
    }

    /// Its part of `sites:`; with the way to it for whoever is elsewhere.
    fn site(&self, role: &str, ssh: bool) -> String {
        let (name, scene, sshd) = (self.name, &self.scene, &self.shared.sshd);
        let ssh = if ssh {
            format!(
                "    ssh: {{ host: 127.0.0.1, port: {}, user: root, key_file: {}, known_hosts_file: {}, connect_timeout: 2s }}\n",
                self.ssh.port(),
                sshd.key().display(),
                sshd.known_hosts().display()
            )
        } else {
            String::new()
        };
        format!(
            "  {name}:\n    role: {role}\n    address: {}\n    compose: {{ file: {}, project: {}, docker_host: '{}' }}\n{ssh}    \
             jobs_dir: {}\n    fence: {{ dir: {}, lease: site-{name}, lease_time: {}s }}\n",
            scene.address,
            scene.file().display(),
            scene.project,
            self.shared.docker.host(),
            scene.folder("jobs").display(),
            scene.folder("fence").display(),
            LEASE.as_secs(),
        )
    }

    /// Starts its daemon, from the configuration of its own.
    pub(crate) fn serve(&self) -> Daemon {
        let file = self.dir.path().join("veza-dr.yml");
        let text = format!(
            "state_dir: {}\nserve: {{ site: {}, listen: '127.0.0.1:0' }}\n{}sites:\n{}",
            self.dir.path().join("state").display(),
            self.name,
            self.shared.store(self.name, &self.store.address()),
            self.site("primary", false)
        );
        std::fs::write(&file, text).unwrap();
        let log = self.dir.path().join(format!("log-{}", OperationId::random()));
        let mut command = Command::new(env!("CARGO_BIN_EXE_veza-dr"));
        command.args(["serve", "--config"]).arg(file).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
        Daemon { child: Mutex::new(child), log }
    }

    /// Waits until its daemon said so.
    pub(crate) async fn tells(&self, daemon: &Daemon, what: &str) {
        let began = Instant::now();
        while !daemon.log().contains(what) {
            assert!(began.elapsed() < WAIT, "the daemon of {} never said `{what}`:\n{}", self.name, daemon.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) async fn until(&self, what: &str, there: impl Fn() -> bool) {
        let began = Instant::now();
        while !there() {
            assert!(began.elapsed() < WAIT, "{}: {what}: never", self.name);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Somebody at the machine starts it.
    pub(crate) async fn up(&self) {
        let scene = &self.scene;
        let mut project = ComposeProject::new(self.name, scene.file().display().to_string(), scene.project.clone());
        project.docker_host = Some(self.shared.docker.host());
        project.jobs_dir = scene.folder("jobs").display().to_string();
        project.fence_dir = scene.folder("fence").display().to_string();
        let (site, cx) = (ComposeSite::new(project).unwrap(), Cx::background());
        let up = site.up(&cx, &Job(format!("by-hand-{}", OperationId::random())), &[]).await.unwrap();
        assert_eq!(up.code, 0, "{}", up.output);
        site.wait_healthy(&cx, &[], WAIT).await.unwrap();
    }

    /// What the start script of docs/sites.md does when the machine boots; whether it started anything.
    pub(crate) fn boot(&self) -> bool {
        let (mark, file, project) = (self.mark_file(), self.scene.file(), &self.scene.project);
        let script = format!(
            "mark={}\nif [ -e \"$mark\" ]; then exit 1; fi\nexec docker-compose -f {} -p {project} up -d\n",
            mark.display(),
            file.display(),
        );
        let host = self.shared.docker.host();
        Command::new("sh").args(["-c", &script]).env("DOCKER_HOST", host).status().unwrap().success()
    }

    fn mark_file(&self) -> PathBuf {
        self.scene.folder("fence").join(&self.scene.project)
    }

    /// What its fence mark says.
    pub(crate) fn mark(&self) -> Option<String> {
        std::fs::read_to_string(self.mark_file()).ok().filter(|text| text.ends_with('\n'))
    }

    fn containers(&self, more: &[&str]) -> Vec<String> {
        let project = format!("label=com.docker.compose.project={}", self.scene.project);
        let mut arguments = vec!["ps", "-q", "--filter", &project];
        arguments.extend(more);
        self.shared.docker.run(&arguments).unwrap().lines().map(str::to_owned).collect()
    }

    /// Which of its containers run, as Docker says.
    pub(crate) fn running(&self) -> Vec<String> {
        self.containers(&[])
    }

    /// The restart policies of its containers.
    pub(crate) fn policies(&self) -> Vec<String> {
        let containers = self.containers(&["-a"]);
        let mut arguments = vec!["inspect", "-f", "{{.Name}} {{.HostConfig.RestartPolicy.Name}}"];
        arguments.extend(containers.iter().map(String::as_str));
        let told = self.shared.docker.run(&arguments).unwrap();
        let mut lines: Vec<&str> = told.lines().collect();
        lines.sort_unstable();
        lines.into_iter().map(|l| l.split_once(' ').unwrap().1.to_owned()).collect()
    }

    /// Waits until all of it runs, and its users are served.
    pub(crate) async fn serves(&self) {
        let at = format!("{}:{}", self.scene.address, self.scene.ports.redis).parse().unwrap();
        let writes = || veza_dr_tests::observer::write_to_redis(at, 1).is_ok_and(|ok| ok);
        self.until("it serves", || self.running().len() == ALL && writes()).await;
    }
}

/// The daemon of a machine; killed when the test ends.
pub(crate) struct Daemon {
    child: Mutex<Child>,
    log: PathBuf,
}

impl Daemon {
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// `kill -9`.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap();
        let _ = child.kill();
        let _ = child.wait();
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

/// Who sits elsewhere, reaches the store by another way, and both sites by SSH.
pub(crate) struct Operator {
    dr: Dr,
    dir: TempDir,
}

pub(crate) fn operator(shared: &Shared, primary: &Machine, standby: &Machine) -> Operator {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "state_dir: {}\n{}sites:\n{}{}",
        dir.path().join("state").display(),
        shared.store(primary.name, &shared.s3.address()),
        primary.site("primary", true),
        standby.site("standby", true),
    );
    let file = dir.path().join("veza-dr.yml");
    std::fs::write(&file, text).unwrap();
    Operator { dr: Dr(file), dir }
}

impl Operator {
    pub(crate) fn ok(&self, arguments: &[&str]) -> Value {
        self.dr.ok(arguments)
    }

    /// The records of a run.
    pub(crate) fn journal(&self, told: &Value) -> Vec<Value> {
        let file = self.dir.path().join(format!("state/failover/{}.journal", told["run"].as_str().unwrap()));
        let text = std::fs::read_to_string(file).unwrap();
        text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["record"].take()).collect()
    }
}
