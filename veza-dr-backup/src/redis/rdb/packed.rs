//! The compact encodings that small collections have inside one string: listpack, ziplist, intset.
//!
//! Read element by element, never as a whole: a node may hold a single element of any size.

use std::io::Read;

use veza_dr_core::Result;

use super::{hasher::Sink, input::Input, strings::Blob};

/// Which encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Listpack,
    Ziplist,
    Intset,
}

/// One packed string being read.
pub(super) struct Packed {
    blob: Blob,
    packing: Packing,
    /// Bytes read, to compare with the announced total.
    read: u64,
    announced: u64,
    /// Elements read, and how many the header announces, if it does.
    elements: u64,
    count: Option<u64>,
    /// Of an intset's numbers, in bytes.
    width: usize,
}

impl Packed {
    /// Begins a string in this packing.
    pub(super) fn open<R: Read>(input: &mut Input<R>, packing: Packing) -> Result<Self> {
        let blob = input.blob()?;
        let mut packed = Self { blob, packing, read: 0, announced: 0, elements: 0, count: None, width: 0 };
        match packing {
            Packing::Listpack => {
                packed.announced = u64::from(u32::from_le_bytes(packed.array(input)?));
                packed.count = known(u16::from_le_bytes(packed.array(input)?));
            }
            Packing::Ziplist => {
                packed.announced = u64::from(u32::from_le_bytes(packed.array(input)?));
                let _tail: [u8; 4] = packed.array(input)?;
                packed.count = known(u16::from_le_bytes(packed.array(input)?));
            }
            Packing::Intset => {
                let width = u32::from_le_bytes(packed.array(input)?);
                let count = u64::from(u32::from_le_bytes(packed.array(input)?));
                if !matches!(width, 2 | 4 | 8) {
                    return Err(input.corrupt(format!("an intset of {width}-byte numbers")));
                }
                packed.width = width as usize;
                packed.count = Some(count);
                packed.announced = 8 + count * u64::from(width);
            }
        }
        Ok(packed)
    }

    /// Hands the next element's bytes on, numbers in decimal; false at the end.
    pub(super) fn next<R: Read>(&mut self, input: &mut Input<R>, out: &mut impl Sink) -> Result<bool> {
        let more = match self.packing {
            Packing::Listpack => self.listpack(input, out)?,
            Packing::Ziplist => self.ziplist(input, out)?,
            Packing::Intset => self.intset(input, out)?,
        };
        if more {
            self.elements += 1;
            return Ok(true);
        }
        let rest = self.blob.fill(input)?.len();
        if rest > 0 || self.read != self.announced || self.count.is_some_and(|c| c != self.elements) {
            let text = format!("{:?} of {} bytes and {} elements", self.packing, self.read, self.elements);
            return Err(input.corrupt(format!("{text} does not have the size it announces")));
        }
        Ok(false)
    }

    fn listpack<R: Read>(&mut self, input: &mut Input<R>, out: &mut impl Sink) -> Result<bool> {
        let at = self.read;
        let first = self.u8(input)?;
        match first {
            0..=0x7f => number(out, i64::from(first)),
            0x80..=0xbf => self.pass(input, u64::from(first & 0x3f), out)?,
            0xc0..=0xdf => {
                let n = i64::from(first & 0x1f) << 8 | i64::from(self.u8(input)?);
                number(out, if n >= 1 << 12 { n - (1 << 13) } else { n });
            }
            0xe0..=0xef => {
                let n = u64::from(first & 0x0f) << 8 | u64::from(self.u8(input)?);
                self.pass(input, n, out)?;
            }
            0xf0 => {
                let n = u32::from_le_bytes(self.array(input)?);
                self.pass(input, u64::from(n), out)?;
            }
            0xf1 => self.integer(input, 2, out)?,
            0xf2 => self.integer(input, 3, out)?,
            0xf3 => self.integer(input, 4, out)?,
            0xf4 => self.integer(input, 8, out)?,
            0xff => return Ok(false),
            other => return Err(input.corrupt(format!("0x{other:02x} begins no listpack element"))),
        }
        // The element's own length follows, to be read backwards; how many bytes it takes is all that matters here.
        let back = match self.read - at {
            0..=127 => 1,
            128..=16_382 => 2,
            16_383..=2_097_150 => 3,
            2_097_151..=268_435_454 => 4,
            _ => 5,
        };
        for _ in 0..back {
            self.u8(input)?;
        }
        Ok(true)
    }

