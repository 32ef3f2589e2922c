//! The digest of a value's content, the same in whatever form a server keeps it.
//!
//! Order counts in strings, lists and a stream's fields; elsewhere hashes of the parts are summed.

use std::io::Read;

use veza_dr_core::Result;

use super::{
    hasher::{Hasher, Sink, Text},
    input::Input,
    packed::{Packed, Packing},
    types::ValueType,
};

/// Room for the work, used again for each value.
#[derive(Default)]
pub(super) struct Workbench {
    pub(super) part: Hasher,
    pub(super) whole: Hasher,
}

/// Where a collection's elements come from.
enum Elements {
    /// So many strings of their own.
    Strings(u64),
    /// One packed string.
    Packed(Packed),
}

impl Elements {
    fn next<R: Read>(&mut self, input: &mut Input<R>, out: &mut impl Sink) -> Result<bool> {
        match self {
            Self::Strings(0) => Ok(false),
            Self::Strings(left) => {
                *left -= 1;
                input.string_to(out)?;
                Ok(true)
            }
            Self::Packed(packed) => packed.next(input, out),
        }
    }

    /// The second, or third, of what belongs together.
    fn must<R: Read>(&mut self, input: &mut Input<R>, out: &mut impl Sink) -> Result<()> {
        if self.next(input, out)? { Ok(()) } else { Err(input.corrupt("an element lacks its counterpart")) }
    }
}

impl<R: Read> Input<R> {
    /// The digest of a value, which is read over; `None` for one that only its module understands.
    pub(super) fn digest_value(&mut self, kind: ValueType, bench: &mut Workbench) -> Result<Option<u128>> {
        let packed =
            |input: &mut Self, packing| Ok::<_, veza_dr_core::Error>(Elements::Packed(Packed::open(input, packing)?));
        let digest = match kind.byte() {
            0 => {
                self.string_to(&mut bench.whole)?;
                bench.whole.end_item();
                bench.whole.finish()
            }
            1 => {
                let elements = Elements::Strings(self.length()?);
                self.list(elements, &mut bench.whole)?;
                bench.whole.finish()
            }
            10 => {
                let elements = packed(self, Packing::Ziplist)?;
                self.list(elements, &mut bench.whole)?;
                bench.whole.finish()
            }
            14 | 18 => self.quicklist(kind, &mut bench.whole)?,
            2 => {
                let elements = Elements::Strings(self.length()?);
                self.set(elements, &mut bench.part)?
            }
            11 | 20 => {
                let packing = if kind.byte() == 11 { Packing::Intset } else { Packing::Listpack };
                let elements = packed(self, packing)?;
                self.set(elements, &mut bench.part)?
            }
            3 | 5 => self.zset_of_strings(kind, &mut bench.part)?,
            12 | 17 => {
                let packing = if kind.byte() == 12 { Packing::Ziplist } else { Packing::Listpack };
                let elements = packed(self, packing)?;
                self.zset(elements, &mut bench.part)?
            }
            4 => {
                let fields = self.length()?;
                let both = fields.checked_mul(2).ok_or_else(|| self.corrupt("a number beyond all measure"))?;
                self.hash(Elements::Strings(both), false, &mut bench.part)?
            }
            13 | 16 => {
                let packing = if kind.byte() == 13 { Packing::Ziplist } else { Packing::Listpack };
                let elements = packed(self, packing)?;
                self.hash(elements, false, &mut bench.part)?
            }
            22 => self.hash_with_moments(&mut bench.part)?,
            24 => self.hash_with_expiries(&mut bench.part)?,
            25 => {
                let _earliest: [u8; 8] = self.array()?;
                let elements = packed(self, Packing::Listpack)?;
                self.hash(elements, true, &mut bench.part)?
            }
            15 | 19 | 21 => self.stream(kind, bench)?,
            _ => {
                self.skip_value(kind)?;
                return Ok(None);
            }
        };
        Ok(Some(digest))
    }

    fn list(&mut self, mut elements: Elements, out: &mut Hasher) -> Result<()> {
        while elements.next(self, out)? {
            out.end_item();
        }
        Ok(())
    }

