//! The stock client tools: found by server major, run without secrets on argv, their word taken for it only when they
//! end with success.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::AsyncReadExt,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    task::JoinHandle,
};
use veza_dr_core::{Cx, Error, ErrorKind, ExposeSecret, Result};

use super::Endpoint;

/// As much of a tool's complaints as is kept.
const STDERR_LIMIT: usize = 64 * 1024;

/// What every tool is told and every major knows; see [`tool_options`].
const TOOL_OPTIONS: &str = "-c quote_all_identifiers=off -c standard_conforming_strings=on -c bytea_output=hex \
     -c TimeZone=UTC -c DateStyle=ISO,MDY -c default_transaction_read_only=off -c array_nulls=on -c statement_timeout=0 \
     -c lock_timeout=0 -c idle_in_transaction_session_timeout=0";

/// `PGOPTIONS` for every tool that talks to a server of this major: what a role or database may set that would change
/// the tool's work, or end it while it waits. `pg_dumpall` writes `VALID UNTIL` in whatever date style it finds.
///
/// ```
/// use veza_dr_backup::postgres::tool_options;
/// assert!(tool_options(14).contains("idle_session_timeout=0") && !tool_options(13).contains("idle_session_timeout"));
/// ```
#[must_use]
pub fn tool_options(server_major: u32) -> String {
    let newer = [(14, " -c idle_session_timeout=0"), (17, " -c transaction_timeout=0")];
    let newer = newer.iter().filter(|(since, _)| server_major >= *since).map(|(_, option)| *option);
    std::iter::once(TOOL_OPTIONS).chain(newer).collect()
}

/// A client program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tool {
    /// `pg_dump`
    PgDump,
    /// `pg_dumpall`
    PgDumpall,
    /// `pg_restore`
    PgRestore,
}

impl Tool {
    /// The program's file name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PgDump => "pg_dump",
            Self::PgDumpall => "pg_dumpall",
            Self::PgRestore => "pg_restore",
        }
    }
}

/// A folder of client tools of one major version.
#[derive(Debug, Clone)]
pub struct ClientTools {
    dir: PathBuf,
    major: u32,
    server_major: u32,
}

/// What a tool that succeeded printed.
#[derive(Debug)]
#[non_exhaustive]
pub struct ToolOutput {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error: warnings, since the tool succeeded.
    pub stderr: String,
}

impl ClientTools {
    /// Finds tools able to dump a server of `major`: the same major if there is one, else the next newer. `pg_dump`
    /// refuses a server newer than itself.
    ///
    /// # Errors
    /// `Unsupported` naming the package to install.
    pub async fn find(cx: &Cx, bin_dir: Option<&Path>, major: u32) -> Result<Self> {
        let mut candidates = Vec::new();
        match bin_dir {
            Some(dir) => candidates.push(dir.to_owned()),
            None => {
                for m in major..major + 12 {
                    candidates.push(PathBuf::from(format!("/usr/lib/postgresql/{m}/bin")));
                    candidates.push(PathBuf::from(format!("/usr/pgsql-{m}/bin")));
                }
                candidates.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
            }
        }
        let mut seen = Vec::new();
        for dir in candidates {
            if !dir.join(Tool::PgDump.name()).exists() {
                continue;
            }
            let found = version_of(cx, &dir.join(Tool::PgDump.name())).await?;
            if found >= major {
                return Ok(Self { dir, major: found, server_major: major });
            }
            seen.push(format!("{} is {found}", dir.display()));
        }
        let text = if seen.is_empty() {
            format!("no pg_dump found for a PostgreSQL {major} server")
        } else {
            format!("pg_dump is older than the PostgreSQL {major} server: {}", seen.join(", "))
        };
        Err(Error::new(ErrorKind::Unsupported, text)
            .with_help(format!("install postgresql-client-{major}, or set bin_dir to its folder")))
    }

    /// Their major version.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    /// Where they are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs a command of [`ClientTools::command`] to its end and keeps what it printed.
    ///
    /// # Errors
    /// When it cannot be started or does not end with success, with the end of its complaints.
    pub async fn run(&self, cx: &Cx, command: Command, what: &str) -> Result<ToolOutput> {
        run(cx, command, what).await
    }

    /// A command for `tool`, told by its environment where to connect. It dies when its handle is dropped.
    #[must_use]
    pub fn command(&self, tool: Tool, endpoint: Option<&Endpoint>) -> Command {
        let mut command = Command::new(self.dir.join(tool.name()));
        // A PG* variable of the operator's shell must not lead the tool elsewhere than we are connected.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        // Settings of a role or database that would change what the tools write or read.
        command.env("PGOPTIONS", tool_options(self.server_major));
        if let Some(endpoint) = endpoint {
            let (env, password) = endpoint.environment();
            command.envs(env);
            // The environment of a process is readable by its own user alone, unlike its arguments.
            match password {
                Some(password) => command.env("PGPASSWORD", password.expose_secret()),
                // No file of the operator's may lend another password; one that does not exist is passed over in silence.
                None => command.env("PGPASSFILE", "/nonexistent/pgpass"),
            };
        }
        command
    }
}