    fn ziplist<R: Read>(&mut self, input: &mut Input<R>, out: &mut impl Sink) -> Result<bool> {
        match self.u8(input)? {
            0xff => return Ok(false),
            0xfe => drop(self.array::<4, R>(input)?),
            _ => {}
        }
        let first = self.u8(input)?;
        match first {
            0..=0x3f => self.pass(input, u64::from(first), out)?,
            0x40..=0x7f => {
                let n = u64::from(first & 0x3f) << 8 | u64::from(self.u8(input)?);
                self.pass(input, n, out)?;
            }
            0x80 => {
                let n = u32::from_be_bytes(self.array(input)?);
                self.pass(input, u64::from(n), out)?;
            }
            0xc0 => self.integer(input, 2, out)?,
            0xd0 => self.integer(input, 4, out)?,
            0xe0 => self.integer(input, 8, out)?,
            0xf0 => self.integer(input, 3, out)?,
            0xfe => self.integer(input, 1, out)?,
            0xf1..=0xfd => number(out, i64::from(first & 0x0f) - 1),
            other => return Err(input.corrupt(format!("0x{other:02x} begins no ziplist element"))),
        }
        Ok(true)
    }

    fn intset<R: Read>(&mut self, input: &mut Input<R>, out: &mut impl Sink) -> Result<bool> {
        if Some(self.elements) == self.count {
            return Ok(false);
        }
        self.integer(input, self.width, out)?;
        Ok(true)
    }

    /// A signed little-endian number of so many bytes.
    fn integer<R: Read>(&mut self, input: &mut Input<R>, width: usize, out: &mut impl Sink) -> Result<()> {
        let mut n = 0u64;
        for i in 0..width {
            n |= u64::from(self.u8(input)?) << (8 * i);
        }
        let unused = 64 - 8 * width as u32;
        number(out, ((n << unused) as i64) >> unused);
        Ok(())
    }

    fn u8<R: Read>(&mut self, input: &mut Input<R>) -> Result<u8> {
        let Some(byte) = self.blob.fill(input)?.first().copied() else {
            return Err(input.corrupt(format!("{:?} ends too early", self.packing)));
        };
        self.blob.consume(input, 1);
        self.read += 1;
        Ok(byte)
    }

    fn array<const N: usize, R: Read>(&mut self, input: &mut Input<R>) -> Result<[u8; N]> {
        let mut out = [0; N];
        for place in &mut out {
            *place = self.u8(input)?;
        }
        Ok(out)
    }

    fn pass<R: Read>(&mut self, input: &mut Input<R>, mut n: u64, out: &mut impl Sink) -> Result<()> {
        while n > 0 {
            let chunk = self.blob.fill(input)?;
            let here = chunk.len().min(usize::try_from(n).unwrap_or(usize::MAX));
            if here == 0 {
                return Err(input.corrupt(format!("{:?} ends too early", self.packing)));
            }
            out.piece(&chunk[..here]);
            self.blob.consume(input, here);
            self.read += here as u64;
            n -= here as u64;
        }
        Ok(())
    }
}

/// 65535 says that there are as many or more.
fn known(count: u16) -> Option<u64> {
    (count != u16::MAX).then_some(u64::from(count))
}

/// A number in decimal, as Redis gives it to clients.
fn number(out: &mut impl Sink, n: i64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut left = n.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if n < 0 {
        out.piece(b"-");
    }
    out.piece(&digits[at..]);
}
