//! A digest of a tree that does not depend on the order of its entries.

use xxhash_rust::xxh3::xxh3_128;

use super::index_line::IndexLine;

/// The name of the digest.
pub const TREE_DIGEST: &str = "xxh3-128-sum-files";

/// Entries counted and digested: the sum, modulo 2^128, of the XXH3-128 of each entry's first eleven index fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TreeDigest {
    /// How many entries.
    pub entries: u64,
    sum: u128,
}

impl TreeDigest {
    /// Adds one entry.
    pub fn add(&mut self, line: &IndexLine<'_>) {
        self.entries += 1;
        self.sum = self.sum.wrapping_add(xxh3_128(line.content()));
    }

    /// Adds the entries of another part.
    pub fn merge(&mut self, other: Self) {
        self.entries += other.entries;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// With its algorithm's name.
    #[must_use]
    pub fn to_text(self) -> String {
        format!("{TREE_DIGEST}:{:032x}", self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{Entry, Kind};

    fn of(entry: &Entry) -> TreeDigest {
        let (mut text, mut digest) = (Vec::new(), TreeDigest::default());
        IndexLine::write(entry, &mut text);
        digest.add(&IndexLine::parse(text.trim_ascii_end()).unwrap());
        digest
    }

    #[test]
    fn what_is_restored_is_part_of_it_and_where_it_was_stored_is_not() {
        let entry = Entry::new(b"a".to_vec(), Kind::Dir);
        let moved = Entry { identity: (9, crate::files::Time { sec: 7, nsec: 1 }), ..entry.clone() };
        assert_eq!(of(&entry), of(&moved));
        let other = Entry { mode: 0o700, ..entry.clone() };
        assert_ne!(of(&entry), of(&other));
    }
}
