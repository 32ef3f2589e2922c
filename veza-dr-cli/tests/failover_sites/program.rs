//! The real `veza-dr`, as an operator calls it.

use std::{
    io::Write,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Instant,
};

use serde_json::Value;

/// Calls with one configuration.
#[derive(Debug, Clone)]
pub(crate) struct Dr(pub(crate) PathBuf);

/// A call that is under way.
#[derive(Debug)]
pub(crate) struct Call {
    child: Child,
    what: String,
    began: Instant,
}

impl Dr {
    /// Begins a call.
    pub(crate) fn start(&self, arguments: &[&str]) -> Call {
        let child = Command::new(env!("CARGO_BIN_EXE_veza-dr"))
            .args(["--json", "--config"])
            .arg(&self.0)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Call { child, what: arguments.join(" "), began: Instant::now() }
    }

    /// What a call said that must end with this code.
    pub(crate) fn exits(&self, code: i32, arguments: &[&str]) -> Value {
        self.start(arguments).ends(code)
    }

    /// What a call said that must succeed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> Value {
        self.exits(0, arguments)
    }
}

impl Call {
    /// What it said when it ended, which must be with this code.
    pub(crate) fn ends(self, code: i32) -> Value {
        let output = self.child.wait_with_output().unwrap();
        // Shown when the test fails.
        let _ = writeln!(std::io::stderr(), "{:?}: veza-dr {}", self.began.elapsed(), self.what);
        let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "veza-dr {}: {said}\n{errors}", self.what);
        serde_json::from_str(&said).unwrap_or_else(|e| panic!("veza-dr {}: {e}: {said}\n{errors}", self.what))
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
