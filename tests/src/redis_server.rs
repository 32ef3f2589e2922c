//! A private Redis server on a free loopback port, gone when dropped.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::child::{GuardedChild, find_in_path};
use crate::fixtures::servers_dir;
use crate::ports::free_port;
use crate::postgres_server::random_hex;
use crate::redis_client::{RedisClient, Reply};
use crate::redis_tls::TestCa;
use crate::{Error, Result};

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Options of [`RedisServer::start`].
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    /// Lines of the configuration file, after the defaults; the last of a name wins.
    pub lines: Vec<String>,
    tls: Option<TlsPaths>,
    kin: Option<&'static str>,
}

#[derive(Debug, Clone)]
struct TlsPaths {
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

impl RedisOptions {
    /// Another server than Debian's Redis: `valkey-9`, `valkey-8` or `redis-6`, as `tests/servers/fetch-valkey.sh` fetches
    /// them.
    #[must_use]
    pub fn of(kin: &'static str) -> Self {
        Self { kin: Some(kin), ..Self::default() }
    }

    /// Adds one line of configuration.
    #[must_use]
    pub fn with(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Adds an ACL user: `backup on >secret +psync +replconf`.
    #[must_use]
    pub fn with_user(self, rule: &str) -> Self {
        self.with(format!("user {rule}"))
    }

    /// With the append-only file.
    #[must_use]
    pub fn with_aof(self) -> Self {
        self.with("appendonly yes").with("appendfsync always")
    }

    /// With save points that never come due by themselves: the server counts as one that writes `dump.rdb`.
    #[must_use]
    pub fn with_save_points(self) -> Self {
        self.with("save 86400 1000000000")
    }

    /// Serves TLS beside the plain port. Clients need a certificate unless a later line says `tls-auth-clients no`.
    #[must_use]
    pub fn with_tls(mut self, ca: &TestCa) -> Self {
        self.tls = Some(TlsPaths { ca: ca.ca(), cert: ca.cert("server"), key: ca.key("server") });
        self
    }
}

/// What a test server is unless told otherwise: no persistence, and replicas served without the usual wait of 5 s.
const DEFAULT_LINES: &str = "bind 127.0.0.1\nprotected-mode no\ndaemonize no\nsave \"\"\nappendonly no\n\
     repl-diskless-sync-delay 0\nenable-debug-command yes\nstop-writes-on-bgsave-error yes\nlogfile \"\"\n";

/// The program of another server.
pub fn kin_program(kin: &str) -> Result<PathBuf> {
    let program = servers_dir().join("valkey").join(kin).join("server");
    if program.is_file() {
        return Ok(program);
    }
    Err(format!("{} is missing: tests/servers/fetch-valkey.sh fetches it", program.display()).into())
}

/// A running (or stopped) Redis server with a folder of its own.
///
/// The user `default` has a random password. Dropping the value kills the process and removes the folder; a test
/// process that is itself killed takes the server along, see [`GuardedChild`].
#[derive(Debug)]
pub struct RedisServer {
    // Declared before the directory: fields drop in this order, and the server must be gone first.
    child: Option<GuardedChild>,
    dir: TempDir,
    options: RedisOptions,
    program: PathBuf,
    port: u16,
    tls_port: Option<u16>,
    password: String,
}

impl RedisServer {
    /// Starts a server; returns when it answers.
    pub async fn start(options: RedisOptions) -> Result<Self> {
        let program = match options.kin {
            None => find_in_path("redis-server").ok_or("redis-server is missing: scripts/setup.sh installs it")?,
            Some(kin) => kin_program(kin)?,
        };
        let dir = tempfile::Builder::new().prefix("veza-redis-").tempdir()?;
        std::fs::create_dir(dir.path().join("data"))?;
        let password = random_hex()?;
        let mut server = Self { child: None, dir, options, program, port: 0, tls_port: None, password };
        let mut last: Error = "not tried".into();
        for _ in 0..5 {
            server.port = free_port()?;
            server.tls_port = server.options.tls.as_ref().map(|_| free_port()).transpose()?;
            match server.launch().await {
                Ok(()) => return Ok(server),
                Err(error) if error.to_string().contains("Address already in use") => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Starts a replica of `primary` and waits until it has everything.
    pub async fn start_replica(primary: &Self, options: RedisOptions) -> Result<Self> {
        let options = options
            .with(format!("replicaof 127.0.0.1 {}", primary.port))
            .with(format!("masterauth {}", primary.password));
        let replica = Self::start(options).await?;
        replica.wait_info("replication", "master_link_status:up").await?;
        Ok(replica)
    }

    /// Starts the server process on the port it has, and waits until it answers.
    async fn launch(&mut self) -> Result<()> {
        let mut config = format!(
            "{DEFAULT_LINES}port {}\ndir {}\nrequirepass {}\n",
            self.port,
            self.data_dir().display(),
            self.password
        );
        if let (Some(tls), Some(port)) = (&self.options.tls, self.tls_port) {
            let (ca, cert, key) = (tls.ca.display(), tls.cert.display(), tls.key.display());
            writeln!(config, "tls-port {port}\ntls-ca-cert-file {ca}\ntls-cert-file {cert}\ntls-key-file {key}")?;
        }
        if self.options.kin == Some("redis-6") {
            // Not known yet.
            config = config.replace("enable-debug-command yes\n", "");
        }
        for line in &self.options.lines {
            writeln!(config, "{line}")?;
        }
        let file = self.dir.path().join("redis.conf");
        std::fs::write(&file, config)?;
        let log = OpenOptions::new().create(true).append(true).open(self.log_path())?;
        let from = log.metadata()?.len();
        let dir = self.data_dir();
        let child = GuardedChild::spawn(&self.program, None, Signal::KILL, STOP_LIMIT, |command| {
            let errors = log.try_clone().map_or_else(|_| Stdio::null(), Stdio::from);
            command.arg(&file).current_dir(dir).stdin(Stdio::null()).stdout(log).stderr(errors);
        })?;
        self.child = Some(child);
        self.wait_ready(from as usize).await
    }

    async fn wait_ready(&self, log_from: usize) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let error = match self.try_info("persistence").await {
                Ok(info) if info.contains("\nloading:0") => return Ok(()),
                Ok(_) => "it is loading".into(),
                Err(error) => error,
            };
            let ended = self.child.as_ref().and_then(GuardedChild::exit_status);
            if ended.is_some() || Instant::now() > deadline {
                let log = self.log();
                let log = log.get(log_from..).unwrap_or(&log);
                return Err(format!("Redis did not start ({ended:?}, {error}):\n{log}").into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops the server as `systemctl stop` does: with save points it writes `dump.rdb` first.
    pub fn stop(&mut self) {
        if let Some(child) = self.child.take() {
            child.stop(Signal::TERM, STOP_LIMIT);
        }
    }

    /// Kills the server with SIGKILL. Its files stay.
    pub fn kill9(&mut self) {
        if let Some(child) = self.child.take() {
            child.stop(Signal::KILL, STOP_LIMIT);
        }
    }

    /// Freezes or wakes the process (SIGSTOP, SIGCONT): a server that is there but answers nothing.
    pub fn freeze(&self, frozen: bool) {
        if let Some(child) = &self.child {
            child.signal(if frozen { Signal::STOP } else { Signal::CONT });
        }
    }

    /// Starts the server again on the same port and files; stops it first, if it runs.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop();
        self.launch().await
    }

    /// Adds a line of configuration for the next [`restart`](Self::restart).
    pub fn set(&mut self, line: &str) {
        self.options.lines.push(line.to_owned());
    }

    /// True while the process runs.
    pub fn is_alive(&self) -> bool {
        self.child.as_ref().is_some_and(|child| child.exit_status().is_none())
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.child.as_ref().map(GuardedChild::pid)
    }

    /// The plain port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and plain port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The URL of the plain port, without credentials.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// The URL of the TLS port, without credentials.
    pub fn tls_url(&self) -> String {
        format!("rediss://127.0.0.1:{}", self.tls_port.expect("a server with TLS"))
    }

    /// The TLS port on 127.0.0.1, when there is one.
    pub fn tls_port(&self) -> Option<u16> {
        self.tls_port
    }

    /// The password of the user `default`.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The server's working folder: `dump.rdb`, `appendonlydir`.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The server's log so far.
    pub fn log(&self) -> String {
        std::fs::read(self.log_path()).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// A connection of the user `default`.
    pub async fn client(&self) -> Result<RedisClient> {
        self.client_as("default", &self.password).await
    }

    /// A connection of some user.
    pub async fn client_as(&self, user: &str, password: &str) -> Result<RedisClient> {
        let mut client = RedisClient::connect(&self.address()).await?;
        client.run(&["AUTH", user, password]).await?;
        Ok(client)
    }

    /// Runs one command of words without blanks, in database 0.
    pub async fn say(&self, command: &str) -> Result<Reply> {
        self.client().await?.say(command).await
    }

    /// A section of `INFO`.
    pub async fn info(&self, section: &str) -> Result<String> {
        self.try_info(section).await
    }

    /// One value of `INFO`; empty when it is not there.
    pub async fn info_value(&self, section: &str, name: &str) -> Result<String> {
        let info = self.info(section).await?;
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(value.unwrap_or_default().trim().to_owned())
    }

    /// Waits until a section of `INFO` has a line that starts so.
    pub async fn wait_info(&self, section: &str, line: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let info = self.info(section).await?;
            if info.lines().any(|found| found.starts_with(line)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{line} did not come: {info}").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Writes `dump.rdb` and returns its path.
    pub async fn save(&self) -> Result<PathBuf> {
        self.say("SAVE").await?;
        Ok(self.data_dir().join("dump.rdb"))
    }

    /// `redis-cli` of this server's user `default`; the password goes through its environment.
    pub fn cli(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("redis-cli");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]).env("REDISCLI_AUTH", &self.password);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn try_info(&self, section: &str) -> Result<String> {
        Ok(self.client().await?.run(&["INFO", section]).await?.text().replace('\r', ""))
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }
}

/// Whether `redis-check-rdb` finds nothing wrong with a file; its words when it does.
pub async fn check_rdb(path: &Path) -> Result<()> {
    let output = tokio::process::Command::new("redis-check-rdb").arg(path).output().await?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() && said.contains("\\o/ RDB looks OK!") { Ok(()) } else { Err(said.into()) }
}
