//! The first page of a segment says which cluster and which place in its log it belongs to.
//!
//! Layout: `XLogLongPageHeaderData` in PostgreSQL's `src/include/access/xlog_internal.h`, the same since version 9.3.

use veza_dr_core::{Error, ErrorKind, Result};

use super::name::{WalKind, WalName};

/// Bytes of the long header that are looked at.
pub(super) const HEADER: usize = 36;
const LONG_HEADER: u16 = 0x0002;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) system: u64,
    pub(super) segment_bytes: u64,
}

/// Reads the header of a segment that came under `name` with `bytes` bytes. Both byte orders are understood: the
/// archive may be read on another machine than the one that wrote it.
///
/// # Errors
/// `Corrupt` when it is no segment, a cut one, or one from another place in the log.
pub(super) fn check_segment(name: &WalName, head: &[u8], bytes: u64) -> Result<SegmentHeader> {
    let corrupt = |why: String| Error::new(ErrorKind::Corrupt, format!("{name} is not a whole segment: {why}"));
    let head: &[u8; HEADER] =
        head.get(..HEADER).and_then(|h| h.try_into().ok()).ok_or_else(|| corrupt(format!("it has {bytes} bytes")))?;
    let part = |at: usize, n: usize, big: bool| {
        let digits = head[at..at + n].iter();
        let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        if big { digits.fold(0, fold) } else { digits.rev().fold(0, fold) }
    };
    // Segments are powers of two between 1 MiB and 1 GiB: that tells the byte order too.
    let fits = |big: &bool| {
        let size = part(32, 4, *big);
        size.is_power_of_two() && (1 << 20..=1 << 30).contains(&size)
    };
    let big = [false, true].into_iter().find(fits).ok_or_else(|| corrupt("no header of a segment".to_owned()))?;
    let info = u16::try_from(part(2, 2, big)).unwrap_or_default();
    if info & LONG_HEADER == 0 {
        return Err(corrupt("its first page has no long header".to_owned()));
    }
    let header = SegmentHeader { system: part(24, 8, big), segment_bytes: part(32, 4, big) };
    if bytes != header.segment_bytes {
        return Err(corrupt(format!("it has {bytes} bytes of {}", header.segment_bytes)));
    }
    if let WalKind::Segment { high, low } = name.kind() {
        let expected = (u64::from(high) << 32) + u64::from(low) * header.segment_bytes;
        let found = part(8, 8, big);
        if found != expected {
            return Err(corrupt(format!("it begins at {found:X}, its name says {expected:X}")));
        }
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(system: u64, at: u64, size: u32) -> Vec<u8> {
        let mut head = vec![0x10, 0xD1, 2, 0, 1, 0, 0, 0];
        head.extend(at.to_le_bytes());
        head.extend([0; 8]);
        head.extend(system.to_le_bytes());
        head.extend(size.to_le_bytes());
        head
    }

    #[test]
    fn a_segment_is_known_by_its_header_and_a_cut_or_misplaced_one_is_refused() {
        let name: WalName = "000000010000000200000003".parse().unwrap();
        let (size, at) = (16 << 20, (2 << 32) + 3 * (16 << 20));
        let good = check_segment(&name, &head(42, at, size), u64::from(size)).unwrap();
        assert_eq!(good, SegmentHeader { system: 42, segment_bytes: u64::from(size) });
        for (head, bytes) in [
            (head(42, at, size), u64::from(size) - 1),
            (head(42, at + u64::from(size), size), u64::from(size)),
            (vec![0; HEADER], u64::from(size)),
            (vec![1, 2], 2),
        ] {
            assert_eq!(check_segment(&name, &head, bytes).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}
