//! A private server for a proof: on the loopback interface, with a password, gone afterwards.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::{
    io::AsyncWriteExt,
    net::TcpListener,
    process::{Child, Command},
};
use veza_dr_backup::redis::{Endpoint, RedisConfig};
use veza_dr_core::{Cx, Error, ErrorKind, Result, SecretString};

use super::control::Control;

const TRIES: usize = 5;

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    child: Child,
    pub(crate) config: RedisConfig,
    pub(crate) endpoint: Endpoint,
    folder: PathBuf,
}

impl Scratch {
    /// Starts `program` in `folder`, which has the data as `dump.rdb`; returns once they are loaded.
    pub(crate) async fn start(cx: &Cx, program: &Path, folder: &Path, databases: u64) -> Result<Self> {
        let program = &find(program)?;
        let mut last = None;
        for _ in 0..TRIES {
            let port = free_port().await.map_err(|e| failed(program, "no free port was found").with_source(e))?;
            let mut scratch = Self::launch(program, folder, databases, port).await?;
            match scratch.ready(cx).await {
                Ok(()) => return Ok(scratch),
                Err(e) if scratch.log().contains("Address already in use") => last = Some(e),
                Err(e) => return Err(e),
            }
        }
        Err(last.unwrap_or_else(|| failed(program, "its port was taken again and again")))
    }

    async fn launch(program: &Path, folder: &Path, databases: u64, port: u16) -> Result<Self> {
        let password = super::random_hex();
        // Through its standard input: arguments can be read by every user of the machine.
        let lines = format!(
            "bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir \"{}\"\ndbfilename dump.rdb\nsave \"\"\n\
             appendonly no\ndaemonize no\nlogfile \"{}\"\ndatabases {databases}\nrepl-diskless-sync yes\n\
             repl-diskless-sync-delay 0\nmaxmemory 0\n",
            folder.display(),
            folder.join("log").display(),
        );
        let mut command = with_its_parent(program);
        command.arg("-").current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn().map_err(|e| {
            failed(program, "it could not be started")
                .with_source(e)
                .with_help("install redis-server on this host: a scratch restore needs a server of its own")
        })?;
        let mut input = child.stdin.take().ok_or_else(|| failed(program, "it has no standard input"))?;
        let written = async {
            input.write_all(lines.as_bytes()).await?;
            input.shutdown().await
        };
        written.await.map_err(|e| failed(program, "it did not take its configuration").with_source(e))?;
        let config = RedisConfig::new(format!("redis://127.0.0.1:{port}")).with_password(SecretString::from(password));
        let endpoint = Endpoint::parse(&config)?;
        Ok(Self { child, config, endpoint, folder: folder.to_owned() })
    }

    async fn ready(&mut self, cx: &Cx) -> Result<()> {
        let began = Instant::now();
        loop {
            cx.check("wait for the scratch server")?;
            if let Ok(Some(status)) = self.child.try_wait() {
                let log = self.log();
                let last: Vec<&str> = log.lines().rev().filter(|l| l.contains(" # ")).take(3).collect();
                let text = format!("the scratch server could not load the data ({status}): {}", last.join("; "));
                return Err(Error::new(ErrorKind::Unsupported, text)
                    .with_help("it takes a server of the backup's kind, and not an older one: name its program, restore.redis_server"));
            }
            if let Ok(control) = Control::connect(cx, &self.endpoint).await
                && let Ok(info) = control.info(cx, "persistence").await
            {
                if !info.is_set("loading") {
                    return Ok(());
                }
            } else if began.elapsed() > Duration::from_secs(30) && !self.log().contains("Ready to accept") {
                return Err(failed(&self.folder, "the scratch server did not answer for 30 s"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn log(&self) -> String {
        std::fs::read(self.folder.join("log")).map(|l| String::from_utf8_lossy(&l).into_owned()).unwrap_or_default()
    }

    /// Ends it.
    pub(crate) async fn stop(mut self) {
        if let Err(e) = self.child.kill().await {
            tracing::warn!(error = %e, "the scratch server could not be ended");
        }
    }
}

/// The program itself: whatever starts it for us would fail in its own words.
fn find(program: &Path) -> Result<PathBuf> {
    in_path(program).ok_or_else(|| {
        failed(program, "there is no such program")
            .with_help("install redis-server on this host: a scratch restore needs a server of its own")
    })
}

pub(crate) fn in_path(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_owned());
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|p| p.is_file())
}

/// The server does not outlive us where the system can see to that.
fn with_its_parent(program: &Path) -> Command {
    match in_path(Path::new("setpriv")) {
        Some(helper) => {
            let mut command = Command::new(helper);
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

async fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0)).await?.local_addr()?.port())
}

fn failed(program: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("scratch server {}: {why}", program.display()))
        .with_retry(veza_dr_core::Retry::Never)
}
