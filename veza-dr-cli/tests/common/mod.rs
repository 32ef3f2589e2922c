//! A folder to work in, and the program run in it.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;
use veza_dr_cli::{Environment, Exit, Io, run};

/// What one run did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }

    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// A folder with a `veza-dr.yml`.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    pub(crate) fn with(config: &str) -> Self {
        let place = Self::new();
        std::fs::write(place.config(), config).expect("a file in it");
        place
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("veza-dr.yml")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `veza-dr --config <this one> ARGS`.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, |io| io)
    }

    pub(crate) fn run_with(&self, args: &[&str], change: impl FnOnce(Io) -> Io) -> Ran {
        let config = self.config().display().to_string();
        let mut all = vec!["veza-dr", "--config", &config];
        all.extend(args);
        run_bare(&all, change)
    }

    pub(crate) fn run_env(&self, args: &[&str], variables: &[(&str, &str)]) -> Ran {
        self.run_with(args, |io| io.with_env(Environment::of(variables.iter().copied())))
    }
}

/// Runs the program with these very arguments.
pub(crate) fn run_bare(args: &[&str], change: impl FnOnce(Io) -> Io) -> Ran {
    let (io, kept) = Io::captured();
    let exit = run(args, change(io));
    Ran { exit, stdout: kept.stdout(), stderr: kept.stderr() }
}
