//! Rows in: one object, one transaction, with its mark in the record, so that no object is ever loaded twice.

use std::{pin::pin, sync::Arc};

use futures::SinkExt;
use tokio_postgres::error::SqlState;
use veza_dr_backup::postgres::{ChunkRecord, Connection, CopyFormat, TableRecord, pg_error, sql_state};
use veza_dr_core::{ArtifactSource, Cx, Error, ErrorKind, Manifest, Result};

/// What became of an attempt to load an object.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// Its rows are in; through the partitioned parent, they may lie in other partitions than they came from.
    Done {
        /// Loaded through the parent.
        via_root: bool,
    },
    /// The server refused a row for a reason that may pass once other data is there: a check that reads another
    /// table, a column that names an index, a deadlock with another load.
    Later(Error),
}

/// Where an object's rows go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Into<'a> {
    pub(crate) table: &'a TableRecord,
    pub(crate) chunk: &'a ChunkRecord,
    pub(crate) encoding: &'a str,
    /// The table has this one object alone: it may be emptied and loaded frozen.
    pub(crate) whole: bool,
}

impl Into<'_> {
    fn sql(&self, via_root: bool, freeze: bool) -> String {
        let target = match &self.table.root {
            Some(root) if via_root => root,
            _ => &self.table.qualified,
        };
        let columns = match self.table.columns.as_slice() {
            [] => String::new(),
            columns => format!(" ({})", columns.join(", ")),
        };
        let mut options = match self.table.format {
            CopyFormat::Text => format!("ENCODING '{}'", self.encoding),
            CopyFormat::Binary => "FORMAT binary".to_owned(),
        };
        if freeze {
            options.push_str(", FREEZE true");
        }
        format!("COPY {target}{columns} FROM STDIN ({options})")
    }
}

/// Loads one object and marks it in the record, in one transaction.
///
/// # Errors
/// `Corrupt` when the object is damaged or has other rows than the manifest says; those of the connection.
pub(crate) async fn load(
    cx: &Cx,
    on: &Connection,
    data: &Arc<dyn ArtifactSource>,
    manifest: &Manifest,
    into: Into<'_>,
) -> Result<Loaded> {
    if into.table.load_via_root {
        return attempt(cx, on, data, manifest, into, true).await.map(|a| a.0);
    }
    match attempt(cx, on, data, manifest, into, false).await? {
        // The row belongs in another partition here: its key hashes or collates differently on this server.
        (Loaded::Later(_), true) if into.table.root.is_some() => {
            attempt(cx, on, data, manifest, into, true).await.map(|a| a.0)
        }
        (outcome, _) => Ok(outcome),
    }
}

/// The second value tells that a partition refused a row.
async fn attempt(
    cx: &Cx,
    on: &Connection,
    data: &Arc<dyn ArtifactSource>,
    manifest: &Manifest,
    into: Into<'_>,
    via_root: bool,
) -> Result<(Loaded, bool)> {
    let what = format!("load {}", into.table.qualified);
    let object = manifest.object(&into.chunk.object).ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, format!("the manifest names {} without its record", into.chunk.object))
    })?;
    let freeze = into.whole && !via_root;
    let begin = if freeze { format!("BEGIN; TRUNCATE ONLY {}", into.table.qualified) } else { "BEGIN".to_owned() };
    on.execute(cx, &what, &begin).await?;
    let sql = into.sql(via_root, freeze);
    let copied = async {
        let sink = on.client().copy_in(&sql).await.map_err(Failure::Server)?;
        let mut sink = pin!(sink);
        let mut reader = data.open(cx, object).await.map_err(Failure::Ours)?;
        while let Some(piece) = reader.next().await.map_err(Failure::Ours)? {
            if let Err(e) = sink.send(piece).await {
                // The reason is what the server answers to the end of the copy, not the failed send.
                return Err(Failure::Server(sink.as_mut().finish().await.err().unwrap_or(e)));
            }
        }
        sink.finish().await.map_err(Failure::Server)
    };
    let outcome = cx.run(&what, async { Ok(copied.await) }).await?;
    let rows = match outcome {
        Ok(rows) => rows,
        Err(failure) => {
            on.execute(cx, "roll back", "ROLLBACK").await?;
            return failure.sort(&what);
        }
    };
    if rows != into.chunk.rows {
        on.execute(cx, "roll back", "ROLLBACK").await?;
        let text = format!("{what}: {} loaded {rows} rows, the manifest says {}", into.chunk.object, into.chunk.rows);
        return Err(Error::new(ErrorKind::Corrupt, text));
    }
    let mark = "INSERT INTO veza_dr.chunks VALUES ($1, $2, $3)";
    let root = into.table.root.as_ref().filter(|_| via_root);
    let count = i64::try_from(rows).unwrap_or(i64::MAX);
    on.query(cx, "keep the record", mark, &[&into.chunk.object, &count, &root]).await?;
    on.execute(cx, &what, "COMMIT").await?;
    Ok((Loaded::Done { via_root }, false))
}

enum Failure {
    Server(tokio_postgres::Error),
    Ours(Error),
}

impl Failure {
    fn sort(self, what: &str) -> Result<(Loaded, bool)> {
        let error = match self {
            Self::Ours(e) => return Err(e),
            Self::Server(e) => e,
        };
        let Some(state) = sql_state(&error).cloned() else { return Err(pg_error(what, error)) };
        let partition =
            state == SqlState::CHECK_VIOLATION && error.as_db_error().is_some_and(|d| d.constraint().is_none());
        // Two checks that read each other's table: the tables that were refused are loaded alone, one after the other.
        let of_the_moment = state == SqlState::T_R_DEADLOCK_DETECTED;
        // Out of disk, shut down, cancelled: trying again later changes nothing. What a row provoked may pass.
        let of_the_row =
            ["22", "23", "42", "P0", "XX", "0A", "2F", "38", "39"].iter().any(|c| state.code().starts_with(c));
        let wrapped = pg_error(what, error);
        if of_the_row || of_the_moment { Ok((Loaded::Later(wrapped), partition)) } else { Err(wrapped) }
    }
}
