//! A private PostgreSQL server on a free loopback port, gone when dropped.

use std::fs::OpenOptions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use crate::child::{GuardedChild, RunAs, children_of};
use crate::ports::free_port;
use crate::postgres_majors::default_bin_dir;
use crate::postgres_options::DEFAULT_SETTINGS;
pub use crate::postgres_options::{PgOptions, TlsFiles};
use crate::{Error, Result};

const START_LIMIT: Duration = Duration::from_secs(90);
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A running (or stopped) PostgreSQL server with a data directory of its own.
///
/// It listens on TCP only, the superuser is `postgres` with a random password, and every login needs SCRAM. Dropping
/// it sends the immediate-shutdown signal, kills what is left and removes the directory; a test process that is itself
/// killed takes the server along, see [`GuardedChild`]. PostgreSQL refuses to run as root, so a root test process runs
/// it as `postgres` or `nobody`.
#[derive(Debug)]
pub struct PgServer {
    // Declared before the directory: fields drop in this order, and the server must be gone first.
    child: Option<GuardedChild>,
    dir: TempDir,
    data_dir: PathBuf,
    bin_dir: PathBuf,
    options: PgOptions,
    run_as: Option<RunAs>,
    port: u16,
    password: String,
    version: (u32, String),
}

impl PgServer {
    /// Creates a cluster and starts it; returns when it accepts connections.
    pub async fn start(options: PgOptions) -> Result<Self> {
        let mut server = Self::prepare(options, None)?;
        server.initdb().await?;
        server.start_on_free_port().await?;
        Ok(server)
    }

    /// Starts a server on a data directory made elsewhere (a base backup, a recovered cluster), in place.
    ///
    /// The directory is given to the user the server runs as, its `pg_hba.conf` is replaced, and it is not removed on
    /// drop. `password` is the one of its superuser `postgres`. `recovery.signal` and the like are honoured.
    pub async fn start_on(data_dir: &Path, password: &str, options: PgOptions) -> Result<Self> {
        let mut server = Self::prepare(options, Some(data_dir))?;
        server.password = password.to_owned();
        if let Some(owner) = server.run_as {
            chown_all(data_dir, owner)?;
        }
        std::fs::set_permissions(data_dir, PermissionsExt::from_mode(0o700))?;
        server.write_auth_and_tls()?;
        server.start_on_free_port().await?;
        Ok(server)
    }

    fn prepare(options: PgOptions, data_dir: Option<&Path>) -> Result<Self> {
        let bin_dir = match &options.bin_dir {
            Some(dir) => dir.clone(),
            None => default_bin_dir()?,
        };
        let run_as = RunAs::unprivileged()?;
        let dir = tempfile::Builder::new().prefix("veza-pg-").tempdir()?;
        if let Some(RunAs { uid, gid }) = run_as {
            chown(dir.path(), Some(uid), Some(gid))?;
        }
        let version = server_version(&bin_dir)?;
        let data_dir = data_dir.map_or_else(|| dir.path().join("data"), Path::to_path_buf);
        let password = random_hex()?;
        Ok(Self { child: None, dir, data_dir, bin_dir, options, run_as, port: 0, password, version })
    }

