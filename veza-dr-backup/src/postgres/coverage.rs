//! Proof that nothing was forgotten: the archives' tables of contents and the copied tables together are the database.

use std::collections::BTreeSet;

use tokio::{io::AsyncWriteExt, sync::mpsc};
use veza_dr_core::{Cx, Error, ErrorKind, Result};

use super::{
    ClientTools, Tool,
    tools::{Running, ToolOutput},
};

/// One line of `pg_restore --list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TocEntry {
    /// The archive's number for it.
    pub id: u32,
    /// `TABLE`, `INDEX`, `FK CONSTRAINT`, `ACL` …
    pub kind: String,
    /// Schema, name and owner as the list prints them; line breaks in names are blanks there.
    pub rest: String,
    /// The whole line, for `--use-list`.
    pub line: String,
}

/// Kinds of more than one word, longest first.
const KINDS: [&str; 38] = [
    "PUBLICATION TABLES IN SCHEMA",
    "TEXT SEARCH CONFIGURATION",
    "TEXT SEARCH DICTIONARY",
    "MATERIALIZED VIEW DATA",
    "TEXT SEARCH TEMPLATE",
    "TEXT SEARCH PARSER",
    "PROCEDURAL LANGUAGE",
    "DATABASE PROPERTIES",
    "SEQUENCE OWNED BY",
    "PUBLICATION TABLE",
    "MATERIALIZED VIEW",
    "CHECK CONSTRAINT",
    "STATISTICS DATA",
    "STATISTICS EXTENDED",
    "OPERATOR FAMILY",
    "SUBSCRIPTION TABLE",
    "OPERATOR CLASS",
    "SECURITY LABEL",
    "FOREIGN SERVER",
    "FOREIGN TABLE",
    "FK CONSTRAINT",
    "EVENT TRIGGER",
    "ACCESS METHOD",
    "BLOB COMMENTS",
    "BLOB METADATA",
    "SHELL TYPE",
    "SEQUENCE SET",
    "ROW SECURITY",
    "USER MAPPING",
    "INDEX ATTACH",
    "TABLE ATTACH",
    "DEFAULT ACL",
    "TABLE DATA",
    "LARGE OBJECTS",
    "LARGE OBJECT",
    "TYPE DATA",
    "DOMAIN CONSTRAINT",
    "DATABASE ACL",
];

