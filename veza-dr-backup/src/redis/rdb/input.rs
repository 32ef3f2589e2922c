//! Bytes of an RDB file in order: buffered, counted, summed, and kept where asked for.

use std::io::{ErrorKind as IoKind, Read};

use veza_dr_core::{Error, ErrorKind, Result};

use super::crc::Crc64;

const BUFFER: usize = 128 * 1024;

/// Reads ahead by one buffer; holds no more than that, whatever lengths the data announces.
pub(super) struct Input<R> {
    from: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The offset in the file of the buffer's first byte.
    base: u64,
    crc: Crc64,
    /// Up to where in the buffer bytes are in `crc` and `tap`.
    settled: usize,
    tap: Option<Tap>,
}

/// Keeps what is read, up to a limit.
struct Tap {
    bytes: Vec<u8>,
    limit: u64,
    from: u64,
}

impl<R: Read> Input<R> {
    pub(super) fn new(from: R) -> Self {
        let crc = Crc64::default();
        Self { from, buffer: vec![0; BUFFER], start: 0, end: 0, base: 0, crc, settled: 0, tap: None }
    }

    /// How many bytes were read.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.start as u64
    }

    /// The checksum of all that was read.
    pub(super) fn crc(&mut self) -> u64 {
        self.settle();
        self.crc.value()
    }

    fn settle(&mut self) {
        let fresh = &self.buffer[self.settled..self.start];
        if fresh.is_empty() {
            return;
        }
        self.crc.update(fresh);
        if let Some(tap) = &mut self.tap
            && tap.bytes.len() as u64 <= tap.limit
        {
            let room = (tap.limit + 1).saturating_sub(tap.bytes.len() as u64);
            tap.bytes.extend_from_slice(&fresh[..fresh.len().min(usize::try_from(room).unwrap_or(usize::MAX))]);
        }
        self.settled = self.start;
    }

    /// Keeps a copy of what is read from here on, of at most so many bytes.
    pub(super) fn keep(&mut self, limit: u64) {
        self.settle();
        self.tap = Some(Tap { bytes: Vec::new(), limit, from: self.offset() });
    }

    /// What was read since [`Input::keep`]: where it began, and the bytes unless they were too many.
    pub(super) fn kept(&mut self) -> (u64, Option<Vec<u8>>) {
        self.settle();
        match self.tap.take() {
            Some(tap) if tap.bytes.len() as u64 <= tap.limit => (tap.from, Some(tap.bytes)),
            Some(tap) => (tap.from, None),
            None => (self.offset(), None),
        }
    }

    /// What is at hand; empty only at the end of the input.
    pub(super) fn peek(&mut self) -> Result<&[u8]> {
        if self.start == self.end {
            self.settle();
            self.base += self.end as u64;
            (self.start, self.end, self.settled) = (0, 0, 0);
            loop {
                match self.from.read(&mut self.buffer) {
                    Ok(n) => {
                        self.end = n;
                        break;
                    }
                    Err(e) if e.kind() == IoKind::Interrupted => {}
                    Err(e) => {
                        let text = format!("the RDB cannot be read at byte {}", self.base);
                        return Err(Error::new(ErrorKind::Unavailable, text).with_source(e));
                    }
                }
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// At least one byte.
    pub(super) fn fill(&mut self) -> Result<&[u8]> {
        if self.peek()?.is_empty() {
            return Err(self.corrupt("it ends too early"));
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// Moves on, over bytes that [`Input::fill`] showed.
    pub(super) fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        if self.start < self.end {
            self.start += 1;
            return Ok(self.buffer[self.start - 1]);
        }
        let byte = self.fill()?.first().copied().unwrap_or_default();
        self.consume(1);
        Ok(byte)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        let mut at = 0;
        while at < N {
            let chunk = self.fill()?;
            let n = chunk.len().min(N - at);
            out[at..at + n].copy_from_slice(&chunk[..n]);
            at += n;
            self.consume(n);
        }
        Ok(out)
    }

    /// Moves on over so many bytes.
    pub(super) fn skip(&mut self, mut n: u64) -> Result<()> {
        while n > 0 {
            let here = self.fill()?.len().min(usize::try_from(n).unwrap_or(usize::MAX));
            self.consume(here);
            n -= here as u64;
        }
        Ok(())
    }

    /// An error that names the place.
    pub(super) fn corrupt(&self, what: impl std::fmt::Display) -> Error {
        Error::new(ErrorKind::Corrupt, format!("the RDB is damaged at byte {}: {what}", self.offset()))
    }
}
