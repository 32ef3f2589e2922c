//! A content digest that does not depend on the order of rows.
//!
//! The digest of a set of rows is the sum, modulo 2^128, of the XXH3-128 hash of each row's COPY representation; with
//! the row count beside it, two sets of rows that differ in any row, or hold a row a different number of times, differ
//! in it but for a chance of 2^-128. It proves a copy against accidents. Against tampering, the SHA-256 of every
//! object stands in the manifest.

use xxhash_rust::xxh3::xxh3_128;

/// The name of the digest over rows in COPY's text format.
pub const TEXT_DIGEST: &str = "xxh3-128-sum";
/// The name of the digest over rows in COPY's binary format.
pub const BINARY_DIGEST: &str = "xxh3-128-sum-binary";

/// Rows counted and digested.
///
/// ```
/// use veza_dr_backup::postgres::RowDigest;
/// let (mut a, mut b) = (RowDigest::default(), RowDigest::default());
/// a.row(b"1\tx\n");
/// a.row(b"2\ty\n");
/// b.row(b"2\ty\n");
/// b.row(b"1\tx\n");
/// assert_eq!(a, b);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowDigest {
    /// How many rows.
    pub rows: u64,
    sum: u128,
}

impl RowDigest {
    /// Adds one row.
    #[inline]
    pub fn row(&mut self, bytes: &[u8]) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(xxh3_128(bytes));
    }

    /// Adds the rows of another part.
    pub fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// The digest that [`RowDigest::to_text`] wrote, with its row count; `None` when the text is none.
    #[must_use]
    pub fn from_parts(rows: u64, text: &str) -> Option<Self> {
        let sum = u128::from_str_radix(text.rsplit(':').next()?, 16).ok()?;
        Some(Self { rows, sum })
    }

    /// The digest with its algorithm's name.
    #[must_use]
    pub fn to_text(self, algorithm: &str) -> String {
        format!("{algorithm}:{:032x}", self.sum)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(rows: &[Vec<u8>]) -> RowDigest {
        let mut digest = RowDigest::default();
        rows.iter().for_each(|r| digest.row(r));
        digest
    }

    proptest! {
        #[test]
        fn order_and_partition_do_not_matter_but_every_byte_does(
            mut rows in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..20),
            cut in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let whole = of(&rows);
            let at = cut.index(rows.len());
            let mut parts = of(&rows[at..]);
            parts.add(of(&rows[..at]));
            prop_assert_eq!(whole, parts);
            rows[at].push(byte);
            prop_assert_ne!(whole, of(&rows));
        }
    }

    #[test]
    fn a_row_twice_is_not_a_row_once() {
        assert_ne!(of(&[b"x".to_vec(), b"x".to_vec()]), of(&[b"x".to_vec()]));
        // The sum of two equal rows must not cancel out, as an exclusive-or would.
        assert_ne!(of(&[b"x".to_vec(), b"x".to_vec()]).sum, of(&[b"y".to_vec(), b"y".to_vec()]).sum);
    }
}
