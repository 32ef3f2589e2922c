//! Proves an RDB while it passes by: fed piece by piece, working on a thread of its own.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use tokio::{sync::mpsc, task::JoinHandle};
use veza_dr_core::{Error, ErrorKind, Result};

use super::{reader::Reader, summary::Summary};

/// Pieces on their way: with pieces of 256 KiB, 2 MiB.
const QUEUE: usize = 8;

/// Takes an RDB in pieces and tells in the end what is in it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use veza_dr_backup::redis::rdb::Scanner;
/// let mut scanner = Scanner::start();
/// scanner.push(bytes::Bytes::from_static(b"REDIS0010\xfe\x00\x00\x01k")).await?;
/// scanner.push(bytes::Bytes::from_static(b"\x01v\xff\0\0\0\0\0\0\0\0")).await?;
/// assert_eq!(scanner.finish().await?.keys(), 1);
/// # Ok::<(), veza_dr_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Scanner {
    pieces: mpsc::Sender<Bytes>,
    work: JoinHandle<Result<Summary>>,
}

impl Scanner {
    /// Begins. Must be called within a Tokio runtime.
    #[must_use]
    pub fn start() -> Self {
        let (pieces, queue) = mpsc::channel(QUEUE);
        let work = tokio::task::spawn_blocking(move || {
            let mut reader = Reader::new(Queue { queue, current: Bytes::new() })?;
            Summary::of(&mut reader)
        });
        Self { pieces, work }
    }

    /// Takes the next bytes; waits while the scan is behind.
    ///
    /// # Errors
    /// What the scan found wrong with earlier ones. No more can be pushed then.
    pub async fn push(&mut self, piece: Bytes) -> Result<()> {
        if self.pieces.send(piece).await.is_ok() {
            return Ok(());
        }
        match self.verdict().await {
            Ok(_) => Err(Error::new(ErrorKind::Corrupt, "the RDB goes on after its end")),
            Err(e) => Err(e),
        }
    }

    /// What was in it, once the last piece was pushed.
    ///
    /// # Errors
    /// Those of [`Reader::next`].
    pub async fn finish(mut self) -> Result<Summary> {
        // Closing the queue is the end of the input.
        self.pieces = mpsc::channel(1).0;
        self.verdict().await
    }

    async fn verdict(&mut self) -> Result<Summary> {
        (&mut self.work).await.map_err(|e| Error::new(ErrorKind::Unexpected, "the RDB scan died").with_source(e))?
    }
}

struct Queue {
    queue: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Read for Queue {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.queue.blocking_recv() {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        let n = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}
