//! Undoes LZF, the compression of strings in an RDB, piece by piece.

use std::io::Read;

use veza_dr_core::Result;

use super::input::Input;

/// How far back a reference reaches.
const WINDOW: usize = 8192;
/// About how much is decoded at a time.
const STEP: usize = 32 * 1024;

/// One compressed string being read.
#[derive(Debug)]
pub(super) struct Lzf {
    /// Compressed bytes not read yet.
    packed: u64,
    /// Bytes that must still come out.
    plain: u64,
    out: Vec<u8>,
    at: usize,
}

impl Lzf {
    pub(super) fn new(packed: u64, plain: u64) -> Self {
        Self { packed, plain, out: Vec::new(), at: 0 }
    }

    /// What is decoded and not consumed; empty at the end.
    pub(super) fn fill<R: Read>(&mut self, input: &mut Input<R>) -> Result<&[u8]> {
        if self.at == self.out.len() {
            if self.out.len() > WINDOW + STEP {
                self.out.drain(..self.out.len() - WINDOW);
            }
            self.at = self.out.len();
            let goal = self.at + STEP;
            while self.packed > 0 && self.out.len() < goal {
                self.step(input)?;
            }
            let came = (self.out.len() - self.at) as u64;
            match self.plain.checked_sub(came) {
                Some(left) if left == 0 || self.packed > 0 => self.plain = left,
                _ => return Err(input.corrupt("a compressed string does not have its length")),
            }
        }
        Ok(&self.out[self.at..])
    }

    pub(super) fn consume(&mut self, n: usize) {
        self.at = (self.at + n).min(self.out.len());
    }

    fn byte<R: Read>(&mut self, input: &mut Input<R>) -> Result<usize> {
        self.packed =
            self.packed.checked_sub(1).ok_or_else(|| input.corrupt("a compressed string ends in the middle"))?;
        Ok(usize::from(input.u8()?))
    }

    fn step<R: Read>(&mut self, input: &mut Input<R>) -> Result<()> {
        let control = self.byte(input)?;
        if control < 32 {
            return self.literal(input, control + 1);
        }
        let mut length = control >> 5;
        if length == 7 {
            length += self.byte(input)?;
        }
        let distance = ((control & 0x1f) << 8 | self.byte(input)?) + 1;
        let Some(from) = self.out.len().checked_sub(distance) else {
            return Err(input.corrupt("a compressed string refers to what lies before it"));
        };
        let end = from + length + 2;
        if end <= self.out.len() {
            self.out.extend_from_within(from..end);
            return Ok(());
        }
        // It repeats what it is still writing.
        for i in from..end {
            self.out.push(self.out[i]);
        }
        Ok(())
    }

    /// Takes over `left` bytes as they are.
    fn literal<R: Read>(&mut self, input: &mut Input<R>, mut left: usize) -> Result<()> {
        self.packed = (self.packed)
            .checked_sub(left as u64)
            .ok_or_else(|| input.corrupt("a compressed string ends in the middle"))?;
        while left > 0 {
            let here = input.fill()?;
            let n = here.len().min(left);
            self.out.extend_from_slice(&here[..n]);
            input.consume(n);
            left -= n;
        }
        Ok(())
    }
}
