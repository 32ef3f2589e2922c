//! Who holds a lease, told well enough that a dead process of this machine is recognised as dead.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The process that holds a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Holder {
    /// Its machine's name.
    pub host: String,
    /// Its process id.
    pub pid: u32,
    /// The operation it holds the lease for.
    pub op: String,
    /// The machine's boot and the process namespace that the id belongs to; names repeat between containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// When the process began, in clock ticks since boot; process ids are used again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started: Option<u64>,
}

impl Holder {
    /// This process, for the operation `op`.
    #[must_use]
    pub fn this_process(op: impl Into<String>) -> Self {
        let pid = std::process::id();
        Self { host: host_name(), pid, op: op.into(), scope: scope(), started: started(pid) }
    }

    /// True only when the holder ran on this machine, since its last boot, in this process namespace, and is gone.
    /// Where that cannot be told, `false`: then only time ends its lease.
    #[must_use]
    pub fn is_known_dead(&self) -> bool {
        match (&self.scope, scope(), self.started) {
            (Some(theirs), Some(ours), Some(began)) if *theirs == ours => started(self.pid) != Some(began),
            _ => false,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {} (operation {})", self.pid, self.host, self.op)
    }
}

fn host_name() -> String {
    let read = |path| std::fs::read_to_string(path).ok().map(|name| name.trim().to_owned()).filter(|n| !n.is_empty());
    read("/proc/sys/kernel/hostname").or_else(|| read("/etc/hostname")).unwrap_or_else(|| "unknown host".to_owned())
}

fn scope() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// The 22nd field of `/proc/<pid>/stat`, counted after the name, which may hold spaces and brackets.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_process_is_not_dead_and_a_gone_one_is() {
        let mut holder = Holder::this_process("x");
        assert!(!holder.is_known_dead());
        holder.started = Some(1);
        assert!(holder.is_known_dead(), "the id was used again");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        holder.pid = child.id();
        holder.started = started(child.id());
        assert!(!holder.is_known_dead());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(holder.is_known_dead());
    }

    #[test]
    fn nothing_is_known_of_other_machines() {
        let mut holder = Holder::this_process("x");
        holder.started = Some(1);
        holder.scope = Some("another boot".to_owned());
        assert!(!holder.is_known_dead());
        holder.scope = None;
        assert!(!holder.is_known_dead());
    }
}
