//! A network of a test's own: it sees nothing of the machine's, and may forward and have firewall rules as it likes.

use std::process::{Command, ExitStatus, Stdio};

use crate::Result;

const INSIDE: &str = "VEZA_DR_TESTS_NETNS";

/// True in a network of its own. Outside of one, runs the test `name` of this very program in one that `forwards` between
/// networks or does not, and then returns false: the test has passed, and there is nothing left to do. Needs root.
///
/// # Errors
/// When there can be no such network, or the test failed in it; with what it printed.
pub fn alone(name: &str, forwards: bool) -> Result<bool> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(true);
    }
    let mut command = this_program(forwards)?;
    command.args(["--exact", name, "--nocapture"]);
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("unshare: {e}"))?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    // A name that no test has runs none of them, which is no failure to the program.
    if !output.status.success() || !said.contains("1 passed") {
        return Err(format!("{name} in a network of its own: {}\n{said}", output.status).into());
    }
    Ok(false)
}

/// Runs this very program once more with the same arguments, in a network of its own, and says how it ended; `None` in
/// there. For programs that are no tests. Needs root.
///
/// # Errors
/// When there can be no such network.
pub fn again(forwards: bool) -> Result<Option<ExitStatus>> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(None);
    }
    let mut command = this_program(forwards)?;
    Ok(Some(command.args(std::env::args_os().skip(1)).status().map_err(|e| format!("unshare: {e}"))?))
}

fn this_program(forwards: bool) -> Result<Command> {
    let script = format!(
        "ip link set lo up && echo {} > /proc/sys/net/ipv4/ip_forward && exec \"$0\" \"$@\"",
        u8::from(forwards)
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", &script]).arg(std::env::current_exe()?).env(INSIDE, "1");
    Ok(command)
}