/// Reads what `pg_restore --list` prints.
#[must_use]
pub fn parse_toc(list: &str) -> Vec<TocEntry> {
    list.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<TocEntry> {
    // 3361; 1259 16390 TABLE public users owner
    let (id, rest) = line.split_once("; ")?;
    let id = id.trim().parse().ok()?;
    let mut words = rest.splitn(3, ' ');
    let (_catalog, _oid, tail) = (words.next()?, words.next()?, words.next()?);
    let kind = KINDS
        .iter()
        .find(|k| tail.strip_prefix(**k).is_some_and(|t| t.is_empty() || t.starts_with(' ')))
        .map_or_else(|| tail.split(' ').next().unwrap_or(tail).to_owned(), |k| (*k).to_owned());
    let rest = tail[kind.len()..].trim_start().to_owned();
    Some(TocEntry { id, kind, rest, line: line.to_owned() })
}

/// A `pg_restore --list` that is fed an archive while it is being stored, so that no copy of it is kept on disk.
pub(crate) struct Lister {
    pieces: Option<mpsc::Sender<bytes::Bytes>>,
    result: tokio::task::JoinHandle<Result<ToolOutput>>,
}

impl Lister {
    pub(crate) fn start(cx: &Cx, tools: &ClientTools, what: &'static str) -> Result<Self> {
        let mut command = tools.command(Tool::PgRestore, None);
        command.arg("--list").stdin(std::process::Stdio::piped());
        let mut running = Running::start(command, what)?;
        let stdin = running.stdin();
        let (pieces, mut feed) = mpsc::channel::<bytes::Bytes>(4);
        tokio::spawn(async move {
            let mut stdin = stdin;
            while let Some(piece) = feed.recv().await {
                if let Some(pipe) = &mut stdin {
                    // The list stands at the archive's beginning: the tool stops reading when it has it.
                    if pipe.write_all(&piece).await.is_err() {
                        stdin = None;
                    }
                }
            }
        });
        let cx = cx.clone();
        let result = tokio::spawn(async move {
            let mut out = Vec::new();
            let list = async {
                while let Some(piece) = running.next().await? {
                    out.extend_from_slice(&piece);
                }
                running.finish().await
            };
            let stderr = cx.run(what, list).await?;
            Ok(ToolOutput { stdout: out, stderr })
        });
        Ok(Self { pieces: Some(pieces), result })
    }

    pub(crate) async fn feed(&self, piece: bytes::Bytes) {
        if let Some(pieces) = &self.pieces {
            // A lister that ended early says why when it is asked for its list.
            let _ = pieces.send(piece).await;
        }
    }

    pub(crate) async fn list(mut self) -> Result<Vec<TocEntry>> {
        self.pieces = None;
        let output = self
            .result
            .await
            .map_err(|e| Error::new(ErrorKind::Unexpected, "reading an archive's list died").with_source(e))??;
        Ok(parse_toc(&String::from_utf8_lossy(&output.stdout)))
    }
}

/// How a list prints a qualified name: without quotes, line breaks as blanks.
fn listed(schema: &str, name: &str) -> String {
    let plain = |s: &str| s.replace(['\n', '\r'], " ");
    format!("{} {}", plain(schema), plain(name))
}

/// Checks that every table of the schema archive has its rows either copied by us or in the residual archive, and
/// that none is in both.
///
/// # Errors
/// `Unexpected` naming the tables: the backup would be incomplete, or would load rows twice.
pub(crate) fn prove(
    schema: &[TocEntry],
    residual: &[TocEntry],
    copied: &[(String, String)],
    by_residual: &[(String, String)],
    skipped: &[(String, String)],
) -> Result<()> {
    let named = |entries: &[TocEntry], kind: &str| -> Vec<String> {
        entries.iter().filter(|e| e.kind == kind).map(|e| e.rest.clone()).collect()
    };
    let set = |names: &[(String, String)]| -> BTreeSet<String> { names.iter().map(|(s, n)| listed(s, n)).collect() };
    let (copied, by_residual, skipped) = (set(copied), set(by_residual), set(skipped));
    // The list ends each line with the owner, which may itself hold blanks: compare by prefix.
    let belongs = |line: &str, names: &BTreeSet<String>| {
        names.iter().any(|n| line.strip_prefix(n.as_str()).is_some_and(|r| r.starts_with(' ')))
    };
    let dumped = named(residual, "TABLE DATA");
    let mut faults: Vec<String> = Vec::new();
    for line in &dumped {
        if belongs(line, &copied) && !belongs(line, &by_residual) {
            faults.push(format!("{line}: dumped twice"));
        }
    }
    for name in &copied {
        let known = named_has(schema, name);
        if !known {
            faults.push(format!("{name}: its definition is not in the schema archive"));
        }
    }
    for line in named(schema, "TABLE") {
        if !belongs(&line, &copied) && !belongs(&line, &by_residual) && !belongs(&line, &skipped) {
            // A partitioned parent has no rows of its own; anything else here would be lost.
            faults.push(format!("{line}: its rows are in no object"));
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    faults.truncate(20);
    Err(Error::new(ErrorKind::Unexpected, format!("the backup would not cover the database: {}", faults.join("; ")))
        .with_help("run the backup again; if it says so twice, this is a defect: please report it"))
}

fn named_has(schema: &[TocEntry], name: &str) -> bool {
    schema.iter().any(|e| e.kind == "TABLE" && e.rest.strip_prefix(name).is_some_and(|r| r.starts_with(' ')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = ";\n; Archive created at 2026-11-23\n;\n\
        215; 1259 16390 TABLE public users veza owner\n\
        3361; 0 16390 TABLE DATA public users veza owner\n\
        3400; 2606 16400 FK CONSTRAINT public rooms rooms_owner_id_fkey veza owner\n";

    #[test]
    fn kinds_of_several_words_are_told_apart() {
        let toc = parse_toc(LIST);
        let kinds: Vec<&str> = toc.iter().map(|e| e.kind.as_str()).collect();
        assert_eq!(kinds, ["TABLE", "TABLE DATA", "FK CONSTRAINT"]);
        assert_eq!(toc[1].rest, "public users veza owner");
        assert_eq!(toc[2].id, 3400);
    }

    #[test]
    fn a_table_without_rows_anywhere_and_a_table_dumped_twice_are_faults() {
        let toc = parse_toc(LIST);
        let users = ("public".to_owned(), "users".to_owned());
        assert!(prove(&toc, &[], std::slice::from_ref(&users), &[], &[]).is_ok());
        let e = prove(&toc, &[], &[], &[], &[]).unwrap_err();
        assert!(e.to_string().contains("its rows are in no object"), "{e}");
        let e = prove(&toc, &toc, &[users], &[], &[]).unwrap_err();
        assert!(e.to_string().contains("dumped twice"), "{e}");
    }
}
