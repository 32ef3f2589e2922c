//! Finds, reads and checks the configuration file.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use veza_dr_core::{Error, ErrorKind, Result};

use super::{
    Config, Problem, Problems,
    generated_schema::json_schema,
    meaning, shape,
    tree::{Node, Place, Value},
};

/// Where the file is looked for when none is named.
pub const SEARCHED: [&str; 2] = ["./veza-dr.yml", "/etc/veza-dr/veza-dr.yml"];

/// A configuration that was read and found in order.
#[derive(Clone)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// The file.
    pub file: PathBuf,
    places: BTreeMap<String, Place>,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("config", &self.config).field("file", &self.file).finish_non_exhaustive()
    }
}

impl Loaded {
    /// The file, line and column of a key, for errors found after the file was read.
    #[must_use]
    pub fn locate(&self, path: &str) -> String {
        let file = self.file.display();
        match self.places.get(path) {
            Some(at) => format!("{file}:{}:{}: {path}", at.line, at.column),
            None => format!("{file}: {path}"),
        }
    }

    /// `path` as it is meant: a relative one begins at the file's folder, not where the program happens to run.
    #[must_use]
    pub fn resolve(&self, path: &str) -> PathBuf {
        let path = self.file.parent().unwrap_or(Path::new("")).join(path);
        // Absolute in messages too: which folder is meant must not depend on where they are read.
        std::path::absolute(&path).unwrap_or(path)
    }
}

/// The file to read: `named`, or the first that exists of [`SEARCHED`].
///
/// # Errors
/// `NotFound` naming every place that was looked at.
pub fn find(named: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    SEARCHED.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(|| {
        Error::new(ErrorKind::Config, format!("there is no configuration file: looked for {}", SEARCHED.join(" and ")))
            .with_help("write one with: veza-dr init; or name it: veza-dr --config FILE")
    })
}

/// Reads and checks a file.
///
/// # Errors
/// `Config` when it cannot be read, or with all its [`Problems`] as the source.
pub fn load(file: &Path) -> Result<Loaded> {
    let text = std::fs::read_to_string(file).map_err(|e| {
        let help = match e.kind() {
            std::io::ErrorKind::NotFound => "write one with: veza-dr init",
            _ => "it must be a UTF-8 text file that this user may read",
        };
        let text = format!("the configuration file {} cannot be read", file.display());
        Error::new(ErrorKind::Config, text).with_source(e).with_help(help)
    })?;
    parse(&text, file)
}

/// Checks the text of a file; nothing is looked up outside it.
///
/// # Errors
/// `Config` with all its [`Problems`] as the source.
pub fn parse(text: &str, file: &Path) -> Result<Loaded> {
    let refuse = |problems: Vec<Problem>| Error::from(Problems { file: file.display().to_string(), problems });
    let root: Node = serde_saphyr::from_str_with_options(text, options()).map_err(|e| refuse(vec![syntax(&e)]))?;
    // An empty file, or one of comments alone, says nothing: which is no mistake of form.
    let empty = matches!(root.value, Value::Null);
    let problems = if empty { Vec::new() } else { shape::check(&json_schema(), &root) };
    if !problems.is_empty() {
        return Err(refuse(problems));
    }
    let config: Config = if empty {
        Config::default()
    } else {
        serde_saphyr::from_str_with_options(text, options()).map_err(|e| refuse(vec![syntax(&e)]))?
    };
    let problems = meaning::check(&config, &root);
    if !problems.is_empty() {
        return Err(refuse(problems));
    }
    let mut places = BTreeMap::new();
    root.walk("", &mut |path, at, _| {
        places.insert(path.to_owned(), at);
    });
    Ok(Loaded { config, file: file.to_owned(), places })
}

fn options() -> serde_saphyr::Options {
    // A snippet of the file could show a secret; and `yes` for true is how countries and versions get lost.
    serde_saphyr::options! { with_snippet: false, strict_booleans: true }
}

fn syntax(e: &serde_saphyr::Error) -> Problem {
    let at: Place = e.location().map(Into::into).unwrap_or_default();
    let message = e.without_snippet().to_string();
    let first = message.lines().next().unwrap_or_default().trim();
    // The place is told in front already, and the parser's own options are no help to whoever wrote the file.
    let first = first.split(" at line ").next().unwrap_or(first);
    let first = first.split(", set DuplicateKeyPolicy").next().unwrap_or(first);
    Problem { line: at.line, column: at.column, path: String::new(), message: first.to_owned(), help: None }
}
