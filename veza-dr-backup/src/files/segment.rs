//! The workers: each reads files into one segment after the other and hands it to the sink.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, mpsc as std_mpsc},
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use veza_dr_core::{ArtifactSink, Cx, ObjectHandle, Progress, Result};

use super::{
    FilesConfig,
    content::{self, given_up},
    detail::{SegmentRecord, segment_object},
    entry::Entry,
    index_line::IndexLine,
    meta::Meta,
    problems::Problems,
    tar_header,
    walk::Tree,
};

/// The phase that is reported.
pub(crate) const PHASE: &str = "read files";
/// Bytes are handed on in pieces of about this size.
const PIECE: usize = 512 * 1024;
/// Pieces in flight between a reader and its writer.
pub(crate) const QUEUE: usize = 4;

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) cx: Cx,
    pub(crate) config: FilesConfig,
    pub(crate) problems: Problems,
}

/// Files that go into one segment.
pub(crate) struct Job {
    pub(crate) short: String,
    pub(crate) tree: Arc<Tree>,
    pub(crate) files: Vec<(Vec<u8>, Meta)>,
    pub(crate) bytes: u64,
    pub(crate) done: oneshot::Sender<Done>,
}

/// What became of a job: an index line for each file, where there is one.
#[derive(Debug, Default)]
pub(crate) struct Done {
    text: Vec<u8>,
    ends: Vec<usize>,
    pub(crate) record: Option<SegmentRecord>,
}

impl Done {
    /// How many files the job had.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The line of the job's file `i`, with its line feed; empty when the file could not be stored.
    pub(crate) fn line(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.text[start..self.ends[i]]
    }
}

/// What passes from a reader to its writer.
pub(crate) enum Piece {
    Begin { name: String, hint: u64 },
    Data(Bytes),
    End,
}

/// The segment that is being written.
pub(crate) struct Out {
    to: mpsc::Sender<Piece>,
    buffer: Vec<u8>,
    short: String,
    hint: u64,
    members: u32,
    bytes: u64,
}

impl Out {
    pub(crate) fn new(to: mpsc::Sender<Piece>) -> Self {
        Self { to, buffer: Vec::with_capacity(PIECE * 2), short: String::new(), hint: 0, members: 0, bytes: 0 }
    }

    fn send(&self, piece: Piece) -> Result<()> {
        // The writer is gone: its own error is the cause.
        self.to.blocking_send(piece).map_err(|_| given_up())
    }

    fn begin(&mut self, short: &str, hint: u64) {
        self.short = short.to_owned();
        (self.hint, self.members, self.bytes) = (hint, 0, 0);
        self.buffer.clear();
    }

    /// Begins a member of `stored` bytes.
    pub(crate) fn member(&mut self, entry: &Entry, stored: u64, sparse: bool) -> Result<()> {
        if self.members == 0 {
            self.send(Piece::Begin { name: segment_object(&self.short), hint: self.hint })?;
        }
        tar_header::write(entry, stored, sparse, &mut self.buffer);
        self.members += 1;
        self.bytes += stored;
        self.flush_if_full()
    }

    /// Where the member that was begun last is.
    pub(crate) fn place(&self) -> (String, u32) {
        (self.short.clone(), self.members.saturating_sub(1))
    }

    pub(crate) fn push(&mut self, data: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(data);
        self.flush_if_full()
    }

    pub(crate) fn zeros(&mut self, count: usize) -> Result<()> {
        self.buffer.resize(self.buffer.len() + count, 0);
        self.flush_if_full()
    }

    pub(crate) fn long_zeros(&mut self, mut count: u64) -> Result<()> {
        while count > 0 {
            let n = usize::try_from(count).unwrap_or(PIECE).min(PIECE);
            self.zeros(n)?;
            count -= n as u64;
        }
        Ok(())
    }

    /// Lets `read` add up to `want` bytes; gives what it added.
    pub(crate) fn fill(
        &mut self,
        want: usize,
        read: impl FnOnce(&mut [u8]) -> rustix::io::Result<usize>,
    ) -> io::Result<&[u8]> {
        let start = self.buffer.len();
        self.buffer.resize(start + want, 0);
        let got = read(&mut self.buffer[start..]);
        self.buffer.truncate(start + got.unwrap_or(0));
        got?;
        Ok(&self.buffer[start..])
    }

    pub(crate) fn flush_if_full(&mut self) -> Result<()> {
        if self.buffer.len() < PIECE {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE * 2));
        self.send(Piece::Data(Bytes::from(full)))
    }

    fn end(&mut self) -> Result<Option<SegmentRecord>> {
        if self.members == 0 {
            return Ok(None);
        }
        self.buffer.extend_from_slice(&tar_header::END);
        let rest = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE * 2));
        self.send(Piece::Data(Bytes::from(rest)))?;
        self.send(Piece::End)?;
        let name = self.short.clone();
        Ok(Some(SegmentRecord { name, members: u64::from(self.members), bytes: self.bytes, live: 0, live_bytes: 0 }))
    }
}

/// Reads jobs until there are no more.
pub(crate) fn read_jobs(shared: &Shared, jobs: &Mutex<std_mpsc::Receiver<Job>>, to: mpsc::Sender<Piece>) -> Result<()> {
    let mut out = Out::new(to);
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return Ok(()) };
        out.begin(&job.short, job.bytes + job.files.len() as u64 * 2048);
        let mut done = Done::default();
        let mut live = 0;
        let mut live_bytes = 0;
        let mut told = 0;
        for (path, meta) in &job.files {
            if shared.problems.stopped() {
                return Err(given_up());
            }
            if let Some(entry) = content::store(shared, &job.tree, path, &mut out)? {
                IndexLine::write(&entry, &mut done.text);
                live += 1;
                live_bytes += entry.size;
            }
            done.ends.push(done.text.len());
            told += meta.size;
            if told > 1 << 20 {
                shared.cx.report(Progress::Advance { phase: PHASE, by: std::mem::take(&mut told) });
            }
        }
        shared.cx.report(Progress::Advance { phase: PHASE, by: told });
        done.record = out.end()?.map(|r| SegmentRecord { live, live_bytes, ..r });
        // Nobody waits for it any more when the backup was given up.
        let _ = job.done.send(done);
    }
}

/// Stores what a reader sends.
pub(crate) async fn write_jobs(cx: &Cx, sink: &dyn ArtifactSink, mut from: mpsc::Receiver<Piece>) -> Result<()> {
    let mut open: Option<Box<dyn ObjectHandle>> = None;
    let outcome = async {
        while let Some(piece) = cx.run(PHASE, async { Ok(from.recv().await) }).await? {
            match (piece, &mut open) {
                (Piece::Begin { name, hint }, open) => *open = Some(sink.create(cx, &name, None, Some(hint)).await?),
                (Piece::Data(data), Some(handle)) => handle.write(data).await?,
                (Piece::End, open) => {
                    if let Some(handle) = open.take() {
                        handle.finish().await?;
                    }
                }
                (Piece::Data(_), None) => {}
            }
        }
        Ok(())
    }
    .await;
    if let Some(unfinished) = open {
        unfinished.abort().await;
    }
    outcome
}
