//! The plan of a failover rehearsed on two sites of containers, by the `veza-dr` command itself.
//! The container engine, its network and both sites are its own, and gone afterwards. Needs root, as engines do.

#![expect(clippy::print_stdout, reason = "this program's output is its purpose")]

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use veza_dr_core::Cx;
use veza_dr_failover::site::{ComposeProject, ComposeSite, Job, SiteControl};
use veza_dr_tests::{
    compose_site::{ComposeScene, Ports, SERVICES, images},
    docker::Dockerd,
    netns,
};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

const PRIMARY: &str = "127.0.0.2";
const STANDBY: &str = "127.0.0.3";
const TABLES: &str = "\
    CREATE TABLE users (id int PRIMARY KEY, name text UNIQUE NOT NULL, created_at timestamptz NOT NULL DEFAULT now());\
    CREATE TABLE messages (id bigint PRIMARY KEY, sender int NOT NULL REFERENCES users, body text NOT NULL);\
    INSERT INTO users SELECT g, 'user-' || g FROM generate_series(1, 2000) g;\
    INSERT INTO messages SELECT g, 1 + g % 2000, repeat(md5(g::text), 3) FROM generate_series(1, 40000) g";
/// Written after the backup: what a disaster now would lose.
const LATE_ROWS: u64 = 17;
const LATE_KEYS: u64 = 3;

