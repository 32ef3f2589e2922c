//! Hashes sequences of byte strings so that no two different sequences look alike.

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Takes a string in pieces.
pub(super) trait Sink {
    fn piece(&mut self, bytes: &[u8]);
}

/// Short strings are hashed in one go, which is much faster than piece by piece.
const SHORT: usize = 16 * 1024;

/// XXH3-128 over items; each is followed by its length.
#[derive(Default)]
pub(super) struct Hasher {
    short: Vec<u8>,
    long: Option<Box<Xxh3>>,
    item: u64,
}

impl Sink for Hasher {
    fn piece(&mut self, bytes: &[u8]) {
        self.item += bytes.len() as u64;
        self.add(bytes);
    }
}

impl Hasher {
    fn add(&mut self, bytes: &[u8]) {
        if let Some(long) = &mut self.long {
            long.update(bytes);
        } else if self.short.len() + bytes.len() <= SHORT {
            self.short.extend_from_slice(bytes);
        } else {
            let mut long = Box::new(Xxh3::new());
            long.update(&self.short);
            long.update(bytes);
            self.short.clear();
            self.long = Some(long);
        }
    }

    /// Ends an item.
    pub(super) fn end_item(&mut self) {
        let length = std::mem::take(&mut self.item);
        self.add(&length.to_le_bytes());
    }

    /// Adds a number.
    pub(super) fn number(&mut self, n: u64) {
        self.add(&n.to_le_bytes());
    }

    /// Adds another hash.
    pub(super) fn hash(&mut self, h: u128) {
        self.add(&h.to_le_bytes());
    }

    /// The hash of all items; begins anew.
    pub(super) fn finish(&mut self) -> u128 {
        self.item = 0;
        match self.long.take() {
            Some(long) => long.digest128(),
            None => {
                let hash = xxh3_128(&self.short);
                self.short.clear();
                hash
            }
        }
    }
}

/// Keeps a short string, for numbers written as text.
pub(super) struct Text {
    bytes: [u8; 64],
    len: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self { bytes: [0; 64], len: 0 }
    }
}

impl Sink for Text {
    fn piece(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = *byte;
            }
            self.len += 1;
        }
    }
}

impl Text {
    /// The text, read as what it should be.
    pub(super) fn parse<T: std::str::FromStr>(&self) -> Option<T> {
        std::str::from_utf8(self.bytes.get(..self.len)?).ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(items: &[Vec<u8>], cut: usize) -> u128 {
        let mut hasher = Hasher::default();
        for item in items {
            item.chunks(cut.max(1)).for_each(|c| hasher.piece(c));
            hasher.end_item();
        }
        hasher.finish()
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter_but_borders_between_items_do(
            items in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9000), 1..6),
            cut in 1..5000usize,
        ) {
            prop_assert_eq!(of(&items, cut), of(&items, usize::MAX));
            prop_assert_ne!(of(&items, cut), of(&[items.concat()], cut).wrapping_add(u128::from(items.len() == 1)));
        }
    }
}
