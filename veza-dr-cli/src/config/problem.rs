//! What is wrong with a configuration file, and where.

use std::fmt;

use serde::Serialize;
use veza_dr_core::{Error, ErrorKind};

/// One thing that is wrong, with its place and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The line, counted from 1; 0 where it is not known.
    pub line: u64,
    /// The column, counted from 1.
    pub column: u64,
    /// The key's path: `sources.database.postgres`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// Everything that is wrong with one file.
#[derive(Debug, Clone, Serialize)]
pub struct Problems {
    /// The file.
    pub file: String,
    /// In the order of the file.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", self.file)?;
            if problem.line > 0 {
                write!(f, ":{}:{}", problem.line, problem.column)?;
            }
            if !problem.path.is_empty() {
                write!(f, ": {}", problem.path)?;
            }
            write!(f, ": {}", problem.message)?;
            if let Some(help) = &problem.help {
                write!(f, "; {help}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problems> for Error {
    fn from(mut found: Problems) -> Self {
        found.problems.sort();
        found.problems.dedup();
        let count = match found.problems.len() {
            1 => "a problem".to_owned(),
            n => format!("{n} problems"),
        };
        Error::new(ErrorKind::Config, format!("{} has {count}", found.file)).with_source(found)
    }
}
