//! The streams that carry rows out: each its own session on the shared snapshot, taking chunks until none is left.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use veza_dr_core::{ArtifactSink, Cx, Error, ErrorKind, Progress, Result};

use super::{Connection, CopyFormat, RowDigest, catalog::SourceTable, chunks::Chunk, digest, errors::pg_error};

pub(crate) const PHASE: &str = "copy out";
/// Rows are handed on in pieces of about this size.
const PIECE: usize = 256 * 1024;

/// What became of one chunk.
#[derive(Debug, Clone)]
pub(crate) struct Copied {
    pub(crate) table: usize,
    pub(crate) index: usize,
    pub(crate) object: Option<String>,
    pub(crate) digest: RowDigest,
    pub(crate) format: CopyFormat,
}

/// What all streams share.
pub(crate) struct Work {
    pub(crate) tables: Vec<SourceTable>,
    pub(crate) encoding: String,
    pub(crate) sink: Arc<dyn ArtifactSink>,
    queue: Mutex<VecDeque<Chunk>>,
    /// Chunks whose table somebody waits to change: only the session that holds its lock already gets past the queue.
    for_holder: Mutex<Vec<Chunk>>,
    /// Tables that must be copied in one piece, and how: rows too large for text, or an index expression that the
    /// planner cannot even look at (up to 16, where it calls a function that needs a search_path).
    in_one: Mutex<BTreeMap<usize, CopyFormat>>,
    done: Mutex<Vec<Copied>>,
}

impl Work {
    pub(crate) fn new(
        tables: Vec<SourceTable>,
        encoding: String,
        sink: Arc<dyn ArtifactSink>,
        chunks: Vec<Chunk>,
    ) -> Self {
        Self {
            tables,
            encoding,
            sink,
            queue: Mutex::new(chunks.into()),
            for_holder: Mutex::default(),
            in_one: Mutex::default(),
            done: Mutex::default(),
        }
    }

