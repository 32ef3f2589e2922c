//! Reads the members of an archive of ours. Whatever a stock tar might accept beyond what the engine writes is refused.

use bytes::Bytes;
use veza_dr_backup::files::{Entry, Kind, SPARSE_MAJOR, SPARSE_NAME, SPARSE_SIZE, Time, XATTR};
use veza_dr_core::{Error, ErrorKind, Result};

use super::feed::Feed;

const BLOCK: usize = 512;
/// Extended headers hold attributes, whose sizes the system limits.
const HEADER_LIMIT: u64 = 16 << 20;
const PIECES_LIMIT: u64 = 1 << 20;

/// One member's header, and where its content has data.
#[derive(Debug)]
pub(crate) struct Member {
    /// Everything but digest, segment and identity.
    pub(crate) entry: Entry,
    /// Offset and length of each piece of data that follows, in order.
    pub(crate) pieces: Vec<(u64, u64)>,
}

/// An archive as it is read.
pub(crate) struct Members {
    feed: Feed,
    /// Content and padding of the current member that was not taken yet.
    content: u64,
    padding: u64,
}

#[derive(Default)]
struct Pax {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<Time>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse: bool,
    sparse_name: Option<Vec<u8>>,
    sparse_size: Option<u64>,
}

impl Members {
    pub(crate) fn new(feed: Feed) -> Self {
        Self { feed, content: 0, padding: 0 }
    }

    fn broken(&self, why: &str) -> Error {
        Error::new(ErrorKind::Corrupt, format!("archive {}: {why}", self.feed.name))
    }

    /// The next member; what was not taken of the one before is passed over.
    pub(crate) fn next(&mut self) -> Result<Option<Member>> {
        self.pass_over()?;
        let mut pax = Pax::default();
        loop {
            let mut block = [0; BLOCK];
            self.feed.exact(&mut block)?;
            if block.iter().all(|b| *b == 0) {
                return self.end().map(|()| None);
            }
            let sum: u32 =
                block.iter().enumerate().map(|(i, b)| u32::from(if (148..156).contains(&i) { b' ' } else { *b })).sum();
            if octal(&block[148..156]) != Some(u64::from(sum)) || &block[257..263] != b"ustar\0" {
                return Err(self.broken("a header that is none"));
            }
            let size = octal(&block[124..136]).ok_or_else(|| self.broken("a size that is none"))?;
            if block[156] == b'x' {
                if size > HEADER_LIMIT {
                    return Err(self.broken("an extended header beyond all measure"));
                }
                let mut text = vec![0; usize::try_from(size).unwrap_or(0)];
                self.feed.exact(&mut text)?;
                self.padding = padding(size);
                self.pass_over()?;
                pax = parse_pax(&text).ok_or_else(|| self.broken("an extended header that cannot be read"))?;
                continue;
            }
            return self.member(&block, size, pax).map(Some);
        }
    }

    fn member(&mut self, block: &[u8; BLOCK], size: u64, pax: Pax) -> Result<Member> {
        let kind = match block[156] {
            b'0' => Kind::File,
            b'1' => Kind::Hardlink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Dir,
            b'6' => Kind::Fifo,
            _ => return Err(self.broken("a member of a kind that is never written")),
        };
        let mut path = pax.sparse_name.or(pax.path).unwrap_or_else(|| text(&block[..100]));
        if kind == Kind::Dir && path.last() == Some(&b'/') {
            path.pop();
        }
        let field = |range: std::ops::Range<usize>| octal(&block[range]).and_then(|n| u32::try_from(n).ok());
        let number = |n: Option<u32>| n.ok_or_else(|| self.broken("a number that is none"));
        let mut entry = Entry::new(path, kind);
        entry.mode = number(field(100..108))? & 0o7777;
        entry.uid = pax.uid.map_or_else(|| number(field(108..116)), Ok)?;
        entry.gid = pax.gid.map_or_else(|| number(field(116..124)), Ok)?;
        let seconds = octal(&block[136..148]).ok_or_else(|| self.broken("a time that is none"))?;
        entry.mtime = pax.mtime.unwrap_or(Time { sec: i64::try_from(seconds).unwrap_or(0), nsec: 0 });
        entry.link = pax.link.unwrap_or_else(|| text(&block[157..257]));
        entry.xattrs = pax.xattrs;
        if matches!(kind, Kind::CharDevice | Kind::BlockDevice) {
            entry.device = (number(field(329..337))?, number(field(337..345))?);
        }
        let stored = pax.size.unwrap_or(size);
        if kind != Kind::File && stored != 0 {
            return Err(self.broken("content of something that has none"));
        }
        (self.content, self.padding) = (stored, padding(stored));
        let pieces = if pax.sparse {
            entry.size = pax.sparse_size.ok_or_else(|| self.broken("a sparse member without its size"))?;
            self.sparse_map(entry.size)?
        } else {
            entry.size = stored;
            vec![(0, stored)]
        };
        Ok(Member { entry, pieces })
    }

