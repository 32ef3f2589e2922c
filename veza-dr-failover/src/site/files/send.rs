//! A tree, or a file, on its way to the machine: through our hands, so that it ends with us.

use std::{path::Path, process::Stdio};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::Command,
};
use veza_dr_core::{Cx, Effect, Error, ErrorKind, Progress, Result};

use super::scripts::Desk;
use crate::shell::quoted;

pub(super) const PHASE: &str = "send files";
/// So much of what a tool complains is kept.
const COMPLAINT: u64 = 16 * 1024;
const PIECE: usize = 256 * 1024;

/// What a tree has beyond what every tar carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extras {
    pub(super) attributes: bool,
    pub(super) acls: bool,
}

impl Extras {
    fn flags(self) -> Vec<&'static str> {
        let mut flags = Vec::new();
        if self.attributes {
            flags.extend(["--xattrs", "--xattrs-include=*"]);
        }
        if self.acls {
            flags.push("--acls");
        }
        flags
    }
}

/// Sends one tree of this machine into a folder of the other one: times to the nanosecond, owners by number, holes, and
/// what else it has.
pub(super) async fn tree(cx: &Cx, desk: &Desk, folder: &Path, name: &str, extras: Extras, to: &str) -> Result<()> {
    let what = desk.what(&format!("send {name}"));
    let mut tar = Command::new("tar");
    tar.env("LC_ALL", "C").args(["--format=posix", "--pax-option=delete=atime,delete=ctime", "--numeric-owner"]);
    tar.arg("--sparse").args(extras.flags()).arg("-C").arg(folder).args(["-cf", "-", "--"]).arg(format!("./{name}"));
    tar.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let no_tar = |e| {
        Error::new(ErrorKind::Config, format!("{what}: tar cannot be run on this machine"))
            .with_source(e)
            .with_help("install GNU tar on this machine")
    };
    let mut tar = tar.spawn().map_err(no_tar)?;
    let Some(packed) = tar.stdout.take() else { return Err(no_pipe(&what)) };
    let flags = extras.flags().iter().map(|flag| quoted(flag)).collect::<Vec<_>>().join(" ");
    // A complaint of tar is an error: what it could not set is not what was backed up.
    let line = format!("LC_ALL=C exec tar --numeric-owner {flags} --warning=no-timestamp -C {} -xpf -", quoted(to));
    let sent = pour(cx, desk, &what, &line, packed).await;
    if sent.as_ref().is_err_and(|e| e.kind() == ErrorKind::Cancelled) {
        return sent;
    }
    let complaint = match tar.stderr.take() {
        Some(stderr) => read_all(stderr).await,
        None => String::new(),
    };
    let ended = tar.wait().await.map_err(|e| Error::new(ErrorKind::Unexpected, what.clone()).with_source(e))?;
    match ended.code() {
        Some(0) if complaint.is_empty() => sent,
        // It was ended because nobody read from it any more: the other end tells why.
        None => sent.and(Err(Error::new(ErrorKind::Unexpected, format!("{what}: tar was killed on this machine")))),
        Some(code) => {
            let text = format!("{what}: tar on this machine ended with code {code}");
            Err(Error::new(ErrorKind::Unavailable, text).with_source(complaint))
        }
    }
}

/// Writes one file of this machine to a path of the other one.
pub(super) async fn file(cx: &Cx, desk: &Desk, from: &Path, to: &str) -> Result<()> {
    let what = desk.what("send what its files are made of");
    let cannot = |e| Error::new(ErrorKind::Unavailable, format!("{what}: {}", from.display())).with_source(e);
    let content = tokio::fs::File::open(from).await.map_err(cannot)?;
    pour(cx, desk, &what, &format!("umask 077; exec cat > {}", quoted(to)), content).await
}

/// Pours bytes into a command of the other machine.
async fn pour(cx: &Cx, desk: &Desk, what: &str, line: &str, mut from: impl AsyncRead + Unpin + Send) -> Result<()> {
    let mut command = desk.machine.piped(line);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let lost = |e: std::io::Error| Error::new(ErrorKind::Unavailable, what.to_owned()).with_source(e);
    let mut child = command.spawn().map_err(lost)?;
    let (Some(mut stdin), Some(stderr)) = (child.stdin.take(), child.stderr.take()) else { return Err(no_pipe(what)) };
    let work = async {
        let send = async {
            let mut piece = vec![0; PIECE];
            loop {
                let n = from.read(&mut piece).await?;
                if n == 0 {
                    break;
                }
                if stdin.write_all(&piece[..n]).await.is_err() {
                    // The other end is gone: it tells why.
                    break;
                }
                cx.report(Progress::Advance { phase: PHASE, by: n as u64 });
            }
            drop(stdin);
            Ok::<_, std::io::Error>(())
        };
        // Read while we send, or a long complaint would hold the other end up.
        let (sent, complaint) = tokio::join!(send, read_all(stderr));
        sent.map_err(lost)?;
        let ended = child.wait().await.map_err(lost)?;
        Ok((ended, complaint))
    };
    let (ended, complaint) = cx.run(what, work).await.map_err(|e| e.with_effect(Effect::None))?;
    match ended.code() {
        Some(0) if complaint.is_empty() => Ok(()),
        Some(255) | None => Err(desk.machine.lost(what, &complaint).with_effect(Effect::None)),
        Some(code) => Err(desk.failure(what, &format!("it was not taken (code {code})"), &complaint)),
    }
}

async fn read_all(pipe: impl AsyncRead + Unpin + Send) -> String {
    let mut text = Vec::new();
    let mut limited = pipe.take(COMPLAINT);
    // What cannot be read of it is no reason to fail: the exit code counts.
    let _ = limited.read_to_end(&mut text).await;
    let _ = tokio::io::copy(&mut limited.into_inner(), &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&text).trim().to_owned()
}

fn no_pipe(what: &str) -> Error {
    Error::new(ErrorKind::Unexpected, format!("{what}: no pipe"))
}
