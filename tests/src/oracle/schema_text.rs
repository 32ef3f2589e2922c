//! The output of `pg_dump --schema-only`, cut into its entries.

use super::state::DatabaseState;

/// Tells each entry of the dump under a key of its type, schema and name.
///
/// The order of entries is left out, since only dependencies fix it. So are the settings between them, which repeat
/// what the catalogs say about each table and depend on the order.
pub(super) fn tell_entries(dump: &str, state: &mut DatabaseState) {
    let mut key: Option<String> = None;
    let mut body: Vec<&str> = Vec::new();
    let finish = |key: Option<String>, body: &mut Vec<&str>, state: &mut DatabaseState| {
        if let Some(key) = key {
            let text = normalise(&key, body);
            state.tell(key, text);
        }
        body.clear();
    };
    let mut previous = "";
    for line in dump.split('\n') {
        if previous == "--" && line.starts_with("-- Name: ") {
            finish(key.take(), &mut body, state);
            key = Some(entry_key(line));
        } else if line == "-- PostgreSQL database dump complete" {
            finish(key.take(), &mut body, state);
        } else if key.is_some() {
            body.push(line);
        }
        previous = line;
    }
    finish(key, &mut body, state);
}

/// `-- Name: t; Type: TABLE; Schema: s; Owner: o` as `schema/TABLE/s/t`. Names may hold anything, so from the right.
fn entry_key(line: &str) -> String {
    let line = line.strip_prefix("-- Name: ").unwrap_or(line);
    let cut = |text: &str, mark: &str| match text.rfind(mark) {
        Some(at) => (text[..at].to_owned(), text[at + mark.len()..].to_owned()),
        None => (text.to_owned(), String::new()),
    };
    let (rest, _) = cut(line, "; Tablespace: ");
    let (rest, _owner) = cut(&rest, "; Owner: ");
    let (rest, schema) = cut(&rest, "; Schema: ");
    let (name, kind) = cut(&rest, "; Type: ");
    format!("schema/{kind}/{schema}/{name}")
}

fn normalise(key: &str, body: &[&str]) -> String {
    let ignored = |line: &str| {
        line.is_empty()
            || line == "--"
            || line.starts_with("SET default_tablespace = ")
            || line.starts_with("SET default_table_access_method = ")
            || line.starts_with("\\restrict ")
            || line.starts_with("\\unrestrict ")
    };
    let mut lines: Vec<&str> = body.iter().copied().filter(|line| !ignored(line)).collect();
    // A child made by INHERITS has its parents' columns first, whatever their order was; rights have no order at all.
    let inherits = lines.iter().any(|line| line.starts_with("INHERITS ("));
    if inherits {
        for line in &mut lines {
            *line = line.trim_end_matches(',');
        }
    }
    if inherits || key.starts_with("schema/ACL/") || key.starts_with("schema/DEFAULT ACL/") {
        lines.sort_unstable();
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_entries_and_ignores_what_depends_on_the_order() {
        let dump = "--\n-- PostgreSQL database dump\n--\n\\restrict abc\nSET x = 1;\n--\n-- Name: a; Type: b; Type: TABLE; Schema: s; Owner: o\n--\n\n\
                    SET default_tablespace = '';\nCREATE TABLE s.\"a; Type: b\" ();\n\n--\n-- Name: TABLE t; Type: ACL; Schema: s; Owner: o\n--\n\n\
                    GRANT b;\nGRANT a;\n\n--\n-- PostgreSQL database dump complete\n--\n\\unrestrict abc\n";
        let mut state = DatabaseState::default();
        tell_entries(dump, &mut state);
        assert_eq!(state.get("schema/TABLE/s/a; Type: b"), Some("CREATE TABLE s.\"a; Type: b\" ();"));
        assert_eq!(state.get("schema/ACL/s/TABLE t"), Some("GRANT a;\nGRANT b;"));
        assert_eq!(state.len(), 2);
    }
}
