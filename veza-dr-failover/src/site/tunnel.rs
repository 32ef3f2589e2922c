//! What only another machine can reach, its Docker socket or an address of its own, brought here as a socket by an `ssh` of
//! our own.

use std::{
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStdin},
};
use veza_dr_core::{Cx, Error, ErrorKind, Result};

use super::{settings::Ssh, ssh};

/// So much of what `ssh` complains is kept.
const COMPLAINT: usize = 4096;
const SOCKET: &str = "socket";

/// A connection that lasts as long as this value, and no longer than this process: the other end reads our input, and
/// ends with it.
#[derive(Debug)]
pub(super) struct Tunnel {
    child: Mutex<Child>,
    _stdin: Option<ChildStdin>,
    // Only this user may enter it.
    dir: TempDir,
    complaint: Arc<Mutex<String>>,
}

impl Tunnel {
    /// Connects. `end` is a socket there, or `host:port` as seen from there. Whether anything listens there is not known
    /// yet.
    pub(super) async fn open(cx: &Cx, to: &Ssh, end: &str) -> Result<Self> {
        let what = "connect";
        let dir = tempfile::Builder::new().prefix("veza-dr-").tempdir().map_err(|e| {
            Error::new(ErrorKind::Unavailable, "no folder for the socket of a connection").with_source(e)
        })?;
        let forward = format!("{}:{end}", dir.path().join(SOCKET).display());
        let mut command = ssh::command(to);
        command.args(["-o", "ExitOnForwardFailure=yes", "-o", "LogLevel=INFO", "-L", &forward]);
        command.args(["--", &to.host, "echo ready; exec cat >/dev/null"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // An interrupt at the terminal is for us to heed, in order.
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|e| {
            Error::new(ErrorKind::Config, "ssh cannot be run").with_source(e).with_help("install openssh-client")
        })?;
        let complaint = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().map(|pipe| tokio::spawn(listen(pipe, complaint.clone())));
        let stdin = child.stdin.take();
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            let mut stdout = BufReader::new(stdout);
            let limit = to.connect_timeout + to.alive_interval * 4;
            let read = async { Ok(tokio::time::timeout(limit, stdout.read_line(&mut line)).await) };
            if cx.run(what, read).await?.is_err() {
                let text = format!("{} does not answer within {} s", to.host, limit.as_secs());
                return Err(Error::new(ErrorKind::Unavailable, text));
            }
        }
        if line.trim() != "ready" {
            // It ended: what it had to say comes before the end of its complaints.
            if let Some(stderr) = stderr {
                let _ = tokio::time::timeout(Duration::from_secs(1), stderr).await;
            }
            let said = complaint.lock().unwrap_or_else(PoisonError::into_inner).clone();
            return Err(ssh::failed(to, what, &said));
        }
        Ok(Self { child: Mutex::new(child), _stdin: stdin, dir, complaint })
    }

    /// The socket, on this machine.
    pub(super) fn socket(&self) -> PathBuf {
        self.dir.path().join(SOCKET)
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait(), Ok(None))
    }

    /// What `ssh` complained about since.
    pub(super) fn complaint(&self) -> String {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn listen(mut pipe: impl AsyncReadExt + Unpin, complaint: Arc<Mutex<String>>) {
    let mut piece = [0u8; 1024];
    while let Ok(n) = pipe.read(&mut piece).await
        && n > 0
    {
        let mut text = complaint.lock().unwrap_or_else(PoisonError::into_inner);
        text.push_str(&String::from_utf8_lossy(&piece[..n]));
        let surplus = text.len().saturating_sub(COMPLAINT);
        let cut = (surplus..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.drain(..cut);
    }
}
