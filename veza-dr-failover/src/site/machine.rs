//! Shell scripts on the machine of a site: here, or through `ssh`.

use std::{process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{io::AsyncWriteExt, process::Command};
use veza_dr_core::{Cx, Effect, Error, ErrorKind, Result};

use super::{settings::Ssh, ssh};

/// Where scripts run.
#[derive(Debug, Clone)]
pub(super) enum Machine {
    Here,
    There(Ssh),
}

/// What a script left behind.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Kills the shell or `ssh` that is given up, with what it started. Detached work is in a session of its own and lives.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Machine {
    /// Its name, for messages.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Here => "this machine",
            Self::There(ssh) => &ssh.host,
        }
    }

    /// A shell command line there, whose streams are the caller's.
    pub(super) fn piped(&self, line: &str) -> Command {
        match self {
            Self::Here => {
                let mut command = Command::new("sh");
                command.args(["-c", line]);
                command
            }
            Self::There(ssh) => {
                let mut command = ssh::command(ssh);
                command.args(["-o", "ClearAllForwardings=yes", "-o", "LogLevel=ERROR", "--", &ssh.host, line]);
                command
            }
        }
    }

    /// The error behind what was complained of before anything was said.
    pub(super) fn lost(&self, what: &str, complaint: &str) -> Error {
        match self {
            Self::There(ssh) => ssh::failed(ssh, what, complaint),
            Self::Here => Error::new(ErrorKind::Unavailable, format!("{what}: the shell ended"))
                .with_source(complaint.trim().to_owned()),
        }
    }

    /// Runs a POSIX shell script, given on standard input so that nothing has to be quoted and nothing of it is seen in
    /// the list of processes. It must print little: all of it is kept.
    ///
    /// # Errors
    /// Those of the connection. `Effect::None` when the script cannot have begun, `Unknown` when it may have.
    pub(super) async fn sh(&self, cx: &Cx, what: &str, script: &str, limit: Duration) -> Result<Said> {
        let mut command = self.piped("exec sh -s");
        let limit = match self {
            Self::Here => limit,
            Self::There(ssh) => limit + ssh.connect_timeout,
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let work = async {
            let program = command.as_std().get_program().to_string_lossy().into_owned();
            let mut child = command.spawn().map_err(|e| {
                Error::new(ErrorKind::Config, format!("{what}: {program} cannot be run"))
                    .with_source(e)
                    .with_help(format!("install {program} on this machine"))
            })?;
            let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
            let stdin = child.stdin.take();
            let send = async {
                if let Some(mut stdin) = stdin {
                    // A shell that ended early does not read the rest: its exit code tells more than this error.
                    let _ = stdin.write_all(script.as_bytes()).await;
                    let _ = stdin.shutdown().await;
                }
            };
            let ended = tokio::time::timeout(limit, async { tokio::join!(send, child.wait_with_output()).1 }).await;
            let output = ended.map_err(|_| {
                let text = format!("{what}: {} did not answer within {} s", self.name(), limit.as_secs());
                Error::new(ErrorKind::Unavailable, text).with_effect(Effect::Unknown)
            })?;
            group.0 = None;
            let output = output
                .map_err(|e| Error::new(ErrorKind::Unexpected, format!("{what}: {program} was lost")).with_source(e))?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
        };
        let (code, stdout, stderr) = cx.run(what, work).await.map_err(|e| match e.kind() {
            ErrorKind::Cancelled => e.with_effect(Effect::Unknown),
            _ => e,
        })?;
        match (self, code) {
            (Self::There(ssh), Some(255) | None) => Err(ssh::failed(ssh, what, &stderr)),
            (_, Some(code)) => Ok(Said { code, stdout, stderr }),
            (Self::Here, None) => {
                Err(Error::new(ErrorKind::Unexpected, format!("{what}: the shell was killed"))
                    .with_effect(Effect::Unknown))
            }
        }
    }
}

/// Waits, unless the work is cancelled.
pub(super) async fn pause_for(cx: &Cx, what: &str, time: Duration) -> Result<()> {
    let wait = async {
        tokio::time::sleep(time).await;
        Ok(())
    };
    cx.run(what, wait).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::quoted;

    #[tokio::test]
    async fn what_a_script_says_is_kept_apart_from_its_complaints() {
        let word = quoted("it's $HOME; `date`");
        let script = format!("printf %s {word}; echo no >&2; exit 3");
        let said = Machine::Here.sh(&Cx::background(), "try", &script, Duration::from_secs(5)).await.unwrap();
        assert_eq!((said.code, said.stdout.as_str(), said.stderr.trim()), (3, "it's $HOME; `date`", "no"));
    }

    #[tokio::test]
    async fn a_script_that_hangs_is_ended() {
        let cx = Cx::background();
        let e = Machine::Here.sh(&cx, "try", "sleep 30", Duration::from_millis(200)).await.unwrap_err();
        assert_eq!((e.kind(), e.effect()), (ErrorKind::Unavailable, Effect::Unknown));
    }
}
