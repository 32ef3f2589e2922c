//! What the program reads and writes, so that tests can stand in for the terminal and the environment.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, BufRead, IsTerminal, Read, Write},
    sync::{Arc, Mutex, PoisonError},
};

/// Where environment variables come from.
#[derive(Clone)]
pub struct Environment(Source);

#[derive(Clone)]
enum Source {
    Process,
    Given(Arc<BTreeMap<String, String>>),
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Variables hold secrets: never their values.
        f.write_str("Environment")
    }
}

impl Environment {
    /// The process's own.
    #[must_use]
    pub fn process() -> Self {
        Self(Source::Process)
    }

    /// These variables and no others.
    #[must_use]
    pub fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(Source::Given(Arc::new(variables.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect())))
    }

    /// A variable's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        match &self.0 {
            Source::Process => std::env::var(name).ok(),
            Source::Given(variables) => variables.get(name).cloned(),
        }
    }
}

/// Standard input and output, whether a person is there, and the environment.
pub struct Io {
    /// Results go here, and nothing else.
    pub stdout: Box<dyn Write + Send>,
    /// Progress, warnings and errors go here.
    pub stderr: Box<dyn Write + Send>,
    /// Answers come from here.
    pub stdin: Box<dyn BufRead + Send>,
    /// Standard output is a terminal: colours are welcome.
    pub stdout_is_terminal: bool,
    /// Standard error is a terminal: progress bars are welcome.
    pub stderr_is_terminal: bool,
    /// Standard input is a terminal: somebody can be asked.
    pub stdin_is_terminal: bool,
    /// Environment variables.
    pub env: Environment,
    /// This is a whole process: signals and logs are the program's own to handle.
    pub is_process: bool,
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("is_process", &self.is_process).finish_non_exhaustive()
    }
}

impl Io {
    /// Those of the process.
    #[must_use]
    pub fn process() -> Self {
        Self {
            stdout: Box::new(io::stdout()),
            stderr: Box::new(io::stderr()),
            stdin: Box::new(io::BufReader::new(io::stdin())),
            stdout_is_terminal: io::stdout().is_terminal(),
            stderr_is_terminal: io::stderr().is_terminal(),
            stdin_is_terminal: io::stdin().is_terminal(),
            env: Environment::process(),
            is_process: true,
        }
    }

    /// Output that is kept, empty input, no terminal, no environment variables.
    #[must_use]
    pub fn captured() -> (Self, Captured) {
        let kept = Captured::default();
        let io = Self {
            stdout: Box::new(kept.stdout.clone()),
            stderr: Box::new(kept.stderr.clone()),
            stdin: Box::new(io::BufReader::new(io::empty())),
            stdout_is_terminal: false,
            stderr_is_terminal: false,
            stdin_is_terminal: false,
            env: Environment::of([]),
            is_process: false,
        };
        (io, kept)
    }

    /// With a person at the terminal who types this.
    #[must_use]
    pub fn typing(mut self, answer: &str) -> Self {
        self.stdin = Box::new(io::BufReader::new(io::Cursor::new(answer.to_owned()).take(u64::MAX)));
        self.stdin_is_terminal = true;
        self.stderr_is_terminal = true;
        self
    }

    /// With these environment variables.
    #[must_use]
    pub fn with_env(mut self, env: Environment) -> Self {
        self.env = env;
        self
    }
}

/// What a run with [`Io::captured`] wrote.
#[derive(Debug, Clone, Default)]
pub struct Captured {
    stdout: Shared,
    stderr: Shared,
}

impl Captured {
    /// The results.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Everything else.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }
}

#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
