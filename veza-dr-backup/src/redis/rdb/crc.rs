//! The checksum at the end of an RDB file and of every `DUMP` payload.

use crc_fast::{CrcAlgorithm, Digest};

/// CRC-64 as Redis computes it (reflected polynomial 0x95ac9329ac4bc9b5, no inversion).
#[derive(Debug, Clone)]
pub struct Crc64(Digest);

impl Default for Crc64 {
    fn default() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc64Redis))
    }
}

impl Crc64 {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.finalize()
    }

    /// The checksum of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> u64 {
        let mut crc = Self::default();
        crc.update(bytes);
        crc.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_published_check_value_however_it_is_fed() {
        assert_eq!(Crc64::of(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        let long: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        let mut pieces = Crc64::default();
        long.chunks(977).for_each(|c| pieces.update(c));
        assert_eq!(pieces.value(), Crc64::of(&long));
    }
}
