//! Another machine, as far as a process can tell: a network of its own at the end of a cable, and folders that look
//! different from there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::Result;
use crate::child::{GuardedChild, find_in_path};

/// What [`crate::netns`] has at its end of the cable is 10.77.0.1.
pub const ADDRESSES: [&str; 2] = ["10.77.0.2", "10.77.0.3"];

/// A network and a view of the file system that programs can be started in. Only for a test in a network of its own
/// ([`crate::netns`]). Needs root.
#[derive(Debug)]
pub struct FarMachine {
    holder: GuardedChild,
}

impl FarMachine {
    /// Makes it, at [`ADDRESSES`]. In place of each of `other` it has an empty folder of its own: what it keeps there is
    /// not seen from outside, and what is there outside is not seen by it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn start(other: &[&Path]) -> Result<Self> {
        let unshare = find_in_path("unshare").ok_or("there is no unshare: apt-get install util-linux")?;
        let folders: Vec<String> = other.iter().map(|f| f.display().to_string()).collect();
        let last = other.last().ok_or("a folder is needed to see that it is ready")?.join("ready");
        let script = format!(
            "set -e; ip link set lo up; echo 1 > /proc/sys/net/ipv4/ip_forward; for d; do mount -t tmpfs none \"$d\"; done; \
             touch {}; exec sleep 100000",
            last.display()
        );
        let holder = GuardedChild::spawn(&unshare, None, Signal::KILL, Duration::from_secs(5), |command| {
            command.args(["--net", "--mount", "sh", "-c", &script, "sh"]).args(&folders);
            command.stdin(Stdio::null()).stdout(Stdio::null());
        })?;
        let far = Self { holder };
        let began = Instant::now();
        while !far.command("test").arg("-e").arg(&last).status()?.success() {
            if began.elapsed() > Duration::from_secs(10) || far.holder.exit_status().is_some() {
                return Err("another machine cannot be made".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        far.run("rm", &[&last.display().to_string()])?;
        let pid = far.holder.pid().to_string();
        let ip = |args: &[&str]| done(Command::new("ip").args(args));
        ip(&["link", "add", "near", "type", "veth", "peer", "name", "far", "netns", &pid])?;
        ip(&["address", "add", "10.77.0.1/24", "dev", "near"])?;
        ip(&["link", "set", "near", "up"])?;
        for address in ADDRESSES {
            far.run("ip", &["address", "add", &format!("{address}/24"), "dev", "far"])?;
        }
        far.run("ip", &["link", "set", "far", "up"])?;
        Ok(far)
    }

    /// The arguments of `nsenter` that lead there.
    fn way(&self, network: bool, files: bool) -> Vec<String> {
        let place = |kind: &str, of: &str| format!("--{kind}=/proc/{}/ns/{of}", self.holder.pid());
        let mut way = Vec::new();
        way.extend(network.then(|| place("net", "net")));
        way.extend(files.then(|| place("mount", "mnt")));
        way
    }

    /// A program as it runs there.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(self.way(true, true)).arg(program).stdin(Stdio::null());
        command
    }

    /// A program of this machine's files in that one's network: as if it had been called there.
    pub fn in_its_network(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(self.way(true, false)).arg(program).stdin(Stdio::null());
        command
    }

    /// Runs a program there; gives what it printed.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        done(self.command(program).args(args))
    }

    /// Starts a server there.
    pub(crate) fn spawn(
        &self,
        program: &Path,
        stop: Signal,
        grace: Duration,
        configure: impl FnOnce(&mut Command),
    ) -> Result<GuardedChild> {
        let nsenter: PathBuf = find_in_path("nsenter").ok_or("there is no nsenter: apt-get install util-linux")?;
        let way = self.way(true, true);
        GuardedChild::spawn(&nsenter, None, stop, grace, |command| {
            command.args(way).arg(program);
            configure(command);
        })
    }
}

fn done(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
