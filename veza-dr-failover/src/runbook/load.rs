//! Reads plans from YAML; what is wrong is told with file, line and the nearest name.

use serde::Deserialize;
use serde_saphyr::Spanned;
use veza_dr_core::{Error, ErrorKind, Result};

use super::{Plan, plan::ReadFrom};

/// The same document once more, for the places of its steps.
#[derive(Deserialize)]
struct Places {
    steps: Vec<PlaceOfStep>,
}

#[derive(Deserialize)]
struct PlaceOfStep {
    id: Spanned<String>,
}

impl Plan {
    /// Reads a plan; `file` is what messages call it.
    ///
    /// ```
    /// use veza_dr_failover::runbook::Plan;
    /// let plan = Plan::from_yaml("name: x\nsteps: [{ id: look, do: note, with: { text: hello } }]", "x.yml").unwrap();
    /// assert_eq!(plan.steps[0].action, "note");
    /// let e = Plan::from_yaml("name: x\nsteps: [{ id: look, do: note, timout: 3s }]", "x.yml").unwrap_err();
    /// assert!(e.chain().contains("x.yml:2") && e.chain().contains("`timeout`"), "{}", e.chain());
    /// ```
    ///
    /// # Errors
    /// `Config` naming the place and what is wrong.
    pub fn from_yaml(text: &str, file: &str) -> Result<Self> {
        let options = || serde_saphyr::options! { with_snippet: false, strict_booleans: true };
        let mut plan: Self = serde_saphyr::from_str_with_options(text, options()).map_err(|e| told(&e, file))?;
        let places: Places = serde_saphyr::from_str_with_options(text, options()).map_err(|e| told(&e, file))?;
        let lines = places.steps.iter().map(|s| s.id.referenced.line()).collect();
        plan.read_from = ReadFrom { file: Some(file.to_owned()), lines };
        Ok(plan)
    }

    /// Reads a plan from a file.
    ///
    /// # Errors
    /// `Config` when it cannot be read, or as [`Plan::from_yaml`].
    pub fn from_file(file: &std::path::Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).map_err(|e| {
            Error::new(ErrorKind::Config, format!("the plan {} cannot be read", file.display())).with_source(e)
        })?;
        Self::from_yaml(&text, &file.display().to_string())
    }
}

fn told(e: &serde_saphyr::Error, file: &str) -> Error {
    let place = e.location().map_or_else(|| file.to_owned(), |at| format!("{file}:{}:{}", at.line(), at.column()));
    let message = e.without_snippet().to_string();
    let first = message.lines().next().unwrap_or_default();
    let first = first.split(" at line ").next().unwrap_or(first).trim_end_matches(':');
    let meant = match e.without_snippet() {
        serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
            nearest(field, expected.iter().copied()).map(|name| unknown(field, name))
        }
        _ => None,
    };
    let error = Error::new(ErrorKind::Config, format!("{place}: {}", meant.unwrap_or_else(|| first.to_owned())));
    error.with_help("docs/runbooks.md has the form of a plan")
}

/// Serde's "unknown field `x`, expected one of `a`, `b`" with the one that was probably meant.
pub(crate) fn with_nearest(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let (Some(given), known) = (quoted.next(), quoted.collect::<Vec<_>>()) else { return message.to_owned() };
    match nearest(given, known.iter().copied()) {
        Some(name) if message.contains("unknown") => unknown(given, name),
        _ => message.to_owned(),
    }
}

fn unknown(given: &str, meant: &str) -> String {
    format!("unknown key `{given}`, did you mean `{meant}`?")
}

/// The name among `known` that `given` was probably meant to be.
pub(crate) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.into_iter().map(|name| (strsim::damerau_levenshtein(given, name), name));
    let (distance, name) = scored.min_by_key(|(d, _)| *d)?;
    (distance <= 1 + given.len() / 3).then_some(name)
}