    async fn initdb(&self) -> Result<()> {
        let password_file = self.dir.path().join("password");
        self.write_owned(&password_file, self.password.as_bytes())?;
        let mut command = tokio::process::Command::new(self.bin("initdb"));
        command
            .arg("--pgdata")
            .arg(&self.data_dir)
            .args(["--username=postgres", "--auth=scram-sha-256", "--no-sync"])
            .arg(format!("--pwfile={}", password_file.display()))
            .arg(format!("--encoding={}", self.options.encoding))
            .arg(format!("--locale={}", self.options.locale))
            .args(&self.options.initdb_args)
            .current_dir(self.dir.path())
            .env_remove("LC_ALL");
        if let Some(RunAs { uid, gid }) = self.run_as {
            command.uid(uid).gid(gid);
        }
        let output = command.output().await.map_err(|error| format!("cannot run initdb: {error}"))?;
        if !output.status.success() {
            return Err(format!("initdb failed: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        self.write_auth_and_tls()
    }

    fn write_auth_and_tls(&self) -> Result<()> {
        let mut hba = self.options.hba.clone();
        hba.push("host all all 127.0.0.1/32 scram-sha-256".to_owned());
        hba.push("host replication all 127.0.0.1/32 scram-sha-256\n".to_owned());
        self.write_owned(&self.data_dir.join("pg_hba.conf"), hba.join("\n").as_bytes())?;
        if let Some(TlsFiles { cert, key }) = &self.options.tls {
            self.write_owned(&self.dir.path().join("server.crt"), &std::fs::read(cert)?)?;
            self.write_owned(&self.dir.path().join("server.key"), &std::fs::read(key)?)?;
        }
        Ok(())
    }

    async fn start_on_free_port(&mut self) -> Result<()> {
        let mut last: Error = "not tried".into();
        for _ in 0..5 {
            self.port = free_port()?;
            match self.launch().await {
                Ok(()) => return Ok(()),
                Err(error) if error.to_string().contains("Address already in use") => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Starts the server process on the port it has, and waits until it answers.
    async fn launch(&mut self) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path())?;
        let mut settings: Vec<(String, String)> =
            DEFAULT_SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        settings.push(("port".to_owned(), self.port.to_string()));
        settings.push(("unix_socket_directories".to_owned(), self.dir.path().display().to_string()));
        if self.options.tls.is_some() {
            for (name, value) in [("ssl", "on"), ("ssl_cert_file", "server.crt"), ("ssl_key_file", "server.key")] {
                let value =
                    if name == "ssl" { value.into() } else { self.dir.path().join(value).display().to_string() };
                settings.push((name.to_owned(), value));
            }
        }
        settings.extend(self.options.settings.iter().cloned());
        let data_dir = self.data_dir.clone();
        let child =
            GuardedChild::spawn(&self.bin("postgres"), self.run_as, Signal::QUIT, Duration::from_secs(5), |command| {
                command.arg("-D").arg(&data_dir).current_dir(&data_dir);
                for (name, value) in &settings {
                    command.arg("-c").arg(format!("{name}={value}"));
                }
                let errors = log.try_clone().map_or_else(|_| Stdio::null(), Stdio::from);
                command.stdin(Stdio::null()).stdout(log).stderr(errors).env_remove("LC_ALL");
            })?;
        self.child = Some(child);
        self.wait_ready().await
    }

    async fn wait_ready(&self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let error = match self.client("postgres").await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let ended = self.child.as_ref().and_then(GuardedChild::exit_status);
            if ended.is_some() || Instant::now() > deadline {
                return Err(format!("PostgreSQL did not start ({ended:?}, {error}):\n{}", self.log()).into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops the server in an orderly way (fast shutdown, with a checkpoint). The data stay.
    pub fn stop(&mut self) {
        if let Some(child) = self.child.take() {
            child.stop(Signal::INT, STOP_LIMIT);
        }
    }

    /// Kills the postmaster and every process of its with SIGKILL, as a power cut does. The data stay, uncheckpointed.
    ///
    /// The postmaster's death alone leaves a busy machine's backends time to carry out one more statement.
    pub fn kill9(&mut self) {
        if let Some(child) = self.child.take() {
            let backends = children_of(child.pid());
            child.stop(Signal::KILL, STOP_LIMIT);
            for backend in backends {
                let _ = kill_process(backend, Signal::KILL);
            }
        }
    }

    /// Stops the server if it runs and starts it on the same port; after [`kill9`](Self::kill9) this is a recovery.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop();
        let deadline = Instant::now() + STOP_LIMIT;
        loop {
            // After kill -9 the backends still hold the shared memory for a moment, and the postmaster waits for none.
            match self.launch().await {
                Err(error) if Instant::now() < deadline && error.to_string().contains("pre-existing shared memory") => {
                    self.child = None;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Sets server settings for the next [`restart`](Self::restart).
    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.options.settings.push((name.to_owned(), value.to_string()));
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The superuser's password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The server's major version.
    pub fn major(&self) -> u32 {
        self.version.0
    }

    /// The server's version as `postgres --version` gives it.
    pub fn version(&self) -> &str {
        &self.version.1
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// A directory that the server may write, removed with the server: for tablespaces, archives, `COPY TO` files.
    pub fn scratch_dir(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(&path)?;
        if let Some(RunAs { uid, gid }) = self.run_as {
            chown(&path, Some(uid), Some(gid))?;
        }
        Ok(path)
    }

    /// The user the server runs as, when it differs from this process's.
    pub fn run_as(&self) -> Option<RunAs> {
        self.run_as
    }

    /// The process id of the postmaster, while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.child.as_ref().map(GuardedChild::pid)
    }

    /// The path of a program of the server's own installation.
    pub fn bin(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }

    /// The server's log so far.
    pub fn log(&self) -> String {
        std::fs::read(self.log_path()).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// A connection of the superuser. It closes when the client is dropped.
    pub async fn client(&self, database: &str) -> Result<Client> {
        self.client_as("postgres", &self.password, database).await
    }

    /// A connection of some user.
    pub async fn client_as(&self, user: &str, password: &str, database: &str) -> Result<Client> {
        let (client, connection) = tokio_postgres::Config::new()
            .host("127.0.0.1")
            .port(self.port)
            .user(user)
            .password(password)
            .dbname(database)
            .application_name("veza-dr-tests")
            .connect_timeout(Duration::from_secs(10))
            .connect(NoTls)
            .await
            .map_err(|error| describe(&error))?;
        tokio::spawn(connection);
        Ok(client)
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn write_owned(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        std::fs::write(path, bytes)?;
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
        if let Some(RunAs { uid, gid }) = self.run_as {
            chown(path, Some(uid), Some(gid))?;
        }
        Ok(())
    }
}

/// `tokio_postgres::Error` prints only its kind; the server's own words are in its source.
pub fn describe(error: &tokio_postgres::Error) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default())
}

fn server_version(bin_dir: &Path) -> Result<(u32, String)> {
    let program = bin_dir.join("postgres");
    let output = std::process::Command::new(&program)
        .arg("--version")
        .output()
        .map_err(|error| format!("cannot run {}: {error}", program.display()))?;
    let version = String::from_utf8(output.stdout)?.trim().to_owned();
    let number = version.split_whitespace().find_map(|word| word.split('.').next()?.parse().ok());
    Ok((number.ok_or_else(|| format!("no version in {version:?}"))?, version))
}

/// 32 random hexadecimal digits.
pub fn random_hex() -> Result<String> {
    use std::io::Read as _;
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hex::encode(bytes))
}

fn chown_all(path: &Path, owner: RunAs) -> Result<()> {
    std::os::unix::fs::lchown(path, Some(owner.uid), Some(owner.gid))?;
    if path.symlink_metadata()?.is_dir() {
        for entry in std::fs::read_dir(path)? {
            chown_all(&entry?.path(), owner)?;
        }
    }
    Ok(())
}
