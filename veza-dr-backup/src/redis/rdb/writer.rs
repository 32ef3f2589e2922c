//! Writes an RDB around values that are in the format already: for servers that give out keys, but no RDB.

use super::crc::Crc64;

/// The first version of Valkey's own.
const VALKEY: u16 = 80;

/// Puts an RDB together; what is ready is taken from it piece by piece.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
    crc: Crc64,
}

impl Writer {
    /// Begins a file of this version: from 80 on it is one of Valkey's, which counts from there so that nobody takes the
    /// one for the other (`rdb.h` of Valkey 9).
    #[must_use]
    pub fn new(version: u16) -> Self {
        let mut writer = Self::default();
        let head = if version < VALKEY { format!("REDIS{version:04}") } else { format!("VALKEY{version:03}") };
        writer.out.extend_from_slice(head.as_bytes());
        writer
    }

    /// A fact about the server.
    pub fn aux(&mut self, name: &str, value: &str) {
        self.out.push(0xfa);
        put_string(&mut self.out, name.as_bytes());
        put_string(&mut self.out, value.as_bytes());
    }

    /// Function libraries, as `FUNCTION DUMP` gives them without version and checksum.
    pub fn functions(&mut self, dumped: &[u8]) {
        self.out.extend_from_slice(dumped);
    }

    /// Keys that follow are in this database.
    pub fn select(&mut self, db: u64) {
        self.out.push(0xfe);
        put_length(&mut self.out, db);
    }

    /// A key with its type and value, as `DUMP` gives them without version and checksum.
    pub fn key(&mut self, name: &[u8], expires_at: Option<u64>, dumped: &[u8]) {
        let Some((kind, value)) = dumped.split_first() else { return };
        if let Some(at) = expires_at {
            self.out.push(0xfc);
            self.out.extend_from_slice(&at.to_le_bytes());
        }
        self.out.push(*kind);
        put_string(&mut self.out, name);
        self.out.extend_from_slice(value);
    }

    /// Ends the file.
    pub fn end(&mut self) {
        self.out.push(0xff);
        self.crc.update(&self.out);
        let crc = self.crc.value();
        self.out.extend_from_slice(&crc.to_le_bytes());
        self.crc = Crc64::default();
    }

    /// How many bytes are ready.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.out.len()
    }

    /// Takes what is ready. After [`Writer::end`] it is the rest.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        self.crc.update(&self.out);
        std::mem::take(&mut self.out)
    }
}

pub(super) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_length(out: &mut Vec<u8>, n: u64) {
    match n {
        0..=0x3f => out.push(n as u8),
        0x40..=0x3fff => out.extend_from_slice(&(n as u16 | 0x4000).to_be_bytes()),
        0x4000..=0xffff_ffff => {
            out.push(0x80);
            out.extend_from_slice(&(n as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&n.to_be_bytes());
        }
    }
}
