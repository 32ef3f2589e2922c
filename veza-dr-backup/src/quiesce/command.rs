//! Runs one command, and ends it with all it started.

use std::{process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
};
use veza_dr_core::{Cx, Error, ErrorKind, Result};

/// So much of what a command complains is repeated.
const COMPLAINT: usize = 300;

/// Kills the whole group of a command that is given up: a shell's children would live on.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Runs it to its end. It is killed after `limit`, and when `cx` is cancelled.
pub(super) async fn run(cx: &Cx, words: &[String], limit: Duration) -> Result<()> {
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    let mut child = command
        .spawn()
        .map_err(|e| Error::new(ErrorKind::Config, format!("{program} cannot be run")).with_source(e))?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut group = Group(pid);
    let ended = async {
        match tokio::time::timeout(limit, wait(&mut child)).await {
            Ok(ended) => {
                ended.map_err(|e| Error::new(ErrorKind::Unexpected, format!("{program} was lost")).with_source(e))
            }
            Err(_) => {
                let text = format!("{program} did not end within {} s and was killed", limit.as_secs_f64());
                Err(Error::new(ErrorKind::Unavailable, text))
            }
        }
    };
    let (status, complaint) = cx.run(&format!("run {program}"), ended).await?;
    // It ended by itself: what it left running on purpose stays.
    group.0 = None;
    if status.success() {
        return Ok(());
    }
    let failed = Error::new(ErrorKind::Unavailable, format!("{program} failed: {status}"));
    Err(if complaint.is_empty() { failed } else { failed.with_source(complaint) })
}

/// Waits for the command itself, not for what it may have left running with its standard error.
async fn wait(child: &mut Child) -> std::io::Result<(std::process::ExitStatus, String)> {
    let mut complaint = Vec::new();
    let mut stderr = child.stderr.take();
    let read = async {
        let mut piece = [0u8; 1024];
        while let Some(stderr) = &mut stderr {
            match stderr.read(&mut piece).await {
                Ok(n) if n > 0 => {
                    complaint.extend_from_slice(&piece[..n]);
                    let surplus = complaint.len().saturating_sub(4096);
                    complaint.drain(..surplus);
                }
                _ => break,
            }
        }
        std::future::pending::<()>().await;
    };
    let status = tokio::select! {
        biased;
        status = child.wait() => status?,
        () = read => return Err(std::io::ErrorKind::BrokenPipe.into()),
    };
    // What it said last may still be in the pipe.
    if let Some(stderr) = &mut stderr {
        let mut rest = vec![0u8; 4096];
        if let Ok(Ok(n)) = tokio::time::timeout(Duration::from_millis(20), stderr.read(&mut rest)).await {
            complaint.extend_from_slice(&rest[..n]);
        }
    }
    let text = String::from_utf8_lossy(&complaint);
    let last = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or_default();
    Ok((status, last.chars().take(COMPLAINT).collect()))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn sh(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).into()
    }

    #[tokio::test]
    async fn a_failure_is_told_with_its_last_word() {
        let words = sh("echo first >&2; echo 'no such service' >&2; exit 3");
        let e = run(&Cx::background(), &words, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(e.chain(), "sh failed: exit status: 3: no such service");
        let e = run(&Cx::background(), &["/nonexistent/x".into()], Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Config);
    }

    #[tokio::test]
    async fn what_takes_too_long_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let flag = dir.path().join("late");
        let script = format!("(sleep 0.6; touch {}) & sleep 30", flag.display());
        let began = Instant::now();
        let e = run(&Cx::background(), &sh(&script), Duration::from_millis(200)).await.unwrap_err();
        assert_eq!(e.to_string(), "sh did not end within 0.2 s and was killed");
        assert!(began.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(!flag.exists(), "the child of the shell lives on");
    }

    #[tokio::test]
    async fn what_a_command_leaves_running_does_not_hold_it_up() {
        let began = Instant::now();
        run(&Cx::background(), &sh("sleep 3 & exit 0"), Duration::from_secs(10)).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(2));
    }
}
