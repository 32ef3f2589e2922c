//! A private S3 server (SeaweedFS) on free loopback ports, gone when dropped.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::child::{GuardedChild, find_in_path};
use crate::fixtures::servers_dir;
use crate::ports::free_port_pairs;
use crate::postgres_server::random_hex;
use crate::{Result, http};

const START_LIMIT: Duration = Duration::from_secs(90);
/// On TERM it announces its departure and waits, for up to 25 seconds. What it has acknowledged is in files by then.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A running SeaweedFS with one pair of credentials, all rights, and no buckets.
///
/// It refuses wrong signatures and wrong `x-amz-checksum-*`, and honours conditional writes, versions and object lock.
/// Unlike AWS it does not compare the body with `x-amz-content-sha256`, and it has no archived storage classes. The binary is `VEZA_DR_WEED`, else what
/// `tests/servers/fetch-seaweedfs.sh target/servers/seaweedfs` fetched, else `weed` in `PATH`. Its data live in a
/// temporary directory, so dropping it kills without ceremony; a killed test takes it along, see [`GuardedChild`].
#[derive(Debug)]
pub struct S3Server {
    // Declared before the directory: fields drop in this order.
    child: Option<GuardedChild>,
    dir: TempDir,
    weed: PathBuf,
    ports: [u16; 4],
    access_key: String,
    secret_key: String,
}

impl S3Server {
    /// Starts a server; returns when it can store objects.
    pub async fn start() -> Result<Self> {
        let weed = find_weed()?;
        let dir = tempfile::Builder::new().prefix("veza-s3-").tempdir()?;
        let access_key = format!("VEZA{}", &random_hex()?[..16].to_uppercase());
        let secret_key = random_hex()?;
        let config = serde_json::json!({
            "identities": [{
                "name": "tests",
                "credentials": [{ "accessKey": access_key, "secretKey": secret_key }],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            }]
        });
        std::fs::write(dir.path().join("s3.json"), config.to_string())?;
        std::fs::create_dir(dir.path().join("data"))?;
        let mut server = Self { child: None, dir, weed, ports: [0; 4], access_key, secret_key };
        let mut attempts = 0;
        loop {
            server.ports = free_port_pairs(10_000)?;
            attempts += 1;
            match server.launch().await {
                Err(error) if attempts < 3 && error.to_string().contains("address already in use") => {}
                outcome => return outcome.map(|()| server),
            }
        }
    }

    async fn launch(&mut self) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path())?;
        let [master, volume, filer, s3] = self.ports;
        let dir = self.dir.path().to_path_buf();
        let args = [
            "server".to_owned(),
            format!("-dir={}", dir.join("data").display()),
            "-ip=127.0.0.1".to_owned(),
            "-ip.bind=127.0.0.1".to_owned(),
            "-master.telemetry=false".to_owned(),
            format!("-master.port={master}"),
            "-master.volumeSizeLimitMB=256".to_owned(),
            // A restarted master waits for a leader before it makes itself one: 15 seconds by default.
            "-master.electionTimeout=1s".to_owned(),
            "-master.heartbeatInterval=100ms".to_owned(),
            format!("-volume.port={volume}"),
            "-volume.max=100".to_owned(),
            "-filer".to_owned(),
            format!("-filer.port={filer}"),
            "-s3".to_owned(),
            format!("-s3.port={s3}"),
            format!("-s3.config={}", dir.join("s3.json").display()),
            "-s3.port.iceberg=0".to_owned(),
            "-s3.port.lance=0".to_owned(),
        ];
        let child = GuardedChild::spawn(&self.weed, None, Signal::KILL, Duration::from_secs(5), |command| {
            let errors = log.try_clone().map_or_else(|_| Stdio::null(), Stdio::from);
            // Its home is where it looks for configuration files, so not the developer's.
            command.args(&args).current_dir(&dir).env("HOME", &dir);
            command.stdin(Stdio::null()).stdout(log).stderr(errors);
        })?;
        self.child = Some(child);
        self.wait_ready().await
    }

    /// The gateway answers before there is a volume to write to, so the master is asked for one as well.
    async fn wait_ready(&self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        let [master, _, _, s3] = self.ports;
        loop {
            let stores = http::get(&format!("127.0.0.1:{master}"), "/dir/assign").await;
            if stores.is_ok_and(|answer| String::from_utf8_lossy(&answer.body).contains("\"fid\""))
                && http::get(&format!("127.0.0.1:{s3}"), "/").await.is_ok()
            {
                return Ok(());
            }
            let ended = self.child.as_ref().and_then(GuardedChild::exit_status);
            if ended.is_some() || Instant::now() > deadline {
                return Err(format!("the S3 server did not start ({ended:?}):\n{}", self.log()).into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Stops the server in an orderly way; the objects stay. This takes some seconds.
    pub fn stop(&mut self) {
        if let Some(child) = self.child.take() {
            child.stop(Signal::TERM, STOP_LIMIT);
        }
    }

    /// Kills the server; the objects stay as far as they were written.
    pub fn kill9(&mut self) {
        if let Some(child) = self.child.take() {
            child.stop(Signal::KILL, STOP_LIMIT);
        }
    }

    /// Stops the server if it runs and starts it on the same ports, with the same objects.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop();
        self.launch().await
    }

    /// The address of the S3 API; buckets are in the path.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Host and port of the S3 API, for a [proxy](crate::fault_proxy::FaultProxy) in front of it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[3])
    }

    /// The region to sign for. The server takes any.
    pub fn region(&self) -> &'static str {
        "us-east-1"
    }

    /// The access key id.
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// The secret key.
    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// The server's log so far.
    pub fn log(&self) -> String {
        std::fs::read(self.log_path()).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }
}

fn find_weed() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("VEZA_DR_WEED") {
        return Ok(path.into());
    }
    let fetched = servers_dir().join("seaweedfs/bin/weed");
    if fetched.is_file() {
        return Ok(fetched);
    }
    find_in_path("weed").ok_or_else(|| {
        "no S3 server for the tests: run\n  tests/servers/fetch-seaweedfs.sh target/servers/seaweedfs".into()
    })
}
