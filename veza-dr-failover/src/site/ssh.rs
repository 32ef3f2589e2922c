//! How `ssh` is called, and what its complaints mean.

use std::time::Duration;

use tokio::process::Command;
use veza_dr_core::{Effect, Error, ErrorKind, Result};

use super::settings::Ssh;

/// A connection is given up after so many requests for a sign of life in a row without an answer.
const SILENCE: u32 = 3;

/// `ssh` with everything but the host: it never asks, never learns a host key, never waits for ever.
pub(super) fn command(ssh: &Ssh) -> Command {
    let mut command = Command::new("ssh");
    // Messages are read: they must be in the language that is expected.
    command.env("LC_ALL", "C").arg("-T");
    let mut option = |text: String| {
        command.arg("-o").arg(text);
    };
    for fixed in [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        "ForwardAgent=no",
        "ControlMaster=no",
        "ControlPath=none",
    ] {
        option(fixed.to_owned());
    }
    option(format!("ConnectTimeout={}", seconds(ssh.connect_timeout)));
    option(format!("ServerAliveInterval={}", seconds(ssh.alive_interval)));
    option(format!("ServerAliveCountMax={SILENCE}"));
    if let Some(file) = &ssh.known_hosts_file {
        option(format!("UserKnownHostsFile=\"{}\"", file.display()));
        option("GlobalKnownHostsFile=/dev/null".to_owned());
    }
    if let Some(file) = &ssh.key_file {
        option("IdentitiesOnly=yes".to_owned());
        command.arg("-i").arg(file);
    }
    if let Some(port) = ssh.port {
        command.arg("-p").arg(port.to_string());
    }
    if let Some(user) = &ssh.user {
        command.arg("-l").arg(user);
    }
    command
}

fn seconds(span: Duration) -> u64 {
    span.as_millis().div_ceil(1000).max(1).try_into().unwrap_or(u64::MAX)
}

/// What can be seen before `ssh` is even started.
pub(super) fn check(ssh: &Ssh) -> Result<()> {
    if ssh.host.is_empty() || ssh.host.starts_with('-') {
        return Err(Error::new(ErrorKind::Config, format!("`{}` is not the name of a machine", ssh.host)));
    }
    for (what, file) in [("key", &ssh.key_file), ("known_hosts", &ssh.known_hosts_file)] {
        if let Some(file) = file
            && let Err(e) = std::fs::File::open(file)
        {
            let text = format!("the {what} file {} for {} cannot be read", file.display(), ssh.host);
            return Err(Error::new(ErrorKind::Config, text).with_source(e));
        }
    }
    Ok(())
}

/// The error behind what `ssh` complained about.
pub(super) fn failed(ssh: &Ssh, what: &str, stderr: &str) -> Error {
    let host = &ssh.host;
    let has = |needle: &str| stderr.contains(needle);
    let last = stderr.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it said nothing").trim().to_owned();
    let error = |kind, text: String| Error::new(kind, format!("{what}: {text}")).with_source(last.clone());
    if has("Host key verification failed") || has("HOST IDENTIFICATION HAS CHANGED") {
        let file = ssh.known_hosts_file.as_ref();
        let file = file.map_or_else(|| "the known_hosts files".to_owned(), |f| f.display().to_string());
        return error(ErrorKind::Denied, format!("{host} shows a host key that is not the one in {file}")).with_help(
            "either it is another machine, or its key was changed on purpose: compare it on its console with \
             ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub before you put the new one into the file",
        );
    }
    if has("Permission denied (") {
        let user = ssh.user.as_deref().map_or_else(|| "this user".to_owned(), |u| format!("user {u}"));
        let key = ssh.key_file.as_ref().map_or_else(String::new, |f| format!(" with the key {}", f.display()));
        return error(ErrorKind::Denied, format!("{host} does not let {user} in{key}"))
            .with_help("is the public key in its authorized_keys, and the private one free of a passphrase?");
    }
    let unreachable = [
        "Connection timed out",
        "Operation timed out",
        "timed out during banner exchange",
        "Connection refused",
        "No route to host",
        "Network is unreachable",
        "Could not resolve hostname",
        "kex_exchange_identification",
    ];
    if unreachable.iter().any(|w| has(w)) {
        return error(ErrorKind::Unavailable, format!("{host} cannot be reached"));
    }
    if has("Bad configuration option") || has("Load key") || has("UNPROTECTED PRIVATE KEY") {
        return error(ErrorKind::Denied, format!("ssh cannot use its settings for {host}"));
    }
    error(ErrorKind::Unavailable, format!("the connection to {host} was lost")).with_effect(Effect::Unknown)
}
