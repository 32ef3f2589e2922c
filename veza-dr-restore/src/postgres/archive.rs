//! The two archives of a backup on local disk, and `pg_restore` over parts of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use veza_dr_backup::postgres::{ClientTools, Endpoint, TocEntry, Tool, parse_toc};
use veza_dr_core::{ArtifactSource, Cx, Error, ErrorKind, Manifest, Result};

/// One archive, fetched: `pg_restore -j` reads a regular file only.
#[derive(Debug)]
pub(crate) struct Archive {
    dir: TempDir,
    tools: ClientTools,
    file: PathBuf,
    pub(crate) toc: Vec<TocEntry>,
}

impl Archive {
    /// Fetches `name` into a private temporary folder, removed with the value.
    pub(crate) async fn fetch(
        cx: &Cx,
        data: &Arc<dyn ArtifactSource>,
        manifest: &Manifest,
        name: &str,
        tools: &ClientTools,
    ) -> Result<Self> {
        let object = manifest
            .object(name)
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("backup {} has no object {name}", manifest.id)))?;
        let local = |e: std::io::Error| {
            let full = e.raw_os_error() == Some(28);
            let kind = if full { ErrorKind::Full } else { ErrorKind::Unexpected };
            Error::new(kind, format!("{name} cannot be kept in the temporary folder"))
                .with_source(e)
                .with_help("free space there, or set TMPDIR to a folder with more")
        };
        let dir = tempfile::Builder::new().prefix("veza-dr-").tempdir().map_err(local)?;
        let file = dir.path().join(name);
        let mut out = tokio::fs::File::create(&file).await.map_err(local)?;
        let mut reader = data.open(cx, object).await?;
        while let Some(piece) = reader.next().await? {
            out.write_all(&piece).await.map_err(local)?;
        }
        out.flush().await.map_err(local)?;
        let mut command = tools.command(Tool::PgRestore, None);
        command.arg("--list").arg(&file);
        let output = tools.run(cx, command, &format!("pg_restore --list of {name}")).await?;
        let toc = parse_toc(&String::from_utf8_lossy(&output.stdout));
        Ok(Self { dir, tools: tools.clone(), file, toc })
    }

    /// Restores the entries that `keep` chooses, in the archive's order, and fails on the first error.
    pub(crate) async fn restore(
        &self,
        cx: &Cx,
        what: &str,
        into: &Endpoint,
        how: &RestoreHow,
        keep: impl Fn(&TocEntry) -> bool,
    ) -> Result<usize> {
        let chosen: Vec<&TocEntry> = self.toc.iter().filter(|e| keep(e)).collect();
        if chosen.is_empty() {
            return Ok(0);
        }
        let list = self.write_list(&chosen)?;
        let mut command = self.tools.command(Tool::PgRestore, Some(into));
        command.arg("--exit-on-error").arg("--no-password").arg(format!("--dbname={}", dbname(into.database())));
        command.arg("--use-list").arg(list.path());
        if let Some(section) = how.section {
            command.arg(format!("--section={section}"));
        }
        if how.jobs > 1 {
            command.arg(format!("--jobs={}", how.jobs));
        } else if how.one_transaction {
            command.arg("--single-transaction");
        }
        if how.no_owner {
            command.arg("--no-owner");
        }
        command.env("PGOPTIONS", &how.options);
        command.arg(&self.file);
        self.tools.run(cx, command, what).await?;
        Ok(chosen.len())
    }

    /// The SQL of the entries that `keep` chooses.
    pub(crate) async fn sql(&self, cx: &Cx, what: &str, keep: impl Fn(&TocEntry) -> bool) -> Result<String> {
        let chosen: Vec<&TocEntry> = self.toc.iter().filter(|e| keep(e)).collect();
        if chosen.is_empty() {
            return Ok(String::new());
        }
        let list = self.write_list(&chosen)?;
        let mut command = self.tools.command(Tool::PgRestore, None);
        command.arg("--file=-").arg("--use-list").arg(list.path()).arg(&self.file);
        let output = self.tools.run(cx, command, what).await?;
        let text = String::from_utf8(output.stdout)
            .map_err(|e| Error::new(ErrorKind::Unsupported, format!("{what}: not UTF-8")).with_source(e))?;
        // psql's own guards around a script (since the minor releases of August 2025) are no SQL.
        let guard = |l: &&str| !l.starts_with("\\restrict ") && !l.starts_with("\\unrestrict ");
        Ok(text.lines().filter(guard).collect::<Vec<_>>().join("\n"))
    }

    /// What each entry depends on, by archive number: pg_restore tells it only in the comments of a verbose script.
    pub(crate) async fn dependencies(&self, cx: &Cx) -> Result<BTreeMap<u32, BTreeSet<u32>>> {
        let mut command = self.tools.command(Tool::PgRestore, None);
        command.arg("--file=-").arg("--verbose").arg(&self.file);
        let output = self.tools.run(cx, command, "read the archive's dependencies").await?;
        Ok(parse_dependencies(&String::from_utf8_lossy(&output.stdout)))
    }

    fn write_list(&self, chosen: &[&TocEntry]) -> Result<tempfile::NamedTempFile> {
        let broken = |e: std::io::Error| Error::new(ErrorKind::Unexpected, "list for pg_restore").with_source(e);
        let mut file = tempfile::NamedTempFile::new_in(self.dir.path()).map_err(broken)?;
        for entry in chosen {
            std::io::Write::write_all(&mut file, entry.line.as_bytes()).map_err(broken)?;
            std::io::Write::write_all(&mut file, b"\n").map_err(broken)?;
        }
        Ok(file)
    }
}

/// How `pg_restore` is run.
#[derive(Debug, Clone, Default)]
pub(crate) struct RestoreHow {
    pub(crate) section: Option<&'static str>,
    pub(crate) jobs: usize,
    pub(crate) one_transaction: bool,
    pub(crate) no_owner: bool,
    pub(crate) options: String,
}

/// pg_restore expands a database name that looks like a connection string; as one with the name in it, it does not.
fn dbname(name: &str) -> String {
    format!("dbname='{}'", name.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn parse_dependencies(script: &str) -> BTreeMap<u32, BTreeSet<u32>> {
    let mut found: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    let mut current = None;
    for line in script.lines() {
        if let Some(rest) = line.strip_prefix("-- TOC entry ") {
            current = rest.split(' ').next().and_then(|n| n.parse().ok());
            if let Some(id) = current {
                found.entry(id).or_default();
            }
        } else if let (Some(id), Some(rest)) = (current.take(), line.strip_prefix("-- Dependencies: ")) {
            found.entry(id).or_default().extend(rest.split(' ').filter_map(|n| n.parse::<u32>().ok()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_belong_to_the_entry_just_above() {
        let script = "-- TOC entry 3312 (class 1259 OID 16527)\n-- Dependencies: 221 221 7\n-- Name: x\n\
                      -- TOC entry 5 (class 1 OID 2)\n-- Name: y\n-- Dependencies: 9\n";
        let found = parse_dependencies(script);
        assert_eq!(found[&3312], BTreeSet::from([7, 221]));
        assert!(found[&5].is_empty());
    }

    #[test]
    fn a_database_name_is_never_a_connection_string() {
        assert_eq!(dbname("host=evil"), "dbname='host=evil'");
        assert_eq!(dbname("a'b\\c"), "dbname='a\\'b\\\\c'");
    }
}