    /// Reads the map in front of a sparse member's data.
    fn sparse_map(&mut self, size: u64) -> Result<Vec<(u64, u64)>> {
        let mut read = 0usize;
        let mut numbers = Vec::new();
        let mut number: Option<u64> = None;
        let mut wanted = None;
        let mut block = [0; BLOCK];
        while wanted.is_none_or(|w: u64| (numbers.len() as u64) < w) {
            if read.is_multiple_of(BLOCK) {
                self.content = self.content.checked_sub(BLOCK as u64).ok_or_else(|| self.broken("a cut map"))?;
                self.feed.exact(&mut block)?;
            }
            let byte = block[read % BLOCK];
            read += 1;
            match byte {
                b'0'..=b'9' => {
                    let sum = number.unwrap_or(0).checked_mul(10).and_then(|n| n.checked_add(u64::from(byte - b'0')));
                    number = Some(sum.ok_or_else(|| self.broken("a map with a number beyond all measure"))?);
                }
                b'\n' => {
                    let n = number.take().ok_or_else(|| self.broken("a map that cannot be read"))?;
                    if wanted.is_some() {
                        numbers.push(n);
                    } else if n <= PIECES_LIMIT {
                        wanted = Some(n * 2);
                    } else {
                        return Err(self.broken("a map of more pieces than are ever written"));
                    }
                }
                _ => return Err(self.broken("a map that cannot be read")),
            }
        }
        let pieces: Vec<(u64, u64)> = numbers.chunks_exact(2).map(|p| (p[0], p[1])).collect();
        let mut end = 0u64;
        let mut data = 0u64;
        for (at, len) in &pieces {
            let next = at.checked_add(*len).filter(|next| *at >= end && *next <= size);
            end = next.ok_or_else(|| self.broken("a map whose pieces overlap or lie outside"))?;
            data = data.saturating_add(*len);
        }
        if data != self.content {
            return Err(self.broken("a map of other data than what follows"));
        }
        Ok(pieces)
    }

    /// Up to `max` bytes of the member's data; none once all were taken.
    pub(crate) fn data(&mut self, max: u64) -> Result<Bytes> {
        let wanted = max.min(self.content);
        let piece = self.feed.take(wanted)?;
        if piece.is_empty() && wanted > 0 {
            return Err(self.broken("it ends in the middle of a member"));
        }
        self.content -= piece.len() as u64;
        Ok(piece)
    }

    fn pass_over(&mut self) -> Result<()> {
        let mut left = self.content + self.padding;
        (self.content, self.padding) = (0, 0);
        while left > 0 {
            let piece = self.feed.take(left)?;
            if piece.is_empty() {
                return Err(self.broken("it ends in the middle of a member"));
            }
            left -= piece.len() as u64;
        }
        Ok(())
    }

    /// Reads on to the object's end, where its digest is judged; nothing but zeros may come.
    fn end(&mut self) -> Result<()> {
        while self.feed.refill()? {
            let n = self.feed.at_hand().len();
            if self.feed.at_hand().iter().any(|b| *b != 0) {
                return Err(self.broken("something after its end"));
            }
            self.feed.skip(n);
        }
        Ok(())
    }
}

fn padding(size: u64) -> u64 {
    (512 - size % 512) % 512
}

fn text(field: &[u8]) -> Vec<u8> {
    field.split(|b| *b == 0).next().unwrap_or_default().to_vec()
}

fn octal(field: &[u8]) -> Option<u64> {
    let digits = field.split(|b| matches!(b, 0 | b' ')).find(|d| !d.is_empty())?;
    digits.iter().try_fold(0u64, |n, d| match d {
        b'0'..=b'7' => n.checked_mul(8)?.checked_add(u64::from(d - b'0')),
        _ => None,
    })
}

fn decimal<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn parse_pax(mut text: &[u8]) -> Option<Pax> {
    let mut pax = Pax::default();
    while !text.is_empty() {
        let space = text.iter().position(|b| *b == b' ')?;
        let len: usize = decimal(&text[..space])?;
        let record = text.get(space + 1..len)?.strip_suffix(b"\n")?;
        text = &text[len..];
        let equals = record.iter().position(|b| *b == b'=')?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        if let Some(name) = key.strip_prefix(XATTR.as_bytes()) {
            pax.xattrs.push((unescape(name), value.to_vec()));
            continue;
        }
        match key {
            b"path" => pax.path = Some(value.to_vec()),
            b"linkpath" => pax.link = Some(value.to_vec()),
            b"size" => pax.size = Some(decimal(value)?),
            b"uid" => pax.uid = Some(decimal(value)?),
            b"gid" => pax.gid = Some(decimal(value)?),
            b"mtime" => pax.mtime = Some(time(value)?),
            key if key == SPARSE_MAJOR.as_bytes() => pax.sparse = value == b"1",
            key if key == SPARSE_NAME.as_bytes() => pax.sparse_name = Some(value.to_vec()),
            key if key == SPARSE_SIZE.as_bytes() => pax.sparse_size = Some(decimal(value)?),
            b"GNU.sparse.minor" => {}
            _ => return None,
        }
    }
    Some(pax)
}

fn unescape(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let [first, tail @ ..] = rest {
        rest = match rest {
            [b'%', b'2', b'5', tail @ ..] => {
                out.push(b'%');
                tail
            }
            [b'%', b'3', b'D', tail @ ..] => {
                out.push(b'=');
                tail
            }
            _ => {
                out.push(*first);
                tail
            }
        };
    }
    out
}

/// `-0.5` is half a second before 1970.
fn time(value: &[u8]) -> Option<Time> {
    let (negative, digits) = match value {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let dot = digits.iter().position(|b| *b == b'.')?;
    let (sec, fraction): (i64, &[u8]) = (decimal(&digits[..dot])?, &digits[dot + 1..]);
    let nsec: u32 = if fraction.len() == 9 { decimal(fraction)? } else { return None };
    Some(match (negative, nsec) {
        (false, nsec) => Time { sec, nsec },
        (true, 0) => Time { sec: -sec, nsec: 0 },
        (true, nsec) => Time { sec: -sec - 1, nsec: 1_000_000_000 - nsec },
    })
}