    fn quicklist(&mut self, kind: ValueType, out: &mut Hasher) -> Result<u128> {
        for _ in 0..self.length()? {
            let packing = match kind.byte() {
                14 => Packing::Ziplist,
                _ => match self.length()? {
                    // A large element in a node of its own.
                    1 => {
                        self.string_to(out)?;
                        out.end_item();
                        continue;
                    }
                    2 => Packing::Listpack,
                    other => return Err(self.corrupt(format!("a list node of kind {other}"))),
                },
            };
            let elements = Elements::Packed(Packed::open(self, packing)?);
            self.list(elements, out)?;
        }
        Ok(out.finish())
    }

    fn set(&mut self, mut elements: Elements, part: &mut Hasher) -> Result<u128> {
        let mut sum = 0u128;
        while elements.next(self, part)? {
            part.end_item();
            sum = sum.wrapping_add(part.finish());
        }
        Ok(sum)
    }

    /// Fields with values and, where `timed`, the moment that each expires, as text; 0 for never.
    fn hash(&mut self, mut elements: Elements, timed: bool, part: &mut Hasher) -> Result<u128> {
        let mut sum = 0u128;
        while elements.next(self, part)? {
            part.end_item();
            elements.must(self, part)?;
            part.end_item();
            if timed {
                let mut text = Text::default();
                elements.must(self, &mut text)?;
                let expiry = text.parse().ok_or_else(|| self.corrupt("a field's expiry is no number"))?;
                close_field(part, expiry);
            }
            sum = sum.wrapping_add(part.finish());
        }
        Ok(sum)
    }

    fn hash_with_expiries(&mut self, part: &mut Hasher) -> Result<u128> {
        let earliest = u64::from_le_bytes(self.array()?);
        let mut sum = 0u128;
        for _ in 0..self.length()? {
            let after = self.length()?;
            for _ in 0..2 {
                self.string_to(part)?;
                part.end_item();
            }
            close_field(part, if after == 0 { 0 } else { earliest.wrapping_add(after).wrapping_sub(1) });
            sum = sum.wrapping_add(part.finish());
        }
        Ok(sum)
    }

    /// As Valkey has it: the moment of each field in milliseconds since 1970, -1 for never.
    fn hash_with_moments(&mut self, part: &mut Hasher) -> Result<u128> {
        let mut sum = 0u128;
        for _ in 0..self.length()? {
            for _ in 0..2 {
                self.string_to(part)?;
                part.end_item();
            }
            close_field(part, u64::try_from(i64::from_le_bytes(self.array()?)).unwrap_or(0));
            sum = sum.wrapping_add(part.finish());
        }
        Ok(sum)
    }

    fn zset(&mut self, mut elements: Elements, part: &mut Hasher) -> Result<u128> {
        let mut sum = 0u128;
        while elements.next(self, part)? {
            part.end_item();
            let mut text = Text::default();
            elements.must(self, &mut text)?;
            let score = text.parse().ok_or_else(|| self.corrupt("a score is no number"))?;
            sum = sum.wrapping_add(scored(part, score));
        }
        Ok(sum)
    }

    fn zset_of_strings(&mut self, kind: ValueType, part: &mut Hasher) -> Result<u128> {
        let mut sum = 0u128;
        for _ in 0..self.length()? {
            self.string_to(part)?;
            part.end_item();
            let score = if kind.byte() == 5 { f64::from_le_bytes(self.array()?) } else { self.score_text()? };
            sum = sum.wrapping_add(scored(part, score));
        }
        Ok(sum)
    }

    fn score_text(&mut self) -> Result<f64> {
        match self.u8()? {
            253 => Ok(f64::NAN),
            254 => Ok(f64::INFINITY),
            255 => Ok(f64::NEG_INFINITY),
            n => {
                let mut text = Text::default();
                for _ in 0..n {
                    text.piece(&[self.u8()?]);
                }
                text.parse().ok_or_else(|| self.corrupt("a score is no number"))
            }
        }
    }
}

/// Most fields never expire: nothing is added for those, so that a hash is the same with and without the room for it.
fn close_field(part: &mut Hasher, expiry: u64) {
    if expiry > 0 {
        part.number(expiry);
        part.end_item();
    }
}

/// Zero has two forms, and which of them a server keeps depends on the encoding.
fn scored(part: &mut Hasher, score: f64) -> u128 {
    part.number(if score == 0.0 { 0 } else { score.to_bits() });
    part.finish()
}
