//! An SSH server of its own: own host key, own user key, a free port of this machine, gone with the test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::Result;
use crate::child::GuardedChild;
use crate::far_machine::FarMachine;
use crate::ports::free_port;

/// A private sshd that lets this user in with [`Sshd::key`]. Needs root and Debian's `openssh-server`.
#[derive(Debug)]
pub struct Sshd {
    // Stopped before its folder is removed.
    child: Option<GuardedChild>,
    dir: TempDir,
    address: &'static str,
    port: u16,
}

impl Sshd {
    /// Starts it with more lines of configuration.
    ///
    /// # Errors
    /// When it does not listen within ten seconds; its log is in the error.
    pub fn start(more: &str) -> Result<Self> {
        Self::start_at("127.0.0.1", more, None)
    }

    /// Starts it on another machine, at one of its addresses.
    ///
    /// # Errors
    /// As [`Sshd::start`].
    pub fn start_far(machine: &FarMachine, address: &'static str) -> Result<Self> {
        Self::start_at(address, "", Some(machine))
    }

    fn start_at(address: &'static str, more: &str, machine: Option<&FarMachine>) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let at = |name: &str| dir.path().join(name);
        for key in ["host", "user", "stranger"] {
            let made =
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(at(key)).status()?;
            if !made.success() {
                return Err("ssh-keygen makes no key".into());
            }
        }
        std::fs::copy(at("user.pub"), at("authorized_keys"))?;
        // Any name and port: tests reach it through proxies, too.
        let public = std::fs::read_to_string(at("host.pub"))?;
        std::fs::write(at("known_hosts"), format!("* {public}"))?;
        let other = std::fs::read_to_string(at("stranger.pub"))?;
        std::fs::write(at("wrong_hosts"), format!("* {other}"))?;
        std::fs::create_dir_all("/run/sshd")?;
        let port = free_port()?;
        // The exchange that is the default costs a fifth of a second of processor time for each connection.
        let config = format!(
            "Port {port}\nListenAddress {address}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
             PrintMotd no\nMaxStartups 100\nKexAlgorithms curve25519-sha256\n{more}\n",
            at("host").display(),
            at("authorized_keys").display()
        );
        std::fs::write(at("config"), config)?;
        let mut sshd = Self { child: None, dir, address, port };
        sshd.listen(machine)?;
        Ok(sshd)
    }

    /// Starts it again after [`stop`](Self::stop), with the same keys and port.
    ///
    /// # Errors
    /// As [`Sshd::start`].
    pub fn listen(&mut self, machine: Option<&FarMachine>) -> Result<()> {
        let program = Path::new("/usr/sbin/sshd");
        if !program.exists() {
            return Err("there is no sshd: apt-get install openssh-server".into());
        }
        let (log, config) = (std::fs::File::create(self.file("log"))?, self.file("config"));
        let configure = |command: &mut Command| {
            command.args(["-D", "-e", "-f"]).arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        };
        let grace = Duration::from_secs(5);
        self.child = Some(match machine {
            Some(machine) => machine.spawn(program, Signal::TERM, grace, configure),
            None => GuardedChild::spawn(program, None, Signal::TERM, grace, configure),
        }?);
        let began = Instant::now();
        while std::net::TcpStream::connect((self.address, self.port)).is_err() {
            if began.elapsed() > Duration::from_secs(10) {
                return Err(format!("sshd does not listen: {}", std::fs::read_to_string(self.file("log"))?).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Takes no more connections; those that are there stay.
    pub fn stop(&mut self) {
        self.child = None;
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The private key that it lets in.
    pub fn key(&self) -> PathBuf {
        self.file("user")
    }

    /// A private key that it does not let in.
    pub fn strangers_key(&self) -> PathBuf {
        self.file("stranger")
    }

    /// A `known_hosts` with its host key, under every name.
    pub fn known_hosts(&self) -> PathBuf {
        self.file("known_hosts")
    }

    /// A `known_hosts` with another key.
    pub fn wrong_hosts(&self) -> PathBuf {
        self.file("wrong_hosts")
    }
}
