//! The parts that stock tools make: the schema archive, the residual archive, the globals.

use std::sync::Arc;

use veza_dr_core::{ArtifactSink, Cx, Error, ErrorKind, Result, manifest::Skipped};

use super::{
    ClientTools, Endpoint, TocEntry, Tool,
    catalog::{SourceTable, quote_ident},
    coverage::Lister,
    tools::Running,
};

/// Plain name of the archive with every definition.
pub(crate) const SCHEMA: &str = "schema.dump";
/// Plain name of the archive with large objects, sequence values and extension configuration.
pub(crate) const RESIDUAL: &str = "residual.dump";
/// Plain name of the cluster's roles and tablespaces.
pub(crate) const GLOBALS: &str = "globals.sql";

/// Every table is locked already, so a dump waits only behind DDL that itself waits for this backup to end: long enough
/// for a careful migration to give up, not for one that waits for ever. The run then begins anew.
const LOCK_WAIT: &str = "--lock-wait-timeout=10000";
/// The kernel allows about 2 MiB of arguments and environment.
const ARGUMENTS_LIMIT: usize = 1_700_000;

pub(crate) struct Dumps<'a> {
    pub(crate) tools: &'a ClientTools,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) snapshot: &'a str,
    /// The database's encoding.
    pub(crate) encoding: &'a str,
    pub(crate) sink: Arc<dyn ArtifactSink>,
}

impl Dumps<'_> {
    /// Pre-data and post-data in ONE archive: from two, `pg_restore -j` cannot see which steps lock the same table,
    /// and foreign keys get lost in deadlocks.
    pub(crate) async fn schema(&self, cx: &Cx, unreadable: &[Skipped]) -> Result<Vec<TocEntry>> {
        let mut arguments = vec!["--section=pre-data".to_owned(), "--section=post-data".to_owned()];
        arguments.extend(unreadable.iter().map(|s| format!("--exclude-table={}", s.what)));
        self.archive(cx, SCHEMA, "pg_dump of the schema", arguments).await
    }

    /// All data but the rows that we copy ourselves.
    pub(crate) async fn residual(
        &self,
        cx: &Cx,
        tables: &[SourceTable],
        unreadable: &[Skipped],
    ) -> Result<Vec<TocEntry>> {
        let mut arguments = vec!["--section=data".to_owned()];
        // Each pattern is one fully quoted name: it matches that relation alone, never a sequence.
        let copied = tables.iter().filter(|t| !t.residual);
        arguments.extend(copied.map(|t| format!("--exclude-table-data={}.{}", pattern(&t.schema), pattern(&t.name))));
        arguments.extend(unreadable.iter().map(|s| format!("--exclude-table={}", s.what)));
        let length: usize = arguments.iter().map(|a| a.len() + 9).sum();
        if length > ARGUMENTS_LIMIT {
            let text = format!("{} tables make a pg_dump call longer than the system allows", tables.len());
            return Err(Error::new(ErrorKind::Unsupported, text)
                .with_help("split the database, or use a physical backup (docs/postgres.md, trap T26)"));
        }
        self.archive(cx, RESIDUAL, "pg_dump of sequences and large objects", arguments).await
    }

    async fn archive(&self, cx: &Cx, name: &str, what: &'static str, arguments: Vec<String>) -> Result<Vec<TocEntry>> {
        let mut command = self.tools.command(Tool::PgDump, Some(self.endpoint));
        // Compression is the codec's business; -w: never wait for a password prompt.
        command.args(["--format=custom", "--compress=0", "--no-password", LOCK_WAIT]);
        command.arg(format!("--snapshot={}", self.snapshot)).args(arguments);
        // Names in patterns and in the archive's list are text of one encoding, which is ours. Without an encoding
        // there is nothing to convert from.
        if self.encoding != "SQL_ASCII" {
            command.arg("--encoding=UTF8");
        }
        let mut handle = self.sink.create(cx, name, None, None).await?;
        let lister = Lister::start(cx, self.tools, what)?;
        let mut running = Running::start(command, what)?;
        let pump = async {
            while let Some(piece) = running.next().await? {
                lister.feed(piece.clone()).await;
                handle.write(piece).await?;
            }
            running.finish().await
        };
        let pumped = cx.run(what, pump).await;
        match pumped {
            Ok(warnings) => {
                if !warnings.trim().is_empty() {
                    tracing::warn!(tool = what, warnings = %warnings.trim(), "the tool warned");
                }
                handle.finish().await?;
                lister.list().await
            }
            Err(e) => {
                handle.abort().await;
                Err(e)
            }
        }
    }

    /// Roles, tablespaces, role settings. Passwords only where this role may read them.
    ///
    /// `Ok(Some(_))` when they could not be read: a database owner on a managed service seldom may.
    pub(crate) async fn globals(&self, cx: &Cx, superuser: bool) -> Result<Option<Skipped>> {
        let mut last = None;
        for passwords in if superuser { &[true, false][..] } else { &[false][..] } {
            let mut command = self.tools.command(Tool::PgDumpall, Some(self.endpoint));
            command.args(["--globals-only", "--no-password"]);
            command.arg(format!("--database={}", self.endpoint.database()));
            if !passwords {
                command.arg("--no-role-passwords");
            }
            match super::tools::run(cx, command, "pg_dumpall of the globals").await {
                Ok(output) => {
                    let mut handle = self.sink.create(cx, GLOBALS, None, None).await?;
                    handle.write(output.stdout.into()).await?;
                    handle.finish().await?;
                    let what = "role passwords".to_owned();
                    let why = "this role may not read them; set them anew after a restore to a new server".to_owned();
                    return Ok((!passwords).then_some(Skipped { what, why }));
                }
                Err(e) if e.kind() == ErrorKind::Denied => last = Some(e),
                Err(e) => return Err(e),
            }
        }
        let why = last.map_or_else(String::new, |e| e.chain());
        Ok(Some(Skipped { what: "roles and tablespaces".to_owned(), why }))
    }
}

/// A name as a pg_dump pattern that matches only itself.
fn pattern(name: &str) -> String {
    // Inside double quotes every character stands for itself, but for the quote, which is doubled.
    quote_ident(name)
}
