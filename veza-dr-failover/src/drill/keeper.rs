//! Private server processes: they end with this one, and are ended before their folders go.

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use veza_dr_core::{Error, ErrorKind, Result};

/// The user and group that a server runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RunAs {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl RunAs {
    /// For servers that refuse to run as root: `postgres`, else `nobody`, where this process is root; else nobody else.
    pub(super) fn unprivileged() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = std::fs::read_to_string("/etc/passwd")
            .map_err(|e| Error::new(ErrorKind::Unavailable, "/etc/passwd cannot be read").with_source(e))?;
        let find = |name: &str| {
            let line = passwd.lines().map(|l| l.split(':').collect::<Vec<_>>()).find(|f| f.first() == Some(&name))?;
            Some(Self { uid: line.get(2)?.parse().ok()?, gid: line.get(3)?.parse().ok()? })
        };
        find("postgres").or_else(|| find("nobody")).map(Some).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "root cannot run a private server: there is no user postgres or nobody")
                .with_help("run drills as an ordinary user, or add a user `postgres`")
        })
    }
}

/// A child process. The kernel ends it when this process ends, where `setpriv` is there to ask for that; the request is
/// tied to the *thread* that forked, so each child has a keeper thread of its own, which also reaps it.
#[derive(Debug)]
pub(super) struct Keeper {
    pid: Pid,
    exit: Arc<(Mutex<Option<ExitStatus>>, Condvar)>,
}

impl Keeper {
    /// Starts `program`; `with_parent` is the signal that it gets when this process ends.
    pub(super) fn start(
        program: &Path,
        with_parent: &str,
        run_as: Option<RunAs>,
        configure: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let failed = |e: std::io::Error| {
            Error::new(ErrorKind::Unavailable, format!("{} cannot be started", program.display())).with_source(e)
        };
        let mut command = match in_path("setpriv") {
            Some(helper) => {
                let mut command = Command::new(helper);
                command.args(["--pdeathsig", with_parent, "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        if let Some(RunAs { uid, gid }) = run_as {
            command.uid(uid).gid(gid);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        configure(&mut command);
        let exit = Arc::new((Mutex::new(None), Condvar::new()));
        let theirs = Arc::clone(&exit);
        let (tell, told) = mpsc::channel();
        std::thread::Builder::new()
            .name("drill-keeper".to_owned())
            .spawn(move || {
                let mut child = match command.spawn() {
                    Ok(child) => child,
                    Err(e) => {
                        let _ = tell.send(Err(e));
                        return;
                    }
                };
                let _ = tell.send(Ok(child.id()));
                let status = child.wait().unwrap_or_default();
                *theirs.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
                theirs.1.notify_all();
            })
            .map_err(failed)?;
        let pid = told.recv().map_err(|e| failed(std::io::Error::other(e)))?.map_err(failed)?;
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| failed(std::io::Error::other("it has no process id")))?;
        Ok(Self { pid, exit })
    }

    /// How it ended; `None` while it runs.
    pub(super) fn ended(&self) -> Option<ExitStatus> {
        *self.exit.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks it to end at once, and makes it when it does not. Blocks for a few seconds at most.
    pub(super) fn end(&self, signal: Signal) {
        for (signal, grace) in [(signal, Duration::from_secs(10)), (Signal::KILL, Duration::from_secs(5))] {
            if self.ended().is_some() {
                return;
            }
            let _ = kill_process(self.pid, signal);
            self.wait(grace);
        }
    }

    fn wait(&self, limit: Duration) {
        let until = Instant::now() + limit;
        let mut status = self.exit.0.lock().unwrap_or_else(PoisonError::into_inner);
        while status.is_none() {
            let Some(left) = until.checked_duration_since(Instant::now()) else { return };
            status = self.exit.1.wait_timeout(status, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // What a panic skips: the folder must not go while the server writes into it.
        if self.ended().is_none() {
            let _ = kill_process(self.pid, Signal::QUIT);
        }
    }
}

/// A program by its name, where the shell would find it.
pub(super) fn in_path(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        let path = PathBuf::from(program);
        return path.is_file().then_some(path);
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|p| p.is_file())
}
