//! A platform as Docker Compose runs it: PostgreSQL, Redis and three services of ours, each site with its own network,
//! ports on a loopback address, and images made of this machine's programs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::Result;
use crate::docker::{Dockerd, IMAGE};
use crate::ports::free_port;

/// Where Debian's packages put PostgreSQL, a folder for each version.
const POSTGRES: &str = "/usr/lib/postgresql";

/// The image with the demonstration service.
pub const DEMO: &str = "veza-dr-tests/demo";
const REDIS_IMAGE: &str = "veza-dr-tests/site-redis";
const POSTGRES_IMAGE: &str = "veza-dr-tests/site-postgres";

/// What runs on a site, dependencies first.
pub const SERVICES: [&str; 5] = ["postgres", "redis", "veza-backend-api", "veza-chat-server", "veza-stream-server"];

/// The ports of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// HTTP: /health, /write, /events, /api/v1/users, /crash, /break.
    pub api: u16,
    /// WebSocket: /chat with `Bearer test`.
    pub chat: u16,
    /// /stream.
    pub stream: u16,
    /// PostgreSQL, user `postgres`, no password.
    pub postgres: u16,
    /// Redis, no password.
    pub redis: u16,
}

impl Ports {
    /// Ports that nothing listens on now.
    ///
    /// # Errors
    /// When there is none.
    pub fn free() -> Result<Self> {
        let port = free_port;
        Ok(Self { api: port()?, chat: port()?, stream: port()?, postgres: port()?, redis: port()? })
    }
}

/// A Compose project that was written, and its folder.
#[derive(Debug)]
pub struct ComposeScene {
    dir: TempDir,
    /// The project.
    pub project: String,
    /// The loopback address that its services are published at.
    pub address: String,
    /// Where its services answer.
    pub ports: Ports,
}

impl ComposeScene {
    /// Writes the project of a site that calls itself `site`. Nothing is started.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn new(site: &str) -> Result<Self> {
        Self::at(site, "127.0.0.1", Ports::free()?, "postgres")
    }

    /// As [`new`](Self::new), at a loopback address with these ports, so that two sites differ by their address alone;
    /// the services write to this database, which is not made.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn at(site: &str, address: &str, ports: Ports, database: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let project = format!("veza-{site}");
        let demo = |port: u16, needs: &str| {
            format!(
                "    image: {DEMO}\n    environment: {{ SITE: {site}, PORT: '8080', DB_HOST: postgres, DB_NAME: {database}, TOKEN: test }}\n    \
                 ports: ['{address}:{port}:8080']\n    restart: unless-stopped\n    stop_signal: SIGKILL\n    \
                 depends_on: {needs}\n    \
                 healthcheck: {{ test: [CMD, /demo, check, '8080'], interval: 1s, timeout: 2s, retries: 2, start_period: 5s }}\n"
            )
        };
        let both = "{ postgres: { condition: service_healthy }, redis: { condition: service_healthy } }";
        let text = format!(
            "services:\n  veza-backend-api:\n{}  veza-chat-server:\n{}  veza-stream-server:\n{}  postgres:\n    \
             image: {POSTGRES_IMAGE}\n    stop_signal: SIGINT\n    ports: ['{address}:{}:5432']\n    restart: unless-stopped\n    \
             volumes: ['data:/data']\n    \
             healthcheck: {{ test: [CMD, {}/bin/pg_isready, -h, 127.0.0.1], interval: 1s, timeout: 2s, retries: 5, start_period: 20s }}\n  \
             redis:\n    image: {REDIS_IMAGE}\n    ports: ['{address}:{}:6379']\n    restart: unless-stopped\n    \
             healthcheck: {{ test: [CMD, /usr/bin/redis-cli, ping], interval: 1s, timeout: 2s, retries: 5 }}\n\
             volumes: {{ data: {{}} }}\n",
            demo(ports.api, both),
            demo(ports.chat, "{ veza-backend-api: { condition: service_started } }"),
            demo(ports.stream, "{ redis: { condition: service_healthy } }"),
            ports.postgres,
            postgres()?.display(),
            ports.redis,
        );
        std::fs::write(dir.path().join("site.yml"), text)?;
        Ok(Self { dir, project, address: address.to_owned(), ports })
    }

    /// As [`at`](Self::at), with Redis and the API's process, and so many workers that heed no signal: what needs no
    /// database.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn small(site: &str, address: &str, ports: Ports, workers: usize) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let worker = |n| {
            format!("  worker-{n}: {{ image: {IMAGE}, command: [/bin/sleep, '10000'], restart: unless-stopped }}\n")
        };
        let workers: String = (0..workers).map(worker).collect();
        let text = format!(
            "services:\n  redis:\n    image: {REDIS_IMAGE}\n    ports: ['{address}:{}:6379']\n    restart: always\n    \
             healthcheck: {{ test: [CMD, /usr/bin/redis-cli, ping], interval: 1s, timeout: 2s, retries: 5 }}\n  \
             veza-backend-api:\n    image: {DEMO}\n    environment: {{ SITE: {site}, PORT: '8080' }}\n    \
             ports: ['{address}:{}:8080']\n    restart: unless-stopped\n    stop_signal: SIGKILL\n    \
             depends_on: {{ redis: {{ condition: service_healthy }} }}\n    \
             healthcheck: {{ test: [CMD, /demo, check, '8080'], interval: 1s, timeout: 2s, retries: 2, start_period: 5s }}\n\
             {workers}",
            ports.redis, ports.api,
        );
        std::fs::write(dir.path().join("site.yml"), text)?;
        Ok(Self { dir, project: format!("veza-{site}"), address: address.to_owned(), ports })
    }

    /// The Compose file.
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("site.yml")
    }

    /// A folder that lasts as long as the project, for what its machine keeps.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// The newest PostgreSQL of this machine's packages.
