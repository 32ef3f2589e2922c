//! Lengths and strings: raw, as numbers, compressed.

use std::io::Read;

use veza_dr_core::Result;

use super::{hasher::Sink, input::Input, lzf::Lzf};

/// Redis holds no string longer than this (512 MiB) unless `proto-max-bulk-len` was raised; keys and library code are
/// held in memory, so they may not be longer.
const HELD: u64 = 512 * 1024 * 1024;

/// A length, or the form of a string that has none.
pub(super) enum Length {
    Plain(u64),
    Special(u8),
}

impl<R: Read> Input<R> {
    pub(super) fn length_or_form(&mut self) -> Result<Length> {
        let first = self.u8()?;
        Ok(match first >> 6 {
            0 => Length::Plain(u64::from(first)),
            1 => Length::Plain(u64::from(first & 0x3f) << 8 | u64::from(self.u8()?)),
            3 => Length::Special(first & 0x3f),
            _ => match first {
                0x80 => Length::Plain(u64::from(u32::from_be_bytes(self.array()?))),
                0x81 => Length::Plain(u64::from_be_bytes(self.array()?)),
                other => return Err(self.corrupt(format!("0x{other:02x} begins no length"))),
            },
        })
    }

    /// A length that is one.
    pub(super) fn length(&mut self) -> Result<u64> {
        match self.length_or_form()? {
            Length::Plain(n) => Ok(n),
            Length::Special(form) => Err(self.corrupt(format!("string form {form} where a length belongs"))),
        }
    }

    /// Begins a string.
    pub(super) fn blob(&mut self) -> Result<Blob> {
        Ok(match self.length_or_form()? {
            Length::Plain(n) => Blob::Raw(n),
            Length::Special(0) => Blob::number(i64::from(self.u8()? as i8)),
            Length::Special(1) => Blob::number(i64::from(i16::from_le_bytes(self.array()?))),
            Length::Special(2) => Blob::number(i64::from(i32::from_le_bytes(self.array()?))),
            Length::Special(3) => {
                let packed = self.length()?;
                let plain = self.length()?;
                Blob::Packed(Lzf::new(packed, plain))
            }
            Length::Special(form) => return Err(self.corrupt(format!("unknown string form {form}"))),
        })
    }

    /// Moves on over a string without decoding it.
    pub(super) fn skip_string(&mut self) -> Result<()> {
        match self.length_or_form()? {
            Length::Plain(n) => self.skip(n),
            Length::Special(form @ 0..=2) => self.skip(1 << form),
            Length::Special(3) => {
                let packed = self.length()?;
                self.length()?;
                self.skip(packed)
            }
            Length::Special(form) => Err(self.corrupt(format!("unknown string form {form}"))),
        }
    }

    /// A whole string in memory: for keys, names and code.
    pub(super) fn string(&mut self) -> Result<Vec<u8>> {
        let mut blob = self.blob()?;
        let mut out = Vec::new();
        while let n @ 1.. = {
            let chunk = blob.fill(self)?;
            out.extend_from_slice(chunk);
            chunk.len()
        } {
            blob.consume(self, n);
            if out.len() as u64 > HELD {
                return Err(self.corrupt("a key or name of more than 512 MiB"));
            }
        }
        Ok(out)
    }

    /// Hands a string's bytes on, piece by piece.
    pub(super) fn string_to(&mut self, out: &mut impl Sink) -> Result<()> {
        let mut blob = self.blob()?;
        while let n @ 1.. = {
            let chunk = blob.fill(self)?;
            out.piece(chunk);
            chunk.len()
        } {
            blob.consume(self, n);
        }
        Ok(())
    }
}

/// A string being read, decoded.
pub(super) enum Blob {
    /// So many bytes as they are.
    Raw(u64),
    /// A number's decimal digits, and how many were consumed.
    Number(Vec<u8>, usize),
    /// Compressed.
    Packed(Lzf),
}

impl Blob {
    fn number(n: i64) -> Self {
        Self::Number(n.to_string().into_bytes(), 0)
    }

    /// The next decoded bytes; empty at the end.
    pub(super) fn fill<'a, R: Read>(&'a mut self, input: &'a mut Input<R>) -> Result<&'a [u8]> {
        match self {
            Self::Raw(0) => Ok(&[]),
            Self::Raw(left) => {
                let left = usize::try_from(*left).unwrap_or(usize::MAX);
                let chunk = input.fill()?;
                Ok(&chunk[..chunk.len().min(left)])
            }
            Self::Number(digits, at) => Ok(&digits[*at..]),
            Self::Packed(lzf) => lzf.fill(input),
        }
    }

    pub(super) fn consume<R: Read>(&mut self, input: &mut Input<R>, n: usize) {
        match self {
            Self::Raw(left) => {
                *left -= n as u64;
                input.consume(n);
            }
            Self::Number(digits, at) => *at = (*at + n).min(digits.len()),
            Self::Packed(lzf) => lzf.consume(n),
        }
    }
}
