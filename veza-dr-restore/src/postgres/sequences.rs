//! Sequence values: what the residual archive sets must be what the restored sequences say.

use veza_dr_backup::postgres::Connection;
use veza_dr_core::{Cx, Result, Verification};

use super::archive::Archive;

/// One `setval` of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    sequence: String,
    value: i64,
    called: bool,
}

pub(crate) async fn compare(cx: &Cx, on: &Connection, residual: &Archive, out: &mut Verification) -> Result<()> {
    let script = residual.sql(cx, "read the archive's sequence values", |e| e.kind == "SEQUENCE SET").await?;
    for wanted in parse(&script) {
        let sql = format!("SELECT last_value, is_called FROM {}", wanted.sequence);
        let row = on.query_one(cx, "read a sequence", &sql, &[]).await?;
        let (value, called): (i64, bool) = (row.get(0), row.get(1));
        if (value, called) == (wanted.value, wanted.called) {
            out.pass(0);
        } else {
            let why =
                format!("stands at {value} (called: {called}), the backup has {} ({})", wanted.value, wanted.called);
            out.differs(wanted.sequence, why);
        }
    }
    Ok(())
}

fn parse(script: &str) -> Vec<Wanted> {
    const HEAD: &str = "SELECT pg_catalog.setval(";
    script.split(HEAD).skip(1).filter_map(parse_one).collect()
}

/// `'public.s', 5, true);`, the name as an SQL string literal.
fn parse_one(text: &str) -> Option<Wanted> {
    let (escaped, text) = match text.strip_prefix('E') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut sequence = String::new();
    let mut rest = text.strip_prefix('\'')?.char_indices();
    let end = loop {
        match rest.next()? {
            (at, '\'') if !rest.as_str().starts_with('\'') => break at,
            (_, '\'') => {
                rest.next();
                sequence.push('\'');
            }
            (_, '\\') if escaped => sequence.push(rest.next()?.1),
            (_, c) => sequence.push(c),
        }
    };
    let tail = text.get(end + 2..)?;
    let arguments = tail.strip_prefix(", ")?.split(");").next()?;
    let (value, called) = arguments.split_once(", ")?;
    Some(Wanted { sequence, value: value.parse().ok()?, called: called == "true" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn awkward_names_come_back() {
        let script = "x\nSELECT pg_catalog.setval('public.messages_id_seq', 300000, true);\n\n\
            SELECT pg_catalog.setval('\"A b\".\"it''s, 5\"', -3, false);\nSELECT pg_catalog.setval(E'\"a\\\\b\"', 1, true);\n";
        let found = parse(script);
        assert_eq!(found[0], Wanted { sequence: "public.messages_id_seq".into(), value: 300_000, called: true });
        assert_eq!(found[1], Wanted { sequence: "\"A b\".\"it's, 5\"".into(), value: -3, called: false });
        assert_eq!(found[2].sequence, "\"a\\b\"");
    }
}
