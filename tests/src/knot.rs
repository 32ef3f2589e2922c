//! A private authoritative DNS server (knot) and a private caching resolver (dnsmasq), on free loopback ports.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::Result;
use crate::child::{GuardedChild, find_in_path};
use crate::ports::free_port;

/// The zone that every server of the tests serves.
pub const ZONE: &str = "example.test";

/// A running knotd that serves [`ZONE`], empty but for its own name server, and takes dynamic updates.
#[derive(Debug)]
pub struct Knot {
    // Declared before the directory: fields drop in this order.
    _child: GuardedChild,
    _dir: TempDir,
    port: u16,
}

/// How to update a [`Knot`].
#[derive(Debug, Clone)]
pub struct KnotControl {
    port: u16,
}

impl Knot {
    /// Starts a server; returns when it answers.
    pub async fn start() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("veza-knot-").tempdir()?;
        let port = free_port()?;
        let at = dir.path().display();
        let config = format!(
            "server:\n  listen: 127.0.0.1@{port}\n  rundir: {at}\ndatabase:\n  storage: {at}\nlog:\n  - target: stderr\n    \
             any: info\nacl:\n  - id: local\n    address: 127.0.0.1\n    action: update\nzone:\n  - domain: {ZONE}\n    \
             storage: {at}\n    file: zone\n    acl: local\n"
        );
        std::fs::write(dir.path().join("knot.conf"), config)?;
        let zone = format!(
            "$ORIGIN {ZONE}.\n@ 60 SOA ns.{ZONE}. admin.{ZONE}. 1 3600 600 86400 1\n@ 60 NS ns.{ZONE}.\nns 60 A 127.0.0.1\n"
        );
        std::fs::write(dir.path().join("zone"), zone)?;
        let program = found("knotd", "knot")?;
        let child = GuardedChild::spawn(&program, None, Signal::KILL, Duration::from_secs(5), |command| {
            command.arg("-c").arg(dir.path().join("knot.conf"));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        })?;
        let knot = Self { _child: child, _dir: dir, port };
        let answers = || dig(knot.port, &format!("ns.{ZONE}"), "A");
        wait("knotd", &knot._child, port, || answers().is_ok_and(|a| a == ["127.0.0.1"])).await?;
        Ok(knot)
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How to update it.
    pub fn control(&self) -> KnotControl {
        KnotControl { port: self.port }
    }

    /// What it answers, by a client that is none of ours.
    pub fn answers(&self, name: &str, kind: &str) -> Result<Vec<String>> {
        dig(self.port, name, kind)
    }
}

impl KnotControl {
    /// Carries out lines of `knsupdate`: `del NAME TYPE`, `add NAME TTL TYPE VALUE`.
    pub fn update(&self, lines: &str) -> Result<()> {
        let mut child = Command::new(found("knsupdate", "knot-dnsutils")?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let script = format!("server 127.0.0.1 {}\nzone {ZONE}\n{lines}send\n", self.port);
        child.stdin.take().ok_or("no stdin")?.write_all(script.as_bytes())?;
        let output = child.wait_with_output()?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        if output.status.success() && !told.contains("error") {
            return Ok(());
        }
        Err(format!("knsupdate failed: {told}\n{script}").into())
    }
}

/// A running dnsmasq that asks a [`Knot`] and keeps answers for their TTL.
#[derive(Debug)]
pub struct CachingResolver {
    _child: GuardedChild,
    port: u16,
}

impl CachingResolver {
    /// Starts a resolver in front of `knot`.
    pub async fn start(knot: &Knot) -> Result<Self> {
        let port = free_port()?;
        let program = found("dnsmasq", "dnsmasq-base")?;
        let child = GuardedChild::spawn(&program, None, Signal::KILL, Duration::from_secs(5), |command| {
            command.args(["-k", "-C", "/dev/null", "--listen-address=127.0.0.1", "--bind-interfaces", "--no-resolv"]);
            command.args(["--no-hosts", "--pid-file=", "-p", &port.to_string()]);
            command.arg(format!("--server=/{ZONE}/127.0.0.1#{}", knot.port));
            if rustix::process::geteuid().is_root() {
                command.arg("--user=root");
            }
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        })?;
        let answers = || dig(port, &format!("ns.{ZONE}"), "A");
        wait("dnsmasq", &child, port, || answers().is_ok_and(|a| a == ["127.0.0.1"])).await?;
        Ok(Self { _child: child, port })
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What it answers, by a client that is none of ours.
    pub fn answers(&self, name: &str, kind: &str) -> Result<Vec<String>> {
        dig(self.port, name, kind)
    }
}

async fn wait(what: &str, child: &GuardedChild, port: u16, ready: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    // TCP is refused at once while nothing listens; a question over UDP would be waited out.
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() || !ready() {
        if child.exit_status().is_some() || Instant::now() > deadline {
            return Err(format!("{what} did not start ({:?})", child.exit_status()).into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn dig(port: u16, name: &str, kind: &str) -> Result<Vec<String>> {
    let output = Command::new(found("kdig", "knot-dnsutils")?)
        .args(["+short", "+timeout=1", "+retry=0", "@127.0.0.1", "-p", &port.to_string(), name, kind])
        .output()?;
    if !output.status.success() {
        return Err(format!("kdig failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if text.contains(";;") {
        return Err(text.into());
    }
    let mut answers: Vec<String> = text.lines().map(str::to_owned).collect();
    answers.sort();
    Ok(answers)
}

fn found(program: &str, package: &str) -> Result<PathBuf> {
    let sbin = PathBuf::from("/usr/sbin").join(program);
    find_in_path(program)
        .or_else(|| sbin.is_file().then_some(sbin))
        .ok_or_else(|| format!("no {program} for the tests: apt-get install {package}").into())
}
