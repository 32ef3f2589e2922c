//! Finds the end of a value without looking into it.

use std::io::Read;

use veza_dr_core::Result;

use super::{input::Input, types::ValueType};

impl<R: Read> Input<R> {
    /// Moves on over a value.
    pub(super) fn skip_value(&mut self, kind: ValueType) -> Result<()> {
        match kind.byte() {
            1 | 2 | 14 => self.skip_strings(1),
            3 => {
                for _ in 0..self.length()? {
                    self.skip_string()?;
                    let n = self.u8()?;
                    self.skip(if n < 253 { u64::from(n) } else { 0 })?;
                }
                Ok(())
            }
            4 => self.skip_strings(2),
            5 => {
                for _ in 0..self.length()? {
                    self.skip_string()?;
                    self.skip(8)?;
                }
                Ok(())
            }
            7 => {
                self.length()?;
                self.skip_module()
            }
            15 | 19 | 21 => self.skip_stream(kind),
            18 => {
                for _ in 0..self.length()? {
                    self.length()?;
                    self.skip_string()?;
                }
                Ok(())
            }
            22 => {
                for _ in 0..self.length()? {
                    self.skip_string()?;
                    self.skip_string()?;
                    self.skip(8)?;
                }
                Ok(())
            }
            24 => {
                self.skip(8)?;
                for _ in 0..self.length()? {
                    self.length()?;
                    self.skip_string()?;
                    self.skip_string()?;
                }
                Ok(())
            }
            25 => {
                self.skip(8)?;
                self.skip_string()
            }
            _ => self.skip_string(),
        }
    }

    fn skip_strings(&mut self, each: u8) -> Result<()> {
        for _ in 0..self.length()? {
            for _ in 0..each {
                self.skip_string()?;
            }
        }
        Ok(())
    }

    /// Moves on over what a module saved, after its identity.
    pub(super) fn skip_module(&mut self) -> Result<()> {
        loop {
            match self.length()? {
                0 => return Ok(()),
                1 | 2 => drop(self.length()?),
                3 => self.skip(4)?,
                4 => self.skip(8)?,
                5 => self.skip_string()?,
                other => return Err(self.corrupt(format!("module data of kind {other}"))),
            }
        }
    }

    fn skip_stream(&mut self, kind: ValueType) -> Result<()> {
        self.skip_strings(2)?;
        self.stream_head(kind)?;
        for _ in 0..self.length()? {
            self.skip_string()?;
            self.skip_lengths(if kind.byte() >= 19 { 3 } else { 2 })?;
            for _ in 0..self.length()? {
                self.skip(24)?;
                self.length()?;
            }
            for _ in 0..self.length()? {
                self.skip_string()?;
                self.skip(if kind.byte() >= 21 { 16 } else { 8 })?;
                let pending = self.length()?;
                self.skip(pending.checked_mul(16).ok_or_else(|| self.corrupt("a number beyond all measure"))?)?;
            }
        }
        Ok(())
    }

    /// A stream's entries in number, and its last id; moves on over what older versions do not have.
    pub(super) fn stream_head(&mut self, kind: ValueType) -> Result<(u64, [u64; 2])> {
        let entries = self.length()?;
        let last = [self.length()?, self.length()?];
        self.skip_lengths(if kind.byte() >= 19 { 5 } else { 0 })?;
        Ok((entries, last))
    }

    fn skip_lengths(&mut self, n: usize) -> Result<()> {
        for _ in 0..n {
            self.length()?;
        }
        Ok(())
    }
}

/// The name that a module gave its type: nine characters of six bits each, above ten bits of version.
pub(super) fn module_name(id: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9).map(|i| char::from(LETTERS[(id >> (10 + 6 * (8 - i)) & 63) as usize])).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn module_names_are_read_as_the_server_writes_them() {
        // "ReJSON-RL", encoding version 3.
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let place = |c: u8| letters.iter().position(|l| *l == c).unwrap() as u64;
        let id = b"ReJSON-RL".iter().fold(0, |id, c| id << 6 | place(*c)) << 10 | 3;
        assert_eq!(super::module_name(id), "ReJSON-RL");
    }
}
