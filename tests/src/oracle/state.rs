//! The facts about a database, and how two of them differ.

use std::collections::BTreeMap;
use std::fmt;

/// Everything the oracle found out about a database.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct DatabaseState {
    facts: BTreeMap<String, String>,
}

impl fmt::Debug for DatabaseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseState({} facts)", self.facts.len())
    }
}

impl DatabaseState {
    /// Adds a fact; what is told twice under one key is kept twice.
    pub(crate) fn tell(&mut self, key: String, value: String) {
        self.facts
            .entry(key)
            .and_modify(|known| {
                known.push_str("\nand\n");
                known.push_str(&value);
            })
            .or_insert(value);
    }

    /// One fact.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.facts.get(key).map(String::as_str)
    }

    /// The keys that start with `prefix`.
    pub fn keys(&self, prefix: &str) -> impl Iterator<Item = &str> {
        self.facts.keys().map(String::as_str).filter(move |key| key.starts_with(prefix))
    }

    /// How many facts are known.
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// This state without the facts whose keys start with one of `prefixes`.
    #[must_use]
    pub fn without(&self, prefixes: &[&str]) -> Self {
        let keep = |key: &str| !prefixes.iter().any(|prefix| key.starts_with(prefix));
        Self { facts: self.facts.iter().filter(|(key, _)| keep(key)).map(|(k, v)| (k.clone(), v.clone())).collect() }
    }

    /// This state without the facts about the database as a whole: what stock tools restore only with `--create`.
    #[must_use]
    pub fn without_database(&self) -> Self {
        self.without(&["database/"])
    }

    /// Every difference, one line each, with this state as the expected one. Empty when the two are the same.
    pub fn diff(&self, other: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        for (key, value) in &self.facts {
            match other.facts.get(key) {
                None => differences.push(format!("missing: {key}: {}", shorten(value))),
                Some(found) if found != value => {
                    differences.push(format!("changed: {key}: {}", contrast(value, found)))
                }
                Some(_) => {}
            }
        }
        for (key, value) in &other.facts {
            if !self.facts.contains_key(key) {
                differences.push(format!("unexpected: {key}: {}", shorten(value)));
            }
        }
        differences
    }

    /// Panics with the differences, if there are any.
    #[track_caller]
    pub fn assert_same(&self, other: &Self) {
        let differences = self.diff(other);
        assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    }
}

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(300).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short.replace('\n', "⏎")
}

/// The lines of which only one side has so many.
fn contrast(expected: &str, found: &str) -> String {
    let lacking = |these: &str, those: &str| {
        let mut left: Vec<&str> = those.lines().collect();
        let mut lines = Vec::new();
        for line in these.lines() {
            match left.iter().position(|candidate| *candidate == line) {
                Some(index) => drop(left.swap_remove(index)),
                None => lines.push(line),
            }
        }
        lines.join("⏎")
    };
    let (gone, new) = (lacking(expected, found), lacking(found, expected));
    if gone.is_empty() && new.is_empty() {
        return format!("order of lines; expected {}; found {}", shorten(expected), shorten(found));
    }
    format!("expected {}; found {}", shorten(&gone), shorten(&new))
}