fn main() -> Outcome<ExitCode> {
    if let Some(ended) = netns::again(true)? {
        return Ok(if ended.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    tokio::runtime::Runtime::new()?.block_on(rehearse()).map(|()| ExitCode::SUCCESS)
}

async fn rehearse() -> Outcome {
    println!("1. Two sites of {} services each: the primary serves, the standby was never started", SERVICES.len());
    let sites = Sites::start().await?;

    println!("2. Back the primary up");
    sites.says(&["backup"])?;
    sites.write_more()?;
    println!("   then {LATE_ROWS} more users sign up, and {LATE_KEYS} more sessions begin: no backup has them");

    println!("3. What a failover would do");
    sites.says(&["failover", "plan", "--scenario", "infrastructure"])?;

    println!("4. The same plan, followed in a copy of the standby that has no way out");
    let before = sites.census()?;
    let started = Instant::now();
    sites.says(&["drill", "run", "--scenario", "infrastructure", "--compose", "standby"])?;
    let told = sites.veza_dr(&["--json", "drill", "report", "latest"])?;
    let record: Value = serde_json::from_slice(&told.stdout)?;
    done(started, "from the command until nothing was left of it");

    println!("5. What other tools say: psql, redis-cli, docker");
    let lost = |component: &str| {
        let parts = record["parts"].as_array().into_iter().flatten();
        parts.filter(|p| p["component"] == component).find_map(|p| p["loss"]["records"].as_u64())
    };
    let after = sites.census()?;
    println!("   {after}");
    if before != after {
        return Err(format!("production was {before} before the drill").into());
    }
    if (lost("database"), lost("redis")) != (Some(LATE_ROWS), Some(LATE_KEYS)) {
        return Err(format!("the drill counted other losses: {record:#}").into());
    }
    println!("   the drill lost {LATE_ROWS} rows and {LATE_KEYS} keys: what was written after the backup, exactly");

    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/demo");
    std::fs::create_dir_all(&kept)?;
    let page = kept.canonicalize()?.join("drill.html");
    sites.veza_dr(&["drill", "report", "latest", "--format", "html", "--output", &page.display().to_string()])?;
    println!("\nThe engine and both sites are gone again. The drill as an HTML report, to read and to print:");
    println!("{}", page.display());
    Ok(())
}

struct Sites {
    dir: tempfile::TempDir,
    docker: Dockerd,
    primary: ComposeScene,
    /// Its folder goes with it.
    _standby: ComposeScene,
}

impl Sites {
    async fn start() -> Outcome<Self> {
        let started = Instant::now();
        let dir = tempfile::tempdir()?;
        let docker = Dockerd::start_with_firewall()?;
        images(&docker)?;
        let ports = Ports::free()?;
        let primary = ComposeScene::at("primary", PRIMARY, ports, "veza_db")?;
        let standby = ComposeScene::at("standby", STANDBY, ports, "veza_db")?;
        std::fs::write(dir.path().join("veza-dr.yml"), configuration(&docker, &primary, &standby))?;
        std::fs::create_dir(dir.path().join("scratch"))?;
        let mut project = ComposeProject::new("primary", primary.file().display().to_string(), &primary.project);
        project.docker_host = Some(docker.host());
        project.jobs_dir = primary.folder("jobs").display().to_string();
        project.fence_dir = primary.folder("fence").display().to_string();
        let (site, cx) = (ComposeSite::new(project)?, Cx::background());
        let up = site.up(&cx, &Job("first-start".to_owned()), &[]).await?;
        if up.code != 0 {
            return Err(up.output.into());
        }
        site.wait_healthy(&cx, &[], Duration::from_secs(120)).await?;
        let sites = Self { dir, docker, primary, _standby: standby };
        sites.psql("postgres", &["-c", "CREATE DATABASE veza_db"])?;
        sites.psql("veza_db", &["-c", TABLES])?;
        for n in 0..200 {
            sites.redis(&["SET", &format!("session:{n}"), "somebody"])?;
        }
        done(started, &sites.census()?);
        Ok(sites)
    }

    fn write_more(&self) -> Outcome {
        let sql = format!("INSERT INTO users SELECT g, 'late-' || g FROM generate_series(2001, 2000 + {LATE_ROWS}) g");
        self.psql("veza_db", &["-c", &sql])?;
        for n in 0..LATE_KEYS {
            self.redis(&["SET", &format!("session:late-{n}"), "somebody"])?;
        }
        Ok(())
    }

    /// Runs `veza-dr` and shows what it prints, as an operator sees it.
    fn says(&self, args: &[&str]) -> Outcome {
        println!("   $ veza-dr {}", args.join(" "));
        let said = self.veza_dr(args)?;
        for line in String::from_utf8_lossy(&said.stdout).lines() {
            println!("   {line}");
        }
        Ok(())
    }

    fn veza_dr(&self, args: &[&str]) -> Outcome<Output> {
        let mut command = Command::new(std::env::current_exe()?.with_file_name("veza-dr"));
        command.arg("--config").arg(self.dir.path().join("veza-dr.yml")).args(args);
        run(command)
    }

    fn psql(&self, database: &str, args: &[&str]) -> Outcome<String> {
        let url = format!("postgres://postgres@{PRIMARY}:{}/{database}", self.primary.ports.postgres);
        let mut command = Command::new("psql");
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", &url]).args(args);
        Ok(String::from_utf8(run(command)?.stdout)?.trim().to_owned())
    }

    fn redis(&self, args: &[&str]) -> Outcome<String> {
        let mut command = Command::new("redis-cli");
        command.args(["-e", "-h", PRIMARY, "-p", &self.primary.ports.redis.to_string()]).args(args);
        Ok(String::from_utf8(run(command)?.stdout)?.trim().to_owned())
    }

    /// Production and its engine, by stock tools.
    fn census(&self) -> Outcome<String> {
        let sql = "SELECT (SELECT count(*) FROM users) || ' users, ' || (SELECT count(*) FROM messages) || ' messages'";
        let (rows, keys) = (self.psql("veza_db", &["-c", sql])?, self.redis(&["DBSIZE"])?);
        let engine = |what: &[&str]| Ok::<_, Box<dyn Error + Send + Sync>>(self.docker.run(what)?.lines().count());
        let (containers, networks) = (engine(&["ps", "-aq"])?, engine(&["network", "ls", "-q"])?);
        let volumes = engine(&["volume", "ls", "-q"])?;
        Ok(format!("{rows}, {keys} keys; {containers} containers, {networks} networks, {volumes} volumes"))
    }
}

fn run(mut command: Command) -> Outcome<Output> {
    let said = command.stdin(Stdio::null()).output()?;
    if said.status.success() {
        return Ok(said);
    }
    let text = [&said.stdout, &said.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    Err(format!("{command:?}: {}\n{text}", said.status).into())
}

fn done(started: Instant, what: &str) {
    println!("   {:>7.2} s  {what}", started.elapsed().as_secs_f64());
}

fn configuration(docker: &Dockerd, primary: &ComposeScene, standby: &ComposeScene) -> String {
    let folder = |scene: &ComposeScene, name: &str| -> PathBuf { scene.folder(name) };
    let site = |scene: &ComposeScene| {
        format!(
            "    address: {}\n    compose: {{ file: {}, project: {}, docker_host: '{}' }}\n    jobs_dir: {}\n    \
             fence: {{ dir: {} }}\n",
            scene.address,
            scene.file().display(),
            scene.project,
            docker.host(),
            folder(scene, "jobs").display(),
            folder(scene, "fence").display(),
        )
    };
    let Ports { api, chat, stream, postgres, redis } = primary.ports;
    let database = |at: &str| format!("postgres://postgres@{at}:{postgres}/veza_db?sslmode=disable");
    format!(
        "state_dir: state\ndrills: {{ scratch_dir: scratch }}\nstores: {{ local: {{ directory: {{ path: backups }} }} }}\n\
         sources:\n  database: {{ postgres: {{ url: '{}' }} }}\n  redis: {{ redis: {{ url: 'redis://{PRIMARY}:{redis}' }} }}\n\
         sites:\n  primary:\n    role: primary\n{}    \
         data: {{ database: {{ services: [postgres] }}, redis: {{ services: [redis] }} }}\n  \
         standby:\n    role: standby\n{}    data:\n      \
         database: {{ services: [postgres], postgres: {{ url: '{}' }} }}\n      \
         redis: {{ services: [redis], redis: {{ url: 'redis://{STANDBY}:{redis}' }} }}\n\
         validation:\n  - {{ name: api, http: {{ port: {api}, path: /health, json: {{ status: ok }} }} }}\n  \
         - {{ name: chat, websocket: {{ port: {chat}, path: /chat, token: test, send: hello }} }}\n  \
         - {{ name: stream, stream: {{ port: {stream}, path: /stream, bytes: 20 }} }}\n  \
         - {{ name: database, postgres: {{ source: database, canary: true, counts_of_backup: database }} }}\n  \
         - {{ name: cache, redis: {{ source: redis }} }}\n  \
         - {{ name: load, load: {{ port: {api}, path: /api/v1/users, requests: 100, concurrency: 10, p95: 5s, p99: 10s }} }}\n",
        database(PRIMARY),
        site(primary),
        site(standby),
        database(STANDBY),
    )
}
