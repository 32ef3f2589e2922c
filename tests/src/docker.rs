//! A Docker daemon of its own, started on demand: own data, own socket, no network, stopped with the test.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::Result;
use crate::child::{GuardedChild, find_in_path};
use crate::far_machine::FarMachine;

/// The image that [`Dockerd::start`] makes: a shell and `sleep`, from this machine's own files.
pub const IMAGE: &str = "veza-dr-tests/sleep";

/// A private Docker daemon. Needs root, `dockerd` (Debian: `docker.io`) and the `docker` client.
#[derive(Debug)]
pub struct Dockerd {
    // Stopped before its folder is removed.
    _child: GuardedChild,
    dir: TempDir,
}

impl Dockerd {
    /// Starts it and makes [`IMAGE`].
    ///
    /// # Errors
    /// When the programs are not there, or it does not answer within half a minute; its log is in the error.
    pub fn start() -> Result<Self> {
        // Nothing of the machine's network is touched.
        Self::start_with(&["--iptables=false", "--ip6tables=false", "--ip-forward=false"], None)
    }

    /// The same with a firewall that it manages, for a network of the test's own: [`crate::netns`].
    ///
    /// # Errors
    /// As [`Dockerd::start`].
    pub fn start_with_firewall() -> Result<Self> {
        Self::start_with(&[], None)
    }

    /// The same on another machine: its socket lies here, the addresses of its containers are there.
    ///
    /// # Errors
    /// As [`Dockerd::start`].
    pub fn start_far(machine: &FarMachine) -> Result<Self> {
        Self::start_with(&[], Some(machine))
    }