async fn version_of(cx: &Cx, program: &Path) -> Result<u32> {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = run(cx, command, &format!("{} --version", program.display())).await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let digits = |word: &str| word.chars().take_while(char::is_ascii_digit).collect::<String>();
    text.split_whitespace().map(digits).find_map(|d| d.parse().ok()).ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, format!("{} does not state its version: {text}", program.display()))
    })
}

/// Runs a tool to its end and keeps what it printed.
///
/// # Errors
/// When it cannot be started or ends other than with success; the message has the end of what it complained.
pub(crate) async fn run(cx: &Cx, command: Command, what: &str) -> Result<ToolOutput> {
    let mut out = Vec::new();
    let mut running = Running::start(command, what)?;
    cx.run(what, async {
        while let Some(piece) = running.next().await? {
            out.extend_from_slice(&piece);
        }
        let stderr = running.finish().await?;
        Ok(ToolOutput { stdout: out, stderr })
    })
    .await
}

/// A tool that was started; killed when dropped.
pub(crate) struct Running {
    child: Child,
    what: String,
    stdout: Option<ChildStdout>,
    complaints: JoinHandle<String>,
    buffer: BytesMut,
}

impl Running {
    pub(crate) fn start(mut command: Command, what: &str) -> Result<Self> {
        let mut child = command.spawn().map_err(|e| {
            let missing = e.kind() == std::io::ErrorKind::NotFound;
            let kind = if missing { ErrorKind::Unsupported } else { ErrorKind::Unexpected };
            Error::new(kind, format!("{what}: cannot be started")).with_source(e)
        })?;
        let complaints = tokio::spawn(complaints(child.stderr.take()));
        let stdout = child.stdout.take();
        Ok(Self { child, what: what.to_owned(), stdout, complaints, buffer: BytesMut::new() })
    }

    pub(crate) fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// The next bytes that the tool prints; `None` when it closed its output, which is not yet success.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some(stdout) = &mut self.stdout else { return Ok(None) };
        self.buffer.reserve(128 * 1024);
        let n = stdout.read_buf(&mut self.buffer).await.map_err(|e| {
            Error::new(ErrorKind::Unexpected, format!("{}: reading its output", self.what)).with_source(e)
        })?;
        Ok((n > 0).then(|| self.buffer.split().freeze()))
    }

    /// Waits for the tool to end with success; gives its warnings.
    pub(crate) async fn finish(mut self) -> Result<String> {
        let status = self.child.wait().await.map_err(|e| {
            Error::new(ErrorKind::Unexpected, format!("{}: waiting for its end", self.what)).with_source(e)
        })?;
        let stderr = self.complaints.await.unwrap_or_default();
        if status.success() {
            return Ok(stderr);
        }
        Err(failure(&self.what, status, &stderr))
    }
}

/// The end of what a tool writes to standard error.
async fn complaints(stderr: Option<ChildStderr>) -> String {
    let mut kept = Vec::new();
    if let Some(mut stderr) = stderr {
        let mut piece = vec![0u8; 4096];
        // What cannot be read of the complaints is no worse than a tool that makes none.
        while let Ok(n @ 1..) = stderr.read(&mut piece).await {
            kept.extend_from_slice(&piece[..n]);
            if kept.len() > STDERR_LIMIT {
                kept.drain(..kept.len() - STDERR_LIMIT);
            }
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// A tool's failure as an error with a class, as far as its message tells.
pub(crate) fn failure(what: &str, status: ExitStatus, stderr: &str) -> Error {
    let lines: Vec<&str> = stderr.lines().filter(|l| !l.trim().is_empty()).collect();
    let tail = lines[lines.len().saturating_sub(6)..].join("; ");
    let says = |part: &str| stderr.contains(part);
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return Error::new(ErrorKind::Unavailable, format!("{what} was killed by signal {signal}: {tail}"))
            .with_help("was this machine out of memory? see the kernel's log, then run it again");
    }
    let kind = if says("password authentication failed") || says("permission denied") {
        ErrorKind::Denied
    } else if says("out of shared memory") || says("No space left") || says("could not extend file") {
        ErrorKind::Full
    } else if says("canceling statement due to lock timeout") || says("could not obtain lock")
        // What --lock-wait-timeout runs into.
        || (says("LOCK TABLE") && says("statement timeout"))
    {
        ErrorKind::Conflict
    } else if says("server closed the connection")
        || says("could not connect")
        || says("Connection refused")
        || says("terminating connection")
    {
        ErrorKind::Unavailable
    } else {
        ErrorKind::Unexpected
    };
    let error = Error::new(kind, format!("{what} failed ({status}): {tail}"));
    match kind {
        ErrorKind::Denied => error.with_help("grant the right, connect as the owner, or set allow_unreadable: true"),
        ErrorKind::Conflict => error.with_help("DDL was waiting for a lock; run the backup again"),
        ErrorKind::Unavailable => error.with_help("is the server up and reachable from here? try: veza-dr check"),
        ErrorKind::Full if says("max_locks_per_transaction") => {
            error.with_help("raise max_locks_per_transaction on the server and restart it")
        }
        _ => error,
    }
}
