//! `${env:NAME}` in values: explicit, and every other `$` left alone, so that passwords need no escaping.

use veza_dr_core::{Error, ErrorKind, Result};

use crate::Environment;

const OPEN: &str = "${env:";

/// Fills in every `${env:NAME}` of `text`.
///
/// What surrounds the variable may be a secret, so errors name the variable alone.
pub(super) fn expand(text: &str, env: &Environment) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(OPEN) {
        out.push_str(&rest[..start]);
        let (name, tail) = variable(&rest[start + OPEN.len()..])?;
        let value = env.get(name).ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("the environment variable {name} is not set"))
                .with_help(format!("set it before running veza-dr: export {name}=…"))
        })?;
        out.push_str(&value);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

/// Whether every `${env:…}` of `text` is well formed; no variable is looked up.
pub(super) fn is_well_formed(text: &str) -> Result<()> {
    let mut rest = text;
    while let Some(start) = rest.find(OPEN) {
        rest = variable(&rest[start + OPEN.len()..])?.1;
    }
    Ok(())
}

/// Whether `text` has variables to fill in.
pub(super) fn has_variables(text: &str) -> bool {
    text.contains(OPEN)
}

fn variable(after: &str) -> Result<(&str, &str)> {
    let bad =
        |why: &str| Error::new(ErrorKind::Config, format!("`{OPEN}` is {why}")).with_help("write it as ${env:NAME}");
    let (name, tail) = after.split_once('}').ok_or_else(|| bad("never closed by `}`"))?;
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(fine) {
        return Err(bad("not followed by the name of a variable (letters, digits, `_`)"));
    }
    Ok((name, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_explicit_form_is_expanded() {
        let env = Environment::of([("A", "1"), ("B", "${env:A}")]);
        for (text, expected) in [
            ("${env:A}", "1"),
            ("x${env:A}y${env:A}", "x1y1"),
            ("pa$$word$A${A}", "pa$$word$A${A}"),
            ("${env:B}", "${env:A}"),
        ] {
            assert_eq!(expand(text, &env).unwrap(), expected);
        }
    }

    #[test]
    fn errors_name_the_variable_and_nothing_around_it() {
        let env = Environment::of([]);
        let e = expand("canary${env:MISSING}canary", &env).unwrap_err();
        assert_eq!(e.to_string(), "the environment variable MISSING is not set");
        for bad in ["canary${env:X", "canary${env:}", "canary${env:A-B}"] {
            let e = expand(bad, &env).unwrap_err();
            assert!(!e.chain().contains("canary"), "{}", e.chain());
            assert!(is_well_formed(bad).is_err());
        }
    }
}
