//! Server processes that never outlive the test that started them.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Result;

/// The user and group a server runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunAs {
    /// Numeric user id.
    pub uid: u32,
    /// Numeric group id.
    pub gid: u32,
}

impl RunAs {
    /// For servers that refuse to run as root: `postgres`, else `nobody`, when this process is root; else nothing.
    pub fn unprivileged() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = std::fs::read_to_string("/etc/passwd")?;
        let find = |name: &str| {
            passwd.lines().find_map(|line| {
                let fields: Vec<&str> = line.split(':').collect();
                (fields.first() == Some(&name))
                    .then(|| Some(Self { uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? }))?
            })
        };
        find("postgres").or_else(|| find("nobody")).map(Some).ok_or_else(|| "no user postgres or nobody".into())
    }
}

/// The processes whose parent is `pid`, as /proc tells.
pub fn children_of(pid: i32) -> Vec<Pid> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_child = |number: &i32| {
        // `pid (name) state ppid …`: the name may hold anything, so what follows is counted from its end.
        let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)) == Some(&pid.to_string())
    };
    numbers.filter(is_child).filter_map(Pid::from_raw).collect()
}

/// A child process that is killed when this value is dropped, and also when the test process itself is killed.
///
/// For the second the child is started through `setpriv --pdeathsig KILL`, where `setpriv` exists (Linux). The kernel
/// ties that signal to the *thread* that forked, so each child gets a keeper thread of its own, which also reaps it:
/// a server shared by several tests must not die with the thread of the first. Without `setpriv` a killed test leaves
/// the server behind; PostgreSQL then stops by itself within a minute of its data directory's removal.
#[derive(Debug)]
pub struct GuardedChild {
    pid: Pid,
    exit: Arc<(Mutex<Option<ExitStatus>>, Condvar)>,
    stop_signal: Signal,
    grace: Duration,
}

impl GuardedChild {
    /// Starts `program`, configured by `configure` (arguments, streams, environment), as `run_as`.
    ///
    /// Dropping the value sends `stop_signal`, waits for `grace` and then kills.
    pub fn spawn(
        program: &Path,
        run_as: Option<RunAs>,
        stop_signal: Signal,
        grace: Duration,
        configure: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let mut command = match find_in_path("setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        if let Some(RunAs { uid, gid }) = run_as {
            command.uid(uid).gid(gid);
        }
        configure(&mut command);

        let exit = Arc::new((Mutex::new(None), Condvar::new()));
        let keeper_exit = Arc::clone(&exit);
        let (sender, receiver) = mpsc::channel();
        std::thread::Builder::new().name("keeper".to_owned()).spawn(move || {
            let mut child = match command.spawn() {
                Ok(child) => child,
                Err(error) => {
                    let _ = sender.send(Err(error));
                    return;
                }
            };
            let _ = sender.send(Ok(child.id()));
            let status = child.wait().unwrap_or_default();
            *keeper_exit.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
            keeper_exit.1.notify_all();
        })?;
        let pid = receiver.recv()?.map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or("the child has no process id")?;
        Ok(Self { pid, exit, stop_signal, grace })
    }

    /// The process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// How the process ended, or `None` while it runs.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        *self.exit.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a signal. A process that has ended is not an error.
    pub fn signal(&self, signal: Signal) {
        // The keeper has reaped a process that ended, and its number may belong to another one by now.
        if self.exit_status().is_none() {
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Waits until the process has ended, for at most `limit`.
    pub fn wait(&self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        let mut status = self.exit.0.lock().unwrap_or_else(PoisonError::into_inner);
        while status.is_none() {
            let left = deadline.checked_duration_since(Instant::now())?;
            status = self.exit.1.wait_timeout(status, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *status
    }

    /// Sends `signal`, waits for `grace`, then kills; returns when the process is gone.
    pub fn stop(&self, signal: Signal, grace: Duration) {
        self.signal(signal);
        if self.wait(grace).is_none() {
            self.signal(Signal::KILL);
            self.wait(Duration::from_secs(30));
        }
    }
}

impl Drop for GuardedChild {
    fn drop(&mut self) {
        self.stop(self.stop_signal, self.grace);
    }
}

/// The first executable file called `name` in `PATH`.
pub fn find_in_path(name: impl AsRef<OsStr>) -> Option<PathBuf> {
    let name = name.as_ref();
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(name)).find(|path| path.is_file())
}