fn postgres() -> Result<PathBuf> {
    let versions = std::fs::read_dir(POSTGRES).into_iter().flatten().flatten().map(|e| e.path());
    let whole = versions.filter(|v| v.join("bin/initdb").exists());
    let number = |v: &PathBuf| v.file_name()?.to_str()?.parse::<u32>().ok();
    whole.max_by_key(number).ok_or_else(|| "there is no PostgreSQL server: apt-get install postgresql".into())
}

/// Makes the images of the five services.
///
/// # Errors
/// When PostgreSQL 15, Redis or `rustc` is not there, or those of Docker.
pub fn images(docker: &Dockerd) -> Result<()> {
    demo_image(docker)?;
    redis_image(docker)?;
    let postgres = postgres()?;
    let bin = postgres.join("bin").display().to_string();
    let programs: Vec<String> = ["postgres", "initdb", "pg_isready"].iter().map(|p| format!("{bin}/{p}")).collect();
    let mut programs: Vec<&str> = programs.iter().map(String::as_str).collect();
    // Clients ask for UTC by name.
    programs.extend(["/bin/sh", "/usr/bin/locale", "/usr/share/zoneinfo/UTC"]);
    let start = format!(
        "[ -e /data/db/PG_VERSION ] || {{ {bin}/initdb -D /data/db -U postgres -A trust --no-sync --locale=C -E UTF8 \
         && echo 'host all all all trust' >> /data/db/pg_hba.conf; }} \
         && exec {bin}/postgres -D /data/db -c listen_addresses=* -c unix_socket_directories=/tmp -c fsync=off -c jit=off"
    );
    let entry = format!("CMD {}", serde_json::json!(["/bin/sh", "-c", start]));
    let changes = ["USER postgres", "EXPOSE 5432", &entry];
    let share = Path::new("/usr/share/postgresql").join(postgres.file_name().unwrap_or_default()).display().to_string();
    let trees = [share.as_str(), &postgres.join("lib").display().to_string()];
    docker.import_with(POSTGRES_IMAGE, &programs, &trees, &changes)
}

/// The image of Redis alone.
///
/// # Errors
/// As [`images`].
pub fn redis_image(docker: &Dockerd) -> Result<()> {
    // A replica is served at once instead of after five seconds in which more of them could come.
    let entry =
        r#"CMD ["/usr/bin/redis-server", "--save", "", "--protected-mode", "no", "--repl-diskless-sync-delay", "0"]"#;
    docker.import_with(REDIS_IMAGE, &["/usr/bin/redis-server", "/usr/bin/redis-cli"], &[], &["EXPOSE 6379", entry])
}

/// The image of the demonstration service alone: one static file.
///
/// # Errors
/// As [`images`].
pub fn demo_image(docker: &Dockerd) -> Result<()> {
    let demo = demo()?;
    docker.import_file(DEMO, &demo, "/demo", &["EXPOSE 8080", r#"CMD ["/demo"]"#])
}

/// Builds the demonstration service, unless it was built from this very source.
fn demo() -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = manifest.join("servers/demo_service.rs");
    let folder = manifest.join("../target/servers/demo");
    let (built, kept) = (folder.join("demo"), folder.join("demo_service.rs"));
    std::fs::create_dir_all(&folder)?;
    // Several test programs may want it at once: one builds, the others wait. (The compiler's intermediate files are
    // named after the source, so two of them in one folder take each other's away.)
    let turn = File::create(folder.join("turn"))?;
    turn.lock()?;
    let text = std::fs::read(&source)?;
    if built.exists() && std::fs::read(&kept).is_ok_and(|k| k == text) {
        return Ok(built);
    }
    // In place at once: who is killed here leaves no half of a program.
    let fresh = folder.join("fresh");
    let target = ["--edition=2024", "-O", "-C", "target-feature=+crt-static", "--target", "x86_64-unknown-linux-gnu"];
    let output = Command::new("rustc").args(target).arg("-o").arg(&fresh).arg(&source).output()?;
    if !output.status.success() {
        return Err(format!("rustc: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    std::fs::rename(&fresh, &built)?;
    std::fs::write(&kept, &text)?;
    Ok(built)
}