    fn start_with(network: &[&str], machine: Option<&FarMachine>) -> Result<Self> {
        let program = find_in_path("dockerd").ok_or("there is no dockerd: apt-get install docker.io")?;
        let dir = tempfile::tempdir()?;
        let log = std::fs::File::create(dir.path().join("log"))?;
        let at = |name: &str| dir.path().join(name);
        let grace = Duration::from_secs(20);
        let configure = |command: &mut Command| {
            command.arg("--data-root").arg(at("data")).arg("--exec-root").arg(at("exec"));
            command.arg("--pidfile").arg(at("pid")).arg("--host").arg(format!("unix://{}", at("sock").display()));
            command.arg("--bridge=none").args(network);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        };
        let child = match machine {
            Some(machine) => machine.spawn(&program, Signal::TERM, grace, configure),
            None => GuardedChild::spawn(&program, None, Signal::TERM, grace, configure),
        }?;
        let dockerd = Self { _child: child, dir };
        let began = Instant::now();
        while !dockerd.docker(&["version"]).is_ok_and(|o| o.status.success()) {
            if began.elapsed() > Duration::from_secs(30) {
                return Err(format!("dockerd does not answer: {}", std::fs::read_to_string(at_log(&dockerd))?).into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        dockerd.image()?;
        Ok(dockerd)
    }

    /// Where it listens, as clients take it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.dir.path().join("sock").display())
    }

    fn docker(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new("docker");
        command.arg("-H").arg(self.host()).args(arguments).stdin(Stdio::null());
        Ok(command.output()?)
    }

    /// Runs the client; gives what it printed.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.docker(arguments)?;
        if !output.status.success() {
            return Err(format!("docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Starts a container that sleeps, with these labels.
    ///
    /// # Errors
    /// Those of the client.
    pub fn sleeper(&self, name: &str, labels: &[&str]) -> Result<()> {
        let mut arguments = vec!["run", "-d", "--network=none", "--name", name];
        for label in labels {
            arguments.extend(["--label", label]);
        }
        arguments.extend([IMAGE, "/bin/sleep", "1000"]);
        self.run(&arguments).map(drop)
    }

    /// `running`, `paused`, `exited`.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn state(&self, name: &str) -> Result<String> {
        self.run(&["inspect", "-f", "{{.State.Status}}", name])
    }

    fn image(&self) -> Result<()> {
        self.import(IMAGE, &["/bin/sh", "/bin/sleep"])
    }

    /// Makes an image of programs of this machine and the libraries that they need.
    ///
    /// # Errors
    /// When one is not there, or those of the client.
    pub fn import(&self, image: &str, programs: &[&str]) -> Result<()> {
        self.import_with(image, programs, &[], &[])
    }

    /// As [`import`](Self::import), with whole folders, and changes as `docker import --change` takes them. With folders it
    /// also has this machine's users, and a `/tmp` and a `/data` that every user may write to.
    ///
    /// # Errors
    /// When one is not there, or those of the client.
    pub fn import_with(&self, image: &str, programs: &[&str], trees: &[&str], changes: &[&str]) -> Result<()> {
        let root = tempfile::tempdir_in(self.dir.path())?;
        let root = root.path();
        for tree in trees {
            let to = root.join(tree.trim_start_matches('/'));
            std::fs::create_dir_all(&to)?;
            let copied = Command::new("cp").arg("-rL").arg(format!("{tree}/.")).arg(&to).status()?;
            if !copied.success() {
                return Err(format!("{tree} cannot be copied").into());
            }
        }
        if !trees.is_empty() {
            put(root, Path::new("/etc/passwd"))?;
            put(root, Path::new("/etc/group"))?;
            for folder in ["tmp", "data"] {
                std::fs::create_dir_all(root.join(folder))?;
                std::fs::set_permissions(root.join(folder), std::fs::Permissions::from_mode(0o1777))?;
            }
        }
        for program in programs {
            put(root, Path::new(program))?;
            let needs = Command::new("ldd").arg(program).output()?;
            for word in String::from_utf8_lossy(&needs.stdout).split_whitespace().filter(|w| w.starts_with('/')) {
                put(root, Path::new(word))?;
            }
        }
        self.pack(image, root, changes)
    }

    /// Makes an image that holds one file.
    ///
    /// # Errors
    /// When it is not there, or those of the client.
    pub fn import_file(&self, image: &str, file: &Path, at: &str, changes: &[&str]) -> Result<()> {
        let root = tempfile::tempdir_in(self.dir.path())?;
        std::fs::copy(file, root.path().join(at.trim_start_matches('/')))?;
        self.pack(image, root.path(), changes)
    }

    fn pack(&self, image: &str, root: &Path, changes: &[&str]) -> Result<()> {
        // As a temporary folder it is nobody else's; as the root of a container everybody passes through it.
        std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o755))?;
        let tar = self.dir.path().join("image.tar");
        let packed = Command::new("tar").arg("-C").arg(root).arg("-cf").arg(&tar).arg(".").status()?;
        if !packed.success() {
            return Err("the image cannot be packed".into());
        }
        let tar = tar.display().to_string();
        let mut arguments = vec!["import"];
        for change in changes {
            arguments.extend(["--change", change]);
        }
        arguments.extend([tar.as_str(), image]);
        self.run(&arguments).map(drop)
    }
}

impl Drop for Dockerd {
    /// A daemon leaves the bridges of its networks on the machine when it ends; there is room for some thirty.
    fn drop(&mut self) {
        if let Ok(containers) = self.run(&["ps", "-aq"])
            && !containers.is_empty()
        {
            let mut arguments = vec!["rm", "-f", "-v"];
            arguments.extend(containers.lines());
            let _ = self.run(&arguments);
        }
        let _ = self.run(&["network", "prune", "-f"]);
    }
}

fn at_log(dockerd: &Dockerd) -> PathBuf {
    dockerd.dir.path().join("log")
}

/// Copies a file, links followed, to the same place below `root`.
fn put(root: &Path, file: &Path) -> Result<()> {
    let to = root.join(file.strip_prefix("/")?);
    std::fs::create_dir_all(to.parent().ok_or("no folder")?)?;
    std::fs::copy(file, to)?;
    Ok(())
}
