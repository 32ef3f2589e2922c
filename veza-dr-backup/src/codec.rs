//! Compression settings, and the streaming encoder behind every stored object.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use veza_dr_core::{Error, ErrorKind, Result, manifest::Codec};

/// How objects are compressed before they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Compression {
    /// The format.
    pub codec: Codec,
    /// The format's own level: 1–19 for zstd, 1–9 for gzip.
    pub level: i32,
}

impl Default for Compression {
    /// zstd at level 1.
    fn default() -> Self {
        Self::of(Codec::Zstd)
    }
}

impl Compression {
    /// `codec` at its usual level.
    #[must_use]
    pub fn of(codec: Codec) -> Self {
        let level = match codec {
            Codec::Gzip => 6,
            // docs/adr/0008: a backup is bound by processors; level 3 stores a little less for a lot more time.
            Codec::Zstd => 1,
            Codec::None | Codec::Age => 0,
        };
        Self { codec, level }
    }

    /// Checks the level against what the format allows.
    ///
    /// # Errors
    /// `Config` naming the level.
    pub fn validate(self) -> Result<Self> {
        let range = match self.codec {
            Codec::Zstd => 1..=19,
            Codec::Gzip => 1..=9,
            Codec::None => 0..=0,
            Codec::Age => return Err(Error::new(ErrorKind::Config, "age is encryption, not a compression")),
        };
        if range.contains(&self.level) {
            return Ok(self);
        }
        let text = format!("compression level {} is out of range for {:?}", self.level, self.codec).to_lowercase();
        Err(Error::new(ErrorKind::Config, text).with_help(format!("use {} to {}", range.start(), range.end())))
    }
}

/// Plain bytes of one zstd frame. A frame that is compressed in one call sees its input in one piece, which the
/// streaming interface's ring buffer does not give it: measured on COPY text, a third less time for the same size. The
/// stored object is a sequence of frames, which every zstd reads as one stream (RFC 8878, section 3).
const FRAME: usize = 4 << 20;

/// Push-style compression: plain bytes in, whatever is ready out.
pub(crate) enum Compressor {
    Zstd(Box<Frames>),
    Gzip(Box<flate2::write::GzEncoder<Vec<u8>>>),
    None(Vec<u8>),
}

impl Compressor {
    pub(crate) fn new(how: Compression) -> io::Result<Self> {
        Ok(match how.codec {
            Codec::Zstd => {
                let mut context = zstd::bulk::Compressor::new(how.level)?;
                // Each frame carries its own checksum, so `zstd -t` alone finds damage.
                context.include_checksum(true)?;
                Self::Zstd(Box::new(Frames { context, plain: Vec::new(), out: Vec::new(), any: false }))
            }
            Codec::Gzip => {
                let level = flate2::Compression::new(how.level.unsigned_abs());
                Self::Gzip(Box::new(flate2::write::GzEncoder::new(Vec::new(), level)))
            }
            Codec::None | Codec::Age => Self::None(Vec::new()),
        })
    }

    pub(crate) fn push(&mut self, plain: &[u8]) -> io::Result<()> {
        match self {
            Self::Zstd(frames) => frames.push(plain),
            Self::Gzip(e) => e.write_all(plain),
            Self::None(out) => out.write_all(plain),
        }
    }

    /// What is ready, once it is at least `least` bytes.
    pub(crate) fn take(&mut self, least: usize) -> Option<Vec<u8>> {
        let out = match self {
            Self::Zstd(frames) => &mut frames.out,
            Self::Gzip(e) => e.get_mut(),
            Self::None(out) => out,
        };
        (out.len() >= least).then(|| std::mem::take(out))
    }

    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd(mut frames) => {
                // An empty object is one empty frame: zstd refuses a file of no bytes at all.
                if !frames.plain.is_empty() || !frames.any {
                    frames.close()?;
                }
                Ok(frames.out)
            }
            Self::Gzip(e) => e.finish(),
            Self::None(out) => Ok(out),
        }
    }
}

pub(crate) struct Frames {
    context: zstd::bulk::Compressor<'static>,
    plain: Vec<u8>,
    out: Vec<u8>,
    any: bool,
}

impl Frames {
    fn push(&mut self, mut plain: &[u8]) -> io::Result<()> {
        while !plain.is_empty() {
            let n = plain.len().min(FRAME - self.plain.len());
            self.plain.extend_from_slice(&plain[..n]);
            plain = &plain[n..];
            if self.plain.len() == FRAME {
                self.close()?;
            }
        }
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        let at = self.out.len();
        self.out.resize(at + zstd::zstd_safe::compress_bound(self.plain.len()), 0);
        let n = self.context.compress_to_buffer(&self.plain, &mut self.out[at..])?;
        self.out.truncate(at + n);
        self.plain.clear();
        self.any = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn pack(how: Compression, pieces: &[&[u8]]) -> Vec<u8> {
        let mut compressor = Compressor::new(how).unwrap();
        let mut out = Vec::new();
        for piece in pieces {
            compressor.push(piece).unwrap();
            out.extend(compressor.take(1).unwrap_or_default());
        }
        out.extend(compressor.finish().unwrap());
        out
    }

    #[test]
    fn each_format_opens_with_its_stock_reader() {
        assert_eq!(zstd::decode_all(&*pack(Compression::default(), &[])).unwrap(), b"");
        let plain: Vec<u8> = (0..2_500_000u32).flat_map(u32::to_le_bytes).collect();
        let pieces: Vec<&[u8]> = plain.chunks(7_001).collect();
        assert_eq!(zstd::decode_all(&*pack(Compression::default(), &pieces)).unwrap(), plain);
        let mut gunzipped = Vec::new();
        let gz = pack(Compression::of(Codec::Gzip), &pieces);
        flate2::read::GzDecoder::new(&*gz).read_to_end(&mut gunzipped).unwrap();
        assert_eq!(gunzipped, plain);
        assert_eq!(pack(Compression::of(Codec::None), &pieces), plain);
    }

    #[test]
    fn levels_out_of_range_are_refused() {
        assert!(Compression { codec: Codec::Zstd, level: 23 }.validate().is_err());
        assert!(Compression { codec: Codec::Gzip, level: 0 }.validate().is_err());
        assert!(Compression::default().validate().is_ok());
    }
}