    pub(crate) fn take_done(&self) -> Vec<Copied> {
        std::mem::take(&mut *lock(&self.done))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes chunks until the queue is empty.
///
/// # Errors
/// The first failure; the caller cancels the other streams.
pub(crate) async fn stream(cx: &Cx, on: &Connection, work: &Work) -> Result<()> {
    let mut locked = None;
    loop {
        let Some(chunk) = lock(&work.queue).pop_front() else { return Ok(()) };
        if locked != Some(chunk.table) {
            if lock(&work.in_one).contains_key(&chunk.table) {
                continue;
            }
            // NOWAIT: behind a waiting ALTER TABLE this would wait for the holder, who waits for us.
            let sql = format!(
                "SAVEPOINT l; LOCK TABLE ONLY {} IN ACCESS SHARE MODE NOWAIT; RELEASE l",
                work.tables[chunk.table].qualified
            );
            match on.execute(cx, "lock a table", &sql).await {
                Ok(()) => locked = Some(chunk.table),
                Err(e) if e.kind() == ErrorKind::Conflict => {
                    on.execute(cx, "roll back", "ROLLBACK TO l").await?;
                    lock(&work.for_holder).push(chunk);
                    continue;
                }
                Err(e) => return Err(e),
            }
        }
        copy_or_defer(cx, on, work, chunk).await?;
    }
}

/// What the streams had to leave to the session that holds the locks.
pub(crate) async fn finish_on_holder(cx: &Cx, holder: &Connection, work: &Work) -> Result<()> {
    let left = std::mem::take(&mut *lock(&work.for_holder));
    for chunk in left {
        copy_or_defer(cx, holder, work, chunk).await?;
    }
    let in_one = std::mem::take(&mut *lock(&work.in_one));
    for (table, format) in in_one {
        tracing::info!(table = %work.tables[table].qualified, ?format, "copied in one piece");
        lock(&work.done).retain(|c| c.table != table);
        let whole = Chunk { table, index: 0, from: None, to: None, weight: 0 };
        let copied = match copy(cx, holder, work, &whole, format).await {
            Err(e) if format == CopyFormat::Text && is_too_large(&e) => {
                return Err(Error::new(ErrorKind::Unsupported, e.to_string()).with_help(
                    "a row is too large for text, and the table cannot be read in parts; docs/postgres.md, T21",
                ));
            }
            copied => copied?,
        };
        lock(&work.done).push(copied);
    }
    Ok(())
}

async fn copy_or_defer(cx: &Cx, on: &Connection, work: &Work, chunk: Chunk) -> Result<()> {
    on.execute(cx, "mark", "SAVEPOINT c").await?;
    match copy(cx, on, work, &chunk, CopyFormat::Text).await {
        Ok(copied) => {
            on.execute(cx, "mark", "RELEASE c").await?;
            lock(&work.done).push(copied);
        }
        Err(e) if is_too_large(&e) => {
            on.execute(cx, "roll back", "ROLLBACK TO c").await?;
            lock(&work.in_one).insert(chunk.table, CopyFormat::Binary);
        }
        Err(e) if !chunk.condition().is_empty() && is_of_the_query(&e) => {
            on.execute(cx, "roll back", "ROLLBACK TO c").await?;
            lock(&work.in_one).entry(chunk.table).or_insert(CopyFormat::Text);
        }
        Err(e) => return Err(e),
    }
    cx.report(Progress::Advance { phase: PHASE, by: chunk.weight });
    Ok(())
}

/// A row whose text form passes 1 GiB; its binary form may not.
fn is_too_large(error: &Error) -> bool {
    let text = error.to_string();
    text.contains("invalid memory alloc request size")
        || text.contains("(SQLSTATE 54000)")
        || text.contains("out of memory") && text.contains("string buffer")
}

/// Reads rows and digests them without keeping them: what a proof after a restore compares with the manifest.
///
/// # Errors
/// Those of the connection.
pub async fn digest_rows(cx: &Cx, on: &Connection, what: &str, sql: &str, format: CopyFormat) -> Result<RowDigest> {
    cx.run(what, async {
        let stream = on.client().copy_out(sql).await.map_err(|e| pg_error(what, e))?;
        let mut stream = pin!(stream);
        let mut digest = RowDigest::default();
        let mut first = true;
        while let Some(message) = stream.next().await {
            let message: Bytes = message.map_err(|e| pg_error(what, e))?;
            match format {
                CopyFormat::Text => digest.row(&message),
                CopyFormat::Binary => binary_row(&mut digest, &message, first),
            }
            first = false;
        }
        Ok(digest)
    })
    .await
}

/// The server refused the query itself, as it may for a SELECT and not for a plain COPY, which is not planned.
fn is_of_the_query(error: &Error) -> bool {
    ["(SQLSTATE 42", "(SQLSTATE P0", "(SQLSTATE 22", "(SQLSTATE 3F"].iter().any(|c| error.to_string().contains(c))
}

async fn copy(cx: &Cx, on: &Connection, work: &Work, chunk: &Chunk, format: CopyFormat) -> Result<Copied> {
    let table = &work.tables[chunk.table];
    let what = format!("copy {}", table.qualified);
    let sql = copy_sql(&table.qualified, &table.columns, &chunk.condition(), &work.encoding, format);
    let name = object_name(chunk, table, format);
    let mut digest = RowDigest::default();
    // Opened at the first row: an empty table has no object. A residual table's rows are digested, not stored.
    let mut handle = None;
    let read = async {
        let stream = on.client().copy_out(&sql).await.map_err(|e| pg_error(&what, e))?;
        let mut stream = pin!(stream);
        let mut piece = BytesMut::with_capacity(PIECE + 64 * 1024);
        let mut first = true;
        while let Some(message) = stream.next().await {
            let message: Bytes = message.map_err(|e| pg_error(&what, e))?;
            match format {
                CopyFormat::Text => digest.row(&message),
                CopyFormat::Binary => binary_row(&mut digest, &message, first),
            }
            first = false;
            if table.residual {
                continue;
            }
            piece.extend_from_slice(&message);
            if piece.len() >= PIECE {
                let open = match handle.take() {
                    Some(open) => open,
                    None => work.sink.create(cx, &name, None, Some(chunk.weight)).await?,
                };
                handle.insert(open).write(piece.split().freeze()).await?;
                piece.reserve(PIECE + 64 * 1024);
            }
        }
        if digest.rows > 0 && !table.residual {
            let open = match handle.take() {
                Some(open) => open,
                None => work.sink.create(cx, &name, None, Some(chunk.weight)).await?,
            };
            let open = handle.insert(open);
            if !piece.is_empty() {
                open.write(piece.freeze()).await?;
            }
        }
        Ok(())
    };
    let outcome = cx.run(&what, read).await;
    if let Err(e) = outcome {
        if let Some(open) = handle {
            open.abort().await;
        }
        return Err(e);
    }
    let object = match handle {
        Some(open) => {
            open.finish().await?;
            Some(name)
        }
        None => None,
    };
    Ok(Copied { table: chunk.table, index: chunk.index, object, digest, format })
}

/// The server sends the header together with the first row, and the trailer alone.
pub(crate) fn binary_row(digest: &mut RowDigest, message: &[u8], first: bool) {
    const HEADER: usize = 19;
    const TRAILER: [u8; 2] = [0xff, 0xff];
    let row = if first && message.len() >= HEADER { &message[HEADER..] } else { message };
    if row != TRAILER && !row.is_empty() {
        digest.row(row);
    }
}

/// The COPY that reads a table: never children, never generated columns, never transcoded. Without a condition it is
/// a plain `COPY table`, which needs no planner and reads faster; with one, `COPY (SELECT … FROM ONLY …)`.
#[must_use]
pub fn copy_sql(qualified: &str, columns: &[String], condition: &str, encoding: &str, format: CopyFormat) -> String {
    let options = match format {
        CopyFormat::Text => format!("ENCODING '{}'", encoding.replace('\'', "''")),
        CopyFormat::Binary => "FORMAT binary".to_owned(),
    };
    let columns = columns.join(", ");
    if !condition.is_empty() {
        return format!("COPY (SELECT {columns} FROM ONLY {qualified}{condition}) TO STDOUT ({options})");
    }
    // An empty list is a syntax error; without one, a table that has no columns gives its empty rows.
    let list = if columns.is_empty() { String::new() } else { format!(" ({columns})") };
    format!("COPY {qualified}{list} TO STDOUT ({options})")
}

fn object_name(chunk: &Chunk, table: &SourceTable, format: CopyFormat) -> String {
    let safe: String = format!("{}.{}", table.schema, table.name)
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' })
        .take(80)
        .collect();
    let suffix = match format {
        CopyFormat::Text => "copy",
        CopyFormat::Binary => "copybin",
    };
    format!("data/{:06}-{safe}/{:05}.{suffix}", chunk.table, chunk.index)
}

/// The digest's name for a format.
#[must_use]
pub fn algorithm(format: CopyFormat) -> &'static str {
    match format {
        CopyFormat::Text => digest::TEXT_DIGEST,
        CopyFormat::Binary => digest::BINARY_DIGEST,
    }
}
