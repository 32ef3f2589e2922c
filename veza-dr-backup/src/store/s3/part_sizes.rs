//! How large each part of an object is, so that the object's size is not limited by the number of parts.

const MIB: u64 = 1024 * 1024;
/// S3 takes no larger part.
const LARGEST_PART: u64 = 5 * 1024 * MIB;
/// Within one object, parts double this often at most.
const DOUBLINGS: u32 = 10;

/// The sizes of the parts of one object.
#[derive(Debug, Clone, Copy)]
pub(super) struct PartSizes {
    base: u64,
    /// After this many parts, their size doubles.
    step: u32,
    max_parts: u32,
}

impl PartSizes {
    /// Parts of `base` bytes, larger when `hint` bytes would not fit into `max_parts` of them. Because the hint may be
    /// wrong, later parts grow all the same.
    pub(super) fn new(base: u64, max_parts: u32, hint: Option<u64>) -> Self {
        let fitting = hint.unwrap_or_default().div_ceil(u64::from(max_parts));
        let base = base.max(fitting).next_multiple_of(MIB).min(LARGEST_PART);
        let even = hint.is_some_and(|h| h <= base * u64::from(max_parts));
        // With a hint that fits, growth begins only once the hint has proved too low.
        let step = if even { max_parts / 2 } else { max_parts / DOUBLINGS };
        Self { base, step: step.max(1), max_parts }
    }

    /// The size of the part with this number, counted from 1; `None` when there can be no such part.
    pub(super) fn size(&self, number: u32) -> Option<u64> {
        if number == 0 || number > self.max_parts {
            return None;
        }
        let doublings = ((number - 1) / self.step).min(DOUBLINGS);
        Some((self.base << doublings).min(LARGEST_PART))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn capacity(sizes: PartSizes) -> u64 {
        (1..).map_while(|n| sizes.size(n)).sum()
    }

    #[test]
    fn a_thousand_parts_are_enough_for_what_is_hinted_and_for_much_that_is_not() {
        let unknown = PartSizes::new(8 * MIB, 1000, None);
        assert_eq!(unknown.size(1), Some(8 * MIB));
        assert_eq!(unknown.size(101), Some(16 * MIB));
        assert_eq!(unknown.size(1001), None);
        assert!(capacity(unknown) > 750 * 1024 * MIB, "{} GiB", capacity(unknown) / 1024 / MIB);
        let four_tib = 4 * 1024 * 1024 * MIB;
        assert!(capacity(PartSizes::new(8 * MIB, 1000, Some(four_tib))) >= four_tib);
        let small = PartSizes::new(8 * MIB, 1000, Some(100 * MIB));
        assert_eq!(small.size(13), Some(8 * MIB));
    }

    proptest! {
        #[test]
        fn the_hint_always_fits(base in 5 * MIB..64 * MIB, parts in 1u32..=10_000, hint in 0..5 * 1024 * 1024 * MIB) {
            let sizes = PartSizes::new(base, parts, Some(hint));
            let most = u64::from(parts) * LARGEST_PART;
            prop_assert!(capacity(sizes) >= hint.min(most));
            prop_assert!((1..=parts).all(|n| sizes.size(n).is_some_and(|s| s >= base && s <= LARGEST_PART)));
        }
    }
}
