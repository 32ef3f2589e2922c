//! Objects streamed to and from files in large pieces, off the runtime's own threads.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, IoSlice, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_blocking};
use veza_dr_core::{Cx, Effect, Error, ErrorKind, ObjectKey, ObjectMeta, ObjectReader, ObjectWriter, Result};

use super::{
    io_errors::io_error,
    publish::{Replace, publish},
    temp_file::TempFile,
    walk::describe,
};

/// One trip to a blocking thread carries this much: enough to make the trip's cost vanish.
const PIECE: usize = 1024 * 1024;

/// Runs file work on a blocking thread until it ends or `cx` does; hands it `what` for its errors.
pub(super) async fn off_thread<T, F>(cx: &Cx, what: String, work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce(&str) -> Result<T> + Send + 'static,
{
    let name = what.clone();
    let work = async { spawn_blocking(move || work(&name)).await.map_err(|e| lost_thread(e, &what))? };
    cx.run(&what, work).await
}

fn lost_thread(e: tokio::task::JoinError, what: &str) -> Error {
    Error::new(ErrorKind::Unexpected, format!("{what}: its thread was lost"))
        .with_source(e)
        .with_effect(Effect::Unknown)
}

type Written = JoinHandle<(TempFile, io::Result<()>)>;

#[derive(Debug)]
enum Output {
    Idle(TempFile),
    /// A piece is being written while the next one gathers.
    Busy(Written),
    Failed,
}

#[derive(Debug)]
pub(super) struct DirectoryWriter {
    cx: Cx,
    root: Arc<PathBuf>,
    key: ObjectKey,
    gathered: VecDeque<Bytes>,
    gathered_bytes: usize,
    output: Output,
}

impl DirectoryWriter {
    pub(super) fn new(cx: Cx, root: Arc<PathBuf>, key: ObjectKey, temp: TempFile) -> Self {
        Self { cx, root, key, gathered: VecDeque::new(), gathered_bytes: 0, output: Output::Idle(temp) }
    }

    fn what(&self) -> String {
        format!("write {}", self.root.join(self.key.as_str()).display())
    }

    /// Waits for the piece that is being written.
    async fn settle(&mut self) -> Result<()> {
        let what = self.what();
        if let Output::Busy(task) = &mut self.output {
            // The handle stays in place while we wait, so that a dropped call loses nothing.
            let done = self.cx.run(&what, async { task.await.map_err(|e| lost_thread(e, &what)) }).await;
            self.output = Output::Failed;
            let (temp, result) = done?;
            result.map_err(|e| io_error(e, what))?;
            self.output = Output::Idle(temp);
        }
        Ok(())
    }

    /// The file with everything settled; an error when an earlier write failed.
    async fn take(&mut self) -> Result<TempFile> {
        self.settle().await?;
        match std::mem::replace(&mut self.output, Output::Failed) {
            Output::Idle(temp) => Ok(temp),
            _ => Err(Error::new(ErrorKind::Unexpected, format!("{}: an earlier write failed", self.what()))),
        }
    }
}

#[async_trait]
impl ObjectWriter for DirectoryWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.cx.check(&self.what())?;
        if bytes.is_empty() {
            return Ok(());
        }
        self.gathered_bytes += bytes.len();
        self.gathered.push_back(bytes);
        if self.gathered_bytes >= PIECE {
            let temp = self.take().await?;
            let piece = std::mem::take(&mut self.gathered);
            self.gathered_bytes = 0;
            self.output = Output::Busy(spawn_blocking(move || {
                let result = write_all(temp.file(), piece);
                (temp, result)
            }));
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<ObjectMeta> {
        let what = self.what();
        let temp = self.take().await?;
        let rest = std::mem::take(&mut self.gathered);
        let (cx, root, key) = (self.cx.clone(), Arc::clone(&self.root), self.key.clone());
        let target = root.join(key.as_str());
        let done = off_thread(&self.cx, what, move |what| {
            write_all(temp.file(), rest).map_err(|e| io_error(e, what))?;
            let file = publish(&cx, &root, temp, &target, &Replace::No)?;
            let described = file.metadata().and_then(|meta| describe(key, &file, &meta));
            described.map_err(|e| io_error(e, what).with_effect(Effect::Applied))
        });
        done.await.map_err(unknown_if_cancelled)
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        // The temporary file goes with its owner: here, or at the end of the piece that is being written.
        let _ = self.settle().await;
        Ok(())
    }
}

/// A cancelled call may have been past the rename already.
pub(super) fn unknown_if_cancelled(e: Error) -> Error {
    if e.kind() == ErrorKind::Cancelled { e.with_effect(Effect::Unknown) } else { e }
}

/// Writes all of `piece` with as few system calls as it takes.
pub(super) fn write_all(mut file: &File, mut piece: VecDeque<Bytes>) -> io::Result<()> {
    /// Linux takes no more at once.
    const SLICES: usize = 1024;
    // Nothing to write would be taken for a disk that takes nothing.
    piece.retain(|b| !b.is_empty());
    while !piece.is_empty() {
        let slices: Vec<IoSlice<'_>> = piece.iter().take(SLICES).map(|b| IoSlice::new(b)).collect();
        let mut written = match file.write_vectored(&slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        while let Some(front) = piece.front_mut() {
            if front.len() > written {
                bytes::Buf::advance(front, written);
                break;
            }
            written -= front.len();
            piece.pop_front();
        }
    }
    Ok(())
}

type Ahead = JoinHandle<(File, io::Result<Vec<u8>>)>;

/// Reads one piece ahead of its caller.
#[derive(Debug)]
pub(super) struct DirectoryReader {
    cx: Cx,
    path: PathBuf,
    left: u64,
    ahead: Option<Ahead>,
}

impl DirectoryReader {
    /// Reads `left` bytes from where `file` stands.
    pub(super) fn new(cx: Cx, path: &Path, file: File, left: u64) -> Self {
        Self { cx, path: path.to_owned(), left, ahead: (left > 0).then(|| read_piece(file, left)) }
    }
}

fn read_piece(file: File, left: u64) -> Ahead {
    spawn_blocking(move || {
        let size = left.min(PIECE as u64);
        let mut piece = Vec::with_capacity(usize::try_from(size).unwrap_or(PIECE));
        let result = (&file).take(size).read_to_end(&mut piece).map(|_| piece);
        (file, result)
    })
}

#[async_trait]
impl ObjectReader for DirectoryReader {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let what = format!("read {}", self.path.display());
        self.cx.check(&what)?;
        let Some(task) = &mut self.ahead else {
            return if self.left == 0 {
                Ok(None)
            } else {
                Err(Error::new(ErrorKind::Unexpected, format!("{what}: an earlier read failed")))
            };
        };
        let done = self.cx.run(&what, async { task.await.map_err(|e| lost_thread(e, &what)) }).await;
        self.ahead = None;
        let (file, piece) = done?;
        let piece = piece.map_err(|e| io_error(e, what.clone()))?;
        if piece.is_empty() {
            let text = format!("{what}: it is {} bytes shorter than it was when opened", self.left);
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        self.left = self.left.saturating_sub(piece.len() as u64);
        if self.left > 0 {
            self.ahead = Some(read_piece(file, self.left));
        }
        Ok(Some(Bytes::from(piece)))
    }
}
